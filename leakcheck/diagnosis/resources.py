"""Descriptors, threads, tasks, children, mappings and files that stay, as faults with the line that opened them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from leakcheck.agent import origin
from leakcheck.diagnosis.faults import BESIDE_THE_HEAP, Fault, Place


class Words(NamedTuple):
    """How a kind of resource is spoken of."""

    one: str
    came: str
    never: str


WORDS = {
    "fds": Words("file descriptor", "opened", "never closed"),
    "threads": Words("thread", "started", "never ends"),
    "py.threads": Words("thread", "started", "never ends"),
    "tasks": Words("task", "created", "never finishes"),
    "children": Words("child process", "started", "never waited for"),
    "mapped.bytes": Words("mapping", "mapped", "never unmapped"),
    "disk.files": Words("file", "written", "never removed"),
    "disk.bytes": Words("file", "written", "never removed"),
    "shm": Words("shared memory", "taken", "never given back"),
}
_SAME_THING = {"py.threads": "threads", "disk.bytes": "disk.files"}
"""Meters that count what another counts better."""
_CAUSES_OF_MAPPINGS = ("threads", "py.threads")


def kinds_of(meters: dict[str, float]) -> list[str]:
    """The growing meters that are resources, each thing once; a thread's stack is no mapping of its own."""
    kinds = [name for name in meters if name in WORDS and _SAME_THING.get(name) not in meters]
    if any(name in meters for name in _CAUSES_OF_MAPPINGS):
        kinds = [name for name in kinds if name != "mapped.bytes"]
    return kinds


def custom_of(meters: dict[str, float]) -> list[str]:
    """Meters of the scenario's own that grow."""
    known = {"heap.bytes", "py.blocks", "py.objects", "anon.bytes", "rss", "peak", "uncollectable", *WORDS}
    return [name for name in meters if name not in known]


def faults_of(found: dict[str, Any], meters: dict[str, float]) -> list[Fault]:
    """One fault for each line that brought things which stayed."""
    faults = []
    for meter, entry in found.items():
        stacks = [each for each in entry["stacks"] if each["count"] > 0]
        total = sum(each["count"] for each in stacks)
        named = [each for each in stacks if each["stack"]] or stacks
        for each in named:
            if each["count"] < 0.1 * total:
                continue
            stack = tuple((file, line, function) for file, line, function in each["stack"])
            faults.append(_fault(meter, entry, each, stack, meters))
    return faults


def _fault(
    meter: str, entry: dict[str, Any], each: dict[str, Any], stack: tuple[Place, ...], meters: dict[str, float]
) -> Fault:
    kinds = [thing["kind"] for thing in each["things"]]
    texts = list(dict.fromkeys(pattern(thing["text"]) for thing in each["things"]))
    in_bytes = meter.endswith(".bytes") or meter in BESIDE_THE_HEAP
    fault = Fault(
        kind="resource",
        count=0.0 if in_bytes else each["count"],
        bytes=each["count"] if meter in BESIDE_THE_HEAP else 0.0,
        type=max(set(kinds), key=kinds.count) if kinds else "",
        adders=[(stack, each["count"])] if stack else [],
        examples=texts or list(map(pattern, entry.get("grown", []))),
        meter=meter,
    )
    fault.share = min(1.0, each["count"] / meters[meter]) if meters.get(meter) else None
    fault.lines = {(file, line) for file, line, _ in stack if not origin.standard(file)}
    return fault


def pattern(text: str) -> str:
    """A description without what differs from one to the next: numbers, and the random part of temporary names."""
    text = re.sub(r"/[^ ]*/leakcheck-\w+/(?:temporary|tmp_path)", "<temporary folder>", text)
    text = re.sub(r"(?<=[/_.-])tmp\w{6,}", "tmp*", text)
    text = re.sub(r"(?<=/psm_)[0-9a-f]{8}\b", "*", text)  # multiprocessing.shared_memory's own names
    text = re.sub(r"(?<=[\w\]]:)(?:3[3-9]|[4-6]\d)\d{3}\b", "*", text)  # ports of connections, from 32,768 on
    return re.sub(r"\[\d+\]|(?<![:\w])(?<!\d\.)\d{3,}(?!\w|\.\d)", "*", text)

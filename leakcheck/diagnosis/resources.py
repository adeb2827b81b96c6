"""Descriptors, threads, tasks, children, mappings and files that stay, as faults with the line that opened them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from leakcheck.diagnosis.answers import Adder, Arrival, KeptResource, Resources
from leakcheck.diagnosis.faults import BESIDE_THE_HEAP, Fault, Resource
from leakcheck.diagnosis.frames import outside_library


class Words(NamedTuple):
    """What a kind of resource is called, and what is done with it."""

    one: str
    came: str
    never: str
    named_by: Literal["example", "type", ""] = ""
    """What a single one is named by, beside its kind."""


WORDS = {
    "fds": Words("file descriptor", "opened", "never closed", "example"),
    "threads": Words("thread", "started", "never ends", "type"),
    "py.threads": Words("thread", "started", "never ends", "type"),
    "tasks": Words("task", "created", "never finishes", "type"),
    "children": Words("child process", "started", "never waited for", "example"),
    "mapped.bytes": Words("mapping", "mapped", "never unmapped"),
    "disk.files": Words("file", "written", "never removed", "example"),
    "disk.bytes": Words("file", "written", "never removed"),
    "shm": Words("shared memory", "taken", "never given back"),
}
_SAME_THING = {"py.threads": "threads", "disk.bytes": "disk.files"}
"""Meters that count what another counts better."""
_CAUSES_OF_MAPPINGS = ("threads", "py.threads")
"""A thread's stack is a mapping."""
_LEAST_PART = 0.1
"""Part of the things that stayed which a line must have brought to be named."""


def kinds_of(meters: Mapping[str, float]) -> list[str]:
    """The growing meters that are resources, each thing once; a thread's stack is no mapping of its own."""
    kinds = [name for name in meters if name in WORDS and _SAME_THING.get(name) not in meters]
    if any(name in meters for name in _CAUSES_OF_MAPPINGS):
        kinds = [name for name in kinds if name != "mapped.bytes"]
    return kinds


def custom_of(meters: Mapping[str, float]) -> list[str]:
    """Meters of the scenario's own that grow."""
    known = {"heap.bytes", "py.blocks", "py.objects", "anon.bytes", "rss", "peak", "uncollectable", *WORDS}
    return [name for name in meters if name not in known]


def faults_of(resources: Resources, meters: Mapping[str, float]) -> Iterable[Fault]:
    """One fault for each line that brought things which stayed, and not much fewer than others."""
    for meter, kept in resources.kinds.items():
        stacks = [each for each in kept.stacks if each.count > 0]
        total = sum(each.count for each in stacks)
        for each in [each for each in stacks if each.stack] or stacks:
            if each.count >= _LEAST_PART * total:
                yield _fault(meter, kept, each, meters.get(meter, 0.0))


def _fault(meter: str, kept: KeptResource, arrival: Arrival, growth: float) -> Fault:
    kinds = Counter(thing.kind for thing in arrival.things)
    texts = tuple(dict.fromkeys(pattern(thing.text) for thing in arrival.things))
    in_bytes = meter.endswith(".bytes") or meter in BESIDE_THE_HEAP
    return Fault(
        detail=Resource(meter, min(1.0, arrival.count / growth) if growth else None),
        count=0.0 if in_bytes else arrival.count,
        bytes=arrival.count if meter in BESIDE_THE_HEAP else 0.0,
        type=max(kinds, key=kinds.__getitem__, default=""),
        adders=(Adder(arrival.stack, arrival.count),) if arrival.stack else (),
        examples=texts or tuple(map(pattern, kept.grown)),
        lines=outside_library(place[:2] for place in arrival.stack),
    )


def pattern(text: str) -> str:
    """A description without what differs from one to the next: numbers, and the random part of temporary names."""
    text = re.sub(r"/[^ ]*/leakcheck-\w+/(?:temporary|tmp_path)", "<temporary folder>", text)
    text = re.sub(r"(?<=[/_.-])tmp\w{6,}", "tmp*", text)
    text = re.sub(r"(?<=/psm_)[0-9a-f]{8}\b", "*", text)  # multiprocessing.shared_memory's own names
    text = re.sub(r"(?<=[\w\]]:)(?:3[3-9]|[4-6]\d)\d{3}\b", "*", text)  # ports of connections, from 32,768 on
    return re.sub(r"\[\d+\]|(?<![:\w])(?<!\d\.)\d{3,}(?!\w|\.\d)", "*", text)

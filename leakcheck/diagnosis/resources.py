"""Descriptors, threads, tasks, children, mappings and files that stay, as faults with the line that opened them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from leakcheck import meters
from leakcheck.agent.inquiry import Adder, Arrival, KeptResource, Resources
from leakcheck.agent.origin import HERE, Origin
from leakcheck.diagnosis.faults import Fault, Resource
from leakcheck.diagnosis.frames import outside_library

_LEAST_PART = 0.1
"""Part of the things that stayed which a line must have brought to be named."""

_MOST_PART = 0.5
"""Part of a growth that the lines of another meter must have brought to be the ones to name."""


def faults_of(resources: Resources, growing: Mapping[str, float], origin: Origin = HERE) -> Iterable[Fault]:
    """One fault for each line that brought things which stayed, and not much fewer than others."""
    for meter, kept in resources.kinds.items():
        if _brought(resources, meters.of(meter, "").told_by) >= _MOST_PART * growing.get(meter, 0.0) > 0:
            continue
        stacks = _no_more_than_grew(
            meter, [each for each in kept.stacks if each.per_iteration > 0], growing.get(meter, 0.0)
        )
        total = sum(each.per_iteration for each in stacks)
        for each in [each for each in stacks if each.stack] or stacks:
            if each.per_iteration >= _LEAST_PART * total:
                yield _fault(meter, kept, each, growing.get(meter, 0.0), origin)


def _no_more_than_grew(meter: str, stacks: list[Arrival], growth: float) -> list[Arrival]:
    """Bytes are taken in large pieces, of which the short stretch that is watched may have seen too many.

    The growth has been measured over a longer one: too much is lowered in proportion.
    """
    seen = sum(each.per_iteration for each in stacks)
    if meters.of(meter, "").unit != "B" or not seen > growth > 0:
        return stacks
    return [each._replace(per_iteration=each.per_iteration * growth / seen) for each in stacks]


def _brought(resources: Resources, meter: str) -> float:
    """What the lines that were seen have brought of a meter, per iteration."""
    kept = resources.kinds.get(meter)
    return sum(each.per_iteration for each in kept.stacks if each.stack) if kept else 0.0


def _fault(meter: str, kept: KeptResource, arrival: Arrival, growth: float, origin: Origin) -> Fault:
    kinds = Counter(thing.kind for thing in arrival.things)
    texts = tuple(dict.fromkeys(pattern(thing.text) for thing in arrival.things))
    beside = meters.is_beside_the_heap(meter)
    return Fault(
        detail=Resource(meter, min(1.0, arrival.per_iteration / growth) if growth else None),
        count=0.0 if meters.of(meter, "").unit == "B" else arrival.per_iteration,
        bytes=arrival.per_iteration if beside else 0.0,
        type=max(kinds, key=kinds.__getitem__, default=""),
        adders=(Adder(arrival.stack, arrival.per_iteration, arrival.function),) if arrival.stack else (),
        examples=texts or tuple(map(pattern, kept.grown)),
        lines=outside_library((place[:2] for place in arrival.stack), origin),
    )


def pattern(text: str) -> str:
    """A description without what differs from one to the next: numbers, and the random part of temporary names."""
    text = re.sub(r"/[^ ]*/leakcheck-\w+/(?:temporary|tmp_path)", "<temporary folder>", text)
    text = re.sub(r"(?<=[/_.-])tmp\w{6,}", "tmp*", text)
    text = re.sub(r"(?<=/psm_)[0-9a-f]{8}\b", "*", text)  # multiprocessing.shared_memory's own names
    text = re.sub(r"(?<=[\w\]]:)(?:3[3-9]|[4-6]\d)\d{3}\b", "*", text)  # ports of connections, from 32,768 on
    return re.sub(r"\[\d+\]|(?<![:\w])(?<!\d\.)\d{3,}(?!\w|\.\d)", "*", text)

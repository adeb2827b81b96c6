"""Fragmentation by its name: what is in use does not grow, and the free memory between it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from leakcheck import units
from leakcheck.meters import FREE_IN_HEAP, LEDGER, RESIDENT_HEAP
from leakcheck.records import Sample

_LEAST_BYTES = 1 << 20
"""Less is what a heap has free between its blocks anyhow."""
_LEAST_PART = 0.5
"""Part of what is in use: a heap in which a third is free is no sparse one."""


_WHAT_TO_DO = (
    "Make what lives long before what is thrown away, or in one piece; keep buffers and use them again; or let another "
    "allocator have the program (LD_PRELOAD of jemalloc or mimalloc)"
)


class Fragmentation(NamedTuple):
    """How a heap stands whose free memory has grown."""

    in_use: float
    held: float
    """Bytes that are free and cannot go back to the system: something in the same page is in use."""
    returned: float
    """Bytes that are free and went back."""

    @property
    def short(self) -> str:
        """The figures, for a sentence."""
        return f"the heap is fragmented: {units.size(self.held)} free in the pages of {units.size(self.in_use)} in use"

    @property
    def advice(self) -> str:
        """The figures, and what can be done."""
        return (
            f"fragmentation, and no leak: of the heap, {units.size(self.in_use)} are in use, {units.size(self.held)} "
            f"are free but in pages of which something is in use, and {units.size(self.returned)} were given back to "
            f"the system. {_WHAT_TO_DO}"
        )


def fragmentation(samples: Mapping[str, Sequence[Sample]]) -> Fragmentation | None:
    """What has become of the heap since the first reading, or None where it is no sparser than most."""
    if not all(samples.get(name) for name in (LEDGER, FREE_IN_HEAP, RESIDENT_HEAP)):
        return None

    def held(at: int) -> float:
        return samples[RESIDENT_HEAP][at].value - samples[LEDGER][at].value

    in_use = samples[LEDGER][-1].value
    if held(-1) - held(0) < max(_LEAST_BYTES, _LEAST_PART * in_use):
        return None
    return Fragmentation(in_use, held(-1), max(0.0, samples[FREE_IN_HEAP][-1].value - held(-1)))


def of_living(in_use: float, free: float, grown: float, expected: float) -> str:
    """The same of a process of which only the allocator's ledger is known, in a sentence; empty where it has no name.

    `grown` is by how many bytes what is in use has grown while the whole process was expected to grow by `expected`.
    """
    if grown > _LEAST_PART * expected or free < max(_LEAST_BYTES, _LEAST_PART * in_use):
        return ""
    return (
        f"fragmentation, and no leak: what is in use does not grow with the process; of the heap, {units.size(in_use)} "
        f"are in use, and {units.size(free)} are free between. {_WHAT_TO_DO}"
    )

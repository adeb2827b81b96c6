"""Reads all meters of one scenario into an array that was made before the warm-up."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

from leakcheck.agent.meters import (
    READERS,
    Place,
    Read,
    Unavailable,
    allocators,
    descendants,
    heap,
    kernel,
    mapped,
    objects,
    pages,
    system,
)
from leakcheck.agent.protocol import READING
from leakcheck.agent.scenario import Context

_OURS = (allocators, descendants, heap, kernel, mapped, objects, pages, system)
"""The modules whose readers are registered by being imported."""


def _unread(_: Place) -> Read:
    raise Unavailable("nothing here reads it")


class Readings:
    """The meters of one process in the order of reading, which is that of `names`; the scenario's own come last."""

    def __init__(self, names: Sequence[str], context: Context, place: Place) -> None:
        self.readers: dict[str, Read] = {}
        self.units: dict[str, str] = {}
        """Of the scenario's own; the others are in the tool's catalogue."""
        self.unavailable: dict[str, str] = {}
        own = {name for name, _, _ in context.meters}
        for name in names:
            if name in own:
                continue
            try:
                self.readers[name] = READERS.get(name, _unread)(place)
            except Unavailable as reason:
                self.unavailable[name] = str(reason)
        for name, unit, read in context.meters:
            self.readers[name], self.units[name] = read, unit
        self._reads = tuple(self.readers.values())
        self.numbers = array("d", bytes(8 * (len(READING) + len(self._reads))))
        """What is reported: the numbers of `READING`, then one value a meter in the order of `readers`."""
        self.iterations = 0
        self.seconds = 0.0
        self.spent = 0.0
        self.lowest = math.nan
        self.cycles = 0

    def read(self) -> None:
        """Read every meter into `numbers`."""
        numbers = self.numbers
        for index, read in enumerate(self._reads, len(READING)):
            numbers[index] = read()
        numbers[0], numbers[1], numbers[2] = self.iterations, self.seconds, self.spent
        numbers[3], numbers[4] = self.cycles, self.lowest

    def reader(self, name: str) -> Read | None:
        """What reads one meter; None where it cannot be read."""
        return self.readers.get(name)

    def last(self, name: str) -> float:
        """What a meter was when it was read last; 0 where it cannot be read."""
        return self.numbers[len(READING) + [*self.readers].index(name)] if name in self.readers else 0.0

    def ledger(self) -> Read:
        """What reads the bytes in use, in microseconds; a constant where that is not to be had."""
        return self.readers.get("heap.bytes", lambda: math.nan)

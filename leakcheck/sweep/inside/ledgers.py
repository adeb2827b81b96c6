"""Exact readings of what this process holds, after everything that can go has gone."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable

from leakcheck.agent.clock import own_clock
from leakcheck.agent.meters import Place
from leakcheck.agent.meters.reading import Readings
from leakcheck.agent.scenario import Context
from leakcheck.agent.settle import forget_lookups

WANTED = ("heap.bytes", "py.blocks", "allocators.bytes", "fds", "threads")
"""Meters of the catalogue that are cheap enough to be read for each of thousands of recipes."""
_LEAST = {"heap.bytes": 8.0, "allocators.bytes": 8.0}
"""Bytes a repetition below which growth is dropped: less than the smallest block. Of what is counted, a half."""
_LEAST_COUNTED = 0.5
"""Things a repetition, as above: whatever is lost in one of two calls."""
_COLLECTIONS = 4
"""In a row at most: finalizers can make more garbage."""
_SHORT, _LONG = 8, 64
"""Repetitions of a recipe that nearly always keeps nothing, and of one that seems to keep something."""
_LIMITED = ("fds", "threads")
"""Of these a process may have some hundreds only."""
_SLOW_S = 0.1
"""Seconds that the process ran, or slept: three hundred repetitions of a call that takes as long take too long."""
_LARGE = 64 << 10
"""Bytes a repetition of which a long look would take all the memory that there is: a short one shows them well."""
_ALIKE = 0.2
"""Part by which two windows of a leak may differ: tables that double make one of two dearer, not both alike."""


class Ledgers:
    """The meters of `WANTED` that work here."""

    def __init__(self, names: tuple[str, ...] = WANTED) -> None:
        readings = Readings(names, Context(""), Place([], in_loop=False))
        self.unavailable = readings.unavailable
        self._readers = list(enumerate(readings.readers.values()))
        self.names = list(readings.readers)
        self._clock = own_clock()
        self._before, self._after = (array("d", bytes(8 * len(self.names))) for _ in range(2))

    def _read(self, into: array[float]) -> None:
        """The meters, once garbage is collected.

        Into what is there already: numbers that are made while one reads would be growth of the next reading, in each
        short window.
        """
        forget_lookups()
        for _ in range(_COLLECTIONS):
            if not gc.collect():
                break
        for index, read in self._readers:
            into[index] = read()

    def growth(self, repeat: Callable[[int], object]) -> dict[str, float]:
        """What each repetition keeps, by ledger; empty where that is nothing, or is not the same each time.

        `repeat(n)` runs the recipe n times. It is run some 20 times where nothing grows, some 300 times else.
        """
        began = self._clock()
        repeat(1)
        if self._clock() - began > _SLOW_S:
            return {}
        repeat(2)
        first = self._window(repeat, _SHORT)
        if not self._is_growth(first):
            return {}
        second = self._window(repeat, _SHORT)
        if not self._is_growth(second):
            return {}
        slow = self._clock() - began > _SLOW_S
        counted = any(second.get(name, 0.0) >= _LEAST_COUNTED for name in _LIMITED)
        length = _SHORT if slow or counted or max(second.values()) > _LARGE else _LONG
        third, fourth = self._window(repeat, length), self._window(repeat, length)
        return {
            name: fourth[name]
            for name in self.names
            if self._counts(name, third[name])
            and self._counts(name, fourth[name])
            and abs(third[name] - fourth[name]) <= _ALIKE * max(third[name], fourth[name])
        }

    def _window(self, repeat: Callable[[int], object], count: int) -> dict[str, float]:
        self._read(self._before)
        repeat(count)
        self._read(self._after)
        return {
            name: (after - before) / count
            for name, before, after in zip(self.names, self._before, self._after, strict=True)
        }

    def _is_growth(self, window: dict[str, float]) -> bool:
        return any(self._counts(name, value) for name, value in window.items())

    def _counts(self, name: str, value: float) -> bool:
        return value >= _LEAST.get(name, _LEAST_COUNTED)

"""One meter's readings in fixed memory, whatever the uptime: recent ones each, older ones as ever wider bins."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple, overload

SIZES = (128, 128, 840, 400)
"""Bins of each width that are kept. At one reading a minute and a rhythm of a day: each reading for two hours, bins of
8 minutes for 16 hours, of an hour for 35 days (so that days can be compared hour by hour), of a day for a year."""


class Bin(NamedTuple):
    """Readings of a stretch of time."""

    at: float
    """When the first of them was taken, in seconds of a clock that never jumps."""
    low: float
    """The lowest: what was held even when least was in use."""
    mean: float


class Bins(Sequence[Bin]):
    """Bins by rising time, kept as arrays: as objects, those of a year would take a fifth of a megabyte."""

    def __init__(self, at: array[float], low: array[float], mean: array[float]) -> None:
        self._at, self._low, self._mean = at, low, mean

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Bin]:
        return map(Bin, self._at, self._low, self._mean)

    @overload
    def __getitem__(self, index: int) -> Bin: ...
    @overload
    def __getitem__(self, index: slice) -> Bins: ...
    def __getitem__(self, index: int | slice) -> Bin | Bins:
        made = Bins if isinstance(index, slice) else Bin
        return made(self._at[index], self._low[index], self._mean[index])  # type: ignore[arg-type]

    def extend(self, newer: Bins, first: int = 0, end: int | None = None) -> None:
        """Add newer ones, or a slice of them, without a copy of it in between."""
        for mine, theirs in ((self._at, newer._at), (self._low, newer._low), (self._mean, newer._mean)):
            mine.frombytes(memoryview(theirs)[first:end].cast("B"))


def bins_since(bins: Sequence[Bin], begin: float) -> Sequence[Bin]:
    """Those that began at `begin` or later."""
    first = bisect_left(bins, begin, key=attrgetter("at"))
    return bins[first:] if first else bins


class History:
    """Readings by rising time. Memory is taken when it is made, and never more: 24 KB."""

    def __init__(self, interval: float, period: float = 0.0) -> None:
        """`interval` between readings and `period` of the load's rhythm, in seconds; 0 where there is none."""
        self._tiers = [_Ring(size) for size in SIZES]
        hour = max(period / 24 if period else 64 * interval, interval)
        self._widths = (interval, math.sqrt(interval * hour), hour, 24 * hour)
        self._open: list[_Open | None] = [None for _ in SIZES]

    def add(self, at: float, value: float) -> None:
        """Take one reading. A reading that is not later than the one before is dropped: the clock went wrong."""
        newest = self._tiers[0].last_at()
        if newest is not None and at <= newest:
            return
        self._push(0, at, value, value)

    def bins(self, since: float = float("-inf")) -> Sequence[Bin]:
        """What is known, oldest first, from `since` on."""
        found = Bins(array("d"), array("f"), array("f"))
        for ring, waiting in zip(reversed(self._tiers), reversed(self._open), strict=True):
            ring.add_to(found)
            if waiting is not None:
                mean = waiting.total / waiting.count
                found.extend(Bins(array("d", [waiting.at]), array("f", [waiting.low]), array("f", [mean])))
        return bins_since(found, since)

    def _push(self, tier: int, at: float, low: float, mean: float) -> None:
        fallen = self._tiers[tier].push(at, low, mean)
        if fallen is not None and tier + 1 < len(self._tiers):
            self._gather(tier + 1, fallen)

    def _gather(self, tier: int, fallen: Bin) -> None:
        """Put what a finer tier has no room for into the open bin of the next."""
        waiting = self._open[tier]
        if waiting is not None and fallen.at // self._widths[tier] == waiting.at // self._widths[tier]:
            waiting.low = min(waiting.low, fallen.low)
            waiting.total += fallen.mean
            waiting.count += 1
            return
        self._open[tier] = _Open(fallen)
        if waiting is not None:
            self._push(tier, waiting.at, waiting.low, waiting.total / waiting.count)


class _Open:
    """A bin that is still being filled."""

    __slots__ = ("at", "count", "low", "total")

    def __init__(self, first: Bin) -> None:
        self.at, self.low, self.total = first
        self.count = 1


class _Ring:
    """A fixed number of bins; the oldest makes room for the newest. Seven digits are enough for what was read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = array("d", bytes(8 * size))
        self._low, self._mean = array("f", bytes(4 * size)), array("f", bytes(4 * size))
        self._start = 0
        self._length = 0

    def push(self, at: float, low: float, mean: float) -> Bin | None:
        """Add a bin; returns the one that had to go."""
        fallen = None
        position = (self._start + self._length) % self._size
        if self._length == self._size:
            fallen = Bin(self._at[position], self._low[position], self._mean[position])
            self._start = (self._start + 1) % self._size
        else:
            self._length += 1
        self._at[position], self._low[position], self._mean[position] = at, low, mean
        return fallen

    def last_at(self) -> float | None:
        """When the newest bin began."""
        return self._at[(self._start + self._length - 1) % self._size] if self._length else None

    def add_to(self, found: Bins) -> None:
        """Add all bins, oldest first."""
        end = self._start + self._length
        mine = Bins(self._at, self._low, self._mean)
        found.extend(mine, self._start, end)
        found.extend(mine, 0, max(0, end - self._size))

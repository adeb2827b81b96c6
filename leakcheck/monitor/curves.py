"""What innocent memory looks like over time: caches that fill, and fragmentation.

Each curve is one of a few that are tried first. `bent` are its neighbours, for a closer fit: where there is little
noise, what lies between the curves that were tried would look like evidence of something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

SPEEDS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Periods in which a cache fills to two thirds. One that takes longer cannot be told from a leak in time."""


_CREEP = 0.1
"""How much of the largest cache fragmentation may take while the uptime grows e-fold: a hundredth of the limit, where
the cache takes a tenth."""


class Curve(Protocol):
    """A shape that growth may have; it ends at 1, or is above that where it has no end."""

    @property
    def times(self) -> Sequence[float]:
        """Of each point, by the clock that it follows."""

    def values(self) -> list[float]:
        """What it holds at each point."""

    def bent(self, by: float) -> Iterator[Curve]:
        """The same kind a little earlier and later, slower and quicker: by this part."""


class Filling(NamedTuple):
    """A cache that fills ever more slowly, for more and more keys are known."""

    times: Sequence[float]
    begin: float
    speed: float

    def values(self) -> list[float]:
        """What it holds at each point."""
        return [1 - math.exp(-max(0.0, at - self.begin) / self.speed) for at in self.times]

    def bent(self, by: float) -> Iterator[Filling]:
        """Its neighbours."""
        for begin in {max(0.0, self.begin - by * self.speed), self.begin + by * self.speed}:
            yield Filling(self.times, begin, self.speed)
        for speed in (self.speed * (1 + by), self.speed / (1 + by)):
            if SPEEDS[0] <= speed <= SPEEDS[-1]:
                yield Filling(self.times, self.begin, speed)


class Creeping(NamedTuple):
    """Fragmentation: the logarithm of the uptime. It has no end."""

    times: Sequence[float]
    """Since the start."""

    def values(self) -> list[float]:
        """What it holds at each point."""
        return [2 + _CREEP * math.log(each) for each in self.times]

    def bent(self, by: float) -> Iterator[Creeping]:  # noqa: ARG002 - as all curves have it
        """It has no neighbours."""
        return iter(())

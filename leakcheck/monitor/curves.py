"""The curves that an explanation of growth is a sum of: caches that fill, fragmentation, steps, and the leak.

Each has a shape, which least squares give a size, and a price: what an explanation must gain by having it. A restart is
no curve: time since the start begins again, and with it all that follows that clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

FILL_TIMES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Periods in which a cache fills to 63 %. One that takes longer cannot be distinguished from a leak in time."""
STEP_PRICE = 8.0
"""Units of evidence that a step must gain: about as much as two more parameters."""
CURVE_PRICE = 8.0
"""The same for a cache or fragmentation: a size, a speed and a beginning."""
_OVERSIZE_PRICE = 10.0
"""Square root of the price, in units of evidence, of a curve twice as large as the largest; a tenth more costs one."""
_UNFILLED_WEIGHT = 3.0
"""How many times the part of a cache still to be filled counts in that price: what was seen to end is no guess."""
_FRAGMENTATION_SHARE = 0.1
"""How much of the largest cache fragmentation may take while the uptime grows e-fold: a hundredth of the limit, where
the cache takes a tenth."""


class Curve(Protocol):
    """One part of an explanation."""

    def values(self) -> Sequence[float]:
        """Its shape: one value a point, to be multiplied by its size."""

    def bent(self, by: float) -> Iterator[Curve]:
        """The same kind a little earlier, later, slower and quicker, by the part `by`: for a closer fit.

        Where there is little noise, what lies between the curves that were tried would look like evidence of a leak.
        """

    def price(self, size: float, end: float, largest: float) -> float:
        """Units of evidence that it costs to have it, infinite where it cannot be.

        `size` and `largest`, which is that of the largest likely cache, in the meter's unit; `end` is its last value.
        """


class Cache(NamedTuple):
    """A cache that fills ever more slowly, for more and more of its keys are known: 1 - e^-((t - begin) / speed).

    1 |              . . . . . . . .
      |        . .
      |     .
    0 | . .
      +---begin---------------------- time
    """

    times: Sequence[float]
    """Of each point, in periods, by the clock that it follows."""
    begin: float
    speed: float
    """Periods in which it fills to 63 %."""

    def values(self) -> list[float]:
        """From 0 to 1."""
        return [1 - math.exp(-max(0.0, at - self.begin) / self.speed) for at in self.times]

    def bent(self, by: float) -> Iterator[Cache]:
        """A little earlier and later, slower and quicker."""
        for begin in {max(0.0, self.begin - by * self.speed), self.begin + by * self.speed}:
            yield Cache(self.times, begin, self.speed)
        for speed in (self.speed * (1 + by), self.speed / (1 + by)):
            if FILL_TIMES[0] <= speed <= FILL_TIMES[-1]:
                yield Cache(self.times, self.begin, speed)

    def price(self, size: float, end: float, largest: float) -> float:
        """The nearer it is to its end, the larger it may be."""
        return _price_of_growing(size, min(1.0, _UNFILLED_WEIGHT * (1 - end)), largest)


class Fragmentation(NamedTuple):
    """Fragmentation: the logarithm of the uptime. It slows down and has no end.

    |                  . . . . . . .
    |        . . . . .
    |    . .
    |  .
    | .
    +------------------------------- uptime
    """

    times: Sequence[float]
    """Uptime of each point, in periods."""

    def values(self) -> list[float]:
        """Above 1 at any uptime of more than some seconds."""
        return [2 + _FRAGMENTATION_SHARE * math.log(each) for each in self.times]

    def bent(self, by: float) -> Iterator[Fragmentation]:  # noqa: ARG002 - as all curves have it
        """It has no neighbours."""
        return iter(())

    def price(self, size: float, end: float, largest: float) -> float:  # noqa: ARG002
        """As of a cache that has all of its way still to go."""
        return _price_of_growing(size, 1.0, largest)


class Step(NamedTuple):
    """A deploy or a reload: another level from one point on, higher or lower.

    1 |            . . . . . . .
      |
    0 | . . . . . .
      +-----------at------------ time
    """

    points: int
    """How many there are."""
    at: int
    """The first point that is on the new level."""

    def values(self) -> list[float]:
        """0, then 1."""
        return [float(index >= self.at) for index in range(self.points)]

    def bent(self, by: float) -> Iterator[Step]:  # noqa: ARG002
        """It has no neighbours: the search tries all places."""
        return iter(())

    def price(self, size: float, end: float, largest: float) -> float:  # noqa: ARG002
        """The same for any step."""
        return STEP_PRICE


class Leak(NamedTuple):
    """A line: as much in every period of the clock, which is time, or the work that was done.

    |                      . .
    |                . . .
    |          . . .
    |    . . .
    | . .
    +--------------------------- time or work
    """

    times: Sequence[float]
    """Of each point, in periods, by the clock that it follows."""

    def values(self) -> Sequence[float]:
        """The clock itself: its size is the growth per period."""
        return self.times

    def bent(self, by: float) -> Iterator[Leak]:  # noqa: ARG002
        """A line stays one."""
        return iter(())

    def price(self, size: float, end: float, largest: float) -> float:  # noqa: ARG002
        """Nothing: how much evidence it needs is for the caller to say."""
        return 0.0


CURVES: tuple[type[Curve], ...] = (Cache, Fragmentation, Step, Leak)
"""All kinds, in the order in which a search tries them."""


def caches(times: Sequence[float], begins: Sequence[float], *, coarse: bool) -> Iterator[Cache]:
    """Caches that begin to fill at `begins`: every second begin and speed, or all others.

    The others are for the best explanations: what lies between a few curves would be evidence of a leak.
    """
    for place, begin in enumerate(begins):
        for number, speed in enumerate(FILL_TIMES):
            if coarse == (place % 2 == 0 and number % 2 == 1):
                yield Cache(times, begin, speed)


def _price_of_growing(size: float, weight: float, largest: float) -> float:
    """What only ever grows cannot have a size below 0; beyond `largest` its price rises with the square."""
    if size < 0:
        return math.inf
    excess: float = _OVERSIZE_PRICE * max(0.0, size / largest - 1)
    return CURVE_PRICE + weight * excess**2

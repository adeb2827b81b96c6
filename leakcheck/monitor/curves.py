"""The curves that an explanation of growth is a sum of: caches that fill, fragmentation, steps, and the leak.

Each has a shape, which least squares give a size, and a price: what an explanation must gain by having it. A restart is
no curve: the uptime begins again, and with it all that follows that clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

FILL_TIMES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Periods in which a cache fills to 63 %. One that takes longer cannot be distinguished from a leak in time."""
STEP_PRICE = 8.0
"""Units of evidence that a step must gain: about as much as two more parameters."""
CURVE_PRICE = 8.0
"""The same for a cache or fragmentation: a size, a speed and a beginning."""
OVERSIZE_PRICE = 10.0
"""Square root of the price, in units of evidence, of a curve twice as large as the largest; a tenth more costs one."""
UNFILLED_WEIGHT = 3.0
"""How many times the part of a cache still to be filled counts in that price: what was seen to end is no guess."""
FRAGMENTATION_SHARE = 0.1
"""How much of the largest cache fragmentation may take while the uptime grows e-fold: a hundredth of the limit, where
the cache takes a tenth."""

Clock = Sequence[float]
"""What a curve follows, at each point: the time, the uptime or the work that was done, in periods."""
Shape = Callable[[Clock, float, float], Sequence[float]]
"""A clock, when the curve begins and how fast it is, to its value at each point."""


def cache(times: Clock, begin: float, speed: float) -> list[float]:
    """A cache that fills ever more slowly, for more and more of its keys are known; `speed` is the time to 63 %.

    1 |              . . . . . . .
      |        . .
    0 | . . .
      +-----begin----------------- time
    """
    return [1 - math.exp(-max(0.0, at - begin) / speed) for at in times]


def fragmentation(times: Clock, begin: float, speed: float) -> list[float]:  # noqa: ARG001
    """Fragmentation: the logarithm of the uptime. It slows down and has no end, and so is above 1.

    |              . . . . . . .
    |     . . . .
    | . .
    +--------------------------- uptime
    """
    return [2 + FRAGMENTATION_SHARE * math.log(at) for at in times]


def step(times: Clock, begin: float, speed: float) -> list[float]:  # noqa: ARG001
    """A deploy or a reload: another level, higher or lower, from `begin` on.

    1 |            . . . . . . .
    0 | . . . . . .
      +----------begin---------- point by point
    """
    return [float(at >= begin) for at in times]


def leak(times: Clock, begin: float, speed: float) -> Sequence[float]:  # noqa: ARG001
    """As much in every period of the clock, which is the time, or the work that was done.

    |                  . . .
    |          . . . .
    | . . . .
    +----------------------- time or work
    """
    return times


SHAPES: tuple[Shape, ...] = (cache, fragmentation, step, leak)
"""All shapes: the innocent ones, in the order in which a search changes them, and last what it looks for."""


class Curve(NamedTuple):
    """One part of an explanation. Times are periods; those of a step are numbers of points."""

    shape: Shape
    times: Clock
    """Of each point."""
    begin: float = 0.0
    speed: float = 1.0

    def values(self) -> Sequence[float]:
        """One value a point, to be multiplied by its size."""
        return self.shape(self.times, self.begin, self.speed)

    def bent(self, by: float) -> Iterator[Curve]:
        """A cache a little earlier, later, slower and quicker, by the part `by`; other shapes have no neighbours."""
        if self.shape is not cache:
            return
        for begin in {max(0.0, self.begin - by * self.speed), self.begin + by * self.speed}:
            yield Curve(cache, self.times, begin, self.speed)
        for speed in (self.speed * (1 + by), self.speed / (1 + by)):
            if FILL_TIMES[0] <= speed <= FILL_TIMES[-1]:
                yield Curve(cache, self.times, self.begin, speed)

    def price(self, size: float, end: float, largest: float) -> float:
        """Units of evidence that it costs to have it, infinite where it cannot be.

        `end` is its last value. What only ever grows has no size below 0, and beyond `largest` (that of the largest
        likely cache) its price rises with the square, the less so the nearer it is to its end. A line costs nothing:
        how much evidence it needs is for the caller to say.
        """
        if self.shape is leak:
            return 0.0
        if self.shape is step:
            return STEP_PRICE
        if size < 0:
            return math.inf
        weight = 1.0 if end > 1 else min(1.0, UNFILLED_WEIGHT * (1 - end))
        excess: float = OVERSIZE_PRICE * max(0.0, size / largest - 1)
        return CURVE_PRICE + weight * excess**2


def caches(times: Clock, begins: Sequence[float], *, coarse: bool) -> Iterator[Curve]:
    """Caches that begin to fill at `begins`: every second begin and speed, or all others.

    The others are for the best explanations: what lies between a few curves would be evidence of a leak.
    """
    for place, begin in enumerate(begins):
        for number, speed in enumerate(FILL_TIMES):
            if coarse == (place % 2 == 0 and number % 2 == 1):
                yield Curve(cache, times, begin, speed)

"""Robust statistics of a series of samples: what the judge and the monitor read off it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leakcheck.records import Sample  # brings msgspec, which a service that is watched need not carry


def median(values: Iterable[float]) -> float:
    """The middle value, or the mean of the two in the middle. `statistics` would triple what the tool imports."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def theil_sen(window: Sequence[Sample]) -> tuple[float, float, float]:
    """Median slope of all pairs, and its 99 % confidence interval by Kendall's rank statistic.

    Source: P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63 (1968). Up to 29 % of the
    samples may be arbitrarily wrong. Quadratic in the number of samples, of which there are some dozens.
    """
    if all(sample.value == window[0].value for sample in window):
        return 0.0, 0.0, 0.0
    slopes = sorted(
        (later.value - earlier.value) / (later.iterations - earlier.iterations)
        for index, earlier in enumerate(window)
        for later in window[index + 1 :]
        if later.iterations > earlier.iterations
    )
    if not slopes:
        return 0.0, 0.0, 0.0
    count = len(window)
    spread = 2.576 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    lowest = max(0, math.floor((len(slopes) - spread) / 2))
    highest = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return median(slopes), slopes[lowest], slopes[highest]


def right_minimum(samples: Sequence[Sample]) -> list[float]:
    """For each sample the lowest value from there on: the level from which the series never came back down."""
    level = math.inf
    levels = []
    for sample in reversed(samples):
        level = min(level, sample.value)
        levels.append(level)
    return levels[::-1]


def apart(samples: Sequence[Sample], rate: float) -> float:
    """How many iterations lie between two events of a growth of `rate` per iteration, at most; 0 where it is steady.

    An event is at most what one of the rises adds that make up the growth; and a series that has never stood still for
    as long as `rate` needs for that, has no rare events. Quadratic in the number of samples, of which there are dozens.
    """
    levels = right_minimum(samples)
    rises = sorted((later - earlier for earlier, later in pairwise(levels) if later > earlier), reverse=True)
    if rate <= 0 or not rises:
        return 0.0
    event = next(rise for rise, so_far in zip(rises, accumulate(rises), strict=True) if so_far >= 0.9 * sum(rises))
    points = [(sample.iterations, level) for sample, level in zip(samples, levels, strict=True)]
    still = max(
        (
            later - earlier
            for index, (earlier, low) in enumerate(points)
            for later, high in points[index:]
            if high - low <= 0.1 * rate * (later - earlier)
        ),
        default=0,
    )
    return min(still, event / rate)


def amplitude(samples: Sequence[Sample]) -> float:
    """How far the series moves up and down: four robust standard deviations around its median.

    1.4826 times the median absolute deviation estimates one standard deviation (P. J. Huber, Robust Statistics, 1981).
    """
    middle = median(sample.value for sample in samples)
    return 4 * 1.4826 * median(abs(sample.value - middle) for sample in samples)


def changes(samples: Sequence[Sample]) -> list[float]:
    """From each sample to the next."""
    return [later.value - earlier.value for earlier, later in pairwise(samples)]


def rates(samples: Sequence[Sample]) -> list[float]:
    """From each sample to the next, per iteration; what was read again without an iteration is left out."""
    return [
        (later.value - earlier.value) / (later.iterations - earlier.iterations)
        for earlier, later in pairwise(samples)
        if later.iterations > earlier.iterations
    ]


def rises_only(samples: Sequence[Sample]) -> bool:
    """Whether falls are no more than a tenth of the rises: a curve, and not a cloud that happens to bend."""
    moves = changes(samples)
    return -sum(move for move in moves if move < 0) <= 0.1 * sum(move for move in moves if move > 0)


def falls_in_steps(samples: Sequence[Sample]) -> bool:
    """Whether the series rises more often than it falls, and falls by more than it rises: a sawtooth."""
    moves = changes(samples)
    rises = [move for move in moves if move > 0]
    falls = [-move for move in moves if move < 0]
    return bool(rises and falls) and len(rises) > len(falls) and median(falls) > median(rises)

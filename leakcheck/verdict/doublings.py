"""A meter's samples cut into doublings of the iterations, with all that the rules of the judge ask of them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from leakcheck.meters import Thresholds
from leakcheck.records import Sample, Verdict
from leakcheck.series import amplitude, changes, median, right_minimum, theil_sen
from leakcheck.verdict.judgement import Judgement, RuleName, Sensitivity, Shape

FADING = 0.80
"""A rate that fell below this part of an earlier doubling's is fading: wait. A cache of K entries drawn at random fades
to 0.78 when half of K calls have been made, and ever faster after that."""
STEADILY_FADING = (0.97, 0.93)
"""The same for two doublings in a row, earlier and later: a leak's rate may wobble, but it does not fall twice running,
the second time by more. (A cache drawn at random fades to 0.94 and 0.88 at a sixth of its size.)"""
ASKED_QUANTA = 1 / 1000
"""Sensitivity that is asked for, in quanta per iteration. What creeps more slowly, and not in a straight line, ends the
search: it would take ever longer to learn ever less."""
FEW = 16
"""Pieces of growth of which one that is late makes a rate fall that has not fallen."""
NOTABLE_SHARE = 1 / 256
"""Part of what a process has from which on a plateau is worth a word: the interpreter's own tables, which are made
larger and smaller with what waits for the collector, take less."""
LEAST_POINTS = 8
"""Samples in the last three doublings that a line needs before it can be believed."""
FLOOR_MARGIN = 1.25
"""A loss that is to be seen must lift the last doubling above the floor by this factor."""
DUE = 7
"""And so many losses must have been due in the last doubling: of those that come at random, none comes in one of a
thousand such doublings (exp(-7))."""
NOT_IN_NOISE = 3.0
"""How many times as far as a series moves up and down a loss must lift it to show in any case."""
WARM_CALLS = 2
"""Calls after which one-time costs are paid: what the first loads, the second has."""


class Window(NamedTuple):
    """One doubling: its samples from edge to edge."""

    samples: Sequence[Sample]
    rate: float
    """Growth per iteration of the level from which the series never came back down."""

    @property
    def span(self) -> int:
        """Its iterations."""
        return self.samples[-1].iterations - self.samples[0].iterations


class Series:
    """The samples of one meter with all that the rules ask of them, each worked out once."""

    def __init__(self, samples: Sequence[Sample], limits: Thresholds, began: float | None = None) -> None:
        self.samples = samples
        self.limits = limits
        self.edges = _edges(samples)
        self.began = after_first_call(samples) if began is None else began
        """The value once the one-time costs of the first calls are paid."""
        self.notable = max(limits.notable, self.began * NOTABLE_SHARE)
        """Growth that came after the first call and stopped is worth the word `bounded` from here on."""

    @cached_property
    def windows(self) -> tuple[Window, Window, Window]:
        """The last three doublings, oldest first."""
        first, before, last = _doublings(self.samples, self.edges[-4:])
        return first, before, last

    @cached_property
    def recent(self) -> list[Sample]:
        """The samples of the last three doublings."""
        return [*self.samples[self.edges[-4] :]]

    @cached_property
    def growth(self) -> tuple[float, float, float]:
        """Change per iteration over the last three doublings, and its confidence interval."""
        return theil_sen(self.recent)

    @cached_property
    def is_constant(self) -> bool:
        """Whether nothing at all has moved over the last three doublings."""
        return all(sample.value == self.began for sample in self.recent)

    def detectable(self, moves: float) -> Sensitivity:
        """The smallest loss that would have shown in a series that `moves` so far up and down.

        What stays unseen must hide in the last doubling: below the floor, in noise, or by not having come yet.
        """
        calls = max(1, self.windows[-1].span)
        once_in = max(1, calls // DUE)
        hidden = max(FLOOR_MARGIN * self.limits.floor, NOT_IN_NOISE * moves)
        return Sensitivity(max(self.limits.quantum, hidden * once_in / calls), once_in)

    @cached_property
    def jumped(self) -> bool:
        """Whether the last doubling rose above all before it and stayed there, by more than it ever fell back."""
        last = len(self.recent) - len(self.windows[-1].samples)
        highest = max(sample.value for sample in self.recent[: last + 1])
        peak, fallen = self.recent[0].value, 0.0
        levels = right_minimum(self.recent)
        rise = 0.0
        for index, sample in enumerate(self.recent):
            if index > last:
                rise = max(rise, levels[index] - highest)
                highest = max(highest, sample.value)
            peak = max(peak, sample.value)
            fallen = max(fallen, peak - sample.value)
        return rise > max(self.limits.floor, fallen)

    @property
    def rates(self) -> list[float]:
        """Growth per iteration of each doubling."""
        return [window.rate for window in self.windows]

    @property
    def highest_rate(self) -> float:
        """The highest growth per iteration of any doubling from the first calls on."""
        return max(window.rate for window in _doublings(self.samples, self.edges))

    @property
    def grows(self) -> bool:
        """Whether it grew with certainty, and in each of the first two doublings."""
        return self.growth[1] > 0 and min(self.rates[:2]) > 0

    @cached_property
    def fades(self) -> bool:
        """Whether the growth per iteration is on its way down, by more than one piece could be late."""
        first, second, third = self.windows
        piece = min((rise for rise in changes(self.recent) if rise >= self.limits.quantum), default=0.0)
        if piece * FEW < self.recent[-1].value - self.recent[0].value:
            piece = 0.0
        after = third.rate + piece / third.span
        if after < FADING * second.rate:
            return True
        earlier, later = STEADILY_FADING
        return after < later * second.rate and second.rate + piece / second.span < earlier * first.rate

    @property
    def creeps(self) -> bool:
        """Whether it grows by less than the sensitivity that is asked for."""
        return max(self.rates[-1], self.growth[2]) < ASKED_QUANTA * self.limits.quantum

    def distance_from_line(self, floor: float) -> float:
        """Root mean square distance of the samples from the line, as a part of the growth; infinite for little growth.

        Little is twice the `floor`.
        """
        growth = self.growth[0]
        total = growth * (self.recent[-1].iterations - self.recent[0].iterations)
        if len(self.recent) < LEAST_POINTS or total <= 2 * floor:
            return math.inf
        rests = [sample.value - growth * sample.iterations for sample in self.recent]
        middle = median(rests)
        return math.sqrt(sum((rest - middle) ** 2 for rest in rests) / len(rests)) / total

    def judged(
        self, verdict: Verdict | None, shape: Shape, rule: RuleName, reason: str, *,
        detectable: Sensitivity | None = None, limit: float | None = None,
    ) -> Judgement:  # fmt: skip
        """A judgement of this series."""
        if detectable is None:
            detectable = self.detectable(0.0 if self.is_constant else amplitude(self.recent))
        growth, low, high = self.growth
        seen = None if verdict == "leak" else detectable
        return Judgement(verdict, shape, growth, low, high, seen, reason, rule, limit)


def after_first_call(samples: Sequence[Sample]) -> float:
    """The value once one-time costs of the first calls are paid."""
    return next((sample.value for sample in samples if sample.iterations >= WARM_CALLS), samples[0].value)


def _edges(samples: Sequence[Sample]) -> list[int]:
    """Where the series is cut at N, N/2, N/4, ...: positions in rising order, down to the first iterations."""
    stop = len(samples) - 1
    found = [stop]
    while stop > 0 and samples[stop].iterations >= 2:
        half = samples[stop].iterations / 2
        start = bisect_left(samples, half, 0, stop, key=attrgetter("iterations"))
        if start == stop or (start and half - samples[start - 1].iterations <= samples[start].iterations - half):
            start -= 1
        if samples[start].iterations == 0:
            break
        found.append(start)
        stop = start
    return found[::-1]


def _doublings(samples: Sequence[Sample], edges: Sequence[int]) -> list[Window]:
    """The doublings between `edges`, oldest first."""
    first = edges[0]
    levels = right_minimum(samples[first:])
    return [
        Window(
            samples[start : stop + 1],
            (levels[stop - first] - levels[start - first]) / (samples[stop].iterations - samples[start].iterations),
        )
        for start, stop in pairwise(edges)
    ]

"""Can everything innocent together explain a growth, or is a line needed? A likelihood ratio over all explanations.

A process fills caches after its start, at a rate that falls (1 - e^-t, from a start of their own), fragments with the
logarithm of its uptime, and steps when it is deployed or reloaded. Each combination of these is fitted by least squares
with and without a line beside it. What counts is how much better the best one with a line is than the best without:
a cache that fills slowly, or a staircase, may look like a line, and then there is no evidence of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, pairwise
from operator import mul
from typing import NamedTuple

STEP_COST = 8.0
"""Units of twice the logarithm of the likelihood that a step must win: about as for two more parameters."""
CURVE_COST = 8.0
"""The same for a curve: a size, a speed and a beginning."""
_STIFF = 10.0
"""How dear a curve is that is larger than the largest: at a tenth more, as one more unit."""
_FINALISTS = 3
"""How many of the best explanations are tried with steps."""


class Point(NamedTuple):
    """What the process held at some time."""

    time: float
    """In periods."""
    uptime: float
    """In periods, since the process was started."""
    value: float
    group: int
    """Points of one group (an hour of the day; a run of the process) have a level of their own."""


class Line(NamedTuple):
    """The line that is needed, or not."""

    evidence: float
    """Twice the logarithm of the likelihood ratio: above 10 where noise alone would rarely look like that."""
    slope: float
    """Per period."""
    error: float
    """Standard error of the slope."""
    scatter: float
    """Root mean square of what its explanation leaves."""


class _System:
    """The normal equations of all columns, means of the groups taken away."""

    def __init__(self, points: Sequence[Point]) -> None:
        groups: dict[int, list[int]] = {}
        for index, point in enumerate(points):
            groups.setdefault(point.group, []).append(index)
        self.members = list(groups.values())
        self.values = _centred([point.value for point in points], self.members)
        self.free = len(points) - len(self.members)
        self.total: float = sum(map(mul, self.values, self.values))
        self.columns: list[list[float]] = []
        self.gram: list[list[float]] = []
        self.right: list[float] = []

    def add(self, columns: Iterable[Sequence[float]]) -> range:
        """Take more columns; returns their numbers."""
        first = len(self.columns)
        for column in columns:
            centred = _centred(column, self.members)
            self.columns.append(centred)
            row: list[float] = [sum(map(mul, centred, other)) for other in self.columns]
            for other, value in zip(self.gram, row, strict=False):
                other.append(value)
            self.gram.append(row)
            self.right.append(sum(map(mul, centred, self.values)))
        return range(first, len(self.columns))

    def fit(self, chosen: Sequence[int]) -> tuple[float, list[float]] | None:
        """Sum of squares left and the coefficients; None where the columns cannot be told apart."""
        size = len(chosen)
        rows = [[*(self.gram[one][other] for other in chosen), self.right[one]] for one in chosen]
        for pivot in range(size):
            top = rows[pivot]
            if top[pivot] <= 1e-7 * self.gram[chosen[pivot]][chosen[pivot]]:
                return None
            for below in range(pivot + 1, size):
                row = rows[below]
                factor = row[pivot] / top[pivot]
                if factor:
                    for column in range(pivot + 1, size + 1):
                        row[column] -= factor * top[column]
        found = [0.0] * size
        for pivot in range(size - 1, -1, -1):
            row = rows[pivot]
            known = sum(row[column] * found[column] for column in range(pivot + 1, size))
            found[pivot] = (row[size] - known) / row[pivot]
        rest = self.total - sum(value * self.right[one] for value, one in zip(found, chosen, strict=True))
        return rest, found

    def alone(self, chosen: Sequence[int]) -> float:
        """What the other columns leave of the first: the reciprocal of an element of the inverse."""
        saved = self.right, self.total
        self.right, self.total = self.gram[0], self.gram[0][0]
        fitted = self.fit(chosen[1:])
        self.right, self.total = saved
        return max(self.gram[0][0] if fitted is None else fitted[0], 1e-12 * self.gram[0][0])

    def rest(self, chosen: Sequence[int], found: Sequence[float]) -> list[float]:
        """What the columns leave of each point."""
        left = self.values
        for one, factor in zip(chosen, found, strict=True):
            left = [value - factor * x for value, x in zip(left, self.columns[one], strict=True)]
        return left


class _Fit(NamedTuple):
    """One explanation: which columns, their coefficients, and the squares that they leave."""

    rest: float
    chosen: tuple[int, ...]
    found: list[float]
    price: float
    """For its curves and steps."""

    def cost(self, weight: float) -> float:
        """Minus twice the logarithm of the likelihood, and the price; the least is the best explanation."""
        return weight * math.log(self.rest) + self.price


def line_beside(
    points: Sequence[Point],
    curves: Iterable[Sequence[float]],
    finer: Callable[[], Iterable[Sequence[float]]],
    steps: int,
    needed: float,
    largest: float = math.inf,
) -> Line | None:
    """The line that is left beside what up to two of `curves` and `steps` steps explain.

    Points by rising time. `finer` gives more curves of the same kinds, for the best explanations; a curve that reaches
    `largest` is unlikely. None for too few points, and as soon as it is plain that the evidence will not be `needed`.
    """
    search = _Search(points, curves, largest)
    if search.system.free < 5 or search.system.total <= 0:
        return None
    shapes = [(one,) for one in sorted(search.curves)]
    step = search.system.add([_largest_step(points, search.system.values)]) if steps else ()
    search.try_out([(), *shapes, *((*each, one) for each in ((), *shapes) for one in step)])
    if search.hopeless(needed):
        return None
    search.try_out(combinations(sorted(search.curves), 2))
    if search.hopeless(needed):
        return None
    search.refine(finer())
    if steps:
        search.try_steps(_places(points), steps, step)
    search.try_without_line()
    return search.line()


_HOPELESS = 0.5
"""Part of the evidence that must be there before more explanations are tried: they mostly take some of it away."""
_WHITE = 0.3
"""Part of the points that must be independent for a fit to be called good: else more explanations are tried anyway."""


class _Search:
    """All explanations that were tried, without and with the line."""

    def __init__(self, points: Sequence[Point], curves: Iterable[Sequence[float]], largest: float) -> None:
        self.points = points
        self.largest = largest
        self.system = _System(points)
        self.system.add([[point.time for point in points]])
        self.curves = set(self.system.add(curves))
        spread = max((p.value for p in points), default=0.0) - min((p.value for p in points), default=0.0)
        self.floor = self.system.free * (1e-3 * spread) ** 2
        self.bare: list[_Fit] = []
        self.lined: list[_Fit] = []
        self.weight = self.white = 1.0

    def try_out(self, sets: Iterable[tuple[int, ...]]) -> None:
        """Fit each, without and with the line."""
        for each in sets:
            self._fit(self.bare, each)
            self._fit(self.lined, (0, *each))
        # How many points there would be if they were independent: neighbours in time share their noise.
        best = min(self.lined, key=lambda fit: fit.cost(self.system.free))
        rests = self.system.rest(best.chosen, best.found)
        self.white = _independence(self.points, rests)
        self.weight = max(self.system.free * self.white - len(best.chosen), 1.0)

    def refine(self, finer: Iterable[Sequence[float]]) -> None:
        """Give the best few the curves that fit them best, one after the other."""
        columns = self.system.add(finer)
        self.curves.update(columns)
        for fits in (self.bare, self.lined):
            for fit in sorted(fits, key=lambda fit: fit.cost(self.weight))[:_FINALISTS]:
                for old in [one for one in fit.chosen if one in self.curves]:
                    tried = [fit]
                    for new in columns:
                        self._fit(tried, tuple(new if one == old else one for one in fit.chosen))
                    fit = min(tried, key=lambda each: each.cost(self.weight))
                fits.append(fit)

    def try_steps(self, places: Sequence[float], steps: int, known: Iterable[int]) -> None:
        """Give the best few the steps that are worth their price, one after the other."""
        more = self.system.add([float(point.time >= at) for point in self.points] for at in places)
        columns = [*known, *more]
        for fits in (self.bare, self.lined):
            for fit in [fits[0], *sorted(fits, key=lambda fit: fit.cost(self.weight))[:_FINALISTS]]:  # first: no curve
                for _ in range(steps - sum(one > 0 and one not in self.curves for one in fit.chosen)):
                    tried: list[_Fit] = []
                    rests = self.system.rest(fit.chosen, fit.found)
                    for place in (*columns, *self.system.add([_largest_step(self.points, rests)])):
                        self._fit(tried, (*fit.chosen, place))
                    better = min(tried, key=lambda each: each.rest, default=fit)
                    if better.cost(self.weight) >= fit.cost(self.weight):
                        break
                    fits.append(better)
                    fit = better

    def try_without_line(self) -> None:
        """Hold what the line adds to the best explanation against that same explanation without it."""
        best = min(self.lined, key=lambda fit: fit.cost(self.weight))
        self._fit(self.bare, best.chosen[1:])

    def hopeless(self, needed: float) -> bool:
        """Whether what was tried fits, and shows little of a line."""
        return self.white > _WHITE and self.evidence() < _HOPELESS * needed

    def evidence(self) -> float:
        """By how much the best explanation with a line is better than the best without."""
        return min(fit.cost(self.weight) for fit in self.bare) - min(fit.cost(self.weight) for fit in self.lined)

    def line(self) -> Line:
        """The line of the best explanation that has one."""
        best = min(self.lined, key=lambda fit: fit.cost(self.weight))
        error = math.sqrt(best.rest / self.weight / self.system.alone(best.chosen))
        return Line(self.evidence(), best.found[0], error, math.sqrt(best.rest / self.system.free))

    def _fit(self, fits: list[_Fit], chosen: tuple[int, ...]) -> None:
        """Add one explanation, unless its columns cannot be told apart or a curve would have to fall."""
        fitted = self.system.fit(chosen)
        if fitted is None:
            return
        rest, found = fitted
        price = 0.0
        for one, factor in zip(chosen, found, strict=True):
            if one in self.curves:
                if factor < 0:
                    return
                price += CURVE_COST + (_STIFF * max(0.0, factor / self.largest - 1)) ** 2
            elif one:
                price += STEP_COST
        fits.append(_Fit(max(rest, 0.0) + self.floor, chosen, found, price))


def _largest_step(points: Sequence[Point], values: Sequence[float]) -> list[float]:
    """The column of the step that is seen best: where the means of some points before and after differ most."""
    width = 1 if len(points) <= _FEW else 6
    best, place = -1.0, 0
    for index in range(width, len(values) - width + 1):
        jump = abs(sum(values[index : index + width]) - sum(values[index - width : index]))
        if jump > best:
            best, place = jump, index
    return [float(index >= place) for index in range(len(points))]


_FEW = 40
"""Points up to which a step is looked for at each."""


def _places(points: Sequence[Point]) -> list[float]:
    """Times at which a step may have been: before each point, or where there are many, twice a period."""
    times = sorted({point.time for point in points})
    if len(times) > _FEW:
        first, last = times[0], times[-1]
        times = [first + 0.5 * half for half in range(int((last - first) * 2) + 1)]
    return times[1:]


def _independence(points: Sequence[Point], rests: Sequence[float]) -> float:
    """Which part of the points is independent, by the correlation of what is left between neighbours."""
    own: float = sum(map(mul, rests, rests)) / len(rests)
    if own <= 0:
        return 1.0
    gap = 1.5 * min(b.time - a.time for a, b in pairwise(points))
    near = [x * y for x, y, a, b in zip(rests, rests[1:], points, points[1:], strict=False) if b.time - a.time <= gap]
    if len(near) < 3:
        return 1.0
    shared: float = min(max(sum(near) / len(near) / own, 0.0), 0.8)
    return (1 - shared) / (1 + shared)


def _centred(column: Sequence[float], members: Iterable[Sequence[int]]) -> list[float]:
    centred = list(column)
    for group in members:
        mean = sum(column[index] for index in group) / len(group)
        for index in group:
            centred[index] -= mean
    return centred

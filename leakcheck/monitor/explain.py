"""Can everything innocent together explain a growth, or is a line needed? A likelihood ratio over all explanations.

A process fills caches after its start, at a rate that falls (1 - e^-t, from a start of their own), fragments with the
logarithm of its uptime, and steps when it is deployed or reloaded. Each combination of these is fitted by least squares
with and without a line beside it. What counts is how much better the best one with a line is than the best without:
a cache that fills slowly, or a staircase, may look like a line, and then there is no evidence of one.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from operator import mul
from typing import NamedTuple

STEP_COST = 8.0
"""Units of twice the logarithm of the likelihood that a step must win: about as for two more parameters."""
CURVE_COST = 8.0
"""The same for a curve: a size, a speed and a beginning."""
_STIFF = 10.0
"""How dear a curve is that is larger than the largest: at a tenth more, as one more unit."""
_OPEN = 3.0
"""How many times the part that a curve has still to go counts: what was seen to end is no guess, however large."""
_FINALISTS = 3
"""How many of the best explanations are improved further."""
_CURVES = 2
"""Curves that an explanation may have."""
_GOOD = 40
"""How many of the best explanations are held against the levels of the groups."""
_WORTH = 1e-6
"""Units by which a change must make an explanation better: more than rounding does."""


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
    """The normal equations of all columns, means of the groups taken away.

    Columns are kept as arrays: looking back over months, lists of numbers would take megabytes of the service.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        groups: dict[int, list[int]] = {}
        for index, point in enumerate(points):
            groups.setdefault(point.group, []).append(index)
        self.members = list(groups.values())
        self.values, self.levels = self._centred(point.value for point in points)
        self.free = len(points) - len(self.members)
        self.total: float = sum(map(mul, self.values, self.values))
        self.columns: list[array[float]] = []
        self.means: list[array[float]] = []
        """Of each column, in each group."""
        self.gram: list[array[float]] = []
        """The products of each column with itself and those before it."""
        self.right = array("d")

    def add(self, columns: Iterable[Iterable[float]]) -> range:
        """Take more columns; returns their numbers."""
        first = len(self.columns)
        for column in columns:
            centred, means = self._centred(column)
            self.columns.append(centred)
            self.means.append(means)
            self.gram.append(array("d", [sum(map(mul, centred, other)) for other in self.columns]))
            self.right.append(sum(map(mul, centred, self.values)))
        return range(first, len(self.columns))

    def forget(self, first: int, kept: int | None = None) -> None:
        """Forget the columns from `first` on; the one that is `kept` takes the place of the first."""
        if kept is not None:
            self.columns[first], self.means[first], self.right[first] = (
                self.columns[kept],
                self.means[kept],
                self.right[kept],
            )
            self.gram[first] = self.gram[kept][:first] + self.gram[kept][-1:]
            first += 1
        del self.columns[first:], self.means[first:], self.gram[first:], self.right[first:]

    def end(self, one: int) -> float:
        """The value of a column at the last point."""
        group = next(number for number, members in enumerate(self.members) if members[-1] == len(self.values) - 1)
        return self.columns[one][-1] + self.means[one][group]

    def product(self, one: int, other: int) -> float:
        """Of two columns."""
        return self.gram[one][other] if one >= other else self.gram[other][one]

    def fit(self, chosen: Sequence[int]) -> tuple[float, list[float]] | None:
        """Sum of squares left and the coefficients; None where the columns cannot be told apart."""
        found = self._solve(chosen, [self.right[one] for one in chosen])
        if found is None:
            return None
        return self.total - sum(value * self.right[one] for value, one in zip(found, chosen, strict=True)), found

    def extend(self, chosen: Sequence[int], more: Iterable[int]) -> Iterator[tuple[int, float, list[float]]]:
        """Fit `chosen` with each of `more` beside it: (which, sum of squares left, coefficients, its own the last).

        By the inverse of the equations of `chosen`, bordered by one row: a fraction of the work of solving each anew.
        """
        fitted = self.fit(chosen)
        if fitted is None:
            return
        rest, found = fitted
        size = range(len(chosen))
        inverse = [self._solve(chosen, [float(row == column) for column in size]) or [] for row in size]
        for one in more:
            shared = [self.product(one, other) for other in chosen]
            turned = [sum(map(mul, row, shared)) for row in inverse]
            own = self.product(one, one)
            free = own - sum(map(mul, turned, shared))
            if free > _NEW * own:
                left = self.right[one] - sum(map(mul, found, shared))
                factor = left / free
                yield (
                    one,
                    rest - factor * left,
                    [*(value - factor * turn for value, turn in zip(found, turned, strict=True)), factor],
                )

    def alone(self, chosen: Sequence[int]) -> float:
        """What the other columns leave of the first: the reciprocal of an element of the inverse."""
        first, *others = chosen
        own = self.product(first, first)
        shared = [self.product(first, other) for other in others]
        found = self._solve(others, shared)
        return max(own if found is None else own - sum(map(mul, found, shared)), 1e-12 * own)

    def coefficients(self, chosen: Sequence[int]) -> list[float]:
        """Of columns that can be told apart."""
        return self._solve(chosen, [self.right[one] for one in chosen]) or []

    def rest(self, chosen: Sequence[int]) -> array[float]:
        """What the columns leave of each point."""
        left = self.values
        for one, factor in zip(chosen, self.coefficients(chosen), strict=True):
            left = array("d", [value - factor * x for value, x in zip(left, self.columns[one], strict=True)])
        return left

    def unevenness(self, chosen: Sequence[int]) -> float:
        """Mean square difference between the levels that the groups have beside the columns."""
        levels = list(self.levels)
        for one, factor in zip(chosen, self.coefficients(chosen), strict=True):
            levels = [level - factor * mean for level, mean in zip(levels, self.means[one], strict=True)]
        middle = sum(levels) / len(levels)
        return sum((level - middle) ** 2 for level in levels) / len(levels)

    def steps(self, chosen: Sequence[int], rests: Sequence[float]) -> list[int]:
        """The points before which a step may be, by how much of `rests` it takes beside `chosen`, the best first.

        A step's product with what has no mean in any group is a sum over the points from there on. So all places cost
        as much as one: with an orthonormal base of the chosen columns, a step takes (s r)^2 / (s s - sum (s q)^2).
        """
        base = self._base(chosen)
        sizes = [len(members) for members in self.members]
        group = array("l", bytes(8 * len(rests)))
        for number, members in enumerate(self.members):
            for index in members:
                group[index] = number
        after = [0] * len(sizes)
        square = taken = 0.0
        shared = [0.0] * len(base)
        gains: list[tuple[float, int]] = []
        for index in range(len(rests) - 1, 0, -1):
            own = group[index]
            square += 1 - (2 * after[own] + 1) / sizes[own]
            after[own] += 1
            taken += rests[index]
            free = square
            for number, column in enumerate(base):
                shared[number] += column[index]
                free -= shared[number] ** 2
            if free > _NEW * square > 0:
                gains.append((taken * taken / free, index))
        gains.sort(reverse=True)
        return [index for _, index in gains]

    def _base(self, chosen: Sequence[int]) -> list[array[float]]:
        """An orthonormal base of columns that can be told apart (Gram and Schmidt)."""
        base: list[array[float]] = []
        for one in chosen:
            left = self.columns[one]
            for unit in base:
                factor: float = sum(map(mul, left, unit))
                left = array("d", [value - factor * x for value, x in zip(left, unit, strict=True)])
            length = math.sqrt(sum(map(mul, left, left)))
            base.append(array("d", [value / length for value in left]))
        return base

    def _solve(self, chosen: Sequence[int], right: Sequence[float]) -> list[float] | None:
        """Coefficients of columns whose products with something are `right` (Gauss); None where they are alike."""
        size = len(chosen)
        rows = [
            [*(self.product(one, other) for other in chosen), value] for one, value in zip(chosen, right, strict=True)
        ]
        for pivot in range(size):
            top = rows[pivot]
            if top[pivot] <= _NEW * self.product(chosen[pivot], chosen[pivot]):
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
        return found

    def _centred(self, column: Iterable[float]) -> tuple[array[float], array[float]]:
        """A column without the means of the groups, and these."""
        centred = array("d", column)
        means = array("d", bytes(8 * len(self.members)))
        for number, group in enumerate(self.members):
            means[number] = sum(centred[index] for index in group) / len(group)
            for index in group:
                centred[index] -= means[number]
        return centred, means


_NEW = 1e-7
"""Part of a column that others must leave of it: else it is made of them."""


class _Fit(NamedTuple):
    """One explanation: which columns, and the squares that they leave."""

    rest: float
    chosen: tuple[int, ...]
    price: float
    """For its curves and steps."""

    def cost(self, weight: float) -> float:
        """Minus twice the logarithm of the likelihood, and the price; the least is the best explanation."""
        return weight * math.log(self.rest) + self.price


def line_beside(
    points: Sequence[Point],
    clock: Sequence[float],
    curves: Iterable[Sequence[float]],
    finer: Iterable[Sequence[float]],
    steps: int,
    needed: float,
    largest: float = math.inf,
    *,
    alike: bool = False,
) -> Line | None:
    """The line that is left beside what up to two of `curves` and `steps` steps explain.

    Points by rising time; `clock` is what the line rises by. `finer` are more curves of the same kinds, for the best
    explanations; a curve ends at 1, or is above that where it has no end, and one that reaches `largest` is unlikely.
    Groups that are `alike` have about the same level. None for too few points, and as soon as it is plain that the
    evidence will not be `needed`.
    """
    search = _Search(points, clock, curves, largest, alike)
    if search.system.free < 5 or search.system.total <= 0:
        return None
    shapes = sorted(search.curves)
    step = [search.largest_step()] if steps else []
    search.try_out((), [*step, *shapes])
    for one in step:
        search.try_out((one,), shapes)
    search.weigh()
    if search.hopeless(needed):
        return None
    for index, one in enumerate(shapes):
        search.try_out((one,), shapes[index + 1 :])
    search.weigh()
    if search.hopeless(needed):
        return None
    search.curves.update(search.system.add(finer))
    search.improve(steps)
    search.try_without_line()
    return search.line()


_HOPELESS = 0.5
"""Part of the evidence that must be there before more explanations are tried: they mostly take some of it away."""
_WHITE = 0.3
"""Part of the points that must be independent for a fit to be called good: else more explanations are tried anyway."""


class _Search:
    """All explanations that were tried, without and with the line."""

    def __init__(
        self,
        points: Sequence[Point],
        clock: Sequence[float],
        curves: Iterable[Sequence[float]],
        largest: float,
        alike: bool,
    ) -> None:
        self.points = points
        self.alike = alike
        self.largest = largest
        self.system = _System(points)
        self.system.add([clock])
        self.first = self.system.add(curves)
        self.curves = set(self.first)
        self._steps: dict[int, int] = {}
        spread = max((p.value for p in points), default=0.0) - min((p.value for p in points), default=0.0)
        self.floor = self.system.free * (1e-3 * spread) ** 2
        self.bare: list[_Fit] = []
        self.lined: list[_Fit] = []
        self._fit(self.bare, ())
        self._fit(self.lined, (0,))
        self.weight = self.white = 1.0

    def try_out(self, chosen: tuple[int, ...], more: Sequence[int]) -> None:
        """Fit `chosen` with each of `more`, without and with the line."""
        self.bare += self._extended(chosen, more)
        self.lined += self._extended((0, *chosen), more)

    def weigh(self) -> None:
        """How many points there would be if they were independent: neighbours in time share their noise.

        By what the closest explanation leaves: what a poor one leaves hangs together, and would excuse it.
        """
        closest = min(self.lined, key=lambda fit: fit.cost(self.system.free))
        self.white = _independence(self.points, self.system.rest(closest.chosen))
        self.weight = max(self.system.free * self.white - len(closest.chosen), 1.0)

    def best(self, fits: Iterable[_Fit]) -> _Fit:
        """The explanation that costs least."""
        return min(fits, key=lambda fit: fit.cost(self.weight))

    def improve(self, steps: int) -> None:
        """Change the best few, one thing at a time, for as long as that brings them closer."""
        self.weight = self.system.free
        for fits in (self.bare, self.lined):
            seen: set[frozenset[int]] = set()
            finalists = heapq.nsmallest(_FINALISTS, fits, key=lambda fit: fit.cost(self.weight))
            for start in (fits[0], *finalists):  # the first has no curve
                fit: _Fit | None = start
                while fit is not None and frozenset(fit.chosen) not in seen:
                    seen.add(frozenset(fit.chosen))
                    if fit is not start:
                        fits.append(fit)
                    fit = self._better(fit, steps)
        self.weigh()

    def _better(self, fit: _Fit, steps: int) -> _Fit | None:
        """The best explanation that differs in one thing, or in both curves; None where none is better."""
        enough = fit.cost(self.weight) - _WORTH
        known = len(self.system.columns)
        best = self.best(chain([fit], self._with_one_change(fit, steps)))
        if best.cost(self.weight) >= enough:
            best = self.best(chain([fit], self._with_other_curves(fit)))
        best = self._settled(best, known)
        return best if best.cost(self.weight) < enough else None

    def _with_one_change(self, fit: _Fit, steps: int) -> Iterator[_Fit]:
        """All explanations with another curve, one more curve, another step or one more step."""
        curves = [one for one in fit.chosen if one in self.curves]
        others = sorted(self.curves.difference(curves))
        for old in curves:
            yield from self._extended(_without(fit.chosen, old), others)
        if len(curves) < _CURVES:
            yield from self._extended(fit.chosen, others)
        there = [one for one in fit.chosen if one and one not in self.curves]
        if len(there) < steps:
            yield from self._extended_by_step(fit.chosen)
        for step in there:
            yield from self._extended_by_step(_without(fit.chosen, step))

    def _with_other_curves(self, fit: _Fit) -> Iterator[_Fit]:
        """All explanations with two others than its two curves."""
        curves = [one for one in fit.chosen if one in self.curves]
        if len(curves) == _CURVES:
            rest = _without(_without(fit.chosen, curves[0]), curves[1])
            others = sorted(self.curves.difference(curves))
            for one in self.first:
                yield from self._extended((*rest, one), others)

    def _settled(self, best: _Fit, known: int) -> _Fit:
        """The best explanation, when all steps that were tried beside the `known` columns and not taken are forgotten.

        Looking back over months, they would take a megabyte of the service.
        """
        taken = next((one for one in best.chosen if one >= known), None)
        self.system.forget(known, taken)
        self._steps = {index: min(one, known) for index, one in self._steps.items() if one < known or one == taken}
        return best if taken is None else _Fit(best.rest, (*_without(best.chosen, taken), known), best.price)

    def largest_step(self) -> int:
        """The step that is seen best, as a column: where some neighbours before and after it differ most."""
        values, width = self.system.values, 1 if len(self.points) <= _FEW else 6
        places = range(width, len(values) - width + 1)
        place = max(places, key=lambda at: abs(sum(values[at : at + width]) - sum(values[at - width : at])), default=0)
        return self._step(place)

    def _extended_by_step(self, chosen: tuple[int, ...]) -> Iterator[_Fit]:
        """The explanation with the step that it lacks most, unless no step may be added."""
        fitted = self.system.fit(chosen)
        if fitted is None:
            return
        for index in self.system.steps(chosen, self.system.rest(chosen)):
            known = index in self._steps
            step = self._step(index)
            found = next(self._extended(chosen, [step]), None)
            if found is not None:
                yield found
                return
            if not known:
                del self._steps[index]
                self.system.forget(step)

    def _step(self, index: int) -> int:
        """The column of the step before a point."""
        if index not in self._steps:
            (self._steps[index],) = self.system.add([[float(other >= index) for other in range(len(self.points))]])
        return self._steps[index]

    def try_without_line(self) -> None:
        """Hold what the line adds to the best explanation against that same explanation without it."""
        self._fit(self.bare, self.finest(self.lined).chosen[1:])

    def hopeless(self, needed: float) -> bool:
        """Whether what was tried fits, and shows little of a line."""
        return self.white > _WHITE and self.evidence() < _HOPELESS * needed

    def evidence(self) -> float:
        """By how much the best explanation with a line is better than the best without."""
        return self._whole_cost(self.finest(self.bare)) - self._whole_cost(self.finest(self.lined))

    def finest(self, fits: Iterable[_Fit]) -> _Fit:
        """The best explanation also of the levels that the groups have: of those that are good within them."""
        good = heapq.nsmallest(_GOOD if self.alike else 1, fits, key=lambda fit: fit.cost(self.weight))
        return min(good, key=self._whole_cost)

    def _whole_cost(self, fit: _Fit) -> float:
        """The cost within the groups and, where they are alike, that of the levels which must make up for the rest.

        A line within a day whose hours are level would need levels that fall by as much, hour by hour.
        """
        if not self.alike:
            return fit.cost(self.weight)
        count = self.white * (len(self.system.members) - 1)
        spread = self.system.unevenness(fit.chosen) + self.floor / self.system.free
        return fit.cost(self.weight) + count * math.log(spread)

    def line(self) -> Line:
        """The line of the best explanation that has one."""
        best = self.finest(self.lined)
        error = math.sqrt(best.rest / self.weight / self.system.alone(best.chosen))
        slope = self.system.coefficients(best.chosen)[0]
        return Line(self.evidence(), slope, error, math.sqrt(best.rest / self.system.free))

    def _fit(self, fits: list[_Fit], chosen: tuple[int, ...]) -> None:
        """Add one explanation, unless its columns cannot be told apart."""
        fitted = self.system.fit(chosen)
        fit = fitted and self._possible(chosen, *fitted)
        if fit:
            fits.append(fit)

    def _extended(self, chosen: tuple[int, ...], more: Iterable[int]) -> Iterator[_Fit]:
        """What comes of one explanation by each of `more`."""
        for one, rest, found in self.system.extend(chosen, more):
            fit = self._possible((*chosen, one), rest, found)
            if fit is not None:
                yield fit

    def _possible(self, chosen: tuple[int, ...], rest: float, found: list[float]) -> _Fit | None:
        """One explanation; None where a curve would have to fall."""
        price = 0.0
        for one, factor in zip(chosen, found, strict=True):
            if one in self.curves:
                if factor < 0:
                    return None
                end = self.system.end(one)
                open_end = 1.0 if end > 1 else min(1.0, _OPEN * (1 - end))
                price += CURVE_COST + open_end * (_STIFF * max(0.0, factor / self.largest - 1)) ** 2
            elif one:
                price += STEP_COST
        return _Fit(max(rest, 0.0) + self.floor, chosen, price)


def _without(chosen: tuple[int, ...], one: int) -> tuple[int, ...]:
    """Slices, and elsewhere no `_replace`: a tuple made of an iterator is cut to its size, and CPython keeps it.

    It does so up to 2000 of each size (3.11), which made this the largest part of what the monitor holds.
    """
    at = chosen.index(one)
    return chosen[:at] + chosen[at + 1 :]


_FEW = 40
"""Points up to which each may be a step by itself."""


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

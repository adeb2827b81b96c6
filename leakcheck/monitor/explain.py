"""Can everything innocent together explain a growth, or is a line needed? A likelihood ratio over all explanations.

A process fills caches after its start, at a rate that falls (1 - e^-t, from a start of their own), fragments with the
logarithm of its uptime, and steps when it is deployed or reloaded. Each combination of these is fitted by least squares
with and without a line beside it. What counts is how much better the best one with a line is than the best without:
a cache that fills slowly, or a staircase, may look like a line, and then there is no evidence of one.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from operator import mul
from typing import NamedTuple

from leakcheck.monitor.curves import Curve
from leakcheck.monitor.regression import Point, System

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
"""Caches that an explanation may have; fragmentation comes beside them."""
_GOOD = 40
"""How many of the best explanations are held against the levels of the groups."""
_BACK = 0.5
"""Part of what a line adds that steps may take back: what falls by more is a sawtooth, and its line no leak."""
_BENDS = (0.2, 0.1, 0.05)
"""By which part curves are bent, one after the other: the first tried are 0.4 apart."""
_WORTH = 1e-6
"""Units by which a change must make an explanation better: more than rounding does."""


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


class _Fit(NamedTuple):
    """One explanation: which columns, and the squares that they leave."""

    rest: float
    chosen: tuple[int, ...]
    price: float
    """For its curves and steps."""

    def cost(self, weight: float) -> float:
        """Minus twice the logarithm of the likelihood, and the price; the least is the best explanation."""
        return weight * math.log(self.rest) + self.price


def lines_beside(
    points: Sequence[Point],
    clocks: Sequence[Sequence[float]],
    curves: Iterable[Curve],
    finer: Iterable[Curve],
    steps: int,
    needed: float,
    largest: float = math.inf,
    *,
    alike: bool = False,
) -> list[Line]:
    """The lines that are left beside what up to two of `curves` and `steps` steps explain: one for each clock.

    Points by rising time; the `clocks` are what a line may rise by. `finer` are more curves of the same kinds, for the
    best explanations; one that reaches `largest` is unlikely. Groups that are `alike` have about the same level. No
    line for too few points, and as soon as it is plain that the evidence will not be `needed`.
    """
    search = _Search(points, clocks, curves, largest, alike)
    if search.system.free < 5 or search.system.total <= 0 or not all(search.lined):
        return []
    shapes = search.first
    step = [search.largest_step()] if steps else []
    search.try_out((), [*step, *shapes])
    for one in step:
        search.try_out((one,), shapes)
    search.weigh()
    if search.hopeless(needed):
        return []
    for index, one in enumerate(shapes):
        search.try_out((one,), search.beside((one,)).intersection(shapes[index + 1 :]))
    search.weigh()
    if search.hopeless(needed):
        return []
    search.add(finer)
    search.improve(steps)
    search.try_without_line()
    if search.evidence() >= _HOPELESS * needed:
        search.bend()
    return search.found()


_HOPELESS = 0.5
"""Part of the evidence that must be there before more explanations are tried: they mostly take some of it away."""
_WHITE = 0.3
"""Part of the points that must be independent for a fit to be called good: else more explanations are tried anyway."""


class _Search:
    """All explanations that were tried, without and with the line."""

    def __init__(
        self,
        points: Sequence[Point],
        clocks: Sequence[Sequence[float]],
        curves: Iterable[Curve],
        largest: float,
        alike: bool,
    ) -> None:
        self.points = points
        self.alike = alike
        self.largest = largest
        self.system = System(points)
        self.lines = self.system.add(clocks)
        self.spans = [clock[-1] - clock[0] if clock else 0.0 for clock in clocks]
        self.curves: dict[int, Curve] = {}
        """By the number of their column."""
        self.endless: set[int] = set()
        """Those of fragmentation: beside the caches there may be one."""
        self.add(curves)
        self.first = sorted(self.curves)
        self._steps: dict[int, int] = {}
        spread = max((p.value for p in points), default=0.0) - min((p.value for p in points), default=0.0)
        self.floor = self.system.free * (1e-3 * spread) ** 2
        self.bare = list(self._fitted(()))
        self.lined = [list(self._fitted((one,))) for one in self.lines]
        """By the clock of their line."""
        self.weight = self.white = 1.0

    def add(self, curves: Iterable[Curve]) -> None:
        """Take more curves."""
        for curve in curves:
            values = curve.values()
            (one,) = self.system.add([values])
            self.curves[one] = curve
            if values[-1] > 1:
                self.endless.add(one)

    def try_out(self, chosen: tuple[int, ...], more: Iterable[int]) -> None:
        """Fit `chosen` with each of `more`, without and with the lines."""
        more = sorted(more)
        self.bare += self._extended(chosen, more)
        for one, fits in zip(self.lines, self.lined, strict=True):
            fits += self._extended((one, *chosen), more)

    def weigh(self) -> None:
        """How many points there would be if they were independent: neighbours in time share their noise.

        By what the closest explanation leaves: what a poor one leaves hangs together, and would excuse it.
        """
        closest = min(chain(*self.lined), key=lambda fit: fit.cost(self.system.free))
        self.white = _independence(self.points, self.system.residuals(closest.chosen))
        self.weight = max(self.system.free * self.white - len(closest.chosen), 1.0)

    def best(self, fits: Iterable[_Fit]) -> _Fit:
        """The explanation that costs least."""
        return min(fits, key=lambda fit: fit.cost(self.weight))

    def improve(self, steps: int) -> None:
        """Change the best few, one thing at a time, for as long as that brings them closer."""
        self.weight = self.system.free
        for fits in (self.bare, *self.lined):
            seen: set[frozenset[int]] = set()
            finalists = self._finalists(fits, lambda fit: fit.cost(self.weight), _FINALISTS)
            for start in (fits[0], *finalists):  # the first has no curve
                fit: _Fit | None = start
                while fit is not None and frozenset(fit.chosen) not in seen:
                    seen.add(frozenset(fit.chosen))
                    if fit is not start:
                        fits.append(fit)
                    fit = self._better(fit, steps)
        self.weigh()

    def _finalists(self, fits: Iterable[_Fit], cost: Callable[[_Fit], float], count: int) -> list[_Fit]:
        """The best few with caches that fill by each clock: from those of one, a search hardly finds the others."""
        by_clock: dict[frozenset[int], list[_Fit]] = {}
        for fit in fits:
            by_clock.setdefault(frozenset(self._clocks(fit.chosen)), []).append(fit)
        return [fit for each in by_clock.values() for fit in heapq.nsmallest(count, each, key=cost)]

    def _caches(self, chosen: Iterable[int]) -> list[int]:
        return [one for one in chosen if one in self.curves and one not in self.endless]

    def _clocks(self, chosen: Iterable[int]) -> set[int]:
        """By what the caches among these columns fill."""
        return {id(self.curves[one].times) for one in self._caches(chosen)}

    def beside(self, chosen: Sequence[int]) -> set[int]:
        """The caches that may come beside these columns: all of one explanation fill by one clock."""
        if len(self._caches(chosen)) >= _CURVES:
            return set()
        clocks = self._clocks(chosen)
        fellows = {one for one in self._caches(self.curves) if not clocks or id(self.curves[one].times) in clocks}
        return fellows.difference(chosen)

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
        """All explanations with one curve or step that is another, one more, or one less."""
        for old in self._caches(fit.chosen):
            rest = _without(fit.chosen, old)
            yield from self._extended(rest, sorted(self.beside(rest).difference([old])))
        yield from self._extended(fit.chosen, sorted(self.beside(fit.chosen)))
        if self.endless.isdisjoint(fit.chosen):
            yield from self._extended(fit.chosen, sorted(self.endless))
        for old in fit.chosen:
            if old not in self.lines:
                yield from self._fitted(_without(fit.chosen, old))
        there = [one for one in fit.chosen if one not in self.lines and one not in self.curves]
        if len(there) < steps:
            yield from self._extended_by_step(fit.chosen)
        for step in there:
            yield from self._extended_by_step(_without(fit.chosen, step))

    def _with_other_curves(self, fit: _Fit) -> Iterator[_Fit]:
        """All explanations with two others than its two curves."""
        curves = self._caches(fit.chosen)
        if len(curves) == _CURVES:
            rest = _without(_without(fit.chosen, curves[0]), curves[1])
            for one in self._caches(self.first):
                yield from self._extended((*rest, one), sorted(self.beside((*rest, one))))

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
        for index in self.system.steps(chosen, self.system.residuals(chosen)):
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

    def bend(self) -> None:
        """Bend the curves of the best explanations until they fit best.

        Where there is little noise, what lies between the curves that were tried would be evidence of a line.
        """
        for fits, starts in ((self.bare, _FINALISTS), *((fits, 1) for fits in self.lined)):
            good = heapq.nsmallest(_GOOD, fits, key=lambda fit: fit.cost(self.weight))
            for start in self._finalists(good, self._whole_cost, starts):
                fit = start
                for by in _BENDS:
                    before = None
                    while before is not fit:
                        before, fit = fit, self._bent(fit, by)
                if fit is not start:
                    fits.append(fit)

    def _bent(self, fit: _Fit, by: float) -> _Fit:
        """The explanation with each curve bent `by` some part where that brings it closer, less what it can spare."""
        for old in fit.chosen:
            bends = self.curves[old].bent(by) if old in self.curves else ()
            spare = [] if old in self.lines else [*self._fitted(_without(fit.chosen, old))]
            if spare and self._whole_cost(spare[0]) < self._whole_cost(fit) - _WORTH:
                fit = spare[0]
                continue
            for curve in bends:
                known = len(self.system.columns)
                self.add([curve])
                bent = next(self._extended(_without(fit.chosen, old), [known]), None)
                if bent is not None and self._whole_cost(bent) < self._whole_cost(fit) - _WORTH:
                    fit, old = bent, known
                else:
                    self.system.forget(known)
                    del self.curves[known]
        return fit

    def try_without_line(self) -> None:
        """Hold what the line adds to the best explanation against that same explanation without it."""
        for fits in self.lined:
            self.bare += self._fitted(self.finest(fits).chosen[1:])

    def hopeless(self, needed: float) -> bool:
        """Whether what was tried fits, and shows little of a line."""
        return self.white > _WHITE and self.evidence() < _HOPELESS * needed

    def evidence(self) -> float:
        """By how much the best explanation with a line is better than the best without."""
        return self._whole_cost(self.finest(self.bare)) - min(
            self._whole_cost(self.finest(fits)) for fits in self.lined
        )

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

    def found(self) -> list[Line]:
        """The line of the best explanation that has one, for each clock."""
        bare = self._whole_cost(self.finest(self.bare))
        lines = []
        for best in map(self.finest, self.lined):
            error = math.sqrt(best.rest / self.weight / self.system.unshared(best.chosen))
            slope = self.system.sizes(best.chosen)[0]
            scatter = math.sqrt(best.rest / self.system.free)
            lines.append(Line(bare - self._whole_cost(best), slope, error, scatter))
        return lines

    def _fitted(self, chosen: tuple[int, ...]) -> Iterator[_Fit]:
        """One explanation, unless its columns cannot be told apart."""
        fitted = self.system.fit(chosen)
        fit = fitted and self._possible(chosen, *fitted)
        if fit:
            yield fit

    def _extended(self, chosen: tuple[int, ...], more: Iterable[int]) -> Iterator[_Fit]:
        """What comes of one explanation by each of `more`."""
        for one, rest, found in self.system.extend(chosen, more):
            fit = self._possible((*chosen, one), rest, found)
            if fit is not None:
                yield fit

    def _possible(self, chosen: tuple[int, ...], rest: float, found: list[float]) -> _Fit | None:
        """One explanation; None where a curve would have to fall, or where steps take back what the line adds."""
        price = back = 0.0
        for one, factor in zip(chosen, found, strict=True):
            if one in self.curves:
                if factor < 0:
                    return None
                end = self.system.ends[one]
                open_end = 1.0 if end > 1 else min(1.0, _OPEN * (1 - end))
                price += CURVE_COST + open_end * (_STIFF * max(0.0, factor / self.largest - 1)) ** 2
            elif one not in self.lines:
                price += STEP_COST
                back -= min(0.0, factor)
        if chosen and chosen[0] in self.lines and back > _BACK * max(0.0, found[0]) * self.spans[chosen[0]]:
            return None
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

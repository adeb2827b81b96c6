"""Can everything innocent together explain a growth, or is a leak needed? A likelihood ratio over all explanations.

An explanation is a sum of curves (curves.py): up to two caches, fragmentation, some steps. Each combination is fitted
by least squares, once as it is and once with a line beside it, and costs

    points * log(squares that it leaves) + the prices of its curves

which is minus twice the logarithm of its likelihood, up to a constant. The evidence of a leak is how much less the best
explanation with a line costs than the best without one. A slow cache or a staircase that looks like a line is explained
as well without one, and then there is no evidence.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from operator import mul
from typing import NamedTuple

from leakcheck.monitor.curves import Clock, Curve, Shape, cache, fragmentation, leak, step
from leakcheck.monitor.regression import Point, System

MOST_CACHES = 2
"""Caches in one explanation; one fragmentation may come beside them."""
TAKEN_BACK = 0.5
"""Part of what a line adds that steps may take back: where they take more, it is a sawtooth, and its line no leak."""
FINALISTS = 3
"""Number of the best explanations that are improved further, for each clock that their caches follow."""
SHORTLIST = 40
"""Number of the best explanations whose cost is worked out together with that of the levels of their groups."""
BENDS = (0.2, 0.1, 0.05)
"""Parts by which curves are bent, one after the other: those that are tried first are 0.4 apart."""
LEAST_GAIN = 1e-6
"""Units of evidence by which a change must make an explanation better: more than rounding does."""
PROMISING = 0.5
"""Part of the needed evidence that must be there for more explanations to be tried: they mostly take some away."""
GOOD_FIT = 0.3
"""Part of the points that must be independent for a fit to be a good one: while fewer are, more is tried anyway."""
SINGLE_POINT_STEPS = 40
"""Number of points up to which the first step is looked for between single points, and not between means of six."""


class Line(NamedTuple):
    """The line of the best explanation that has one."""

    evidence: float
    """Twice the logarithm of the likelihood ratio: above 10, noise alone would rarely look like it."""
    slope: float
    """Growth per period, in the meter's unit."""
    error: float
    """Standard error of the slope."""
    scatter: float
    """Root mean square of the residuals, in the meter's unit."""


class _Explanation(NamedTuple):
    rest: float
    """Sum of the squared residuals."""
    chosen: tuple[int, ...]
    """The numbers of its curves; that of the line is the first."""
    price: float
    """Of its curves, in units of evidence."""

    def cost(self, weight: float) -> float:
        """Minus twice the logarithm of the likelihood for `weight` independent points; the least is the best."""
        return weight * math.log(self.rest) + self.price


_Cost = Callable[[_Explanation], float]


def lines_beside(
    points: Sequence[Point],
    clocks: Sequence[Clock],
    curves: Iterable[Curve],
    finer: Iterable[Curve],
    steps: int,
    needed: float,
    largest: float = math.inf,
    *,
    alike: bool = False,
) -> list[Line]:
    """The line for each clock that remains beside what `curves` and up to `steps` steps explain.

    Points by rising time; a line may rise by each of the `clocks`. `finer` are more curves of the same kinds, for the
    best explanations. A cache that reaches `largest` (in the meter's unit) is unlikely. Groups that are `alike` have
    about the same level. Empty for too few points, and as soon as it is plain that the evidence will not be `needed`.
    """
    search = _Search(points, clocks, curves, largest, alike)
    if search.system.free < 5 or search.system.total <= 0 or not all(search.lined):
        return []
    shapes = search.first
    first_step = [search.largest_step()] if steps else []
    search.try_out((), [*first_step, *shapes])
    for one in first_step:
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
    if search.evidence() >= PROMISING * needed:
        search.bend()
    return search.found()


class _Search:
    """All explanations that were tried, without a line and with one. A curve is known by the number of its column."""

    def __init__(
        self, points: Sequence[Point], clocks: Sequence[Clock], curves: Iterable[Curve], largest: float, alike: bool
    ) -> None:
        self.points = points
        self.alike = alike
        self.largest = largest
        self.system = System(points)
        self.curves: list[Curve] = []
        self.lines = self.add(Curve(leak, clock) for clock in clocks)
        self.spans = [clock[-1] - clock[0] if clock else 0.0 for clock in clocks]
        self.first = self.add(curves)
        spread = max((p.value for p in points), default=0.0) - min((p.value for p in points), default=0.0)
        self.floor = self.system.free * (1e-3 * spread) ** 2
        self.bare = list(self._fitted(()))
        """Explanations without a line."""
        self.lined = [list(self._fitted((one,))) for one in self.lines]
        """Explanations with one, by its clock."""
        self.weight = self.independent = 1.0

    def add(self, curves: Iterable[Curve]) -> range:
        """Take more curves; returns their numbers."""
        begin = len(self.curves)
        for curve in curves:
            self.system.add([curve.values()])
            self.curves.append(curve)
        return range(begin, len(self.curves))

    def try_out(self, chosen: tuple[int, ...], more: Iterable[int]) -> None:
        """Fit `chosen` with each of `more`, without and with the lines."""
        more = sorted(more)
        self.bare += self._extended(chosen, more)
        for one, fits in zip(self.lines, self.lined, strict=True):
            fits += self._extended((one, *chosen), more)

    def weigh(self) -> None:
        """Count the points as if they were independent: neighbours in time share their noise.

        By what the closest explanation leaves: the residuals of a poor one hang together, and would excuse it.
        """
        closest = min(chain(*self.lined), key=lambda fit: fit.cost(self.system.free))
        self.independent = independence(self.points, self.system.residuals(closest.chosen))
        self.weight = max(self.system.free * self.independent - len(closest.chosen), 1.0)

    def improve(self, steps: int) -> None:
        """Change the best few, one thing at a time, for as long as that makes them better."""
        self.weight = self.system.free
        for fits in (self.bare, *self.lined):
            seen: set[frozenset[int]] = set()
            finalists = self._finalists(fits, lambda fit: fit.cost(self.weight), FINALISTS)
            for start in (fits[0], *finalists):  # the first has no curve
                fit: _Explanation | None = start
                while fit is not None and frozenset(fit.chosen) not in seen:
                    seen.add(frozenset(fit.chosen))
                    if fit is not start:
                        fits.append(fit)
                    fit = self._better(fit, steps)
        self.weigh()

    def _finalists(self, fits: Iterable[_Explanation], cost: _Cost, count: int) -> list[_Explanation]:
        """The best few for each clock of their caches: from those of one clock, a search hardly finds the others."""
        by_clock: dict[frozenset[int], list[_Explanation]] = {}
        for fit in fits:
            by_clock.setdefault(frozenset(self._clocks(fit.chosen)), []).append(fit)
        return [fit for each in by_clock.values() for fit in heapq.nsmallest(count, each, key=cost)]

    def _of(self, shape: Shape, chosen: Iterable[int]) -> list[int]:
        return [one for one in chosen if self.curves[one].shape is shape]

    def _clocks(self, chosen: Iterable[int]) -> set[int]:
        """The clocks (by identity) that the caches among these curves follow."""
        return {id(self.curves[one].times) for one in self._of(cache, chosen)}

    def beside(self, chosen: Sequence[int]) -> set[int]:
        """The caches that may come beside these curves: all of one explanation follow one clock."""
        if len(self._of(cache, chosen)) >= MOST_CACHES:
            return set()
        clocks = self._clocks(chosen)
        every = self._of(cache, range(len(self.curves)))
        return {one for one in every if not clocks or id(self.curves[one].times) in clocks}.difference(chosen)

    def _better(self, fit: _Explanation, steps: int) -> _Explanation | None:
        """The best explanation that differs in one thing, or in both caches; None where none is better."""
        enough = fit.cost(self.weight) - LEAST_GAIN
        known = len(self.curves)
        best = min(chain([fit], self._with_one_change(fit, steps)), key=lambda each: each.cost(self.weight))
        if best.cost(self.weight) >= enough:
            best = min(chain([fit], self._with_other_caches(fit)), key=lambda each: each.cost(self.weight))
        best = self._settled(best, known)
        return best if best.cost(self.weight) < enough else None

    def _with_one_change(self, fit: _Explanation, steps: int) -> Iterator[_Explanation]:
        """All explanations with one cache or step that is another, one curve more, or one less."""
        for old in self._of(cache, fit.chosen):
            rest = _without(fit.chosen, old)
            yield from self._extended(rest, sorted(self.beside(rest).difference([old])))
        yield from self._extended(fit.chosen, sorted(self.beside(fit.chosen)))
        if not self._of(fragmentation, fit.chosen):
            yield from self._extended(fit.chosen, self._of(fragmentation, range(len(self.curves))))
        for old in fit.chosen:
            if old not in self.lines:
                yield from self._fitted(_without(fit.chosen, old))
        there = self._of(step, fit.chosen)
        if len(there) < steps:
            yield from self._extended_by_step(fit.chosen)
        for old in there:
            yield from self._extended_by_step(_without(fit.chosen, old))

    def _with_other_caches(self, fit: _Explanation) -> Iterator[_Explanation]:
        """All explanations with two other caches than its two."""
        caches = self._of(cache, fit.chosen)
        if len(caches) == MOST_CACHES:
            rest = _without(_without(fit.chosen, caches[0]), caches[1])
            for one in self._of(cache, self.first):
                yield from self._extended((*rest, one), sorted(self.beside((*rest, one))))

    def _settled(self, best: _Explanation, known: int) -> _Explanation:
        """The best explanation, when all steps that were tried beside the `known` curves and not taken are forgotten.

        For months of points, they would take a megabyte of the service.
        """
        taken = next((one for one in best.chosen if one >= known), None)
        self._forget(known, taken)
        return best if taken is None else _Explanation(best.rest, (*_without(best.chosen, taken), known), best.price)

    def _forget(self, first: int, kept: int | None = None) -> None:
        """Remove the curves from `first` on, but for `kept`, which is number `first` from now on."""
        self.system.forget(first, kept)
        self.curves[first:] = [] if kept is None else [self.curves[kept]]

    def largest_step(self) -> int:
        """The step that shows best, as a curve: where the neighbours before and after it differ most."""
        values, width = self.system.values, 1 if len(self.points) <= SINGLE_POINT_STEPS else 6
        places = range(width, len(values) - width + 1)
        place = max(places, key=lambda at: abs(sum(values[at : at + width]) - sum(values[at - width : at])), default=0)
        return self._step(place)

    def _extended_by_step(self, chosen: tuple[int, ...]) -> Iterator[_Explanation]:
        """The explanation with the step that it lacks most, unless no step may be added."""
        if self.system.fit(chosen) is None:
            return
        for index in self.system.steps(chosen, self.system.residuals(chosen)):
            known = len(self.curves)
            one = self._step(index)
            found = next(self._extended(chosen, [one]), None)
            if found is not None:
                yield found
                return
            if one == known:
                self._forget(one)

    def _step(self, at: int) -> int:
        """The number of the step before a point."""
        curve = Curve(step, range(len(self.points)), at)
        if curve not in self.curves:
            self.add([curve])
        return self.curves.index(curve)

    def bend(self) -> None:
        """Bend the curves of the best explanations until they fit best.

        Where there is little noise, what lies between the curves that were tried would be evidence of a line.
        """
        for fits, starts in ((self.bare, FINALISTS), *((fits, 1) for fits in self.lined)):
            good = heapq.nsmallest(SHORTLIST, fits, key=lambda fit: fit.cost(self.weight))
            for start in self._finalists(good, self._whole_cost, starts):
                fit = start
                for by in BENDS:
                    before = None
                    while before is not fit:
                        before, fit = fit, self._bent(fit, by)
                if fit is not start:
                    fits.append(fit)

    def _bent(self, fit: _Explanation, by: float) -> _Explanation:
        """The explanation with each curve bent where that makes it better, and without those that it can spare."""
        for old in fit.chosen:
            bends = self.curves[old].bent(by)
            spare = [] if old in self.lines else [*self._fitted(_without(fit.chosen, old))]
            if spare and self._whole_cost(spare[0]) < self._whole_cost(fit) - LEAST_GAIN:
                fit = spare[0]
                continue
            for curve in bends:
                (added,) = self.add([curve])
                bent = next(self._extended(_without(fit.chosen, old), [added]), None)
                if bent is not None and self._whole_cost(bent) < self._whole_cost(fit) - LEAST_GAIN:
                    fit, old = bent, added
                else:
                    self._forget(added)
        return fit

    def try_without_line(self) -> None:
        """Hold what the line adds to the best explanation against that same explanation without it."""
        for fits in self.lined:
            self.bare += self._fitted(self.finest(fits).chosen[1:])

    def hopeless(self, needed: float) -> bool:
        """Whether what was tried fits well, and shows little of a line."""
        return self.independent > GOOD_FIT and self.evidence() < PROMISING * needed

    def evidence(self) -> float:
        """By how much the best explanation with a line is better than the best without."""
        bare, *lined = (self._whole_cost(self.finest(fits)) for fits in (self.bare, *self.lined))
        return bare - min(lined)

    def finest(self, fits: Iterable[_Explanation]) -> _Explanation:
        """The best explanation when the levels of the groups count too: one of those that are good without them."""
        good = heapq.nsmallest(SHORTLIST if self.alike else 1, fits, key=lambda fit: fit.cost(self.weight))
        return min(good, key=self._whole_cost)

    def _whole_cost(self, fit: _Explanation) -> float:
        """The cost within the groups and, where they are alike, that of the differences between their levels.

        A line within a day whose hours are level would need levels that fall by as much, hour by hour.
        """
        if not self.alike:
            return fit.cost(self.weight)
        count = self.independent * (len(self.system.members) - 1)
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

    def _fitted(self, chosen: tuple[int, ...]) -> Iterator[_Explanation]:
        """One explanation, unless its curves are dependent or it cannot be."""
        fitted = self.system.fit(chosen)
        fit = fitted and self._possible(chosen, *fitted)
        if fit:
            yield fit

    def _extended(self, chosen: tuple[int, ...], more: Iterable[int]) -> Iterator[_Explanation]:
        """What one explanation becomes by each of `more`."""
        for one, rest, sizes in self.system.extend(chosen, more):
            fit = self._possible((*chosen, one), rest, sizes)
            if fit is not None:
                yield fit

    def _possible(self, chosen: tuple[int, ...], rest: float, sizes: list[float]) -> _Explanation | None:
        """One explanation; None where a curve cannot have its size, or where steps take back what the line adds."""
        price = back = 0.0
        for one, size in zip(chosen, sizes, strict=True):
            curve = self.curves[one]
            price += curve.price(size, self.system.ends[one], self.largest)
            if curve.shape is step:
                back -= min(0.0, size)
        if price == math.inf:
            return None
        if chosen and chosen[0] in self.lines and back > TAKEN_BACK * max(0.0, sizes[0]) * self.spans[chosen[0]]:
            return None
        return _Explanation(max(rest, 0.0) + self.floor, chosen, price)


def _without(chosen: tuple[int, ...], one: int) -> tuple[int, ...]:
    """By slices: CPython 3.11 keeps up to 2000 tuples made of an iterator, which was most of what the monitor held."""
    at = chosen.index(one)
    return chosen[:at] + chosen[at + 1 :]


def independence(points: Sequence[Point], rests: Sequence[float]) -> float:
    """Which part of the points is independent, by the correlation of the residuals of neighbours: 1 for white noise."""
    own: float = sum(map(mul, rests, rests)) / len(rests)
    if own <= 0:
        return 1.0
    gap = 1.5 * min(b.time - a.time for a, b in pairwise(points))
    near = [x * y for x, y, a, b in zip(rests, rests[1:], points, points[1:], strict=False) if b.time - a.time <= gap]
    if len(near) < 3:
        return 1.0
    shared: float = min(max(sum(near) / len(near) / own, 0.0), 0.8)
    return (1 - shared) / (1 + shared)

"""How many iterations next, and when is it enough: pure functions of what was read so far.

Rounds double the number of iterations, so that growth can be compared across scales. Each doubling is cut at places
that no period divides: were it cut evenly, a buffer that is flushed every 1000 calls would be met at the same phases
each time, and look like a line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from leakcheck import meters, units
from leakcheck.execution.job import Budget
from leakcheck.meters import LEDGER, RESIDENT_SIZE, MeterSpec
from leakcheck.records import Sample
from leakcheck.series import changes
from leakcheck.verdict.doublings import WARM_CALLS
from leakcheck.verdict.judge import ALIKE
from leakcheck.verdict.judgement import Shape

_GOLDEN = 0.6180339887498949
"""Its multiples, taken modulo 1, are spread as evenly as can be and never repeat."""
_LEAST_CALLS = 12
"""Calls that any verdict needs, however slow they are."""


class Progress(NamedTuple):
    """What the run has done so far."""

    iterations: int
    step_seconds: float
    """Time that the step itself took, all rounds together, less the time it waited for a processor."""
    seconds: float
    """The same with readings."""
    grown: Mapping[str, float]
    """Growth of each meter since the first reading."""
    counted: Mapping[str, float] = {}
    """What of it counts against a ceiling: see `towards_ceiling`."""
    lately_s: float = 0.0
    """Seconds that a call took in the last round."""

    @property
    def per_iteration(self) -> float:
        """Seconds that one call of the step takes."""
        return self.step_seconds / self.iterations if self.iterations else 0.0


class Ended(NamedTuple):
    """Why no further round may be run."""

    option: Literal["max-iterations", "time-budget", "max-growth", ""]
    """The option that would allow more; empty where none does."""
    reason: str
    is_ceiling: bool = False
    """Whether something has grown by as much as may be."""


def exhausted(progress: Progress, budget: Budget) -> Ended | None:
    """Why no further round may be run, or None."""
    if budget.max_iterations is not None and progress.iterations >= budget.max_iterations:
        return Ended("max-iterations", f"--max-iterations {budget.max_iterations:,} reached")
    if progress.step_seconds >= budget.time_s and (
        progress.iterations >= _LEAST_CALLS or progress.step_seconds >= 3 * budget.time_s
    ):
        return Ended("time-budget", f"--time-budget {budget.time_s:g} s used up")
    if progress.seconds >= 3 * budget.time_s + 5 and progress.iterations >= _LEAST_CALLS:
        return Ended("time-budget", f"--time-budget {budget.time_s:g} s used up by readings")
    for spec, ceiling in _ceilings(budget):
        grown = progress.counted.get(spec.name, 0.0)
        if grown < ceiling:
            continue
        if spec.ceiling is not None and spec.ceiling.of == "max_growth":
            return Ended("max-growth", f"{spec.name} grew by {units.size(grown)}, the ceiling (--max-growth)", True)
        return Ended("", f"{spec.name} grew by {units.quantity(grown, spec.unit)}, the ceiling for a test", True)
    return None


def next_round(iterations: int, position: int, progress: Progress, budget: Budget, cuts: int) -> int:
    """Number of iterations of the next round.

    `iterations` were done when the present doubling began, and `position` of its `cuts` rounds have been run since.
    The round is cut short where the rates so far say that it would pass a ceiling or the time budget.
    """
    target = 2 * iterations if iterations else 1
    if cuts == 1 and 16 <= iterations < _SHAPELESS:  # a quick step: nothing is judged before
        target = min(8 * iterations, _SHAPELESS)
    elif position < cuts - 1:
        share = (position + 1 + 0.5 * ((iterations * _GOLDEN + position * _GOLDEN) % 1 - 0.5)) / cuts
        target = iterations + round((target - iterations) * share)
    count = max(1, target - progress.iterations)
    return max(1, min(count, *_allowances(progress, budget)))


def watched(count: int) -> int:
    """How many of a round's iterations have a reading after each: all of a short round, a quarter of a long one.

    The bottom of a buffer that is flushed each P calls is seen where P or more are watched. A reading costs some
    microseconds; a round takes about twice its time.
    """
    return min(count, max(4096, count // 4))


def rounds_per_doubling(
    progress: Progress, budget: Budget, suspicious: Collection[Shape], reading_seconds: float
) -> int:
    """Into how many rounds the next doubling is cut: enough to see its shape, and readings not dearer than the step.

    `suspicious` are the shapes of the series that move. Where all are lines so far, four points a doubling show it.
    """
    if progress.iterations < 16:
        dear = progress.per_iteration > reading_seconds or min(_allowances(progress, budget)) < 32
        return 16 if dear else 1  # each single call of a step that is slow, or grows so fast that there will be few
    quick = _quick(progress, budget)
    if quick and progress.iterations < _SHAPELESS:
        return 1
    affordable = progress.step_seconds / max(reading_seconds, 1e-6)
    unclear = any(shape != "linear" for shape in suspicious)
    wanted = 8 if unclear and progress.iterations >= (4096 if quick else 1024) else 4
    return max(4 if suspicious else 2, min(wanted, int(affordable)))


def too_early(progress: Progress, budget: Budget) -> bool:
    """Whether nothing can be said yet, so that nothing need be judged."""
    return progress.iterations < 16 or (progress.iterations < _SHAPELESS and _quick(progress, budget))


_SHAPELESS = 2048
"""Calls of a quick step before its rounds need a shape: it is not judged before it has made some ten thousand. Until
then it is read now and then, and not at each doubling."""


def _quick(progress: Progress, budget: Budget) -> bool:
    """Whether calls cost next to nothing, and three doublings with a shape will fit below each ceiling."""
    room = progress.iterations + min(_allowances(progress, budget))
    return progress.per_iteration * 4096 < 0.1 and room >= 8 * _SHAPELESS


def _allowances(progress: Progress, budget: Budget) -> list[int]:
    """How many iterations each ceiling still leaves."""
    left = [1 << 40]
    done = max(progress.iterations, 1)
    if budget.max_iterations is not None:
        left.append(budget.max_iterations - progress.iterations)
    if progress.per_iteration > 0 and progress.iterations >= _LEAST_CALLS:
        next_s = max(progress.per_iteration, progress.lately_s)
        left.append(int((budget.time_s - progress.step_seconds) / next_s) + 1)
    for spec, ceiling in _ceilings(budget):
        grown = progress.counted.get(spec.name, 0.0)
        if grown > 0 and progress.iterations > 0:
            left.append(int((ceiling - grown) / (grown / done)) + 1)
    return left


def _ceilings(budget: Budget) -> list[tuple[MeterSpec, float]]:
    """How far each meter may grow, bytes first."""
    of = {"max_growth": budget.max_growth, "resources": budget.resources, "things": 1}
    found = [(spec, of[spec.ceiling.of] * spec.ceiling.times) for spec in meters.CATALOGUE if spec.ceiling is not None]
    return sorted(found, key=lambda each: each[0].unit != "B")


def growth_since_first(samples: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Growth of each meter since its first reading, in its unit."""
    return {name: series[-1].value - series[0].value for name, series in samples.items() if series}


def towards_ceiling(samples: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Growth of each meter that counts against its ceiling, in its unit: since the first calls.

    What is loaded once, however large and late, does not count. Memory counts as far as it is resident: a reservation
    costs nothing until it is touched.
    """
    found = {}
    for name, series in samples.items():
        since = [sample for sample in series if sample.iterations >= WARM_CALLS] or series[-1:]
        found[name] = since[-1].value - since[0].value - _loaded_once(since)
    if LEDGER in found and RESIDENT_SIZE in found:
        found[LEDGER] = min(found[LEDGER], found[RESIDENT_SIZE])
    return found


def _loaded_once(since: Sequence[Sample]) -> float:
    """The largest rise, where all others leave far less per call."""
    rises = changes(since)
    largest = max(rises, default=0.0)
    if largest <= 0:
        return 0.0
    at = rises.index(largest)
    calls = max(1, since[at + 1].iterations - since[at].iterations)  # a round that raised has made none
    others = (sum(rises) - largest) / max(1, since[-1].iterations - since[0].iterations - calls)
    return largest if largest / calls > ALIKE * others else 0.0

"""How many iterations next, and when is it enough: pure functions of what was read so far.

Rounds double the number of iterations, so that growth can be compared across scales. Each doubling is cut at places
that no period divides: were it cut evenly, a buffer that is flushed every 1000 calls would be met at the same phases
each time, and look like a line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from leakcheck.execution.job import Budget
from leakcheck.records import Sample
from leakcheck.verdict.judge import Evidence, Shape

_GOLDEN = 0.6180339887498949
"""Its multiples, taken modulo 1, are spread as evenly as can be and never repeat."""


class Patience(NamedTuple):
    """When a verdict may be given: any one pair of (iterations, seconds since the first round) must be reached."""

    pairs: tuple[tuple[int, float], ...]

    def reached(self, iterations: int, seconds: float, scale: float = 1.0) -> bool:
        """Whether one of the pairs, multiplied by `scale`, is met in both its parts."""
        return any(iterations >= least * scale and seconds >= after * scale for least, after in self.pairs)


CLEAN = Patience(((131_072, 0.0), (16_384, 0.15), (8_192, 0.4), (2_048, 1.5), (12, 2.5)))
"""A flat series. One object per 1000 calls must have had its chance: some four of them, where the step is quick enough;
131,072 calls of a step of a microsecond are a tenth of a second and show what happens once in 10,000. Slower steps say
what they would have seen."""

LEAK = Patience(((262_144, 0.0), (32_768, 0.6), (16_384, 4.5), (4_096, 6.0), (64, 8.0)))
"""A straight line. What looks like one may be a cache that is not full, or a buffer before its flush, so the line must
be longer than such things usually are. How large they are does not depend on what a call costs: where 32,768 calls take
longer than the budget, as many are made as fit in most of it."""

LOST = Patience(((32_768, 0.0), (16_384, 1.5), (4_096, 6.0), (64, 8.0)))
"""A straight line while no container of Python's gets larger: no cache of Python's, no buffer and no pool. What native
code keeps for later has fewer entries than that."""

ROUGH = Patience(((1_048_576, 0.0), (131_072, 1.5), (32_768, 4.5), (4_096, 6.0), (64, 8.0)))
"""A rough line: four times as long, for what looks like it by chance does not go on for so long."""

RARE = Patience(((1_048_576, 0.0), (131_072, 4.5), (4_096, 6.0), (64, 8.0)))
"""A line of few pieces, one in many calls: it is the pieces that a log of the last 256 slow calls has room for."""

NOISE = Patience(((1_048_576, 0.5), (65_536, 1.0), (12, 2.0)))
"""A series that moves up and down and comes back. More iterations only improve the sensitivity, which is printed."""

_USUAL_S = Budget().time_s
"""The time that the pairs are made for. Who gives a run more wants it to be more patient with what moves."""

_RESOURCES = ("fds", "threads", "children")
_BYTES = ("heap.bytes", "mapped.bytes", "disk.bytes", "anon.bytes", "shm")
_MOST_MAPPINGS = 16_000
"""New mappings of a test: a quarter of those that Linux allows a process (vm.max_map_count, 65,530 by default)."""


class Progress(NamedTuple):
    """What the run has done so far."""

    iterations: int
    step_seconds: float
    """Time that the step itself took, all rounds together, less the time it waited for a processor."""
    seconds: float
    """The same with readings."""
    grown: Mapping[str, float]
    """Growth of each meter since the first reading."""


def evidence(progress: Progress, budget: Budget, *, held: bool = True) -> Evidence:
    """What may be said by now; `held` unless nothing that could be a cache gets larger."""
    done = progress.iterations, progress.seconds
    scale = max(1.0, budget.time_s / _USUAL_S)
    return Evidence(
        enough_for_clean=CLEAN.reached(*done),
        enough_for_leak=(LEAK if held else LOST).reached(*done, scale),
        enough_for_rough=ROUGH.reached(*done, scale),
        enough_for_rare=RARE.reached(*done, scale),
        enough_noise=NOISE.reached(*done, scale),
        final=exhausted(progress, budget) is not None,
    )


def may_be_hastened(progress: Progress) -> bool:
    """Whether to look now what could be holding what grows, for a verdict may come sooner where nothing is.

    To look leaves a trace, a module that is imported: after so few calls it is not part of what is judged then.
    """
    return 1024 <= progress.iterations <= 2048 and not LEAK.reached(16_384, _per_iteration(progress) * 16_384)


def exhausted(progress: Progress, budget: Budget) -> str | None:
    """Why no further round may be run, or None."""
    if budget.max_iterations is not None and progress.iterations >= budget.max_iterations:
        return f"--max-iterations {budget.max_iterations:,} reached"
    # A dozen calls are needed for any verdict, however slow they are: three budgets is the most they may cost.
    if progress.step_seconds >= budget.time_s and (
        progress.iterations >= 12 or progress.step_seconds >= 3 * budget.time_s
    ):
        return f"--time-budget {budget.time_s:g} s used up"
    if progress.seconds >= 3 * budget.time_s + 5 and progress.iterations >= 12:
        return f"--time-budget {budget.time_s:g} s used up by readings"
    for name in _BYTES:
        if progress.grown.get(name, 0.0) >= _byte_ceiling(name, budget):
            return f"{name} grew by {progress.grown[name] / 2**20:,.0f} MiB, the ceiling (--max-growth)"
    for name, ceiling in _resource_ceilings(budget).items():
        if progress.grown.get(name, 0.0) >= ceiling:
            return f"{name} grew by {progress.grown[name]:,.0f}, the ceiling for a test"
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
        dear = _per_iteration(progress) > reading_seconds or min(_allowances(progress, budget)) < 32
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
    return _per_iteration(progress) * 4096 < 0.1 and room >= 8 * _SHAPELESS


def _allowances(progress: Progress, budget: Budget) -> list[int]:
    """How many iterations each ceiling still leaves."""
    left = [1 << 40]
    done = max(progress.iterations, 1)
    if budget.max_iterations is not None:
        left.append(budget.max_iterations - progress.iterations)
    per_iteration = _per_iteration(progress)
    if per_iteration > 0 and progress.iterations >= 12:
        left.append(int((budget.time_s - progress.step_seconds) / per_iteration) + 1)
    ceilings = {name: _byte_ceiling(name, budget) for name in _BYTES}
    ceilings |= _resource_ceilings(budget)
    for name, ceiling in ceilings.items():
        grown = progress.grown.get(name, 0.0)
        if grown > 0 and progress.iterations > 0:
            left.append(int((ceiling - grown) / (grown / done)) + 1)
    return left


def _resource_ceilings(budget: Budget) -> dict[str, float]:
    return {**dict.fromkeys(_RESOURCES, float(budget.resources)), "mappings": _MOST_MAPPINGS}


def _byte_ceiling(name: str, budget: Budget) -> float:
    # Address space costs nothing until it is touched: a thread's stack alone is 8 MiB of it.
    return budget.max_growth * (16 if name == "mapped.bytes" else 1)


def _per_iteration(progress: Progress) -> float:
    return progress.step_seconds / progress.iterations if progress.iterations else 0.0


def growth_since_first(samples: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Growth of each meter since its first reading, in its unit."""
    return {name: series[-1].value - series[0].value for name, series in samples.items() if series}

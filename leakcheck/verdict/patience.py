"""When a verdict may be given: how many iterations, or how much time, each shape of a series needs to be believed."""

from __future__ import annotations

from typing import NamedTuple

from leakcheck.execution.job import Budget
from leakcheck.verdict.judgement import Evidence
from leakcheck.verdict.rounds import Progress, exhausted


class Patience(NamedTuple):
    """Any one pair of (iterations, seconds since the first round) must be reached."""

    pairs: tuple[tuple[int, float], ...]

    def reached(self, iterations: int, seconds: float, scale: float = 1.0) -> bool:
        """Whether one of the pairs, multiplied by `scale`, is met in both its parts."""
        return any(iterations >= least * scale and seconds >= after * scale for least, after in self.pairs)


CLEAN = Patience(((131_072, 0.0), (16_384, 0.15), (8_192, 0.4), (2_048, 1.5), (256, 2.5), (64, 5.0)))
"""A flat series. One object per 1000 calls must have had its chance: some seven of them, where the step is quick
enough; 131,072 calls of a step of a microsecond are a tenth of a second and show what happens once in 9,000. Slower
steps say what they would have seen; of those of which there are few calls each one counts, and the budget is used."""

CLEAN_IN_A_RUNNER = Patience(((131_072, 0.0), (2_048, 1.5), (256, 2.5), (64, 5.0)))
"""The same of a whole test: what a runner takes for itself, some 30 microseconds, makes all tests slow ones, and is no
reason to be content with fewer calls of one that is quick."""

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

NOISE = Patience(((1_048_576, 0.5), (65_536, 1.0), (256, 2.5), (64, 5.0)))
"""A series that moves up and down and comes back. More iterations only improve the sensitivity, which is printed."""

_USUAL_S = Budget().time_s
"""The time that the pairs are made for. Who gives a run more wants it to be more patient with what moves."""

_LOOK_AT = (1024, 2048)
"""Iterations between which it is noted what could be holding something: few enough to be no part of what is judged."""


def evidence(progress: Progress, budget: Budget, *, held: bool = True) -> Evidence:
    """What may be said by now; `held` unless nothing that could be a cache gets larger."""
    done, ended = (progress.iterations, progress.seconds), exhausted(progress, budget)
    scale = max(1.0, budget.time_s / _USUAL_S)
    clean = CLEAN_IN_A_RUNNER if budget.in_a_runner else CLEAN
    return Evidence(
        enough_for_clean=clean.reached(*done),
        enough_for_leak=(LEAK if held else LOST).reached(*done, scale),
        enough_for_rough=ROUGH.reached(*done, scale),
        enough_for_rare=RARE.reached(*done, scale),
        enough_noise=NOISE.reached(*done, scale),
        final=ended is not None,
        ceiling=ended is not None and ended.is_ceiling,
    )


def may_be_hastened(progress: Progress) -> bool:
    """Whether to look now what could be holding what grows, for a verdict may come sooner where nothing is."""
    first, last = _LOOK_AT
    return first <= progress.iterations <= last and not LEAK.reached(16_384, progress.per_iteration * 16_384)

"""From the samples of a meter to its verdict: pure functions, numbers in, verdict out.

A series is read over its last three doublings of the iterations, D1 = [N/8, N/4], D2 = [N/4, N/2], D3 = [N/2, N]:
a leak grows with the iterations at every scale, a cache stops, a buffer that is flushed falls back to a former trough,
noise stays as large as it was while the scale doubles. So no model of the noise is needed: what is not proportional to
the iterations loses against what is, if one only goes on doubling.

`RULES` are asked in order; the first that knows its shape gives the judgement. In the drawings each column is a sample,
and `|` is an edge of a doubling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from leakcheck.meters import Thresholds
from leakcheck.records import Sample, Verdict
from leakcheck.series import (
    amplitude,
    changes,
    falls_in_steps,
    median,
    rates,
    rises_only,
)
from leakcheck.verdict.doublings import ASKED_QUANTA, FADING, WARM_CALLS, Series, Window
from leakcheck.verdict.judgement import Evidence, Judgement, Sensitivity, Shape

STRAIGHT = 0.04
"""Root mean square distance from the line, as a part of the growth. Things lost one by one leave 0.01, or
1 / sqrt(count) where they are lost at random; any noise falls below it as the line gets longer."""
ROUGH = 0.12
"""The same for a rough line. Hash tables and arenas grow in ever larger steps, which leave up to 0.1 on a true leak. So
do a few one-time costs that happen to come one after the other: so rough a line must be longer to be believed."""
FADED = 0.55
"""At the end of the budget: a rate below this part of its highest, and still falling, belongs to something that
saturates (a logarithm halves its rate each doubling, and is a cache in all but name)."""
LOGARITHMIC = 0.62
"""And below this part of the doubling's before it: a logarithm's rate halves; a square root's, which has no end either,
falls to 0.71 only."""
FASTER = 1.25
"""A rate that rose to this multiple of the doubling's before it, twice running, belongs to growth that gets worse:
where each call leaves more than the one before, it doubles. What fills or wobbles does not get there."""
LONGEST_STILL = 1 / 2048
"""Part of the calls for which a line may have stood still on its way: what did so for longer came in few pieces."""
AMPLE = 128 * 2**20
"""Growth, in the meter's unit, that is reported in however few pieces it came: more would be dear to wait for."""
LATER = 1.5
"""Each jump comes so many times as late as the one before, where a table is made larger by a factor each time."""
LIKEWISE = 2.0
"""And is larger by that factor, within this one."""
LEAST_RISES = 3
"""Rises in a row that take a series to a ceiling: each call after the first has left something."""
ALIKE = 4.0
"""How many times the rate of another such a rise may have: what is loaded once is in one of them."""

Rule = Callable[[Series, Evidence], Judgement | None]
"""Knows one shape of a series; None for any other."""


def judge(
    samples: Sequence[Sample],
    limits: Thresholds,
    evidence: Evidence = Evidence(),  # noqa: B008
    *,
    began: float | None = None,
) -> Judgement:
    """Judge one meter's series: samples by rising iterations, the first of them before any iteration.

    Where the samples are the later part of a series, `began` is what it had after its first call.
    """
    series = Series(samples, limits, began)
    return next(judgement for rule in RULES if (judgement := rule(series, evidence)) is not None)


def too_short(series: Series, evidence: Evidence) -> Judgement | None:
    """Fewer than three doublings: nothing can be compared across scales, unless a ceiling was met on the way.

    ::

        _ _ ^
    """
    if len(series.edges) >= 4:
        return None
    if steady := met_ceiling(series, evidence):
        return steady
    verdict: Verdict | None = "inconclusive" if evidence.final else None
    reason = "too few iterations to see growth at three scales"
    return Judgement(verdict, "constant", 0.0, 0.0, 0.0, None, reason, "too_short")


def flat(series: Series, evidence: Evidence) -> Judgement | None:
    """Not a byte has moved since the first call. Most meters, most of the time.

    ::

        ____|____|________
    """
    if not series.is_constant:
        return None
    verdict: Verdict | None = "clean" if evidence.enough_for_clean or evidence.final else None
    return series.judged(verdict, "constant", "flat", "does not grow")


def jumps(series: Series, evidence: Evidence) -> Judgement | None:
    """The last jump was larger than the one before, and came later, by the same factor; the next is not due yet.

    A buffer that is made larger by a factor whenever it is full stands still for most of the time, and has no end.

    ::

                    ______
              _____|
           __|
        _ |
    """
    found = _jumps(series)
    if len(found) < 2 or not rises_only(series.samples):
        return None
    before, last = found[-2:]
    least, most, larger = last.after / before.by, last.by / before.after, last.rise / before.rise
    if most < LATER or most * LIKEWISE < larger or least > larger * LIKEWISE:
        return None
    if series.samples[-1].iterations >= last.by * most:
        return None
    verdict: Verdict | None = "inconclusive" if evidence.final else None
    return series.judged(verdict, "step", "jumps", "grows in jumps, each larger and later than the one before")


def stopped(series: Series, evidence: Evidence) -> Judgement | None:
    """Every sample of the last doubling lies within the floor of where it began.

    What grew before has stopped: it was warm-up, or a cache that is full. What still climbs, below the floor but in a
    straight line, is given one more doubling, which may lift it above.

    ::

             |  __|________
            _|_/  |
        ___/ |    |
    """
    last = series.windows[-1]
    start = last.samples[0].value
    if any(abs(sample.value - start) > series.limits.floor for sample in last.samples):
        return None
    enough = evidence.enough_for_clean or evidence.final
    if _climbs_below_the_floor(series):
        enough = evidence.enough_for_rough or evidence.final
    grown = start - series.began
    if grown > max(series.notable, 4 * series.limits.floor):
        shape: Shape = "step" if _in_one_step(series.samples, grown) else "saturating"
        return series.judged("bounded" if enough else None, shape, "stopped", "grew, then stopped", limit=grown)
    return series.judged("clean" if enough else None, "constant", "stopped", "does not grow")


def line(series: Series, evidence: Evidence) -> Judgement | None:
    """A straight line through three doublings explains the growth: a leak.

    What looks like one may be a cache that is not full, so it must be long enough, longer where it is rough, and longer
    still where it came in few pieces. Pages that are touched must be so at about the same rate in all three doublings.

    ::

                 |      __/
              __ | __/
          _/     |/
    """
    distance = series.distance_from_line(series.limits.floor) if series.grows else math.inf
    straight = distance <= STRAIGHT and series.rates[-1] >= FADING * series.rates[0]
    slower = series.limits.touched and series.rates[-1] < FADED * series.rates[0]
    if distance > ROUGH or series.fades or slower or (series.creeps and not straight):
        return None
    enough = evidence.enough_for_leak if straight else evidence.enough_for_rough
    if _in_few_pieces(series):
        enough = enough and evidence.enough_for_rare
    if enough or evidence.final:
        return series.judged("leak", "linear", "line", "grows in proportion to the iterations")
    return series.judged(None, "linear", "line", "grows in proportion to the iterations so far")


def accelerates(series: Series, evidence: Evidence) -> Judgement | None:
    """Each doubling rises at a higher rate than the one before, and all the way: each call leaves more.

    Not in one step, as a table that is made late does, nor after a stretch in which nothing rose, as a cache that
    starts late does.

    ::

                 |       /
                 |    _/
        ____ __ _|_/
    """
    if not series.grows or any(later < FASTER * earlier for earlier, later in pairwise(series.rates)):
        return None
    if not all(_rises_all_the_way(window, 2 * series.limits.floor) for window in series.windows):
        return None
    if evidence.enough_for_rough or evidence.final:
        return series.judged("leak", "linear", "accelerates", "grows ever faster")
    return series.judged(None, "linear", "accelerates", "grows ever faster so far")


def met_ceiling(series: Series, evidence: Evidence) -> Judgement | None:
    """Steady growth that ran into a ceiling: each round since the first call has left about as much, or ever more.

    ::

        ---------------
              __/
           __/
        __/
    """
    if not evidence.ceiling or series.samples[-1].value - series.began < AMPLE:
        return None
    since = [sample for sample in series.samples if sample.iterations >= 1]
    rises = rates(since)
    steady = len(rises) >= LEAST_RISES and min(rises) > 0
    if not steady or (max(rises) > ALIKE * min(rises) and any(b < a for a, b in pairwise(rises))):
        return None
    growth = (since[-1].value - since[0].value) / (since[-1].iterations - since[0].iterations)
    reason = "grew with each call until it met the ceiling"
    return Judgement("leak", "linear", growth, min(rises), max(rises), None, reason, "met_ceiling")


def creeps(series: Series, evidence: Evidence) -> Judgement | None:
    """Grows by less than the sensitivity that was asked for, and in no straight line.

    ::

                 |    _ _.-
        _._ _.__ |.-_
    """
    if series.jumped or not (series.creeps and evidence.enough_for_clean and evidence.enough_noise):
        return None
    shape: Shape = "saturating" if series.fades else "noise"
    seen = series.detectable(amplitude(series.recent))
    asked = Sensitivity(max(seen.loss, series.limits.quantum), min(seen.once_in, round(1 / ASKED_QUANTA)))
    return series.judged("clean", shape, "creeps", "creeps by less than the sensitivity asked for", detectable=asked)


def comes_back(series: Series, evidence: Evidence) -> Judgement | None:
    """Falls back below the middle of what it was, over all three doublings or, after a late step, within the last one.

    A leak that grew by more than twice the amplitude does not, nor does what has jumped and stayed.

    ::

          /|  /| /|  /|
         / | / |/ | / |
        /  |/     |/  |_
    """
    first, before, last = series.windows
    rises = _rises_evenly(series) or series.growth[1] > 0
    if series.jumped or (rises and evidence.final):
        return None
    earlier = [sample for window in (first, before) for sample in window.samples]
    half = len(last.samples) // 2
    for former, later in ((earlier, last.samples), (last.samples[:half], last.samples[half:])):
        if len(former) > 1 and _reaches_down_to(former, later, series.limits.floor):
            enough = (evidence.enough_for_clean and evidence.enough_noise and not rises) or evidence.final
            moves = amplitude([*former, *later])
            detectable = series.detectable(moves)
            grown = min(sample.value for sample in later) - series.began
            shape: Shape = "periodic" if falls_in_steps(series.recent) else "noise"
            if grown > max(series.notable, 2 * moves):
                reason = "grew, then came back to a former trough"
                verdict: Verdict | None = "bounded" if enough else None
                return series.judged(verdict, shape, "comes_back", reason, detectable=detectable, limit=grown)
            verdict = "clean" if enough else None
            return series.judged(verdict, shape, "comes_back", "comes back to a former trough", detectable=detectable)
    return None


def undecided(series: Series, evidence: Evidence) -> Judgement | None:
    """None of the shapes above, and there is budget left: go on."""
    if evidence.final:
        return None
    shape: Shape = "saturating" if series.fades else "noise"
    return series.judged(None, shape, "undecided", "moves, and is not decided yet")


def slows_down(series: Series, evidence: Evidence) -> Judgement | None:  # noqa: ARG001
    """At the end of the budget the rate is far below its highest and still falls, as a logarithm's does.

    ::

                |   __..--
            _.-'|''
         .'     |
    """
    _, before, last = series.rates
    if not (
        series.fades and last < min(FADED * series.highest_rate, LOGARITHMIC * before) and rises_only(series.recent)
    ):
        return None
    moves = [rise > series.limits.floor for rise in changes(series.windows[-1].samples)]
    if any(later and not earlier for earlier, later in pairwise(moves)):  # a few pieces come ever later by chance
        return None
    grown = series.samples[-1].value - series.samples[0].value
    judgement = series.judged("bounded", "saturating", "slows_down", "grows ever more slowly", limit=grown)
    return judgement._replace(detectable=None)  # it still grows: a loss would look like that


def has_no_direction(series: Series, evidence: Evidence) -> Judgement | None:  # noqa: ARG001
    """At the end of the budget, growth is not above zero with certainty.

    ::

        . '  .|' .  ' |. '  . ' .
    """
    if series.growth[1] > 0 or series.jumped:
        return None
    return series.judged("clean", "noise", "has_no_direction", "moves without a direction")


def unsettled(series: Series, evidence: Evidence) -> Judgement | None:  # noqa: ARG001
    """The budget is used up, and the series neither stopped nor grew at a steady rate."""
    shape: Shape = "saturating" if series.fades else "noise"
    return series.judged("inconclusive", shape, "unsettled", "neither stopped nor grew at a steady rate")


RULES: tuple[Rule, ...] = (
    too_short, flat, jumps, stopped, line, accelerates, met_ceiling, creeps, comes_back, undecided, slows_down,
    has_no_direction, unsettled,
)  # fmt: skip
"""In the order of asking; the last knows every shape."""


class _Jump(NamedTuple):
    """A rise between stretches that stand still; it came `after` so many iterations, and was there `by` so many."""

    after: int
    by: int
    rise: float


def _jumps(series: Series) -> list[_Jump]:
    """The jumps of a series, without little ones and what the first calls cost.

    Of several in neighbouring rounds, which may be one, the time is that of the last.
    """
    grown = series.samples[-1].value - series.began
    least = max(series.notable, grown / 1024)
    found: list[_Jump] = []
    still = True
    for earlier, later in pairwise(series.samples):
        rise = later.value - earlier.value
        if rise > least and earlier.iterations >= WARM_CALLS:
            joined = 0.0 if still or not found else found.pop().rise
            found.append(_Jump(earlier.iterations, later.iterations, joined + rise))
        still = abs(rise) <= series.limits.floor
    return found


def _rises_all_the_way(window: Window, least: float) -> bool:
    """Whether it grew by more than `least`, nowhere stood still, and in no one step."""
    grown = window.samples[-1].value - window.samples[0].value
    mean = grown / window.span
    each = rates(window.samples)
    return len(each) > 1 and grown > least and rises_only(window.samples) and min(each) >= mean / ALIKE


def _climbs_below_the_floor(series: Series) -> bool:
    """Whether what is still below the floor is a straight line already: the next doubling may lift it above."""
    total = series.growth[0] * (series.recent[-1].iterations - series.recent[0].iterations)
    if min(series.rates) <= 0 or total <= series.limits.floor / 2:
        return False
    return series.distance_from_line(floor=0.0) <= STRAIGHT


def _in_few_pieces(series: Series) -> bool:
    """Whether a line that never falls stood still for long stretches: each piece of it took many calls to come."""
    samples = series.samples
    if not rises_only(series.recent) or samples[-1].value - samples[0].value >= AMPLE:
        return False
    longest = stretch = 0
    for earlier, later in pairwise(samples):
        still = later.value - earlier.value < series.limits.quantum
        stretch = stretch + later.iterations - earlier.iterations if still else 0
        longest = max(longest, stretch)
    return longest > LONGEST_STILL * samples[-1].iterations


def _rises_evenly(series: Series) -> bool:
    """Whether the level that is never left downwards again rose in each doubling, at about the same rate.

    Below a sawtooth that dwarfs it, this is the first that is seen of a leak. Of noise it is true by chance, and is not
    in the next doubling.
    """
    rises = sum(window.rate * window.span for window in series.windows)
    return min(series.rates) > 0 and max(series.rates) <= 3 * min(series.rates) and rises > 2 * series.limits.floor


def _in_one_step(samples: Sequence[Sample], grown: float) -> bool:
    """Whether most of the growth came between two neighbouring samples."""
    return any(rise > 0.9 * grown for rise in changes(samples[1:]))


def _reaches_down_to(former: Sequence[Sample], later: Sequence[Sample], floor: float) -> bool:
    """Whether the later samples reach down to the middle of the former ones, and do not just creep up on it."""
    lowest = min(sample.value for sample in later)
    return lowest <= median(sample.value for sample in former) + floor and not rises_only([*former, *later])

"""From the samples of a meter to its verdict: pure functions, numbers in, verdict out.

A series is read over its last three doublings of the iterations, D1 = [N/8, N/4], D2 = [N/4, N/2], D3 = [N/2, N]:
a leak grows with the iterations at every scale, a cache stops, a buffer that is flushed falls back to a former trough,
noise stays as large as it was while the scale doubles. So no model of the noise is needed: what is not proportional to
the iterations loses against what is, if one only goes on doubling.

Six shapes are told apart:

* constant    nothing grew beyond what readings vary by
* step        grew in few places, once each, and stopped
* saturating  grew ever more slowly, or up to a point
* periodic    comes back to a former trough
* noise       moves without direction
* linear      a straight line through the last three doublings explains the growth, or it gets steeper with each
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Literal, NamedTuple

from leakcheck.records import Sample, Verdict

Shape = Literal["constant", "step", "saturating", "periodic", "linear", "noise"]

PROPORTIONAL = "grows in proportion to the iterations"
"""The reason of most leaks."""


class Thresholds(NamedTuple):
    """Every number that decides, each with its reason."""

    floor: float = 96.0
    """Growth over a window that a flat series may show, in the meter's unit: malloc rounds to 16 bytes, and a reading
    finds the heap in one of a few states that differ by some such chunks. Below it, nothing is growth."""
    quantum: float = 48.0
    """The smallest thing that can be lost, in the meter's unit: an object of Python takes 32 to 64 bytes of malloc."""
    notable: float = 4096.0
    """Growth that came after the first call and stopped is worth the word `bounded` from here on; less is warm-up."""
    straight: float = 0.04
    """Straightness: root mean square distance from the line, as a part of the growth. Things lost one by one leave
    0.01, or 1 / sqrt(count) where they are lost at random; any noise falls below it as the line gets longer."""
    rough: float = 0.12
    """Hash tables and arenas grow in ever larger steps, which leave up to 0.1 on a true leak. So do a few one-time
    costs that happen to come one after the other: a line so rough must be longer before it is believed."""
    fading: float = 0.80
    """A rate that fell below this part of an earlier doubling's is fading: wait. A cache of K entries drawn at random
    fades to 0.78 when half of K calls have been made, and ever faster after that."""
    steadily_fading: tuple[float, float] = (0.97, 0.93)
    """The same for two doublings in a row, earlier and later: a leak's rate may wobble, but it does not fall twice
    running, the second time by more. (A cache drawn at random fades to 0.94 and 0.88 at a sixth of its size.)"""
    faded: float = 0.55
    """At the end of the budget: a rate below this part of its highest, and still falling, belongs to something that
    saturates (a logarithm halves its rate each doubling, and is a cache in all but name)."""
    logarithmic: float = 0.62
    """And below this part of the doubling's before it: a logarithm's rate halves; a square root's, which has no end
    either, falls to 0.71 only."""
    asked: float = 1 / 1000
    """Sensitivity that is asked for, in quanta per iteration. What creeps more slowly, and not in a straight line, ends
    the search: it would take ever longer to learn ever less."""
    faster: float = 1.25
    """A rate that rose to this multiple of the doubling's before it, twice running, belongs to growth that gets worse:
    where each call leaves more than the one before, it doubles. What fills or wobbles does not get there."""
    few: float = 1 / 2048
    """Part of the calls for which a line may have stood still on its way: what did so for longer came in few pieces."""
    ample: float = 128 * 2**20
    """Growth, in the meter's unit, that is told of in however few pieces it came: more would be dear to wait for."""
    least_points: int = 8
    """Samples in the last three doublings that a line needs before it can be believed."""


BYTES = Thresholds()
COUNTS = Thresholds(floor=2.0, quantum=1.0, notable=8.0)
"""Descriptors, threads, tasks, children, files: exact, but one or two may be on their way in or out."""
OBJECTS = Thresholds(floor=8.0, quantum=1.0, notable=64.0)
"""Objects of the collector: a few temporary ones differ from reading to reading."""
PAGES = Thresholds(floor=256 * 1024.0, quantum=4096.0, notable=1024 * 1024.0)
"""Mappings come in pages, and thread stacks and allocator regions in larger pieces."""
RESIDENT = Thresholds(floor=4 * 1024 * 1024.0, quantum=4096.0, notable=16 * 1024 * 1024.0)
"""Touched pages beyond malloc's: malloc's own untouched memory moves this by megabytes."""

_SPECIAL = {
    "py.objects": OBJECTS,
    "uncollectable": COUNTS,
    "mapped.bytes": PAGES,
    "shm": PAGES,
    "anon.bytes": RESIDENT,
    "rss": RESIDENT,
    "peak": RESIDENT,
    "disk.bytes": Thresholds(floor=0.0, quantum=1.0),
    "py.blocks": Thresholds(floor=4.0, quantum=1.0, notable=64.0),
}


def thresholds_for(name: str, unit: str) -> Thresholds:
    """The thresholds of a meter, by its name or else its unit."""
    if name in _SPECIAL:
        return _SPECIAL[name]
    return BYTES if unit == "B" else COUNTS


class Evidence(NamedTuple):
    """What the run knows besides the samples."""

    enough_for_clean: bool = True
    """Enough iterations were run, or time spent, to call a flat series clean."""
    enough_for_leak: bool = True
    """Enough to believe in a straight line: what fills has had its time to show that it stops."""
    enough_for_rough: bool = True
    """Enough to believe in a rough line."""
    enough_for_rare: bool = True
    """Enough to believe in a line of few pieces."""
    enough_noise: bool = True
    """Enough to stop asking a noisy series for a finer sensitivity."""
    final: bool = False
    """The budget is used up, or a ceiling was met: this is the last word."""


class Judgement(NamedTuple):
    """What a series says so far. `verdict` None: not decided, more iterations are needed."""

    verdict: Verdict | None
    shape: Shape
    growth: float
    """Change per iteration over the last doublings, in the unit of the meter."""
    low: float
    high: float
    """99 % confidence interval of `growth`."""
    detectable: float | None
    """The smallest growth per iteration that this series would have shown; None where growth was found."""
    reason: str
    limit: float | None = None
    """For `bounded`: the growth at which it stopped, in the unit of the meter."""

    @property
    def suspicious(self) -> bool:
        """Something moves that has not been explained: look closer (more samples a doubling)."""
        return self.verdict in (None, "leak", "inconclusive") and self.shape != "constant"


class _Window(NamedTuple):
    """One doubling: its samples from edge to edge."""

    samples: Sequence[Sample]
    rate: float
    """Growth per iteration of the level from which the series never came back down."""

    @property
    def lowest(self) -> float:
        return min(sample.value for sample in self.samples)


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
    edges = _edges(samples)
    if len(edges) < 4:
        verdict: Verdict | None = "inconclusive" if evidence.final else None
        reason = "too few iterations to see growth at three scales"
        return Judgement(verdict, "constant", 0.0, 0.0, 0.0, None, reason)
    began = after_first_call(samples) if began is None else began
    # Most meters, most of the time: no more work for them.
    if all(sample.value == began for sample in samples[edges[-4] :]):
        last_span = samples[-1].iterations - samples[edges[-2]].iterations
        detectable = max(1.25 * limits.floor, 3 * limits.quantum) / last_span
        flat: Verdict | None = "clean" if evidence.enough_for_clean or evidence.final else None
        return Judgement(flat, "constant", 0.0, 0.0, 0.0, detectable, "does not grow")
    windows = _doublings(samples, edges[-4:])
    recent = [sample for window in windows for sample in window.samples[1:]]
    recent.insert(0, windows[0].samples[0])
    growth, low, high = theil_sen(recent)
    # What stays unseen must hide in the last doubling: below the floor, as two objects where three were due, in noise.
    last_span = recent[-1].iterations - windows[-1].samples[0].iterations
    detectable = max(1.25 * limits.floor, 3 * limits.quantum, _amplitude(recent)) / last_span

    def said(verdict: Verdict | None, shape: Shape, reason: str, limit: float | None = None) -> Judgement:
        told = None if verdict == "leak" else detectable
        return Judgement(verdict, shape, growth, low, high, told, reason, limit)

    last, before, first = windows[-1], windows[-2], windows[-3]
    if _stopped(last, limits):
        enough = evidence.enough_for_clean or evidence.final
        if _climbs_below_the_floor(windows, recent, growth, limits):
            enough = evidence.enough_for_rough or evidence.final
        grown = last.samples[0].value - began
        if grown > max(limits.notable, 4 * limits.floor):
            shape: Shape = "step" if _in_one_step(samples, grown) else "saturating"
            return said("bounded" if enough else None, shape, "grew, then stopped", grown)
        return said("clean" if enough else None, "constant", "does not grow")

    creeps = max(last.rate, high) < limits.asked * limits.quantum
    grows = low > 0 and min(first.rate, before.rate) > 0
    distance = _distance_from_line(recent, growth, limits) if grows else math.inf
    fading = _fading([window.rate for window in windows], limits)
    straight = distance <= limits.straight and last.rate >= limits.fading * first.rate
    if distance <= limits.rough and not fading and (straight or not creeps):
        enough = evidence.enough_for_leak if straight else evidence.enough_for_rough
        if _in_few_pieces(samples, recent, limits):
            enough = enough and evidence.enough_for_rare
        if enough or evidence.final:
            return said("leak", "linear", PROPORTIONAL)
        return said(None, "linear", f"{PROPORTIONAL} so far")

    if grows and _gets_worse(windows, limits):
        if evidence.enough_for_rough or evidence.final:
            return said("leak", "linear", "grows ever faster")
        return said(None, "linear", "grows ever faster so far")

    if creeps and evidence.enough_for_clean and evidence.enough_noise:
        detectable = max(detectable, limits.asked * limits.quantum)
        return said("clean", "saturating" if fading else "noise", "creeps by less than the sensitivity asked for")

    rises = _rises_evenly(windows, limits) or low > 0
    # A series that only moves comes back below the middle of what it was, over all three doublings or, after a late
    # step, within the last one; a leak that grew by more than twice the amplitude does not.
    earlier = [sample for window in (first, before) for sample in window.samples]
    half = len(last.samples) // 2
    for former, later in ((earlier, last.samples), (last.samples[:half], last.samples[half:])):
        if len(former) > 1 and _comes_back(former, later, limits):
            enough = (evidence.enough_for_clean and evidence.enough_noise and not rises) or evidence.final
            amplitude = _amplitude([*former, *later])
            detectable = max(1.25 * limits.floor, 3 * limits.quantum, amplitude) / last_span
            grown = min(sample.value for sample in later) - began
            shape = "periodic" if _falls_in_steps(recent) else "noise"
            if grown > max(limits.notable, 2 * amplitude):
                return said("bounded" if enough else None, shape, "grew, then came back to a former trough", grown)
            return said("clean" if enough else None, shape, "comes back to a former trough")

    if not evidence.final:
        return said(None, "saturating" if fading else "noise", "moves, and is not decided yet")
    highest = max(window.rate for window in _doublings(samples, edges))
    halving = last.rate < min(limits.faded * highest, limits.logarithmic * before.rate)
    if fading and halving and _rises_only(recent):
        return said("bounded", "saturating", "grows ever more slowly", last.samples[-1].value - samples[0].value)
    if low <= 0:
        return said("clean", "noise", "moves without a direction")
    return said("inconclusive", "saturating" if fading else "noise", "neither stopped nor grew at a steady rate")


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
    return _median(slopes), slopes[lowest], slopes[highest]


def right_minimum(samples: Sequence[Sample]) -> list[float]:
    """For each sample the lowest value from there on: the level from which the series never came back down."""
    level = math.inf
    levels = []
    for sample in reversed(samples):
        level = min(level, sample.value)
        levels.append(level)
    return levels[::-1]


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


def _doublings(samples: Sequence[Sample], edges: Sequence[int]) -> list[_Window]:
    """The doublings between `edges`, oldest first."""
    first = edges[0]
    levels = right_minimum(samples[first:])
    return [
        _Window(
            samples[start : stop + 1],
            (levels[stop - first] - levels[start - first]) / (samples[stop].iterations - samples[start].iterations),
        )
        for start, stop in pairwise(edges)
    ]


def after_first_call(samples: Sequence[Sample]) -> float:
    """The value once one-time costs of the first calls are paid."""
    return next((sample.value for sample in samples if sample.iterations >= 2), samples[0].value)


def _amplitude(recent: Sequence[Sample]) -> float:
    """How far the series moves up and down: four robust standard deviations around its median.

    1.4826 times the median absolute deviation estimates one standard deviation (P. J. Huber, Robust Statistics, 1981).
    """
    middle = _median(sorted(sample.value for sample in recent))
    return 4 * 1.4826 * _median(sorted(abs(sample.value - middle) for sample in recent))


def _stopped(window: _Window, limits: Thresholds) -> bool:
    """Whether nothing rose in the last doubling: every sample lies within the floor of where it began."""
    start = window.samples[0].value
    return all(abs(sample.value - start) <= limits.floor for sample in window.samples)


def _climbs_below_the_floor(
    windows: Sequence[_Window], recent: Sequence[Sample], growth: float, limits: Thresholds
) -> bool:
    """Whether what is still below the floor is a straight line already: the next doubling may lift it above."""
    total = growth * (recent[-1].iterations - recent[0].iterations)
    if min(window.rate for window in windows) <= 0 or total <= limits.floor / 2:
        return False
    return _distance_from_line(recent, growth, limits._replace(floor=0.0)) <= limits.straight


def _distance_from_line(recent: Sequence[Sample], growth: float, limits: Thresholds) -> float:
    """Root mean square distance of the samples from the line, as a part of the growth; infinite where little grew."""
    total = growth * (recent[-1].iterations - recent[0].iterations)
    if len(recent) < limits.least_points or total <= 2 * limits.floor:
        return math.inf
    rests = [sample.value - growth * sample.iterations for sample in recent]
    middle = _median(sorted(rests))
    return math.sqrt(sum((rest - middle) ** 2 for rest in rests) / len(rests)) / total


def _in_few_pieces(samples: Sequence[Sample], recent: Sequence[Sample], limits: Thresholds) -> bool:
    """Whether a line that never falls stood still for long stretches: each piece of it took many calls to come."""
    if not _rises_only(recent) or samples[-1].value - samples[0].value >= limits.ample:
        return False
    longest = stretch = 0
    for earlier, later in pairwise(samples):
        stretch = stretch + later.iterations - earlier.iterations if later.value - earlier.value < limits.quantum else 0
        longest = max(longest, stretch)
    return longest > limits.few * samples[-1].iterations


def _fading(rates: Sequence[float], limits: Thresholds) -> bool:
    """Whether the growth per iteration is on its way down."""
    first, second, third = rates[-3:]
    if third < limits.fading * second:
        return True
    earlier, later = limits.steadily_fading
    return third < later * second and second < earlier * first


def _gets_worse(windows: Sequence[_Window], limits: Thresholds) -> bool:
    """Whether each doubling rose at a higher rate than the one before, and all the way.

    Not in one step, as a table that is made late does, nor after a stretch in which nothing rose, as a cache that
    starts late does.
    """
    rates = [window.rate for window in windows]
    if any(later < limits.faster * earlier for earlier, later in pairwise(rates)):
        return False
    for window in windows:
        rises = [later.value - earlier.value for earlier, later in pairwise(window.samples)]
        grown = sum(rises)
        if len(rises) < 3 or grown <= 2 * limits.floor or max(rises) > grown / 2 or not _rises_only(window.samples):
            return False
    return True


def _rises_evenly(windows: Sequence[_Window], limits: Thresholds) -> bool:
    """Whether the level that is never left downwards again rose in each doubling, at about the same rate.

    Below a sawtooth that dwarfs it, this is the first that is seen of a leak. Of noise it is true by chance, and is not
    in the next doubling.
    """
    rates = [window.rate for window in windows]
    rises = sum(window.rate * (window.samples[-1].iterations - window.samples[0].iterations) for window in windows)
    return min(rates) > 0 and max(rates) <= 3 * min(rates) and rises > 2 * limits.floor


def _in_one_step(samples: Sequence[Sample], grown: float) -> bool:
    """Whether most of the growth came between two neighbouring samples."""
    return any(later.value - earlier.value > 0.9 * grown for earlier, later in pairwise(samples[1:]))


def _comes_back(former: Sequence[Sample], later: Sequence[Sample], limits: Thresholds) -> bool:
    """Whether the later samples reach down to the middle of the former ones, and do not just creep up on it."""
    middle = _median(sorted(sample.value for sample in former))
    lowest = min(sample.value for sample in later)
    return lowest <= middle + limits.floor and not _rises_only([*former, *later])


def _rises_only(recent: Sequence[Sample]) -> bool:
    """Whether falls are no more than a tenth of the rises: a curve, and not a cloud that happens to bend."""
    changes = [later.value - earlier.value for earlier, later in pairwise(recent)]
    return -sum(change for change in changes if change < 0) <= 0.1 * sum(change for change in changes if change > 0)


def _falls_in_steps(recent: Sequence[Sample]) -> bool:
    """Whether the series rises more often than it falls, and falls by more than it rises: a sawtooth."""
    changes = [later.value - earlier.value for earlier, later in pairwise(recent)]
    rises = [change for change in changes if change > 0]
    falls = [-change for change in changes if change < 0]
    return bool(rises and falls) and len(rises) > len(falls) and _median(sorted(falls)) > _median(sorted(rises))


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

"""From a meter's history to its trend: pure functions, readings in, verdict out.

The memory of a service has a rhythm (its load, day by day), steps (deploys, reloads), a warm-up, caches that fill,
fragmentation and noise. What remains when these are taken away grows by the hour:

* rhythm    an hour is compared with the same hour of the days before, and the quiet hours alone count (levels.py)
* work      what grows with the load is held against the work that was done, known by the processor time (work.py)
* the rest  all sums of filling caches, fragmentation and steps are fitted with and without a line beside them, over
            restarts: a leak is a line that none of them can replace (explain.py)

`LOOKS` are taken in their order; the first that has something to say decides. The less of the limit was used, the more
evidence a look waits for. Every number that decides is in `Rules` or in a constant beneath it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain, pairwise
from typing import Literal, NamedTuple

from leakcheck.monitor.curves import Curve, caches, fragmentation
from leakcheck.monitor.explain import Line, lines_beside
from leakcheck.monitor.history import Bin, bins_since
from leakcheck.monitor.levels import CONFIDENCE, NEWEST, SLOTS, Level, Periods, cut_at_steps, fit_line, periods_of
from leakcheck.monitor.regression import Point
from leakcheck.monitor.work import by_work

HOUR = 3600.0
"""Seconds."""

Series = Sequence[Bin]
"""Readings by rising time."""
Verdict = Literal["warming", "steady", "bounded", "rising", "leak"]
ORDER: dict[Verdict, int] = {"warming": 0, "steady": 1, "bounded": 2, "rising": 3, "leak": 4}
"""Verdicts by how much they say."""


class Rules(NamedTuple):
    """The numbers that decide, each with its reason. Parts are parts of 1; evidence is as in `explain.Line`."""

    period: float = 24 * HOUR
    """Length in seconds of the rhythm of the load; 0 where there is none (a soak test, a batch job)."""
    share: float = 0.04
    """Part of the limit that growth must have used up to be reported before `patience` is over: late enough for most
    caches to have filled, early enough to act."""
    worth: float = 0.005
    """Part of the limit that growth must take in each period to be reported before `patience` is over."""
    evidence: float = 22.0
    """Evidence of a line that is needed where nothing of the limit is used yet; noise hardly ever has 10."""
    urgency: float = 300.0
    """By how much less evidence is needed for each whole limit used: the more is at stake, the earlier the report."""
    least_evidence: float = 11.0
    """What it must be at the least."""
    soon_evidence: float = 22.0
    """The same as `evidence` for growth that cannot wait for `patience`."""
    soon_urgency: float = 220.0
    """The same as `urgency`."""
    sudden_share: float = 0.15
    """The same as `share` for growth within less than three periods, when the rhythm is hardly known: more than the
    load of a day moves."""
    first_share: float = 0.30
    """The same in the first two periods of all, when nothing is known of the rhythm."""
    loss: float = 0.1
    """Part of the limit before which growth should be reported: the nearer it is, the shorter it must be seen."""
    cache: float = 0.1
    """Part of the limit up to which one cache is a likely explanation; what takes more is reported sooner, whatever it
    is."""
    patience: float = 14 * 24 * HOUR
    """Seconds after which steady growth is reported however small it is."""
    fading: float = 0.65
    """A newer half that grows by less than this part of the older half's rate is filling up."""
    settle: float = 0.25
    """Part of a period after a start that is left out: imports, pools, first caches."""
    least: float = 2 * 1024 * 1024.0
    """Growth over a window, in the meter's unit, below which nothing is reported."""
    final: bool = False
    """There will be no more readings: what is a leak need not be seen for longer."""
    least_rate: float = 0.85e6
    """Growth per period, in the meter's unit, below which nothing is reported: it would take years to matter, and
    fragmentation goes on like that."""


BYTES = Rules()
COUNTS = Rules(least=8.0, least_rate=1.0)
"""Descriptors, threads, tasks: exact, but a few come and go."""

LEAST_READINGS = 8
"""Readings since the start below which nothing is said."""
START_SHARE = 0.25
"""Part of its age, at the beginning, in which growth may be that of a start: imports, pools, first caches."""
LEAST_PERIODS = 3
"""Levels, of one period each, below which periods are not compared."""
NEWEST_PERIODS = (4, 6, NEWEST)
"""Periods that are looked at hour by hour: the more of them, the longer the process has run."""
MONTH = 31
"""Periods that are looked at together at first; all that are remembered, where these show nothing."""
RECENT = 14
"""Periods of the newest run that growth without enough evidence is described by."""
SOON_LEAST_EVIDENCE = 5.0
"""Evidence below which no line within the newest periods is reported."""
SCATTER = 0.06
"""Part of the growth that a line may leave as scatter: where no explanation fits, the simplest one is no evidence."""
HOLD = 24
"""A leak must be seen for this part of its window before it is reported."""
LONGEST_HOLD = 30
"""Periods of a window that count for that, at the most."""
STOPPED = 0.25
"""Growth whose newest slope is below this part of the whole has stopped."""
WINDOW_PARTS = 16
"""Parts of a window of hours, of each of which the lowest reading counts."""
SHRINKING = 0.7
"""Each window of hours is this part of the one before."""
WINDOW_FADING, WINDOW_STOPPED = 0.75, 0.5
"""The same as `Rules.fading` and `STOPPED` within a window of hours: there is no rhythm in it to allow for."""
WINDOW_SCATTER = 0.1
"""The same as `SCATTER`."""


class Trend(NamedTuple):
    """What a history says now."""

    verdict: Verdict
    """`warming`: too short to say. `steady`: no growth. `bounded`: grew, and fades or stopped. `rising`: grows, not yet
    clear or not yet worth an alert. `leak`: grows steadily."""
    rate: float
    """Growth per hour, in the meter's unit, over `window`."""
    low: float
    high: float
    """99 % confidence interval of `rate`."""
    window: float
    """Seconds over which the growth was measured."""
    level: float
    """What the process holds now at the least, in the meter's unit."""
    reason: str
    hold: float = 0.0
    """Seconds for which a leak must be seen before it is reported: judged often, a fluke is seen now and then."""

    def hours_left(self, limit: float | None) -> tuple[float, float, float] | None:
        """Hours until `limit` at this rate, with its interval: (expected, soonest, latest).

        None without a limit or growth; latest is infinite where the interval of the rate holds zero.
        """
        if limit is None or self.rate <= 0:
            return None
        room = max(0.0, limit - self.level)
        return room / self.rate, room / max(self.high, self.rate), room / self.low if self.low > 0 else math.inf


def judge(
    bins: Series, now: float, limit: float | None, rules: Rules = BYTES, starts: Sequence[float] = (), work: Series = ()
) -> Trend:
    """Judge one meter.

    `starts` are the times at which the process was started (again), the oldest first; `limit` is what the meter may
    reach; `work` is the processor time that it has used since its start, in seconds, by when.
    """
    case = Case(bins, now, limit, rules, starts, work)
    del bins  # what comes needs memory too, and where nobody else holds them it takes their place
    return next(trend for look in LOOKS if (trend := look(case)) is not None)


class Case:
    """One meter at one time, and what several looks need of it, worked out once."""

    def __init__(
        self, bins: Series, now: float, limit: float | None, rules: Rules, starts: Sequence[float], work: Series
    ) -> None:
        self.now, self.limit, self.rules, self.starts, self.work = now, limit, rules, starts, work
        self.begin = starts[-1] if starts else (bins[0].at if bins else now)
        self.bins = bins
        self.current = bins_since(bins, self.begin)
        """The readings since the newest start."""
        self.age = self.current[-1].at - self.current[0].at if self.current else 0.0
        self.lowest = min((each.low for each in self.current[-8:]), default=0.0)

    @cached_property
    def sudden(self) -> Trend | None:
        """What a straight line within the last hours says, if any does."""
        return _over_hours(self)

    @cached_property
    def periods(self) -> Periods:
        """The levels of all periods; the readings are let go of, and no look after this one needs them."""
        bins, self.bins, self.current = self.bins, (), ()
        return periods_of(bins, self.now, self.rules.period, self.rules.settle * self.rules.period, self.starts)

    def still(self, verdict: Verdict, reason: str) -> Trend:
        """No growth."""
        return Trend(verdict, 0.0, 0.0, 0.0, self.age, self.lowest, reason)

    def leak(self, line: Line, days: int) -> Trend:
        """A line over so many periods."""
        hours = self.rules.period / HOUR
        error = CONFIDENCE * line.error
        rate, low, high = (slope / hours for slope in (line.slope, line.slope - error, line.slope + error))
        reason = f"grew in a line over {days} periods, which no cache, restart or step explains"
        hold = min(days, LONGEST_HOLD) * self.rules.period / HOLD
        return Trend("leak", rate, low, high, days * self.rules.period, self.periods.levels[-1].value, reason, hold)


# --- looks ------------------------------------------------------------------------------------------------------------


def too_few_readings(case: Case) -> Trend | None:
    """Just started: nothing can be said.

    | . .
    +-------------- hours
    """
    if len(case.current) >= LEAST_READINGS:
        return None
    level = case.current[-1].low if case.current else 0.0
    return Trend("warming", 0.0, 0.0, 0.0, 0.0, level, "too few readings yet")


def no_movement(case: Case) -> Trend | None:
    """Most meters, most of the time: no more work for them.

    | . . . . . . .
    +-------------- months
    """
    if max(each.low for each in case.bins) - min(each.low for each in case.bins) >= case.rules.least:
        return None
    return case.still("steady", "does not move")


def within_hours(case: Case) -> Trend | None:
    """Growth too fast to wait for days: a straight line over the last hours, above all before it.

    |           . / limit
    |          .
    | . . . . .
    +-------------- hours
    """
    if case.sudden is not None and (case.sudden.verdict == "leak" or not case.rules.period):
        return case.sudden
    return None if case.rules.period else case.still("steady", "no growth over any window")


def within_days(case: Case) -> Trend | None:
    """A line, hour by hour, within the newest run, that has used so much of the limit that it cannot wait.

    |         .:    : quiet hours
    |      .:
    |   .:
    +-------------- 4, 6, 10 days
    """
    periods, limit, rules = case.periods, case.limit, case.rules
    if len(periods.levels) < LEAST_PERIODS or limit is None:
        return None
    run = periods.newest_run
    grown = run[-1].value - min(each.value for each in run)
    if grown < rules.share * limit:
        return None
    for fewer, days in pairwise((0, *NEWEST_PERIODS)):
        if fewer >= run[-1].uptime + 0.5:
            break
        for line in _lines_by_hour(case, days, rules.cache * limit):
            if line.slope < rules.worth * limit or line.scatter > SCATTER * line.slope * min(days, len(run)):
                continue
            # The newest level is half a period old or more, and the first was not at the start: it grew meanwhile.
            slope = line.slope - line.error
            used = (
                min(slope * periods.uptime, grown + slope * (periods.uptime - run[-1].uptime + run[0].uptime)) / limit
            )
            if line.evidence >= max(SOON_LEAST_EVIDENCE, rules.soon_evidence - rules.soon_urgency * used):
                left = max(0.0, rules.loss - used) * limit / line.slope * rules.period
                trend = case.leak(line, min(days, len(run)))
                return trend._replace(hold=min(trend.hold, max(HOUR, left / 4)))
    return None


def within_a_month(case: Case) -> Trend | None:
    """A line in the levels of a month, restarts and steps included.

    |     .  |     .
    |   .    |   .    | restart
    | .      | .
    +-------------- 31 days
    """
    levels = case.periods.levels
    if len(levels) < LEAST_PERIODS:
        return None
    return _over_levels(case, [each for each in levels if each.position > levels[-1].position - MONTH])


def within_all_that_is_remembered(case: Case) -> Trend | None:
    """A line too small for a month: over months, of which the older days are remembered by their lowest reading.

    |              .
    |       .  .
    |  . .
    +-------------- 120 days
    """
    periods = case.periods
    if len(periods.levels) < LEAST_PERIODS or not periods.earlier:
        return None
    return _over_levels(case, [*periods.earlier, *periods.levels])


def without_evidence(case: Case) -> Trend | None:
    """What can be said of growth that is no leak, or not yet.

    |       . . . bounded     .
    |    .                  .
    |  .                  . rising
    +-------------------------- 14 days
    """
    periods, rules = case.periods, case.rules
    if len(periods.levels) < LEAST_PERIODS:
        return None
    run = periods.newest_run[-RECENT:]
    fit = fit_line(cut_at_steps(run))
    if fit is None:
        return None
    hours = rules.period / HOUR
    days = run[-1].position - run[0].position + 1
    rate = fit.slope / hours, fit.low / hours, fit.high / hours
    trend = Trend("steady", *rate, days * rules.period, run[-1].value, "no steady growth")
    if fit.slope <= 0 or fit.slope * days < max(rules.least, 2 * fit.rms):
        return trend
    if fit.newer < rules.fading * fit.older or fit.last < STOPPED * fit.slope:
        return trend._replace(verdict="bounded", reason="grows ever more slowly, or has stopped")
    return trend._replace(verdict="rising", reason="grows, and a cache that fills or a step may still explain it")


def too_few_periods(case: Case) -> Trend:
    r"""The rhythm is not known yet: what the last hours say, if anything.

    |   /\   /
    | ./  \./
    +-------------- 2 days
    """
    return case.sudden or case.still("warming", "less than three periods of history")


LOOKS: tuple[Callable[[Case], Trend | None], ...] = (
    too_few_readings,
    no_movement,
    within_hours,
    within_days,
    within_a_month,
    within_all_that_is_remembered,
    without_evidence,
    too_few_periods,
)
"""All looks, in their order: the last one always has something to say."""


# --- lines ------------------------------------------------------------------------------------------------------------


def _lines_by_hour(case: Case, days: int, largest: float) -> list[Line]:
    """The lines in the newest days of the newest run: against the time, and against the work that was done.

    Against the work in the shortest stretch only: what grows by day and not by night is a line in a longer one anyway.
    """
    period = case.rules.period
    points = [each for each in case.periods.hours if each.time > -days]
    span = points[-1].time - points[0].time if points else 0.0
    if span < 3 or len(points) < 0.35 * span * SLOTS / 2:
        return []
    times = [each.time - points[0].time for each in points]
    clocks = [times]
    if days == NEWEST_PERIODS[0]:
        work = bins_since(case.work, max(case.begin, case.now - (days + 2) * period))
        seconds = by_work([case.periods.zero + period * each.time for each in points], work, period / SLOTS)
        if seconds is not None:
            clocks.append([each / period for each in seconds])
    begins = [[0.125 * part * clock[-1] for part in range(5)] for clock in clocks]
    coarse, finer = (
        chain(*(caches(*each, coarse=first) for each in zip(clocks, begins, strict=True))) for first in (True, False)
    )
    curves = chain(coarse, [Curve(fragmentation, [each.uptime for each in points])])
    return lines_beside(points, clocks, curves, finer, 2, SOON_LEAST_EVIDENCE, largest, alike=True)


def _over_levels(case: Case, levels: list[Level]) -> Trend | None:
    """A line in these levels, with as much evidence as what was used of the limit asks for."""
    rules, limit = case.rules, case.limit
    days = levels[-1].position - levels[0].position + 1
    patience = max(4, round(rules.patience / rules.period))
    fit = fit_line(levels[:: 1 + len(levels) // (2 * MONTH)])  # it holds all pairs in memory: no need of thousands
    if fit is None or fit.slope <= 0.5 * rules.least_rate or fit.z < 2:
        return None
    used = fit.slope * days / limit if limit else 0.0
    if days < patience and used < rules.share:
        return None
    line = _line_by_period(levels, max(2, round(2 * days / MONTH)), rules.least_evidence)
    if line is None or line.slope - line.error < rules.least_rate:
        return None
    needed = max(rules.least_evidence, rules.evidence - rules.urgency * line.slope * days / (limit or math.inf))
    return case.leak(line, days) if line.evidence >= needed else None


def _line_by_period(levels: Sequence[Level], steps: int, needed: float) -> Line | None:
    """The line in the levels of all periods, over restarts: what fills after each start is the same each time."""
    cut = cut_at_steps([each for each in levels if each.uptime >= 0.5])
    points = [Point(float(each.position), each.uptime, each.value, each.run) for each in cut]
    if len(points) < 9:
        return None
    uptimes = [each.uptime for each in points]
    begins = [0.75 * part for part in range(5)]
    curves = chain(caches(uptimes, begins, coarse=True), [Curve(fragmentation, uptimes)])
    times = [each.time for each in points]
    found = lines_beside(points, [times], curves, caches(uptimes, begins, coarse=False), steps, needed)
    return found[0] if found else None


def _over_hours(case: Case) -> Trend | None:
    """The trend of the longest window of hours that shows a leak; else that which says most."""
    rules = case.rules
    level = min(each.low for each in case.current[-4:])
    if rules.period:
        lowest = min(each.low for each in case.current)
        if case.limit is None or level - lowest < rules.sudden_share * case.limit:
            return None
    best: Trend | None = None
    window = case.now - case.current[0].at
    while len(inside := bins_since(case.current, case.now - window)) >= 2 * WINDOW_PARTS:
        if not rules.period or window <= 3 * rules.period:
            trend = _over_window(case, inside, window, level)
            if trend is not None and (best is None or ORDER[trend.verdict] >= ORDER[best.verdict]):
                best = trend
            if best is not None and best.verdict == "leak":
                break
        window *= SHRINKING
    return best


def _over_window(case: Case, inside: Series, window: float, level: float) -> Trend | None:
    """The trend of one window; None where too little of it was read."""
    rules = case.rules
    begin = case.now - window
    parts: dict[int, float] = {}
    for at, low, _ in inside:
        part = min(WINDOW_PARTS - 1, int((at - begin) / window * WINDOW_PARTS))
        parts[part] = min(low, parts.get(part, low))
    if len(parts) < WINDOW_PARTS * 3 // 4:
        return None
    fit = fit_line([Level(part, value, 0, part + 1.0) for part, value in sorted(parts.items())])
    if fit is None:
        return None
    per_hour = WINDOW_PARTS / window * HOUR
    grown = fit.slope * WINDOW_PARTS
    rate = fit.slope * per_hour, fit.low * per_hour, fit.high * per_hour
    trend = Trend("steady", *rate, window, level, "no steady growth")
    if fit.slope <= 0 or grown < max(rules.least, 2 * fit.rms):
        return trend
    if fit.newer < WINDOW_FADING * fit.older or fit.last < WINDOW_STOPPED * fit.slope:
        return trend._replace(verdict="bounded", reason="grows ever more slowly, or has stopped")
    trend = trend._replace(verdict="rising", reason="grows, not clear enough yet")
    if fit.rms > WINDOW_SCATTER * grown or fit.low <= 0 or not _clear(case, window, grown, level):
        return trend
    hold = 0.0 if rules.final else window / HOLD
    return trend._replace(verdict="leak", reason="grew in a straight line, above all before", hold=hold)


def _clear(case: Case, window: float, grown: float, level: float) -> bool:
    """Whether growth in a straight line over a window has used enough to be called a leak."""
    rules, limit = case.rules, case.limit
    if not rules.period:
        started = case.now - window < case.current[0].at + START_SHARE * case.age
        return window >= rules.patience or (not started and limit is not None and grown >= rules.share * limit)
    assert limit is not None
    begin = case.now - window
    before = max((each.mean for each in case.current if each.at < begin), default=0.0)
    known = begin - case.current[0].at >= 2 * rules.period and level - before >= rules.sudden_share * limit
    doomed = grown >= rules.sudden_share * limit and level + grown >= limit
    clear = (known and grown >= rules.sudden_share * limit) or grown >= rules.first_share * limit or doomed
    return clear and level - before > 0

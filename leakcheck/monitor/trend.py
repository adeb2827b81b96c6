"""From a meter's history to its trend: pure functions, bins in, verdict out.

The memory of a service has a rhythm (its load, day by day), steps (deploys, reloads), a warm-up, caches that fill,
fragmentation and noise. What is left when these are taken away grows by the hour:

* rhythm    an hour is compared with the same hour of the days before, and the quiet hours alone count
* work      what grows with the load is held against the work that was done, told by the processor time (work.py)
* the rest  all combinations of filling caches, fragmentation and steps are fitted with and without a line beside them,
            over restarts: a leak is a line that none of them can replace (explain.py)

Three looks are taken: at the newest days hour by hour, where growth has used so much that it cannot wait, at a month
day by day, and where that shows nothing, at all that is remembered. The less was used, the more evidence is waited for.
Every number that decides is in `Rules`.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import chain, groupby, islice, pairwise
from operator import itemgetter
from typing import Literal, NamedTuple

from leakcheck.monitor.curves import Fragmentation, caches
from leakcheck.monitor.explain import Line, lines_beside
from leakcheck.monitor.history import Bin, bins_since
from leakcheck.monitor.regression import Point
from leakcheck.monitor.work import by_work

HOUR = 3600.0
SLOTS = 24
"""Parts of a period that are compared with the same part of other periods."""

Verdict = Literal["warming", "steady", "bounded", "rising", "leak"]


class Rules(NamedTuple):
    """Every number that decides, each with its reason."""

    period: float = 24 * HOUR
    """Length in seconds of the rhythm of the load; 0 where there is none (a soak test, a batch job)."""
    share: float = 0.04
    """Part of the limit that growth must have used up to be told before `patience` is over: late enough for most caches
    to have filled, early enough to act."""
    worth: float = 0.005
    """Part of the limit that growth must take in each period to be told before `patience` is over."""
    evidence: float = 22.0
    """What a line must add to the best explanation without it (twice the logarithm of the likelihood ratio), where
    nothing of the limit is used yet; 10 says that noise hardly ever looks like that."""
    urgency: float = 300.0
    """By how much less evidence is enough, for each whole limit used: the more is at stake, the sooner it is told."""
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
    """Part of the limit before which growth should be told: the nearer it is, the shorter it must have been seen."""
    cache: float = 0.1
    """Part of the limit up to which one cache is a likely explanation; what takes more is told of sooner, whatever it
    is."""
    patience: float = 14 * 24 * HOUR
    """Seconds after which steady growth is told however small it is."""
    fading: float = 0.65
    """A newer half that grows by less than this part of the older half's rate is filling up."""
    settle: float = 0.25
    """Part of a period after a start that is left out: imports, pools, first caches."""
    least: float = 2 * 1024 * 1024.0
    """Growth over a window, in the meter's unit, below which nothing is told."""
    least_rate: float = 0.85e6
    """Growth per period, in the meter's unit, below which nothing is told: it would take years to matter, and
    fragmentation goes on like that."""


BYTES = Rules()
COUNTS = Rules(least=8.0, least_rate=1.0)
"""Descriptors, threads, tasks: exact, but a few come and go."""


class Trend(NamedTuple):
    """What a history says now."""

    verdict: Verdict
    """`warming`: too short to say. `steady`: no growth. `bounded`: grew, and fades or stopped. `rising`: grows, not yet
    clear or not yet worth a word. `leak`: grows steadily."""
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
    """Seconds for which a leak must be seen before it is told: judged often, a fluke is seen now and then."""

    def hours_left(self, limit: float | None) -> tuple[float, float, float] | None:
        """Hours until `limit` at this rate, with its interval: (expected, soonest, latest).

        None without a limit or growth; latest is infinite where the interval of the rate holds zero.
        """
        if limit is None or self.rate <= 0:
            return None
        room = max(0.0, limit - self.level)
        return room / self.rate, room / max(self.high, self.rate), room / self.low if self.low > 0 else math.inf


_WEIGHT: dict[Verdict, int] = {"warming": 0, "steady": 1, "bounded": 2, "rising": 3, "leak": 4}


def judge(
    bins: Sequence[Bin],
    now: float,
    limit: float | None,
    rules: Rules = BYTES,
    starts: Sequence[float] = (),
    work: Sequence[Bin] = (),
) -> Trend:
    """Judge one meter.

    `starts` are the times at which the process was started (again), the oldest first; `limit` is what the meter may
    reach; `work` is the processor time that it has used since its start, in seconds, by when.
    """
    begin = starts[-1] if starts else (bins[0].at if bins else now)
    current = bins_since(bins, begin)
    if len(current) < 8:
        return Trend("warming", 0.0, 0.0, 0.0, 0.0, current[-1].low if current else 0.0, "too few readings yet")
    if max(each.low for each in bins) - min(each.low for each in bins) < rules.least:
        return _still(current, "does not move")  # most meters, most of the time: no more work for them
    sudden = _sudden(current, now, limit, rules)
    if sudden is not None and (sudden.verdict == "leak" or not rules.period):
        return sudden
    if not rules.period:
        return _still(current, "no growth over any window")
    still = _still(current, "less than three periods of history")
    periods = _periods(bins, now, rules, starts)
    work = bins_since(work, max(begin, now - (_DAYS[0] + 2) * rules.period))
    del bins, current  # what comes needs memory too, and where nobody else holds them it takes their place
    return _by_period(periods, work, limit, rules) or sudden or still


def _still(current: Sequence[Bin], reason: str) -> Trend:
    recent = current[-8:]
    verdict: Verdict = "warming" if reason.startswith("less") else "steady"
    return Trend(verdict, 0.0, 0.0, 0.0, current[-1].at - current[0].at, min(each.low for each in recent), reason)


# --- growth over days: levels of whole periods ------------------------------------------------------------------------


class Level(NamedTuple):
    """What a process held in the quiet hours of one period."""

    position: int
    """Which period, counted upwards."""
    value: float
    run: int
    """Which run of the process (or which part of it, after a step): only levels of one may be compared."""
    uptime: float
    """Periods since the run began."""


class _Periods(NamedTuple):
    levels: list[Level]
    earlier: list[Level]
    """The lowest readings of whole periods before these, of which no more is remembered."""
    hours: list[Point]
    """The quiet hours of the newest run, each with its part of the period as its group."""
    uptime: float
    """Periods since the newest run began."""
    zero: float
    """The time of the points that have time 0, in seconds."""


def _by_period(periods: _Periods, work: Sequence[Bin], limit: float | None, rules: Rules) -> Trend | None:
    if len(periods.levels) < 3:
        return None
    return (
        _soon(periods, work, limit, rules)
        or _patient(periods, limit, rules)
        or _description([each for each in periods.levels if each.run == periods.levels[-1].run][-14:], rules)
    )


def _soon(periods: _Periods, work: Sequence[Bin], limit: float | None, rules: Rules) -> Trend | None:
    """A line within the newest run that has used so much of the limit that it cannot wait."""
    run = [each for each in periods.levels if each.run == periods.levels[-1].run]
    grown = run[-1].value - min(each.value for each in run)
    if limit is None or grown < rules.share * limit:
        return None
    for fewer, days in pairwise((0, *_DAYS)):
        if fewer >= run[-1].uptime + 0.5:
            break
        for line in _lines_of_days(periods, work, days, rules.cache * limit, rules):
            if line.slope < rules.worth * limit or line.scatter > _STRAIGHT * line.slope * min(days, len(run)):
                continue
            # The newest level is half a period old or more, and the first was not at the start: it grew meanwhile.
            slope = line.slope - line.error
            used = (
                min(slope * periods.uptime, grown + slope * (periods.uptime - run[-1].uptime + run[0].uptime)) / limit
            )
            if line.evidence >= max(_LEAST, rules.soon_evidence - rules.soon_urgency * used):
                left = max(0.0, rules.loss - used) * limit / line.slope * rules.period
                trend = _leak(line, min(days, len(run)), run[-1].value, rules)
                return trend._replace(hold=min(trend.hold, max(HOUR, left / 4)))
    return None


_DAYS = (4, 6, 10)
"""Newest periods that are looked at hour by hour: the more of them, the longer the process has run."""
HOLD = 24
"""A leak must be seen for this part of its window before it is told."""
_ERRATIC = 3.0
"""How much more than usual an hour may differ from day to day to be looked at."""
_STRAIGHT = 0.06
"""Part of its growth that a line may leave: where no explanation fits, the simplest one is no evidence."""
_LEAST = 5.0
"""Evidence below which a line is never told of."""


def _patient(periods: _Periods, limit: float | None, rules: Rules) -> Trend | None:
    """A line over all that is remembered, restarts and steps included."""
    newest = periods.levels[-1].position
    month = [each for each in periods.levels if each.position > newest - _MONTH]
    trend = _steady(month, limit, rules)
    if trend is None and periods.earlier:
        trend = _steady([*periods.earlier, *periods.levels], limit, rules)
    return trend


def _steady(levels: list[Level], limit: float | None, rules: Rules) -> Trend | None:
    """A line in these levels, with as much evidence as what was used of the limit asks for."""
    days = levels[-1].position - levels[0].position + 1
    patience = max(4, round(rules.patience / rules.period))
    fit = fit_line(levels[:: 1 + len(levels) // (2 * _MONTH)])  # it holds all pairs in memory: no need of thousands
    if fit is None or fit.slope <= 0.5 * rules.least_rate or fit.z < 2:
        return None
    used = fit.slope * days / limit if limit else 0.0
    if days < patience and used < rules.share:
        return None
    line = _line_of_periods(levels, max(2, round(2 * days / _MONTH)), rules.least_evidence)
    if line is None or line.slope - line.error < rules.least_rate:
        return None
    needed = max(rules.least_evidence, rules.evidence - rules.urgency * line.slope * days / (limit or math.inf))
    return _leak(line, days, levels[-1].value, rules) if line.evidence >= needed else None


_MONTH = 31
"""Periods that are looked at together at first; all that are remembered, where these show nothing."""


def _leak(line: Line, days: int, level: float, rules: Rules) -> Trend:
    hours = rules.period / HOUR
    low, high = line.slope - 2.576 * line.error, line.slope + 2.576 * line.error
    return Trend(
        "leak",
        line.slope / hours,
        low / hours,
        high / hours,
        days * rules.period,
        level,
        f"grew in a line over {days} periods, which no cache, restart or step explains",
        min(days, 30) * rules.period / HOLD,
    )


def _description(run: list[Level], rules: Rules) -> Trend | None:
    """What can be said of growth that is no leak (yet)."""
    points = _cut_at_steps(run)
    fit = fit_line(points)
    if fit is None:
        return None
    hours = rules.period / HOUR
    days = run[-1].position - run[0].position + 1
    rate = fit.slope / hours, fit.low / hours, fit.high / hours
    trend = Trend("steady", *rate, days * rules.period, run[-1].value, "no steady growth")
    if fit.slope <= 0 or fit.slope * days < max(rules.least, 2 * fit.rms):
        return trend
    if fit.newer < rules.fading * fit.older or fit.last < 0.25 * fit.slope:
        return trend._replace(verdict="bounded", reason="grows ever more slowly, or has stopped")
    return trend._replace(verdict="rising", reason="grows, and a cache that fills or a step may still explain it")


def _periods(bins: Sequence[Bin], now: float, rules: Rules, starts: Sequence[float]) -> _Periods:
    """The level of each period: how its quiet hours lie against the same hours of the others."""
    width = rules.period / SLOTS
    edges = [*starts] or [bins[0].at]
    settle = rules.settle * rules.period
    newest = int(now // width) - 1
    # The oldest bins are as wide as a period: no hours can be told apart in them.
    coarse = next((at for at, (a, b) in enumerate(pairwise(bins)) if b.at - a.at < 0.5 * rules.period), len(bins))
    table: dict[int, dict[int, float]] = {}
    runs: dict[int, int] = {}
    run = 0
    for at, low, _ in islice(bins, coarse, None):
        while run + 1 < len(edges) and at >= edges[run + 1]:
            run += 1
        if at < edges[run] + settle:
            continue
        slot = newest - int(at // width)
        if slot < 0:
            continue  # an hour that is not over yet
        day, hour = divmod(slot, SLOTS)
        if runs.setdefault(day, run) != run:
            runs[day] = run  # a day with a restart belongs to the run after it
            table[day] = {}
        row = table.setdefault(day, {})
        before = row.get(hour)
        row[hour] = low if before is None or low < before else before
    if not table:
        return _Periods([], [], [], 0.0, now)
    oldest = max(table)
    typical = [
        _median(sorted(row[hour] for row in table.values() if hour in row) or [math.inf]) for hour in range(SLOTS)
    ]
    # Later hours hold more where it grows, whatever their load: that must not make them look busy.
    drift = _median(
        sorted(
            table[day][hour] - before
            for day in table
            for hour, before in table.get(day + 1, {}).items()
            if hour in table[day] and runs[day] == runs[day + 1]
        )
        or [0.0]
    )
    by_load = sorted(range(SLOTS), key=lambda hour: typical[hour] + drift * hour / SLOTS)
    half = by_load[: SLOTS // 2]
    quiet = by_load[: SLOTS // 3]
    base = _median(sorted(typical[hour] for hour in quiet))
    levels = []
    rough: dict[int, list[float]] = {hour: [] for hour in half}
    for day in range(oldest, -1, -1):
        row = table.get(day, {})
        found = sorted(row[hour] - typical[hour] for hour in quiet if hour in row)
        if len(found) >= 3:
            uptime = (now - edges[runs[day]]) / rules.period - day - 0.5
            # The lower middle, not a mean of two: a step within the period must not show as two half steps.
            middle = found[(len(found) - 1) // 2]
            levels.append(Level(oldest - day, base + middle, runs[day], max(uptime, 0.1)))
            for hour in half:
                if hour in row:
                    rough[hour].append(abs(row[hour] - typical[hour] - middle))
    # Hours in which the load comes or goes differ from day to day, by more than all that is asked of them.
    spread = {hour: _median(sorted(rests) or [math.inf]) for hour, rests in rough.items()}
    usual = _median(sorted(spread.values()))
    half = [hour for hour in half if spread[hour] <= _ERRATIC * usual]
    begin = (now - edges[-1]) / rules.period
    hours = [
        Point(-(day + hour / SLOTS), begin - (day + hour / SLOTS), row[hour], hour)
        for day in range(min(oldest, 10), -1, -1)
        for row in [table.get(day, {})]
        for hour in sorted(half, reverse=True)
        if hour in row and runs[day] == run
    ]
    earlier = _whole(bins[:coarse], edges, settle, oldest, now, rules)
    return _Periods(levels, earlier, _without_transitions(hours), begin, (newest + 0.5) * width)


def _without_transitions(hours: Sequence[Point]) -> list[Point]:
    """The hours but for those on the way from one level to another: a step takes no time in what is fitted."""
    rates = [(later.value - earlier.value) / (later.time - earlier.time) for earlier, later in pairwise(hours)]
    usual = _median(sorted(abs(rate) for rate in rates)) if rates else 0.0

    def far(rate: float) -> int:
        return (rate > _LEAP * usual) - (rate < -_LEAP * usual)

    passing = [False, *(far(before) * far(after) > 0 for before, after in pairwise(rates)), False]
    kept: list[Point] = []
    for on_the_way, members in groupby(zip(hours, passing, strict=False), key=itemgetter(1)):
        found = [point for point, _ in members]
        if not on_the_way or len(found) > _PASSAGE:
            kept += found
    return kept


_LEAP = 8.0
"""How many times the usual change from hour to hour leads from one level to another."""
_PASSAGE = 6
"""Hours that it may take; what goes on for longer is growth."""


def _whole(
    bins: Sequence[Bin], edges: Sequence[float], settle: float, oldest: int, now: float, rules: Rules
) -> list[Level]:
    """Levels of periods of which one bin is left, in the count of the finer ones; each run is one of its own."""
    levels: list[Level] = []
    for at, low, _ in bins:
        end = (at // rules.period + 1) * rules.period
        run = bisect_right(edges, at) - 1
        position = oldest - math.ceil((now - end) / rules.period)
        if run < 0 or at < edges[run] + settle or run != bisect_right(edges, end) - 1 or position >= 0:
            continue
        if levels and levels[-1].position == position:  # a bin may begin late, after a gap, and another follow that day
            low = min(low, levels.pop().value)
        levels.append(Level(position, low, -1 - run, (0.5 * (at + end) - edges[run]) / rules.period))
    return levels


class _Fit(NamedTuple):
    """A line through levels, per position."""

    slope: float
    low: float
    high: float
    z: float
    rms: float
    older: float
    newer: float
    last: float


def _cut_at_steps(points: list[Level]) -> list[Level]:
    """Begin a new run where the series jumps and stays: at most one in three points, else it is how it grows."""
    if len(points) < 5:
        return points
    changes = [later.value - earlier.value for earlier, later in pairwise(points)]
    usual = _median(sorted(changes))
    spread = 1.4826 * _median(sorted(abs(change - usual) for change in changes))
    jumps = {
        index + 1
        for index, change in enumerate(changes)
        if abs(change - usual) > max(4 * spread, abs(usual)) and points[index].run == points[index + 1].run
    }
    if not jumps or len(jumps) > max(1 + (len(points) >= 7), len(points) // 3):
        return points
    cut, shift = [], 0
    for index, point in enumerate(points):
        shift += index in jumps
        cut.append(point._replace(run=point.run * 64 + shift))
    return cut


def _by_run(points: Sequence[Level]) -> list[list[Level]]:
    runs: dict[int, list[Level]] = {}
    for point in points:
        runs.setdefault(point.run, []).append(point)
    return list(runs.values())


def fit_line(points: Sequence[Level]) -> _Fit | None:
    """Theil-Sen slope and Kendall's statistic over all pairs within a run; None where either half is unknown.

    Hirsch and Slack, A nonparametric trend test for seasonal data, Water Resources Research 20 (1984), do the same
    within seasons.
    """
    slopes, older, newer = array("d"), array("d"), array("d")
    middle = (points[0].position + points[-1].position) / 2
    score = variance = 0.0
    runs = _by_run(points)
    for members in runs:
        count = len(members)
        variance += count * (count - 1) * (2 * count + 5) / 18
        for index, point in enumerate(members):
            for later in members[index + 1 :]:
                change = later.value - point.value
                score += (change > 0) - (change < 0)
                slope = change / (later.position - point.position)
                slopes.append(slope)
                if later.position <= middle:
                    older.append(slope)
                elif point.position >= middle:
                    newer.append(slope)
    if not older or not newer:
        return None
    ordered = sorted(slopes)
    slope = _median(ordered)
    half = 2.576 * math.sqrt(variance) / 2
    low = ordered[max(0, math.floor(len(ordered) / 2 - half))]
    high = ordered[min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half))]
    del slopes, ordered
    rests = []
    for members in runs:
        offsets = [point.value - slope * point.position for point in members]
        rest = _median(sorted(offsets))
        rests += [(offset - rest) ** 2 for offset in offsets]
    rms = math.sqrt(sum(rests) / len(rests))
    z = (score - 1) / math.sqrt(variance) if score > 0 else 0.0
    return _Fit(slope, low, high, z, rms, _median(sorted(older)), _median(sorted(newer)), _newest_slope(points))


def _newest_slope(points: Sequence[Level]) -> float:
    """The slope over the last third (at least three points) of the newest run; infinite where that is too short."""
    newest = [point for point in points if point.run == points[-1].run]
    tail = newest[-max(3, len(newest) // 3) :]
    slopes = sorted(
        (later.value - earlier.value) / (later.position - earlier.position)
        for index, earlier in enumerate(tail)
        for later in tail[index + 1 :]
    )
    return _median(slopes) if slopes else math.inf


# --- growth within hours: parts of a window ---------------------------------------------------------------------------

_PARTS = 16


def _sudden(current: Sequence[Bin], now: float, limit: float | None, rules: Rules) -> Trend | None:
    """Growth too fast to wait for days: a straight line over a window of the last hours that is above all before it."""
    age = now - current[0].at
    if limit is None and rules.period:
        return None
    level = min(each.low for each in current[-4:])
    lowest = min(each.low for each in current)
    if rules.period and limit is not None and level - lowest < rules.sudden_share * limit:
        return None
    best: Trend | None = None
    window = age
    while True:
        inside = bins_since(current, now - window)
        if len(inside) < 2 * _PARTS:
            return best
        if not rules.period or window <= 3 * rules.period:
            trend = _window_trend(inside, now, window, level, current, limit, rules)
            if trend is not None and trend.verdict == "leak":
                return trend
            if trend is not None and (best is None or _WEIGHT[trend.verdict] >= _WEIGHT[best.verdict]):
                best = trend
        window *= 0.7


def _window_trend(
    inside: Sequence[Bin],
    now: float,
    window: float,
    level: float,
    current: Sequence[Bin],
    limit: float | None,
    rules: Rules,
) -> Trend | None:
    parts: dict[int, float] = {}
    for at, low, _ in inside:
        part = min(_PARTS - 1, int((at - (now - window)) / window * _PARTS))
        parts[part] = min(low, parts.get(part, low))
    if len(parts) < _PARTS * 3 // 4:
        return None
    fit = fit_line([Level(part, value, 0, part + 1.0) for part, value in sorted(parts.items())])
    if fit is None:
        return None
    per_hour = _PARTS / window * HOUR
    grown = fit.slope * _PARTS
    trend = Trend(
        "steady", fit.slope * per_hour, fit.low * per_hour, fit.high * per_hour, window, level, "no steady growth"
    )
    if fit.slope <= 0 or grown < max(rules.least, 2 * fit.rms):
        return trend
    if fit.newer < 0.75 * fit.older or fit.last < 0.5 * fit.slope:
        return trend._replace(verdict="bounded", reason="grows ever more slowly, or has stopped")
    trend = trend._replace(verdict="rising", reason="grows, not clear enough yet")
    if fit.rms > 0.1 * grown or fit.low <= 0:
        return trend
    begin = current[0].at
    if not rules.period:
        clear = window >= rules.patience or (limit is not None and grown >= rules.share * limit)
    else:
        assert limit is not None
        before = max((each.mean for each in current if each.at < now - window), default=0.0)
        known = now - window - begin >= 2 * rules.period and level - before >= rules.sudden_share * limit
        doomed = grown >= rules.sudden_share * limit and level + grown >= limit
        clear = (known and grown >= rules.sudden_share * limit) or grown >= rules.first_share * limit or doomed
        clear = clear and level - before > 0
    if not clear:
        return trend
    return trend._replace(verdict="leak", reason="grew in a straight line, above all before", hold=window / HOLD)


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[int(part * (len(ordered) - 1))]


# --- growth that nothing innocent explains ----------------------------------------------------------------------------


def _lines_of_days(periods: _Periods, work: Sequence[Bin], days: int, largest: float, rules: Rules) -> list[Line]:
    """The lines in the newest days of the newest run: against the time, and against the work that was done.

    Against the work in the shortest stretch only: what grows by day and not by night is a line in a longer one anyway.
    """
    points = [each for each in periods.hours if each.time > -days]
    span = points[-1].time - points[0].time if points else 0.0
    if span < 3 or len(points) < 0.35 * span * SLOTS / 2:
        return []
    times = [each.time - points[0].time for each in points]
    clocks = [times]
    if days == _DAYS[0]:
        seconds = by_work([periods.zero + rules.period * each.time for each in points], work, rules.period / SLOTS)
        if seconds is not None:
            clocks.append([each / rules.period for each in seconds])
    begins = [[0.125 * part * clock[-1] for part in range(5)] for clock in clocks]
    coarse, finer = (
        chain(*(caches(*each, coarse=first) for each in zip(clocks, begins, strict=True))) for first in (True, False)
    )
    curves = chain(coarse, [Fragmentation([each.uptime for each in points])])
    return lines_beside(points, clocks, curves, finer, 2, _LEAST, largest, alike=True)


def _line_of_periods(levels: Sequence[Level], steps: int, needed: float) -> Line | None:
    """The line in the levels of all periods, over restarts: what fills after each start is the same each time."""
    cut = _cut_at_steps([each for each in levels if each.uptime >= 0.5])
    points = [Point(float(each.position), each.uptime, each.value, each.run) for each in cut]
    if len(points) < 9:
        return None
    uptimes = [each.uptime for each in points]
    begins = [0.75 * part for part in range(5)]
    curves = chain(caches(uptimes, begins, coarse=True), [Fragmentation(uptimes)])
    times = [each.time for each in points]
    found = lines_beside(points, [times], curves, caches(uptimes, begins, coarse=False), steps, needed)
    return found[0] if found else None

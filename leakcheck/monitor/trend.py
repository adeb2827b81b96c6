"""From a meter's history to its trend: pure functions, bins in, verdict out.

The memory of a service has a rhythm (its load, day by day), steps (deploys, reloads), a warm-up, caches that fill and
noise. What is left when these are taken away grows by the hour:

* rhythm    an hour is compared with the same hour of the days before, and of these with the quiet ones alone
* steps     a series is cut where it jumps and stays; growth is measured between the cuts
* warm-up   growth whose rate falls is filling up: the newer half of a window must grow like the older one
* noise     the median of all slopes (Theil-Sen) and the rank test of Kendall, over several windows

Numbers alone cannot tell a leak from a cache that fills at a steady rate. So judgement waits while waiting is cheap:
until the growth has used a share of what the process may use, or has gone on for two weeks. Both are in `Rules`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from leakcheck.monitor.history import Bin

HOUR = 3600.0
SLOTS = 24
"""Parts of a period that are compared with the same part of other periods."""

Verdict = Literal["warming", "steady", "bounded", "rising", "leak"]


class Rules(NamedTuple):
    """Every number that decides, each with its reason."""

    period: float = 24 * HOUR
    """Length in seconds of the rhythm of the load; 0 where there is none (a soak test, a batch job)."""
    share: float = 0.06
    """Part of the limit that growth must have used up to be told before `patience` is over: late enough for most caches
    to have filled, early enough to act."""
    sudden_share: float = 0.15
    """The same for growth within less than three periods, when the rhythm is hardly known: more than the load of a
    day moves."""
    first_share: float = 0.30
    """The same in the first two periods of all, when nothing is known of the rhythm."""
    settled_share: float = 0.06
    """The same for growth that was uneven, and has settled to a constant rate."""
    settled_rate: float = 0.012
    """That rate, as a part of the limit in each period, at the least."""
    patience: float = 14 * 24 * HOUR
    """Seconds after which steady growth is told however small it is."""
    straight: float = 0.20
    """Root mean square distance from the line, as a part of the growth, up to which a line explains it."""
    fading: float = 0.65
    """A newer half that grows by less than this part of the older half's rate is filling up."""
    still: float = 0.7
    """The same for growth that is judged after few periods: the least against the most."""
    plausible: float = 6.0
    """Explanations that fit worse than the best one by less than this F ratio are still possible."""
    sure: float = 3.3
    """Standard errors by which the line that remains beside a warm-up must rise."""
    rank: float = 3.3
    """Standard deviations by which Kendall's statistic must exceed that of a series without trend (one in 2000)."""
    settle: float = 0.25
    """Part of a period after a start that is left out: imports, pools, first caches."""
    least: float = 2 * 1024 * 1024.0
    """Growth over a window, in the meter's unit, below which nothing is told."""
    least_rate: float = 0.95e6
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

    def hours_left(self, limit: float | None) -> tuple[float, float, float] | None:
        """Hours until `limit` at this rate, with its interval: (expected, soonest, latest).

        None without a limit or growth; latest is infinite where the interval of the rate holds zero.
        """
        if limit is None or self.rate <= 0:
            return None
        room = max(0.0, limit - self.level)
        return room / self.rate, room / max(self.high, self.rate), room / self.low if self.low > 0 else math.inf


def judge(
    bins: Sequence[Bin], now: float, limit: float | None, rules: Rules = BYTES, starts: Sequence[float] = ()
) -> Trend:
    """Judge one meter.

    `starts` are the times at which the process was started (again), the oldest first; `limit` is what the meter may
    reach.
    """
    begin = starts[-1] if starts else (bins[0].at if bins else now)
    current = [each for each in bins if each.at >= begin]
    if len(current) < 8:
        return Trend("warming", 0.0, 0.0, 0.0, 0.0, current[-1].low if current else 0.0, "too few readings yet")
    if max(each.low for each in bins) - min(each.low for each in bins) < rules.least:
        return _still(current, "does not move")  # most meters, most of the time: no more work for them
    sudden = _sudden(current, now, limit, rules)
    if sudden is not None and (sudden.verdict == "leak" or not rules.period):
        return sudden
    if not rules.period:
        return _still(current, "no growth over any window")
    by_day = _by_period(bins, now, limit, rules, starts)
    return by_day or sudden or _still(current, "less than three periods of history")


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
    changes: list[list[float]]
    """For the newest periods, the newest first: how each hour changed against the same hour one period before."""


def _by_period(
    bins: Sequence[Bin], now: float, limit: float | None, rules: Rules, starts: Sequence[float]
) -> Trend | None:
    periods = _periods(bins, now, rules, starts)
    if limit is not None and (settled := _settled(periods, limit, rules)) is not None:
        return settled
    if len(periods.levels) < 4:
        return None
    newest = periods.levels[-1]
    patience = max(4, round(rules.patience / rules.period))
    best: Trend | None = None
    for days in (4, 5, 7, 10, 14, 21, 30):
        inside = [each for each in periods.levels if each.position > newest.position - days]
        if days < patience:
            inside = [each for each in inside if each.run == newest.run]
        else:  # several runs together: what each of them fills at its beginning is left out
            inside = [each for each in inside if each.uptime >= (3 if each.run == 0 else 4)]
        if len(inside) < max(4, 0.6 * days) or inside[-1].position - inside[0].position < days - 3:
            continue
        trend = _period_trend(inside, periods.changes, limit, rules, patient=days >= patience)
        if trend is None:
            continue
        if trend.verdict == "leak":
            return trend
        if best is None or _WEIGHT[trend.verdict] >= _WEIGHT[best.verdict]:
            best = trend
    return best


_WEIGHT: dict[Verdict, int] = {"warming": 0, "steady": 1, "bounded": 2, "rising": 3, "leak": 4}


def _period_trend(
    inside: list[Level],
    changes: Sequence[Sequence[float]],
    limit: float | None,
    rules: Rules,
    *,
    patient: bool,
) -> Trend | None:
    points = _cut_at_steps(inside)
    fit = fit_line(points)
    if fit is None:
        return None
    hours = rules.period / HOUR
    days = inside[-1].position - inside[0].position + 1
    grown = fit.slope * days
    trend = Trend(
        "steady",
        fit.slope / hours,
        fit.low / hours,
        fit.high / hours,
        days * rules.period,
        inside[-1].value,
        "no steady growth",
    )
    if fit.slope <= 0 or grown < max(rules.least, 2 * fit.rms):
        return trend
    if fit.newer < rules.fading * fit.older or fit.last < 0.25 * fit.slope:
        return trend._replace(verdict="bounded", reason="grows ever more slowly, or has stopped")
    trend = trend._replace(verdict="rising", reason="grows, not clear enough yet")
    if fit.rms > rules.straight * grown:
        return trend
    if patient:
        runs = _by_run(inside)
        clear = len(runs) == 1 or not any(_fades(run, rules) for run in runs)
        clear = (
            clear
            and fit.slope >= rules.least_rate
            and fit.z >= rules.rank
            and fit.low > 0
            and _needs_a_line(points, rules)
        )
        reason = f"grew steadily for {days} periods"
    else:
        worth = limit is not None and grown >= rules.share * limit
        clear = worth and (
            _even(changes[: days - 1], fit.slope, rules)
            if days < 7
            else _even(changes[:1], fit.slope, rules) and fit.z >= 2.5 and _needs_a_line(points, rules)
        )
        reason = f"grew at the same rate in each of {days} periods"
    return trend._replace(verdict="leak", reason=reason) if clear else trend


_SETTLED = "grew at a constant rate for more than a period, on top of much growth before"


def _settled(periods: _Periods, limit: float, rules: Rules) -> Trend | None:
    """Large growth whose rate has settled to a constant: told at once.

    A cache that fills beside a leak hides the leak's straight line, but not for long; and caches that fill at a
    constant rate for much longer than a period are rare.
    """
    levels = [each for each in periods.levels if each.run == periods.levels[-1].run] if periods.levels else []
    if len(levels) < 3 or levels[-1].value - levels[0].value < rules.settled_share * limit:
        return None
    newest = [change for row in periods.changes[:2] for change in row][:SLOTS]
    if len(newest) < SLOTS * 3 // 4:
        return None
    rate, low, high = _median(sorted(newest)), _quantile(newest, 0.1), _quantile(newest, 0.9)
    if rate < rules.settled_rate * limit or low < 0.85 * rate or high > 1.2 * rate:
        return None
    part = len(newest) // 3
    if _median(sorted(newest[:part])) < 0.95 * _median(sorted(newest[-part:])):
        return None
    hours = rules.period / HOUR
    return Trend("leak", rate / hours, low / hours, high / hours, 2 * rules.period, levels[-1].value, _SETTLED)


def _even(changes: Sequence[Sequence[float]], slope: float, rules: Rules) -> bool:
    """Whether (nearly) every hour grew against the same hour one period before, and every period by about as much.

    A step moves some hours only, and a cache that fills has periods in which it fills less.
    """
    ordered = [change for row in changes for change in row]
    if len(ordered) < SLOTS * len(changes) // 3 or _quantile(ordered, 0.1) < 0.55 * slope:
        return False
    if len(changes) == 1:
        return True
    if _quantile(ordered, 0.9) > 1.6 * slope:
        return False
    by_period = [_median(sorted(row)) for row in changes if len(row) >= 3]
    return min(by_period) >= rules.still * max(by_period)


def _periods(bins: Sequence[Bin], now: float, rules: Rules, starts: Sequence[float]) -> _Periods:
    """The level of each period: how its quiet hours lie against the same hours of the others."""
    width = rules.period / SLOTS
    edges = [*starts] or [bins[0].at]
    settle = rules.settle * rules.period
    newest = int(now // width) - 1
    table: dict[int, dict[int, float]] = {}
    runs: dict[int, int] = {}
    run = 0
    for at, low, _ in bins:
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
        return _Periods([], [])
    oldest = max(table)
    typical = [
        _median(sorted(row[hour] for row in table.values() if hour in row) or [math.inf]) for hour in range(SLOTS)
    ]
    by_load = sorted(range(SLOTS), key=typical.__getitem__)
    quiet, calm = by_load[: SLOTS // 3], sorted(by_load[: SLOTS * 2 // 3])
    base = _median(sorted(typical[hour] for hour in quiet))
    levels = []
    for day in range(oldest, -1, -1):
        row = table.get(day, {})
        found = sorted(row[hour] - typical[hour] for hour in quiet if hour in row)
        if len(found) >= 3:
            uptime = (now - edges[runs[day]]) / rules.period - day - 0.5
            # The lower middle, not a mean of two: a step within the period must not show as two half steps.
            middle = found[(len(found) - 1) // 2]
            levels.append(Level(oldest - day, base + middle, runs[day], max(uptime, 0.1)))
    changes = []
    for day in range(min(6, oldest)):
        row, earlier = table.get(day, {}), table.get(day + 1, {})
        same_run = runs.get(day) == runs.get(day + 1)
        changes.append([row[hour] - earlier[hour] for hour in calm if hour in row and hour in earlier and same_run])
    return _Periods(levels, changes)


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


def _fades(run: Sequence[Level], rules: Rules) -> bool:
    """Whether one run of the process fills up: its second half grows little against the first."""
    fit = fit_line(run) if len(run) >= 4 else None
    return fit is not None and fit.older > 0 and fit.newer < rules.fading * fit.older


def _needs_a_line(points: Sequence[Level], rules: Rules) -> bool:
    """Whether there is a line left when all that a warm-up or one more step can explain is taken away.

    Levels are fitted with a line beside a curve that fills up (e^-t at several speeds since the start of the window and
    since the start of each run, and the logarithm of the uptime, as fragmentation goes), and beside a step anywhere:
    least squares, an offset for each run. With every explanation that fits about as well as the best one, the line must
    be needed.
    """
    span = max(points[-1].position - points[0].position, 1)
    first = points[0].position
    line = [float(point.position) for point in points]
    curves = [[-math.exp(-(point.position - first) / (span * speed)) for point in points] for speed in _SPEEDS]
    curves += [[-math.exp(-point.uptime / (span * speed)) for point in points] for speed in _SPEEDS]
    curves.append([math.log(point.uptime) for point in points])
    runs = [point.run for point in points]
    flat = [0.0] * len(points)
    tried = [_line_beside(points, runs, line, curve) for curve in curves]
    tried += [
        _line_beside(points, [run * 2 + (index >= at) for index, run in enumerate(runs)], line, flat)
        for at in range(2, len(runs) - 1)
        if runs[at] == runs[at - 1]
    ]
    fits = [fit for fit in tried if fit is not None]
    if not fits:
        return False
    best = min(rest for _, _, rest in fits)
    margin = 1 + rules.plausible / max(2, len(points) - len(set(runs)) - 3)
    return all(slope > rules.sure * error for slope, error, rest in fits if rest <= margin * best)


_SPEEDS = (0.1, 0.25, 0.6)


def _line_beside(
    points: Sequence[Level], split: Sequence[int], line: Sequence[float], curve: Sequence[float]
) -> tuple[float, float, float] | None:
    """Slope of the line, its standard error, and the sum of squares left; a curve that falls is left out."""
    runs: dict[int, list[tuple[float, float, float]]] = {}
    for point, run, x, w in zip(points, split, line, curve, strict=True):
        runs.setdefault(run, []).append((x, w, point.value))
    xx = xw = ww = xy = wy = yy = 0.0
    for members in runs.values():
        mean_x, mean_w, mean_y = (sum(column) / len(members) for column in zip(*members, strict=True))
        for x, w, y in members:
            dx, dw, dy = x - mean_x, w - mean_w, y - mean_y
            xx += dx * dx
            xw += dx * dw
            ww += dw * dw
            xy += dx * dy
            wy += dw * dy
            yy += dy * dy
    free = len(points) - len(runs) - 2
    determinant = xx * ww - xw * xw
    if free < 2 or xx <= 0:
        return None
    amplitude = (xx * wy - xw * xy) / determinant if determinant > 1e-9 * xx * ww else 0.0
    if amplitude <= 0:
        slope = xy / xx
        rest = max(yy - slope * xy, 0.0)
        return slope, math.sqrt(rest / free / xx), rest
    slope = (ww * xy - xw * wy) / determinant
    rest = max(yy - slope * xy - amplitude * wy, 0.0)
    return slope, math.sqrt(rest / free * ww / determinant), rest


def fit_line(points: Sequence[Level]) -> _Fit | None:
    """Theil-Sen slope and Kendall's statistic over all pairs within a run; None where either half is unknown.

    Hirsch and Slack, A nonparametric trend test for seasonal data, Water Resources Research 20 (1984), do the same
    within seasons.
    """
    slopes: list[float] = []
    older: list[float] = []
    newer: list[float] = []
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
    slopes.sort()
    slope = _median(slopes)
    half = 2.576 * math.sqrt(variance) / 2
    low = slopes[max(0, math.floor(len(slopes) / 2 - half))]
    high = slopes[min(len(slopes) - 1, math.ceil(len(slopes) / 2 + half))]
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
        inside = [each for each in current if each.at >= now - window]
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
    return trend._replace(verdict="leak", reason="grew in a straight line, above all before") if clear else trend


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[int(part * (len(ordered) - 1))]

r"""What a process held in its quiet hours, period by period, and the line through these levels.

    value |    load      load      load     The load comes back every period and hides what stays. So an hour is
          |     /\        /\        /\      compared with the same hour of the other periods, and a period's level is
          | .../..\....../..\....../..\     how its quiet hours lie against theirs.
          +---------------------------- time

Pure functions. Times and widths are in seconds unless a docstring says periods.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import NamedTuple

from leakcheck.monitor.history import Bin
from leakcheck.monitor.regression import Point
from leakcheck.series import median

SLOTS = 24
"""Parts of a period ("hours") that are compared with the same part of other periods."""
NEWEST = 10
"""Newest periods of which the hours are kept apart."""
LEVEL_HOURS = 3
"""Quiet hours that must be known for a period to have a level."""
ERRATIC = 3.0
"""How many times more than usual an hour may differ from period to period: in others the load comes or goes."""
LEAP = 8.0
"""How many times the usual change from hour to hour leads from one level to another."""
PASSAGE = 6
"""Hours that such a change may take; what goes on for longer is growth."""
CONFIDENCE = 2.576
"""Standard errors on either side of a slope that hold it with 99 %."""


class Level(NamedTuple):
    """What a process held in the quiet hours of one period."""

    position: int
    """Which period, counted upwards."""
    value: float
    """In the meter's unit."""
    run: int
    """Which run of the process (or which part of it, after a step): only levels of one run are compared."""
    uptime: float
    """Periods since the run began."""


class Periods(NamedTuple):
    """All that is known of one meter, by period."""

    levels: list[Level]
    earlier: list[Level]
    """The lowest readings of the periods before these, of which no hours are remembered."""
    hours: list[Point]
    """The quiet hours of the newest run, the oldest first; the hour of the period is the group."""
    uptime: float
    """Periods since the newest run began."""
    zero: float
    """The time of the points that have time 0, in seconds."""

    @property
    def newest_run(self) -> list[Level]:
        """The levels since the newest start."""
        return [each for each in self.levels if each.run == self.levels[-1].run]


class _Day(NamedTuple):
    run: int
    lows: dict[int, float]
    """The lowest reading of each hour."""


def periods_of(bins: Sequence[Bin], now: float, period: float, settle: float, starts: Sequence[float]) -> Periods:
    """The levels of all periods.

    `starts` are the times of the starts of the process, the oldest first; what was read in the first `settle` seconds
    after each is left out.
    """
    edges = [*starts] or [bins[0].at]
    width = period / SLOTS
    newest = int(now // width) - 1
    # The oldest bins are as wide as a period: there are no hours in them.
    coarse = next((at for at, (a, b) in enumerate(pairwise(bins)) if b.at - a.at < 0.5 * period), len(bins))
    days = _by_day(islice(bins, coarse, None), edges, settle, width, newest)
    if not days:
        return Periods([], [], [], 0.0, now)
    oldest = max(days)
    typical = [
        median([day.lows[hour] for day in days.values() if hour in day.lows] or [math.inf]) for hour in range(SLOTS)
    ]
    drift = _drift(days)
    # Later hours hold more where it grows, whatever their load: that must not make them look busy.
    by_load = sorted(range(SLOTS), key=lambda hour: typical[hour] + drift * hour / SLOTS)
    half, quiet = by_load[: SLOTS // 2], by_load[: SLOTS // 3]
    base = median(typical[hour] for hour in quiet)
    levels = []
    rough: dict[int, list[float]] = {hour: [] for hour in half}
    for ago in range(oldest, -1, -1):
        run, lows = days.get(ago, _NO_DAY)
        found = sorted(lows[hour] - typical[hour] for hour in quiet if hour in lows)
        if len(found) >= LEVEL_HOURS:
            uptime = (now - edges[run]) / period - ago - 0.5
            # The lower middle, not a mean of two: a step within the period must not show as two half steps.
            middle = found[(len(found) - 1) // 2]
            levels.append(Level(oldest - ago, base + middle, run, max(uptime, 0.1)))
            for hour in half:
                if hour in lows:
                    rough[hour].append(abs(lows[hour] - typical[hour] - middle))
    spread = {hour: median(rests or [math.inf]) for hour, rests in rough.items()}
    usual = median(spread.values())
    half = [hour for hour in half if spread[hour] <= ERRATIC * usual]
    uptime = (now - edges[-1]) / period
    run = bisect_right(edges, bins[-1].at) - 1
    hours = [
        Point(-(ago + hour / SLOTS), uptime - (ago + hour / SLOTS), day.lows[hour], hour)
        for ago in range(min(oldest, NEWEST), -1, -1)
        for day in [days.get(ago, _NO_DAY)]
        for hour in sorted(half, reverse=True)
        if hour in day.lows and day.run == run
    ]
    earlier = _whole_periods(bins[:coarse], edges, settle, oldest, now, period)
    return Periods(levels, earlier, without_transitions(hours), uptime, (newest + 0.5) * width)


_NO_DAY = _Day(-1, {})


def _by_day(bins: islice[Bin], edges: Sequence[float], settle: float, width: float, newest: int) -> dict[int, _Day]:
    """The lowest reading of each hour of each day, both counted backwards from the `newest` hour that is over."""
    days: dict[int, _Day] = {}
    for at, low, _ in bins:
        run = bisect_right(edges, at) - 1
        slot = newest - int(at // width)
        if run < 0 or at < edges[run] + settle or slot < 0:
            continue
        ago, hour = divmod(slot, SLOTS)
        day = days.get(ago)
        if day is None or day.run != run:  # a day with a restart belongs to the run after it
            day = days[ago] = _Day(run, {})
        before = day.lows.get(hour)
        day.lows[hour] = low if before is None or low < before else before
    return days


def _drift(days: dict[int, _Day]) -> float:
    """By how much an hour usually holds more than the same hour of the period before."""
    return median(
        sorted(
            day.lows[hour] - before
            for ago, day in days.items()
            if ago + 1 in days and days[ago + 1].run == day.run
            for hour, before in days[ago + 1].lows.items()
            if hour in day.lows
        )
        or [0.0]
    )


def without_transitions(hours: Sequence[Point]) -> list[Point]:
    """The hours but for those on the way from one level to another: a step takes no time in what is fitted."""
    rates = [(later.value - earlier.value) / (later.time - earlier.time) for earlier, later in pairwise(hours)]
    usual = median(abs(rate) for rate in rates) if rates else 0.0

    def far(rate: float) -> int:
        return (rate > LEAP * usual) - (rate < -LEAP * usual)

    passing = [False, *(far(before) * far(after) > 0 for before, after in pairwise(rates)), False]
    kept: list[Point] = []
    for on_the_way, members in groupby(zip(hours, passing, strict=False), key=itemgetter(1)):
        found = [point for point, _ in members]
        if not on_the_way or len(found) > PASSAGE:
            kept += found
    return kept


def _whole_periods(
    bins: Sequence[Bin], edges: Sequence[float], settle: float, oldest: int, now: float, period: float
) -> list[Level]:
    """Levels of periods of which one bin is left, in the count of the finer ones; each run is one of its own."""
    levels: list[Level] = []
    for at, low, _ in bins:
        end = (at // period + 1) * period
        run = bisect_right(edges, at) - 1
        position = oldest - math.ceil((now - end) / period)
        if run < 0 or at < edges[run] + settle or run != bisect_right(edges, end) - 1 or position >= 0:
            continue
        if levels and levels[-1].position == position:  # a bin may begin late, after a gap, and another follow that day
            low = min(low, levels.pop().value)
        levels.append(Level(position, low, -1 - run, (0.5 * (at + end) - edges[run]) / period))
    return levels


def cut_at_steps(levels: list[Level]) -> list[Level]:
    """Begin a new run where the series jumps and stays: at most one in three levels, else it is how it grows."""
    if len(levels) < 5:
        return levels
    changes = [later.value - earlier.value for earlier, later in pairwise(levels)]
    usual = median(changes)
    spread = 1.4826 * median(abs(change - usual) for change in changes)
    jumps = {
        index + 1
        for index, change in enumerate(changes)
        if abs(change - usual) > max(4 * spread, abs(usual)) and levels[index].run == levels[index + 1].run
    }
    if not jumps or len(jumps) > max(1 + (len(levels) >= 7), len(levels) // 3):
        return levels
    cut, shift = [], 0
    for index, level in enumerate(levels):
        shift += index in jumps
        cut.append(level._replace(run=level.run * 64 + shift))
    return cut


class Fit(NamedTuple):
    """A line through levels. Slopes are per position, in the meter's unit."""

    slope: float
    low: float
    high: float
    """99 % confidence interval of the slope."""
    z: float
    """Kendall's statistic in standard deviations: above 2, levels in no order hardly ever look like it."""
    rms: float
    """Root mean square of the residuals."""
    older: float
    newer: float
    """The slopes of the older and the newer half."""
    last: float
    """The slope of the last third of the newest run."""


def fit_line(levels: Sequence[Level]) -> Fit | None:
    """Theil-Sen slope and Kendall's statistic over all pairs within a run; None where either half is unknown.

    Hirsch and Slack, A nonparametric trend test for seasonal data, Water Resources Research 20 (1984), do the same
    within seasons.
    """
    slopes, older, newer = array("d"), array("d"), array("d")
    middle = (levels[0].position + levels[-1].position) / 2
    score = variance = 0.0
    runs: dict[int, list[Level]] = {}
    for level in levels:
        runs.setdefault(level.run, []).append(level)
    for members in runs.values():
        count = len(members)
        variance += count * (count - 1) * (2 * count + 5) / 18
        for index, level in enumerate(members):
            for later in members[index + 1 :]:
                change = later.value - level.value
                score += (change > 0) - (change < 0)
                slope = change / (later.position - level.position)
                slopes.append(slope)
                if later.position <= middle:
                    older.append(slope)
                elif level.position >= middle:
                    newer.append(slope)
    if not older or not newer:
        return None
    ordered = sorted(slopes)
    slope = median(ordered)
    half = CONFIDENCE * math.sqrt(variance) / 2
    low = ordered[max(0, math.floor(len(ordered) / 2 - half))]
    high = ordered[min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half))]
    del slopes, ordered  # for months of levels, the largest part of what judging holds
    rests = []
    for members in runs.values():
        offsets = [level.value - slope * level.position for level in members]
        rest = median(offsets)
        rests += [(offset - rest) ** 2 for offset in offsets]
    rms = math.sqrt(sum(rests) / len(rests))
    z = (score - 1) / math.sqrt(variance) if score > 0 else 0.0
    return Fit(slope, low, high, z, rms, median(older), median(newer), _newest_slope(levels))


def _newest_slope(levels: Sequence[Level]) -> float:
    """The slope over the last third (at least three levels) of the newest run; infinite where that is too short."""
    newest = [level for level in levels if level.run == levels[-1].run]
    tail = newest[-max(3, len(newest) // 3) :]
    slopes = sorted(
        (later.value - earlier.value) / (later.position - earlier.position)
        for index, earlier in enumerate(tail)
        for later in tail[index + 1 :]
    )
    return median(slopes) if slopes else math.inf

"""All meters of one process or group of processes: their histories, their trends, and which alerts are due.

An alert is due once an *episode*: growth is reported once it has held, and again only after it has stopped for good.

    trend    rising leak leak leak rising leak ... leak steady steady ... steady
    episode               begin                                              end
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from leakcheck.monitor.alert import Alert, Growing
from leakcheck.monitor.history import History
from leakcheck.monitor.trend import BYTES, COUNTS, HOUR, ORDER, Rules, Trend, judge

REACH = 120 * 24 * HOUR
"""Seconds of history that are judged."""
REACH_WITHOUT_PERIOD = 40
"""The same where the load has no rhythm, in times of the patience."""
FINAL_SHARE = 0.45
"""Part of a run that a straight line must have at its end."""
LEAST_RUN_S = 60.0
"""Seconds that a run must have for that: some programs take as long to start."""
STARTS = 32
"""Number of starts that are remembered."""
CALM = 2
"""An episode ends when nothing grows for one part in so many of the window in which it was reported."""


class Gauge(NamedTuple):
    """One number that is watched."""

    name: str
    unit: str
    family: str
    """Gauges of one family show the same growth: one alert for all of them."""
    decisive: bool = True
    """Whether its growth makes an alert, or goes along as evidence."""


class Reading(NamedTuple):
    """What is known of one meter now."""

    meter: str
    unit: str
    value: float
    trend: Trend
    limit: float | None
    episode: bool
    """Whether its growth was reported, and goes on."""
    decisive: bool


class Change(NamedTuple):
    """An episode that begins (with its alert) or ends."""

    family: str
    alert: Alert | None


class _State(NamedTuple):
    """One gauge that grows."""

    at: float
    """When it was last looked at."""
    window: float
    """The shortest window, in seconds, in which the leak was seen."""
    held: float = 0.0
    """Seconds for which the leak was seen, less half of those for which it was not; once reported, seconds of calm."""
    reported: bool = False


class Episodes:
    """Which gauges, or families of them, are in an episode of growth."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def step(self, name: str, trend: Trend, now: float) -> Literal["begin", "end"] | None:
        """Take a trend; returns what it begins or ends."""
        state = self._states.get(name)
        if state is None:
            if trend.verdict != "leak":
                return None
            at_once = not trend.hold
            self._states[name] = _State(now, trend.window, reported=at_once)
            return "begin" if at_once else None
        passed = now - state.at
        if state.reported:
            calm = state.held + passed if trend.verdict in ("steady", "bounded") else 0.0
            self._states[name] = state._replace(at=now, held=calm)
            if calm < state.window / CALM:
                return None
            del self._states[name]
            return "end"
        leaks = trend.verdict == "leak"
        window = min(state.window, trend.window) if leaks else state.window
        held = state.held + (passed if leaks else -passed / 2)
        if held < 0:
            del self._states[name]
            return None
        reported = leaks and held >= trend.hold
        self._states[name] = _State(now, window, 0.0 if reported else held, reported)
        return "begin" if reported else None

    def restarted(self) -> None:
        """The process was started again: what it had lost is back."""
        self._states.clear()

    def open(self, name: str) -> bool:
        """Whether an episode is going on."""
        state = self._states.get(name)
        return state is not None and state.reported


class _Series:
    """One gauge with its history and its latest trend."""

    __slots__ = ("gauge", "history", "rules", "trend", "value")

    def __init__(self, gauge: Gauge, interval: float, period: float, patience: float) -> None:
        self.gauge = gauge
        base = BYTES if gauge.unit == "B" else COUNTS
        self.rules: Rules = base._replace(period=period, patience=patience)
        self.history = History(interval, period)
        self.trend = Trend("warming", 0.0, 0.0, 0.0, 0.0, 0.0, "nothing was read yet")
        self.value = math.nan


class Panel:
    """Not thread-safe for writing; `readings` may be called from any thread. Times are monotonic seconds."""

    def __init__(
        self,
        gauges: Sequence[Gauge],
        limits: Mapping[str, float],
        *,
        interval: float,
        period: float,
        patience: float,
        started: float,
    ) -> None:
        self._series = {gauge.name: _Series(gauge, interval, period, patience) for gauge in gauges}
        self._limits = dict(limits)
        self._work = History(interval, period)
        self._episodes = Episodes()
        self._starts = [started]
        self._reach = REACH if period else REACH_WITHOUT_PERIOD * patience

    def add(self, now: float, values: Mapping[str, float], work: float | None = None) -> None:
        """Take the readings of one moment; `work` is the processor time used so far, in seconds, where it is known."""
        if work is not None:
            self._work.add(now, work)
        for name, value in values.items():
            series = self._series[name]
            series.value = value
            series.history.add(now, value)

    def restarted(self, now: float) -> None:
        """What is watched was started again: levels before and after are not compared."""
        self._starts = [*self._starts[1 - STARTS :], now]
        self._episodes.restarted()

    def judge(self, now: float) -> list[Change]:
        """Judge every gauge; returns the episodes that begin or end."""
        work = self._work.bins(now - self._reach)
        worst: dict[str, _Series] = {}
        for name, series in self._series.items():
            series.trend = judge(
                series.history.bins(now - self._reach), now, self.limit(name), series.rules, self._starts, work
            )
            best = worst.get(series.gauge.family)
            says_more = best is None or ORDER[series.trend.verdict] > ORDER[best.trend.verdict]
            if series.gauge.decisive and not math.isnan(series.value) and says_more:
                worst[series.gauge.family] = series
        changes = []
        for family, series in worst.items():
            step = self._episodes.step(family, series.trend, now)
            if step is not None:
                changes.append(Change(family, self._alert(series, now) if step == "begin" else None))
        return changes

    def close(self, now: float) -> None:
        """It is over: of a load without a rhythm, what grew in a straight line to the end is judged by its newest half.

        Nobody can wait for more, and what the start took is not in it.
        """
        age = now - self._starts[-1]
        for series in self._series.values():
            if not series.rules.period and age >= LEAST_RUN_S:
                patience = min(series.rules.patience, FINAL_SHARE * age)
                series.rules = series.rules._replace(patience=patience, final=True)

    def family(self, name: str) -> str:
        """Gauges of one family show the same growth."""
        return self._series[name].gauge.family

    def now(self, alert: Alert, now: float) -> Alert:
        """An alert with what is so now: as it was where its growth cannot be seen at this moment."""
        series = self._series[alert.meter]
        if series.trend.verdict not in ("leak", "rising"):
            return alert
        return self._alert(series, now)._replace(pid=alert.pid, at=alert.at)

    def limit(self, name: str) -> float | None:
        """What a gauge may reach; the heap may take what is left of the process's memory."""
        if name == "heap.bytes" and "rss" in self._limits and "rss" in self._series:
            room = self._limits["rss"] - self._series["rss"].value
            return None if math.isnan(room) else self._series[name].value + room
        return self._limits.get(name)

    def readings(self) -> list[Reading]:
        """What is known of each gauge now; gauges that could not be read yet are left out."""
        return [
            Reading(
                name,
                series.gauge.unit,
                series.value,
                series.trend,
                self.limit(name),
                series.gauge.decisive and self._episodes.open(series.gauge.family),
                series.gauge.decisive,
            )
            for name, series in list(self._series.items())
            if not math.isnan(series.value)
        ]

    def course(self, name: str) -> list[tuple[float, float]]:
        """`(seconds since the first start, value)`: recent readings each, older ones as the mean of some time."""
        return [(each.at - self._starts[0], each.mean) for each in self._series[name].history.bins()]

    def _alert(self, series: _Series, now: float) -> Alert:
        gauge, trend = series.gauge, series.trend
        limit = self.limit(gauge.name)
        left = trend.hours_left(limit) or (None, None, None)
        along = tuple(
            Growing(other.gauge.name, other.gauge.unit, other.trend.rate)
            for other in self._series.values()
            if other is not series and other.trend.verdict in ("leak", "rising")
        )
        return Alert(
            meter=gauge.name,
            unit=gauge.unit,
            rate=trend.rate,
            low=trend.low,
            high=trend.high,
            level=trend.level,
            limit=limit,
            hours_left=left[0],
            soonest=left[1],
            latest=left[2],
            window_hours=trend.window / HOUR,
            reason=trend.reason,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            pid=os.getpid(),
            uptime_hours=(now - self._starts[-1]) / HOUR,
            along=along,
        )

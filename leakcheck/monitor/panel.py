"""All meters of one process or group of processes: their histories, what is said of them, and which alerts are due."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from leakcheck.monitor.alert import Alert, Growing
from leakcheck.monitor.episodes import Episodes
from leakcheck.monitor.history import History
from leakcheck.monitor.trend import BYTES, COUNTS, HOUR, ORDER, Rules, Trend, judge

REACH = 120 * 24 * HOUR
"""Seconds of history that are judged."""


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
    """Whether an alert was told, and the growth goes on."""
    decisive: bool


class Change(NamedTuple):
    """An episode that begins (with its alert) or ends."""

    family: str
    alert: Alert | None


class _Series:
    """One gauge with its history and what was last said of it."""

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
        self._reach = REACH if period else 40 * patience

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
        self._starts = [*self._starts[-31:], now]
        self._episodes.restarted()

    def judge(self, now: float) -> list[Change]:
        """Judge every gauge; returns the episodes that begin or end."""
        work = self._work.bins(now - self._reach)
        for name, series in self._series.items():
            series.trend = judge(
                series.history.bins(now - self._reach), now, self.limit(name), series.rules, self._starts, work
            )
        worst: dict[str, _Series] = {}
        for series in self._series.values():
            gauge = series.gauge
            if not gauge.decisive or math.isnan(series.value):
                continue
            best = worst.get(gauge.family)
            if best is None or ORDER[series.trend.verdict] > ORDER[best.trend.verdict]:
                worst[gauge.family] = series
        changes = []
        for family, series in worst.items():
            step = self._episodes.step(family, series.trend, now)
            if step is not None:
                changes.append(Change(family, self._alert(series, now) if step == "begin" else None))
        return changes

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

"""`leakcheck.watch`: one daemon thread that reads, judges and reports, and is never in the service's way."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from leakcheck.monitor.alert import Alert
from leakcheck.monitor.limits import descriptor_limit, memory_limit, parse_size, process_limit
from leakcheck.monitor.panel import Panel, Reading
from leakcheck.monitor.readings import Readings, own_meters, process_start
from leakcheck.monitor.trend import BYTES, HOUR

if TYPE_CHECKING:
    from leakcheck.monitor.evidence import EvidenceOptions

JUDGE_SHARE = 0.0004
"""Part of a core that judging may take: the more it costs, the less often it is done."""
JUDGED_PER_PERIOD = 144
"""Judgements in a period, at the most: every ten minutes of a day."""
READINGS_PER_JUDGEMENT = 4
"""Readings between two judgements, at the least, where the load has no rhythm."""
PATIENCE_READINGS = 600
"""Readings after which steady growth is reported however small it is, where the load has no rhythm."""
LOGGER = logging.getLogger("leakcheck.monitor")
_OPEN: weakref.WeakSet[Watch] = weakref.WeakSet()

Log = logging.Logger | Callable[[dict[str, Any]], object] | None


def watch(
    interval: float = 60.0,
    on_growth: Callable[[Alert], object] | None = None,
    *,
    limit: str | float | Mapping[str, str | float] | None = "cgroup",
    meters: Mapping[str, Callable[[], float]] | None = None,
    period: float = 24 * HOUR,
    patience: float | None = None,
    evidence: EvidenceOptions | bool = False,
    log: Log = LOGGER,
) -> Watch:
    """Watch the growth of this process from a daemon thread, until `stop()` or the end of the process.

    `interval` in seconds between readings. `on_growth` is called in the watching thread with an `Alert`, once an
    episode. `limit` is what resident memory may reach: bytes, `"2 GiB"`, `"cgroup"` (the control group's limit, else
    the machine's memory), None; or a mapping of these by meter name. `meters` adds numbers of your own by name; each
    must be cheap, safe to call from another thread, and must not grow for ever. `period` is the rhythm of the load in
    seconds, 0 for none; `patience` the seconds after which steady growth is reported however small it is (two weeks;
    without a rhythm 600 intervals). `evidence=True` (or options) looks for the growing container before `on_growth` is
    called. `log` takes what happens: a logger, a function of a dictionary, or None.

    Raises `ValueError` for arguments that make no sense, and nothing later: errors of meters and of `on_growth` are
    logged. A forked child is not watched unless it calls `watch` itself.
    """
    if not interval > 0:
        raise ValueError(f"watch: interval must be above 0 seconds, not {interval!r}")
    if period < 0:
        raise ValueError(f"watch: period must be seconds, or 0 for none, not {period!r}")
    if patience is None:
        patience = BYTES.patience if period else PATIENCE_READINGS * interval
    return Watch(interval, on_growth, _limits(limit), meters or {}, period, patience, evidence, log)


def _limits(given: str | float | Mapping[str, str | float] | None) -> dict[str, float]:
    by_meter: dict[str, str | float | None] = dict(given) if isinstance(given, Mapping) else {"rss": given}
    found = {
        "rss": memory_limit(by_meter.pop("rss", "cgroup")),
        "fds": descriptor_limit(),
        "threads": process_limit(),
    }
    limits = {name: limit.value for name, limit in found.items() if limit is not None}
    return limits | {name: parse_size(value) for name, value in by_meter.items() if value is not None}


class Watch:
    """A running watch. Safe to use from any thread; a context manager that stops it."""

    def __init__(
        self,
        interval: float,
        on_growth: Callable[[Alert], object] | None,
        limits: dict[str, float],
        meters: Mapping[str, Callable[[], float]],
        period: float,
        patience: float,
        evidence: EvidenceOptions | bool,
        log: Log,
    ) -> None:
        self._interval = interval
        self._on_growth = on_growth
        self._log = log
        self._evidence = evidence
        self._period = period
        watched = own_meters(meters, self._note)
        self._readings = Readings(watched, self._note)
        self._panel: Panel | None = Panel(
            [each.gauge for each in watched],
            limits,
            interval=interval,
            period=period,
            patience=patience,
            started=process_start(),
        )
        self._judge_due = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name="leakcheck-watch", daemon=True)
        _OPEN.add(self)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether this process is being watched; False in a forked child."""
        return self._thread is not None and self._thread.is_alive() and not self._stop.is_set()

    def stop(self, timeout: float = 5.0) -> None:
        """End the watch; waits up to `timeout` seconds for a reading or a callback that is going on. Idempotent."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        _OPEN.discard(self)

    def readings(self) -> list[Reading]:
        """What is known of each meter now; empty in a forked child."""
        return [] if self._panel is None else self._panel.readings()

    def course(self, meter: str) -> list[tuple[float, float]]:
        """What a meter did: `(seconds of uptime, value)`, older readings as the mean of a stretch of time."""
        return [] if self._panel is None else self._panel.course(meter)

    def _run(self) -> None:
        try:
            self._note(f"watching {', '.join(self._readings.names)} every {self._interval:g} s", logging.INFO)
            due = time.monotonic()
            while not self._stop.is_set():
                try:
                    self._tick(time.monotonic())
                except Exception as error:  # noqa: BLE001 - the service goes on whatever happens here
                    self._note(f"a round of the watch failed: {error!r}")
                due = max(due + self._interval, time.monotonic())  # after a long pause: no burst of readings
                self._stop.wait(due - time.monotonic())
        finally:
            _OPEN.discard(self)

    def _tick(self, now: float) -> None:
        panel = self._panel
        if panel is None:
            return
        panel.add(now, self._readings.read(now), time.process_time())
        if now < self._judge_due:
            return
        began = time.thread_time()
        changes = panel.judge(now)
        pause = (time.thread_time() - began) / JUDGE_SHARE
        soonest = self._period / JUDGED_PER_PERIOD if self._period else READINGS_PER_JUDGEMENT * self._interval
        self._judge_due = now + max(pause, soonest)
        for family, alert in changes:
            if alert is not None:
                self._report(alert)
            else:
                self._emit(logging.INFO, f"{family} no longer grows", {"event": "growth_ended", "family": family})

    def _report(self, alert: Alert) -> None:
        self._emit(logging.WARNING, str(alert), {"event": "growth", **alert.as_dict()})
        if self._evidence:
            alert = self._with_evidence(alert)
        if self._on_growth is None:
            return
        try:
            self._on_growth(alert)
        except Exception as error:  # noqa: BLE001 - the user's callback
            self._note(f"on_growth raised {error!r}")

    def _with_evidence(self, alert: Alert) -> Alert:
        """The alert with what can be seen of its cause; as it is, where nothing can."""
        from leakcheck.monitor.evidence import EvidenceOptions, gather

        options = self._evidence if isinstance(self._evidence, EvidenceOptions) else EvidenceOptions()
        try:
            evidence = gather(alert, options, self)
        except Exception as error:  # noqa: BLE001 - evidence is a bonus
            self._note(f"no evidence for the growth of {alert.meter}: {error!r}")
            return alert
        self._emit(logging.WARNING, evidence.sentence, {"event": "evidence", **evidence.as_dict()})
        return alert._replace(evidence=evidence)

    def _note(self, text: str, level: int = logging.WARNING) -> None:
        self._emit(level, text, {"event": "note", "text": text})

    def _emit(self, level: int, text: str, fields: dict[str, Any]) -> None:
        """Hand one event to the log; a log that fails is the service's to notice, not ours to raise."""
        try:
            if isinstance(self._log, logging.Logger):
                self._log.log(level, "%s", text, extra={"leakcheck": fields})
            elif self._log is not None:
                self._log({"at": datetime.now(UTC).isoformat(timespec="seconds"), **fields})
        except Exception:  # noqa: BLE001, S110
            pass

    def wait(self, seconds: float) -> bool:
        """Wait in the watching thread; True when the watch is to end."""
        return self._stop.wait(seconds)

    def _forked(self) -> None:
        """In the child: there is no thread here, and nothing of the parent's history is the child's."""
        self._stop = threading.Event()
        self._stop.set()
        self._thread = None
        self._panel = None


def _forget_in_child() -> None:
    for each in list(_OPEN):
        each._forked()
    _OPEN.clear()


def _stop_at_exit() -> None:
    for each in list(_OPEN):
        each.stop(timeout=1.0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(_stop_at_exit)

"""A watch from outside: reads a source, judges, reports, and leaves valid files whatever happens to either side."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from leakcheck import units
from leakcheck.monitor.alert import Alert, duration
from leakcheck.monitor.outside import Source
from leakcheck.monitor.panel import LEAST_RUN_S, Panel, Reading
from leakcheck.monitor.record import VERDICTS, run_of
from leakcheck.monitor.trend import Trend
from leakcheck.monitor.trend import Verdict as TrendVerdict
from leakcheck.records import Finding, RunResult, Verdict
from leakcheck.report.folder import write_run
from leakcheck.results import atomic

REPORT_INTERVAL = 60.0
"""Seconds between two reports; after an alert there is one at once."""
JUDGE_SHARE = 0.02
"""Part of a core that judging may take: the more it costs, the less often it is done."""
READINGS_PER_JUDGEMENT = 4
"""Readings between two judgements, at the least."""
DECIDES: tuple[TrendVerdict, ...] = ("steady", "bounded", "warming", "rising", "leak")
"""What decides the verdict of all meters together, the least first: what is not known yet is not clean."""
DECIDING_READINGS = 200
"""Readings after which a run is long enough for its interval: its newest half has three times what a line takes."""
COMMAND_TIMEOUT = 60.0
"""Seconds, after the end of the watch, that an alert command may go on."""


class Options(NamedTuple):
    """How to watch. Times are in seconds."""

    interval: float
    duration: float | None
    limits: Mapping[str, float]
    """By gauge, in its unit."""
    period: float
    patience: float
    lines: Path | None
    """File of JSON lines."""
    report: Path | None
    """Folder of the report."""
    alert_command: str | None
    """Shell command that is run for each alert."""


class View:
    """What is shown meanwhile: nothing, unless a subclass does. A context manager."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, session: Session) -> None:
        """Take the state after a reading."""

    def alert(self, alert: Alert) -> None:
        """Take an alert, once an episode."""

    def note(self, text: str) -> None:
        """Take a remark."""


class Session:
    """One watch; use it in one thread. `run` returns when the source ends, time is up, or on Ctrl-C."""

    def __init__(
        self,
        source: Source,
        options: Options,
        view: View,
        *,
        look: Callable[[Alert], tuple[list[Finding], str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self.options = options
        self.alerts: list[Alert] = []
        self.findings: list[Finding] = []
        self.began = clock()
        self.stamp = datetime.now(UTC).isoformat(timespec="seconds")
        self._look = look
        self._view = view
        self._clock = clock
        self._taken_back: set[str] = set()
        self._evidence: Future[tuple[list[Finding], str]] | None = None
        self._commands: list[subprocess.Popen[bytes]] = []
        self._report_due = 0.0
        self._judge_due = 0.0
        self.panel = Panel(
            source.gauges,
            options.limits,
            interval=options.interval,
            period=options.period,
            patience=options.patience,
            started=source.started,
        )

    def run(self) -> Verdict:
        """Watch until the end; returns the verdict."""
        self._line("begin", {"name": self.source.name, "pid": self.source.pid, "interval": self.options.interval})
        for note in self.source.notes:
            self._view.note(note)
        with suppress(KeyboardInterrupt):
            due = self._clock()
            while self._once():
                due = max(due + self.options.interval, self._clock())
                time.sleep(max(0.0, due - self._clock()))
        self.panel.close(self._read_at())
        self._judge(self._read_at())
        self._take_evidence(wait=True)
        verdict = self.verdict()
        self._line("end", {"verdict": verdict, "reason": self.reason(), "ended": self.source.ended})
        self._write_report()
        for command in self._commands:
            try:
                command.wait(COMMAND_TIMEOUT)
            except subprocess.TimeoutExpired:
                command.kill()
                self._view.note("the alert command did not end within a minute, and was ended")
        return verdict

    def _once(self) -> bool:
        """One reading; False when there is nothing more to read."""
        values = self.source.read()
        now = self._clock()
        if values is None:
            self._view.note(self.source.ended)
            return False
        if self.source.restarted:
            self.panel.restarted(self._read_at())
            self._line("restart", {})
        self.panel.add(self._read_at(), values, self.source.work)
        self._line("reading", {"meters": values})
        if now >= self._judge_due:
            began = time.thread_time()
            self._judge(self._read_at())
            pause = (time.thread_time() - began) / JUDGE_SHARE
            self._judge_due = now + max(READINGS_PER_JUDGEMENT * self.options.interval, pause)
        self._take_evidence()
        if now >= self._report_due:
            self._report_due = now + REPORT_INTERVAL
            self._write_report()
        self._view.update(self)
        return self.options.duration is None or now - self.began < self.options.duration

    def _read_at(self) -> float:
        """The time of the latest reading, by the clock of its source where that has one."""
        return self._clock() if self.source.own_time is None else self.source.own_time

    def _judge(self, now: float) -> None:
        """Report the episodes that begin, and take back the alerts of those that end."""
        for family, alert in self.panel.judge(now):
            if alert is not None:
                self._taken_back.discard(alert.meter)
                self._report(alert._replace(pid=self.source.pid))
                continue
            over = [each for each in self.standing if self.panel.family(each.meter) == family]
            self._taken_back |= {each.meter for each in over}
            for each in over:
                self._line("calm", {"meter": each.meter})
                self._view.note(f"{each.meter} has stopped growing: the alert of {each.at} is taken back")

    def verdict(self) -> Verdict:
        """What can be said so far. An alert whose growth has stopped for good is taken back."""
        if self.standing:
            return "leak"
        worst = self.worst()
        if worst is None:
            return "inconclusive"
        verdict = VERDICTS[worst.trend.verdict]
        return "bounded" if self.alerts and verdict == "clean" else verdict

    @property
    def standing(self) -> list[Alert]:
        """Alerts that were not taken back."""
        return [alert for alert in self.alerts if alert.meter not in self._taken_back]

    def worst(self) -> Reading | None:
        """The reading that decides: what grows, else what nothing can be said of, else what has stopped."""
        decisive = [reading for reading in self.panel.readings() if reading.decisive]
        return max(decisive, key=lambda each: DECIDES.index(each.trend.verdict), default=None)

    def reason(self) -> str:
        """The verdict in one sentence, with what is so now: the rate of an alert is that of its time."""
        if self.standing:
            return str(self.panel.now(self.standing[0], self._read_at()))
        worst = self.worst()
        if worst is None:
            return "it ended before anything could be read" if self.source.ended else "nothing could be read"
        trend = worst.trend
        taken_back = f"; the alert of {self.alerts[0].at} is taken back" if self.alerts else ""
        if trend.verdict in ("leak", "rising"):
            rate = units.quantity(trend.rate, worst.unit)
            return (
                f"{worst.meter} grows by {rate} an hour, for {duration(trend.window / 3600)}: {self._undecided(trend)}"
            )
        return f"{worst.meter}: {self._undecided(trend)}{taken_back}"

    def _undecided(self, trend: Trend) -> str:
        """Why a trend says what it says, and what would decide it where it decides nothing."""
        if VERDICTS[trend.verdict] != "inconclusive":
            return trend.reason
        age = self._clock() - self.began
        readings = age / self.options.interval
        if not self.options.period and age >= LEAST_RUN_S and readings < DECIDING_READINGS:
            return (
                f"{trend.reason}; --interval {max(age, 1.0) / DECIDING_READINGS:.1g} would decide a run of this length"
            )
        if not self.options.period:
            return f"{trend.reason}; --duration {max(2 * age, 2 * LEAST_RUN_S):.0f} would decide"
        return f"{trend.reason}; needs three periods of the load, or --period 0 where it has no rhythm"

    def _report(self, alert: Alert) -> None:
        self.alerts.append(alert)
        self._line("growth", alert.as_dict())
        self._view.alert(alert)
        if self.options.alert_command:
            self._start_command(self.options.alert_command, alert)
        self._report_due = 0.0
        if self._look is not None and alert.unit == "B" and self._evidence is None:
            self._evidence = ThreadPoolExecutor(1).submit(self._look, alert)  # in a thread: readings go on meanwhile

    def _take_evidence(self, *, wait: bool = False) -> None:
        """What was seen of the cause, once it is there."""
        if self._evidence is None or not (wait or self._evidence.done()):
            return
        self.findings, why_not = self._evidence.result()
        self._evidence = None
        for text in [why_not] if why_not else [finding.title for finding in self.findings[:3]]:
            self._view.note(text)
        self._line("evidence", {"findings": msgspec.to_builtins(self.findings), "missing": why_not})
        self._report_due = 0.0

    def _start_command(self, command: str, alert: Alert) -> None:
        """Run the alert command with the alert as JSON on its standard input; nobody waits for it."""
        text = json.dumps(alert.as_dict()).encode()
        environment = os.environ | {"LEAKCHECK_METER": alert.meter, "LEAKCHECK_SENTENCE": str(alert)}
        try:
            child = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=environment)  # noqa: S602 - it is the user's own command line
            assert child.stdin is not None
            child.stdin.write(text)
            child.stdin.close()
        except OSError as error:
            self._view.note(f"the alert command failed: {error}")
            return
        self._commands.append(child)

    def _line(self, event: str, fields: Mapping[str, Any]) -> None:
        """One line in a single write: a kill at any moment leaves whole lines."""
        if self.options.lines is None:
            return
        record = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        atomic.append_line(self.options.lines, json.dumps(record).encode())

    def _write_report(self) -> None:
        """Write the report as it stands; the one before stays whole until this one is."""
        if self.options.report is None:
            return
        write_run(self.result(), self.options.report, formats=("json", "html"))

    def result(self) -> RunResult:
        """The watch as a run of one scenario, in which an iteration is a second."""
        return run_of(
            self.source.name,
            self.verdict(),
            self.reason(),
            started=self.stamp,
            seconds=self._clock() - self.began,
            readings=self.panel.readings(),
            course=self.panel.course,
            findings=self.findings,
            remarks=[*self.source.notes, self.source.ended],
        )

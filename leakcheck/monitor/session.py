"""A watch from outside: reads a source, judges, tells, and leaves valid files whatever happens to either side."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from leakcheck import atomic, results, surroundings
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.model import SCHEMA, Control, Finding, Meter, RunResult, Sample, ScenarioResult, Verdict, summarize
from leakcheck.monitor import trend as trends
from leakcheck.monitor.alert import Alert, duration, quantity
from leakcheck.monitor.outside import Source
from leakcheck.monitor.panel import ORDER, Panel, Reading

_REPORT_EVERY_S = 60.0
_MOST_SAMPLES = 400


class Options(NamedTuple):
    """How to watch."""

    interval: float
    duration: float | None
    limits: Mapping[str, float]
    period: float
    patience: float
    lines: Path | None
    """File of JSON lines."""
    report: Path | None
    """Folder of the report."""
    alert_command: str | None


class View(Protocol):
    """What is shown meanwhile."""

    def update(self, session: Session) -> None:
        """After each reading."""

    def alert(self, alert: Alert) -> None:
        """Once an episode."""

    def note(self, text: str) -> None:
        """A remark."""


class Session:
    """One watch; use it in one thread. `run` returns when the source ends, time is up, or on Ctrl-C."""

    def __init__(
        self,
        source: Source,
        options: Options,
        view: View,
        *,
        attach: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self.options = options
        self.alerts: list[Alert] = []
        self.findings: list[Finding] = []
        self.interrupted = False
        self.began = clock()
        self.stamp = datetime.now(UTC).isoformat(timespec="seconds")
        self._attach = attach
        self._view = view
        self._clock = clock
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
        try:
            due = self._clock()
            while self._once():
                due = max(due + self.options.interval, self._clock())
                time.sleep(max(0.0, due - self._clock()))
        except KeyboardInterrupt:
            self.interrupted = True
        self.panel.judge(self._clock())
        verdict = self.verdict()
        self._line("end", {"verdict": verdict, "reason": self.reason(), "ended": self.source.ended})
        self._write_report()
        for command in self._commands:
            try:
                command.wait(60)
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
            self.panel.restarted(now)
            self._line("restart", {})
        self.panel.add(now, values)
        self._line("reading", {"meters": values})
        if now >= self._judge_due:
            began = time.thread_time()
            for _, alert in self.panel.judge(now):
                if alert is not None:
                    self._tell(alert._replace(pid=self.source.pid))
            self._judge_due = now + max(4 * self.options.interval, (time.thread_time() - began) * 50)
        if now >= self._report_due:
            self._report_due = now + _REPORT_EVERY_S
            self._write_report()
        self._view.update(self)
        return self.options.duration is None or now - self.began < self.options.duration

    def verdict(self) -> Verdict:
        """What can be said so far."""
        if self.alerts:
            return "leak"
        worst = self.worst()
        return "inconclusive" if worst is None else _VERDICTS[worst.trend.verdict]

    def worst(self) -> Reading | None:
        """The reading that decides."""
        decisive = [reading for reading in self.panel.readings() if reading.decisive]
        return max(decisive, key=lambda each: ORDER[each.trend.verdict], default=None)

    def reason(self) -> str:
        """The verdict in one sentence."""
        if self.alerts:
            return str(self.alerts[0])
        worst = self.worst()
        if worst is None:
            return "nothing could be read"
        trend = worst.trend
        if trend.verdict in ("leak", "rising"):
            rate = quantity(trend.rate, worst.unit)
            return f"{worst.meter} grows by {rate} an hour, for {duration(trend.window / 3600)}: {trend.reason}"
        return f"{worst.meter}: {trend.reason}"

    def _tell(self, alert: Alert) -> None:
        self.alerts.append(alert)
        self._line("growth", alert.as_dict())
        self._view.alert(alert)
        if self.options.alert_command:
            self._start_command(self.options.alert_command, alert)
        self._report_due = 0.0
        if self._attach is not None and alert.unit == "B":
            from leakcheck.monitor.attach import survivors

            self.findings, why_not = survivors(self.source.pid, self._attach)
            for text in [why_not] if why_not else [finding.title for finding in self.findings[:3]]:
                self._view.note(text)
            self._line("evidence", {"findings": msgspec.to_builtins(self.findings), "missing": why_not})

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
        results.write_run(self.result(), self.options.report, formats=("json", "html"))

    def result(self) -> RunResult:
        """The watch as a run of one scenario, in which an iteration is a second."""
        verdict = self.verdict()
        readings = self.panel.readings()
        scenario = ScenarioResult(
            id=f"monitor::{self.source.name}",
            verdict=verdict,
            ok=verdict != "leak",
            reason=self.reason(),
            iterations=round(self._clock() - self.began),
            duration_s=self._clock() - self.began,
            meters=[_meter(reading, self.panel.course(reading.meter)) for reading in readings],
            findings=self.findings,
            advice=["one iteration is one second of the process", *self.source.notes, self.source.ended],
            doc="A living process, watched from outside; one iteration is one second.",
        )
        scenario = msgspec.structs.replace(scenario, advice=[each for each in scenario.advice if each])
        job = Job(scenario=ScenarioInfo(id=scenario.id, target="", name=""))
        return RunResult(
            schema=SCHEMA,
            tool=surroundings.tool(),
            environment=surroundings.environment(job),
            started=self.stamp,
            duration_s=scenario.duration_s,
            control=Control(status="off", reason="a living process has no control"),
            summary=summarize([scenario]),
            scenarios=[scenario],
        )


_VERDICTS: dict[trends.Verdict, Verdict] = {
    "warming": "inconclusive",
    "steady": "clean",
    "bounded": "bounded",
    "rising": "inconclusive",
    "leak": "inconclusive",
}
"""`leak` without an alert: seen, but not for long enough."""


def _meter(reading: Reading, course: list[tuple[float, float]]) -> Meter:
    """A reading as reports know it: growth per second."""
    trend = reading.trend
    verdict: Verdict = "leak" if reading.episode else _VERDICTS[trend.verdict]
    step = max(1, len(course) // _MOST_SAMPLES)
    samples = [Sample(round(at), value) for at, value in course[::step]]
    unique = {sample.iterations: sample for sample in samples}
    return Meter(
        name=reading.meter,
        unit=reading.unit,
        verdict=verdict,
        growth=trend.rate / 3600,
        low=trend.low / 3600,
        high=trend.high / 3600,
        model="linear" if trend.verdict in ("leak", "rising") else "constant",
        reason=trend.reason,
        decisive=reading.decisive,
        samples=[unique[key] for key in sorted(unique)],
    )

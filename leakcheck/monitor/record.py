"""A watch as a run: the same records, the same files, in which an iteration is a second of the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.monitor import trend as trends
from leakcheck.monitor.panel import Reading
from leakcheck.records import SCHEMA, Control, Finding, Meter, RunResult, Sample, ScenarioResult, Verdict, summarize
from leakcheck.run import provenance

Course = Callable[[str], list[tuple[float, float]]]
"""The name of a meter to (seconds since the first start, value)."""

SAMPLES = 400
"""Points of a meter's course that a report shows, about."""

VERDICTS: dict[trends.Verdict, Verdict] = {
    "warming": "inconclusive",
    "steady": "clean",
    "bounded": "bounded",
    "rising": "inconclusive",
    "leak": "inconclusive",
}
"""The verdict of a trend without an alert: a leak was seen, but not for long enough."""


def run_of(
    name: str,
    verdict: Verdict,
    reason: str,
    *,
    started: str,
    seconds: float,
    readings: Sequence[Reading],
    course: Course,
    findings: Sequence[Finding] = (),
    remarks: Sequence[str] = (),
) -> RunResult:
    """The records of a watch of `seconds` so far."""
    scenario = ScenarioResult(
        id=f"monitor::{name}",
        verdict=verdict,
        ok=verdict != "leak",
        reason=reason,
        iterations=round(seconds),
        duration_s=seconds,
        meters=[_meter(reading, course(reading.meter)) for reading in readings],
        findings=list(findings),
        advice=["one iteration is one second of the process", *(each for each in remarks if each)],
        doc="A living process; one iteration is one second.",
    )
    job = Job(scenario=ScenarioInfo(id=scenario.id, target="", name=""))
    return RunResult(
        schema=SCHEMA,
        tool=provenance.tool(),
        environment=provenance.environment(job),
        started=started,
        duration_s=seconds,
        control=Control(status="off", reason="a living process has no control"),
        summary=summarize([scenario]),
        scenarios=[scenario],
    )


def _meter(reading: Reading, course: list[tuple[float, float]]) -> Meter:
    """A reading as reports show it: growth per second."""
    trend = reading.trend
    step = max(1, len(course) // SAMPLES)
    samples = {round(at): Sample(round(at), value) for at, value in course[::step]}
    return Meter(
        name=reading.meter,
        unit=reading.unit,
        verdict="leak" if reading.episode else VERDICTS[trend.verdict],
        growth=trend.rate / 3600,
        low=trend.low / 3600,
        high=trend.high / 3600,
        model="linear" if trend.verdict in ("leak", "rising") else "constant",
        reason=trend.reason,
        decisive=reading.decisive,
        samples=[samples[key] for key in sorted(samples)],
    )

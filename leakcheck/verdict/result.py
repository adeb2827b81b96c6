"""From a verdict on each meter to the result of a scenario: which meter decides, the sentence, what was expected."""

from __future__ import annotations

from typing import Any

from leakcheck import units
from leakcheck.execution.job import Job
from leakcheck.execution.worker import INTERRUPT
from leakcheck.meters import CYCLES, MeterSpec
from leakcheck.records import Failure, Meter, Sample, ScenarioResult, Verdict
from leakcheck.verdict.judge import Judgement
from leakcheck.verdict.measure import Measurement, decisive
from leakcheck.verdict.reach import Reached

_MOST_SAMPLES = 400
"""Samples of a meter that are stored: more cannot be seen in a chart."""

_ORDER: tuple[Verdict, ...] = ("leak", "inconclusive", "bounded", "clean")
"""The verdict of a scenario is the first of these that a decisive meter has."""


def describe(job: Job, **changes: Any) -> ScenarioResult:
    """A result with everything that is known of a scenario before it runs; `changes` are the rest."""
    info = job.scenario
    return ScenarioResult(
        **{
            "id": info.id,
            "expect": info.expect,
            "tags": info.tags,
            "doc": info.doc,
            "file": info.file,
            "line": info.line,
            "budget": info.budget,
            **changes,
        }
    )


def failed(job: Job, failure: Failure, **changes: Any) -> ScenarioResult:
    """The result of a scenario that came to no verdict: it was called off, or there is something wrong with it."""
    if failure.type == INTERRUPT:
        ok = as_expected("inconclusive", job.scenario.expect)
        reason = "interrupted before it was decided"
        return describe(job, verdict="inconclusive", ok=ok, reason=reason, **changes)
    where = {"timeout": "hangs", "signal": "crashed", "exit": "ended the process", "memory": "was stopped"}
    what = where.get(failure.type, "failed" if failure.type == "start" else f"raised {failure.type}")
    return describe(
        job, **{"verdict": "error", "ok": False, "reason": f"{what}: {failure.message}", "failure": failure, **changes}
    )


def judged(job: Job, reached: Reached, **changes: Any) -> ScenarioResult:
    """The result of a measured scenario."""
    of = {each: decisive(reached.measured.meters, reached.judgements, each) for each in _ORDER}
    verdict: Verdict = next((each for each in _ORDER if of[each]), "inconclusive")
    return describe(
        job,
        **{
            "verdict": verdict,
            "ok": as_expected(verdict, job.scenario.expect),
            "reason": _reason(verdict, reached, job),
            "iterations": reached.measured.iterations,
            "duration_s": reached.measured.seconds,
            "detectable": {
                spec.name: detectable
                for spec in reached.measured.meters
                if spec in of["clean"] or spec in of["bounded"]
                if (detectable := reached.judgements[spec.name].detectable) is not None
            },
            "meters": meters(reached),
            **changes,
        },
    )


def meters(reached: Reached) -> list[Meter]:
    """What each meter read and what was made of it."""
    measured = reached.measured
    found = [_meter(spec, reached.judgements[spec.name], measured.samples[spec.name]) for spec in measured.meters]
    return [*found, _cycles(measured.cycles_per_iteration)] if measured.cycles_per_iteration else found


def _meter(spec: MeterSpec, judgement: Judgement, samples: list[Sample]) -> Meter:
    verdict: Verdict = judgement.verdict or "inconclusive"
    evidence_only = not spec.decisive and verdict in ("leak", "inconclusive")
    return Meter(
        name=spec.name,
        unit=spec.unit,
        verdict=verdict,
        growth=judgement.growth,
        low=judgement.low,
        high=judgement.high,
        detectable=judgement.detectable,
        model=judgement.shape,
        reason=f"{_said(judgement, spec)}; evidence only" if evidence_only else _said(judgement, spec),
        decisive=spec.decisive,
        samples=_thinned(samples),
    )


def _said(judgement: Judgement, spec: MeterSpec) -> str:
    """The reason, with the growth at which it stopped."""
    if judgement.limit is None:
        return judgement.reason
    return f"{judgement.reason} ({units.quantity(judgement.limit, spec.unit)})"


def _cycles(rate: float) -> Meter:
    reason = "cyclic garbage made per iteration: advice, never a leak"
    return Meter(
        name=CYCLES, unit="objects", verdict="clean", growth=rate, low=rate, high=rate, decisive=False, model="linear",
        reason=reason,
    )  # fmt: skip


def _thinned(samples: list[Sample]) -> list[Sample]:
    if len(samples) <= _MOST_SAMPLES:
        return samples
    return [*samples[: -1 : len(samples) // _MOST_SAMPLES + 1], samples[-1]]


def as_expected(verdict: Verdict, expect: str) -> bool:
    """Whether a verdict contradicts what was expected. `inconclusive` and `skipped` contradict only a planted leak."""
    if expect == "leak":
        return verdict == "leak"
    return verdict not in ("leak", "error")


def _reason(verdict: Verdict, reached: Reached, job: Job) -> str:
    meters = reached.measured.meters
    of_it = [(spec, reached.judgements[spec.name]) for spec in decisive(meters, reached.judgements, verdict)]
    if verdict == "leak":
        # What the system counts tells more than bytes, and bytes more than the collector's number of objects.
        spec, worst = max(
            of_it, key=lambda each: (each[0].unit not in ("B", "objects"), each[0].unit == "B", each[1].growth)
        )
        growth, low, high = (units.quantity(value, spec.unit) for value in (worst.growth, worst.low, worst.high))
        sentence = f"{spec.name} grows by {growth} per iteration ({low} to {high})"
        return sentence if worst.rule == "line" else f"{sentence}; {worst.reason}"
    if not of_it:
        return "no meter of memory works here"
    spec, first = of_it[0]
    if verdict == "inconclusive":
        return f"{spec.name}: {_said(first, spec)}; {_what_would_decide(reached.measured, job)}"
    if verdict == "bounded":
        return f"{spec.name} {_said(first, spec)}"
    spec = next(spec for spec in meters if spec.decisive)
    ledger = reached.judgements[spec.name]
    if ledger.detectable is None:
        return ledger.reason
    calls = max(1, round(spec.thresholds.quantum / ledger.detectable)) if ledger.detectable else 1
    sentence = f"does not grow; {units.quantity(ledger.detectable, spec.unit)} per iteration would have shown"
    return sentence + (f" (one small object in {calls:,} calls)" if spec.unit == "B" and calls > 1 else "")


def _what_would_decide(measured: Measurement, job: Job) -> str:
    """The way out of `inconclusive`: two more doublings show whether growth goes on."""
    needed = 4 * max(measured.iterations, 12)
    seconds = measured.seconds / max(measured.iterations, 1) * needed
    ended = measured.ended_by
    if ended is not None and ended.option == "max-iterations":
        return f"needs about {needed:,} iterations: raise {job.option('max-iterations')}"
    if ended is not None and ended.option == "max-growth":
        return f"{ended.reason}: raise {job.option('max-growth')}"
    budget = max(1.0, seconds, 2 * job.budget.time_s)
    return f"needs about {needed:,} iterations: raise {job.option('time-budget')} to {budget:,.0f} s"

"""From the measurement of one scenario to its result: which meter decides, the sentence, what was expected."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

from leakcheck.execution.job import Job
from leakcheck.records import Failure, Meter, Sample, ScenarioResult, Verdict
from leakcheck.verdict.judge import PROPORTIONAL, Judgement, thresholds_for
from leakcheck.verdict.measure import Measurement, MeterInfo

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC}
_MOST_SAMPLES = 400

_ORDER: tuple[Verdict, ...] = ("leak", "inconclusive", "bounded", "clean")
"""The verdict of a scenario is the first of these that a decisive meter has."""


def ran_into_a_limit(raised: Mapping[str, Any]) -> bool:
    """Whether an exception says that the process, or the system, has no more of something."""
    return (
        raised.get("errno") in _EXHAUSTED
        or raised["type"] == "MemoryError"
        or "can't start new thread" in raised["message"]
    )


def number(value: float, unit: str) -> str:
    """A growth for a sentence: `64.0 B`, `1.25 fds`, `0.0100 objects`."""
    for size, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if unit == "B" and abs(value) >= 10 * size:
            return f"{value / size:,.1f} {name}"
    digits = 0 if abs(value) >= 1000 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f} {unit}".strip()


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
    """The result of a scenario that came to no verdict."""
    where = {"timeout": "hangs", "signal": "crashed", "exit": "ended the process", "memory": "was stopped"}
    what = where.get(failure.type, "failed" if failure.type == "start" else f"raised {failure.type}")
    return describe(
        job, **{"verdict": "error", "ok": False, "reason": f"{what}: {failure.message}", "failure": failure, **changes}
    )


def meters(measured: Measurement, budget: Mapping[str, float]) -> list[Meter]:
    """What each meter read and what was made of it."""
    result = []
    for info in measured.meters:
        judgement = measured.judgements[info.name]
        verdict: Verdict = judgement.verdict or "inconclusive"
        reason = judgement.reason
        if judgement.limit is not None:
            reason = f"{reason} ({number(judgement.limit, info.unit)})"
        allowed = budget.get(info.name)
        if allowed is not None:
            verdict, reason = _against_budget(judgement, verdict, allowed, info)
        elif not info.decisive and verdict in ("leak", "inconclusive"):
            reason += "; evidence only"
        result.append(
            Meter(
                name=info.name,
                unit=info.unit,
                verdict=verdict,
                growth=judgement.growth,
                low=judgement.low,
                high=judgement.high,
                detectable=judgement.detectable,
                model=judgement.shape,
                reason=reason,
                decisive=info.decisive,
                samples=_thinned(measured.samples[info.name]),
            )
        )
    return result


def _against_budget(judgement: Judgement, verdict: Verdict, allowed: float, info: MeterInfo) -> tuple[Verdict, str]:
    """A budget is growth per iteration that is accepted: within its confidence interval, a leak is none."""
    limit = f"{number(allowed, info.unit)} per iteration"
    if verdict == "leak" and judgement.low <= allowed:
        return "clean", f"grows within its budget of {limit}"
    if verdict == "leak":
        return verdict, f"grows beyond its budget of {limit}"
    return verdict, judgement.reason


def _thinned(samples: list[Sample]) -> list[Sample]:
    step = max(1, len(samples) // _MOST_SAMPLES + 1) if len(samples) > _MOST_SAMPLES else 1
    return samples if step == 1 else [*samples[:-1:step], samples[-1]]


def judged(job: Job, measured: Measurement, read: list[Meter], **changes: Any) -> ScenarioResult:
    """The result of a measured scenario, from its meters as judged (and as changed by what was asked since)."""
    decisive = [meter for meter in read if meter.decisive]
    found = {meter.verdict for meter in decisive}
    verdict: Verdict = next((each for each in _ORDER if each in found), "inconclusive")
    return describe(
        job,
        **{
            "verdict": verdict,
            "ok": as_expected(verdict, job.scenario.expect),
            "reason": _reason(verdict, decisive, measured, job),
            "iterations": measured.iterations,
            "duration_s": measured.seconds,
            "detectable": {
                meter.name: meter.detectable
                for meter in decisive
                if meter.detectable is not None and meter.verdict in ("clean", "bounded")
            },
            "meters": read,
            **changes,
        },
    )


def as_expected(verdict: Verdict, expect: str) -> bool:
    """Whether a verdict contradicts what was expected. `inconclusive` and `skipped` contradict only a planted leak."""
    if expect == "leak":
        return verdict == "leak"
    return verdict not in ("leak", "error")


def _reason(verdict: Verdict, decisive: list[Meter], measured: Measurement, job: Job) -> str:
    if verdict == "leak":
        leaking = [meter for meter in decisive if meter.verdict == "leak"]
        # What the system counts tells more than bytes, and bytes more than the collector's number of objects.
        worst = max(leaking, key=lambda meter: (meter.unit not in ("B", "objects"), meter.unit == "B", meter.growth))
        sentence = (
            f"{worst.name} grows by {number(worst.growth, worst.unit)} per iteration "
            f"({number(worst.low, worst.unit)} to {number(worst.high, worst.unit)})"
        )
        return sentence if worst.reason == PROPORTIONAL else f"{sentence}; {worst.reason}"
    if verdict == "inconclusive":
        undecided = next((meter for meter in decisive if meter.verdict == "inconclusive"), None)
        if undecided is None:
            return "no meter of memory works here"
        return f"{undecided.name}: {undecided.reason}; {_what_would_decide(measured, job)}"
    if verdict == "bounded":
        bounded = next(meter for meter in decisive if meter.verdict == "bounded")
        return f"{bounded.name} {bounded.reason}"
    ledger = decisive[0]
    if ledger.detectable is None:
        return ledger.reason
    limits = thresholds_for(ledger.name, ledger.unit)
    calls = max(1, round(limits.quantum / ledger.detectable)) if ledger.detectable else 1
    sentence = f"does not grow; {number(ledger.detectable, ledger.unit)} per iteration would have shown"
    return sentence + (f" (one small object in {calls:,} calls)" if ledger.unit == "B" and calls > 1 else "")


def _what_would_decide(measured: Measurement, job: Job) -> str:
    """The way out of `inconclusive`: two more doublings show whether growth goes on."""
    needed = 4 * max(measured.iterations, 12)
    seconds = measured.seconds / max(measured.iterations, 1) * needed
    if measured.ended_by and "max-iterations" in measured.ended_by:
        return f"needs about {needed:,} iterations: raise {_option(job, 'max-iterations')}"
    if measured.ended_by and "max-growth" in measured.ended_by:
        return f"{measured.ended_by}: raise {_option(job, 'max-growth')}"
    budget = max(1.0, seconds, 2 * job.budget.time_s)
    return f"needs about {needed:,} iterations: raise {_option(job, 'time-budget')} to {budget:,.0f} s"


def _option(job: Job, name: str) -> str:
    """What an option is called where the scenario came from: the command line, pytest or a call."""
    program = "".join(job.scenario.command[:1])
    if program == "pytest" and name == "time-budget":
        return "--leakcheck-time-budget"
    return name.replace("-", "_") if program in ("pytest", "python") else f"--{name}"

"""From a verdict on each meter to the result of a scenario: which meter decides, the sentence, what was expected."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from leakcheck import units
from leakcheck.execution.job import Job
from leakcheck.execution.worker import INTERRUPT
from leakcheck.meters import CYCLES, FAMILIES, UNREAD_CHILDREN, MeterSpec, tells_more
from leakcheck.records import Failure, Meter, Sample, ScenarioResult, Verdict
from leakcheck.verdict import pace
from leakcheck.verdict.fragmentation import fragmentation
from leakcheck.verdict.judgement import Judgement, Sensitivity
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
    where = {
        "timeout": "hangs",
        "signal": "crashed",
        "exit": "ended the process",
        "memory": "was stopped",
        "node": "was not measured",
    }
    what = where.get(failure.type, "failed" if failure.type == "start" else f"raised {failure.type}")
    return describe(
        job, **{"verdict": "error", "ok": False, "reason": f"{what}: {failure.message}", "failure": failure, **changes}
    )


def judged(job: Job, reached: Reached, **changes: Any) -> ScenarioResult:
    """The result of a measured scenario."""
    of = {each: decisive(reached.measured.meters, reached.judgements, each) for each in _ORDER}
    verdict: Verdict = next((each for each in _ORDER if of[each]), "inconclusive")
    if verdict in ("clean", "bounded") and _unread_children(reached):
        verdict = "inconclusive"
    return describe(
        job,
        **{
            "verdict": verdict,
            "ok": as_expected(verdict, job.scenario.expect),
            "reason": _reason(verdict, reached, job),
            "iterations": reached.measured.iterations,
            "duration_s": reached.measured.seconds,
            "detectable": {name: seen.rate for name, seen in _seen(reached).items()},
            "once_in": {name: seen.once_in for name, seen in _seen(reached).items()},
            "meters": meters(reached),
            **changes,
        },
    )


def meters(reached: Reached) -> list[Meter]:
    """What each meter read and what was made of it."""
    measured = reached.measured
    found = [_meter(spec, reached.judgements[spec.name], measured.samples[spec.name]) for spec in measured.meters]
    return [*found, _cycles(measured.cycles_per_iteration)] if measured.cycles_per_iteration else found


def without_curves(result: ScenarioResult) -> ScenarioResult:
    """The result with the first and the last reading of what decides, where it is as expected and nothing grows."""
    if not result.ok or result.verdict not in ("clean", "bounded"):
        return result
    kept = [
        msgspec.structs.replace(meter, samples=[*meter.samples[:1], *meter.samples[1:][-1:]])
        for meter in result.meters
        if meter.decisive
    ]
    return msgspec.structs.replace(result, meters=kept)


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
        detectable=None if judgement.detectable is None else judgement.detectable.rate,
        once_in=None if judgement.detectable is None else judgement.detectable.once_in,
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
        names = {spec.name for spec, _ in of_it}
        of_it = [each for each in of_it if each[0].better not in names]
        spec, worst = max(of_it, key=lambda each: tells_more(each[0].unit, each[1].growth))
        growth, low, high = (units.quantity(value, spec.unit) for value in (worst.growth, worst.low, worst.high))
        within = f" ({low} to {high})" if worst.low < worst.high else ""
        if worst.rule == "afterwards":
            return f"{spec.name}: {worst.reason}"
        sentence = f"{spec.name} grows by {growth} per iteration{within}"
        return sentence if worst.rule == "line" else f"{sentence}; {worst.reason}"
    if verdict == "inconclusive" and not of_it and (unread := _unread_children(reached)):
        quiet = f"the process itself does not go on growing; {would_have_shown(reached)}"
        user = "its user" if unread == 1 else "their user"
        return f"{units.quantity(unread, 'processes')} below it may not be read: run as {user}; {quiet}"
    if not of_it:
        return "no meter of memory works here"
    spec, first = of_it[0]
    if verdict == "inconclusive":
        return f"{spec.name}: {_said(first, spec)}; {_what_would_decide(reached.measured, job)}"
    sparse = fragmentation(reached.measured.samples)
    fragmented = f"; {sparse.short}" if sparse else ""
    if verdict == "bounded":
        return f"{spec.name} {_said(first, spec)}{fragmented}"
    return f"{first.reason}; {would_have_shown(reached)}{fragmented}"


def _unread_children(reached: Reached) -> float:
    """Processes of which no verdict can speak that is sure of itself."""
    series = reached.measured.samples.get(UNREAD_CHILDREN)
    return series[-1].value if series else 0


def _seen(reached: Reached) -> dict[str, Sensitivity]:
    """The smallest loss that would have shown, by decisive meter that did not go on growing."""
    quiet = [
        spec
        for verdict in ("clean", "bounded")
        for spec in decisive(reached.measured.meters, reached.judgements, verdict)
    ]
    found = ((spec.name, reached.judgements[spec.name].detectable) for spec in quiet)
    return {name: seen for name, seen in found if seen is not None}


def would_have_shown(reached: Reached) -> str:
    """How much, and how often, would have shown: by family of memory, the bluntest meter of each."""
    seen = _seen(reached)
    specs = {spec.name: spec for spec in reached.measured.meters}
    once_in = min((each.once_in for each in seen.values()), default=1)
    losses = []
    for family, word in FAMILIES.items():
        of_it = {name: each.loss for name, each in seen.items() if specs[name].family == family}
        if family == "children" and not any(each.value for name in of_it for each in reached.measured.samples[name]):
            continue  # there were none
        counted = [name for name in of_it if specs[name].unit != "B"] if family == "disk" else list(of_it)
        # An allocator of Python's own has a ledger beside malloc's, and neither counts what the other does.
        ledgers = [[name] for name in counted] if family == "heap" else [counted]
        for ledger in filter(None, ledgers):
            bluntest = max(ledger, key=of_it.__getitem__)
            unit = "resources" if family == "system" else specs[bluntest].unit
            loss = of_it[bluntest] if unit == "B" else math.ceil(of_it[bluntest])
            beside = f" ({', '.join(reached.foreign)} too)" if family == "pages" and reached.foreign else ""
            losses.append(f"{units.quantity(loss, unit)} {word}".rstrip() + beside)
    return f"would have shown, {units.often(once_in)}: {', '.join(losses)}"


def _what_would_decide(measured: Measurement, job: Job) -> str:
    """The way out of `inconclusive`: two more doublings show whether growth goes on."""
    needed = 4 * max(measured.iterations, 12)
    slower = pace.slower(measured.pace)
    # Each doubling of the calls takes `2 * slower` times as long as the one before.
    seconds = measured.seconds * max(needed / max(measured.iterations, 1), (2 * slower) ** 2)
    sign = f"; calls get slower, {slower:.1f} times with each doubling, which is a sign of growth" if slower > 1 else ""
    return _way_out(measured, job, needed, seconds) + sign


def _way_out(measured: Measurement, job: Job, needed: int, seconds: float) -> str:
    ended = measured.ended_by
    if ended is not None and ended.option == "max-iterations":
        return f"needs about {needed:,} iterations: raise {job.option('max-iterations')}"
    if ended is not None and ended.option == "max-growth":
        return f"{ended.reason}: raise {job.option('max-growth')}"
    budget = max(1.0, seconds, 2 * job.budget.time_s)
    return f"needs about {needed:,} iterations: raise {job.option('time-budget')} to {budget:,.0f} s"

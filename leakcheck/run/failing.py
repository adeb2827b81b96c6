"""Every step also fails: once its usual verdict stands, it is called on with a failure at each of its points.

All points are screened, by a few calls each in one process. A call that gives something back is left out, for whoever
makes it cannot help it: that is one after whose failure something stays, and nothing where it fails once it has
returned. What is left is for the judge, one point of those that leave the same.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from leakcheck import meters, units
from leakcheck.agent.faults.messages import FindPoints, PointsFound
from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import CALLS_BEFORE_FAULTS, CANCELLATIONS, HOSTED, Place, PointKind
from leakcheck.execution.job import Job
from leakcheck.records import ALL_POINTS, POINT, ScenarioResult
from leakcheck.run.failing_process import FailingProcess, Start, Suspect, Unrepeatable, impatient
from leakcheck.run.points import SHORTAGE, Failing, to_fail, words
from leakcheck.run.shortages import NOT_ASKED, Shortage, Tell, died_in_words, short_of_memory
from leakcheck.verdict import result as verdicts

_SCREENED_S = 3.0
"""Times of the budget of a verdict that all points together may be screened for."""
_MOST_JUDGED = 6
"""Points that are judged: more of them have one cause, as a rule, and whoever mends that runs it again."""
_ALIKE = 0.1
"""Part by which the growth of two points may differ that have one cause."""
_NOISE = 32.0
"""Bytes of heap by which it may differ in any case: what an exception carries."""


class Screening(NamedTuple):
    """What became of all points."""

    calls: int
    """Of the step."""
    points: int
    tried: int
    suspects: list[Suspect]
    unrepeatable: int
    """Points after whose failure the step raised something else when it was called again."""
    untried: int
    """For which there was no time."""
    shortage: Shortage = NOT_ASKED


_LIKELY: tuple[PointKind, ...] = ("await", "task", "call", "entry", "operation", "allocation")
"""The kinds of points, those first that are met most often."""


def screened(job: Job, legal: Sequence[str], start: Start, tell: Tell) -> Screening:
    """Let each point fail. Raises `WorkerFailed` where the step cannot be looked at."""
    points = FailingProcess(job, start)
    suspects: dict[Any, Suspect] = {}
    unrepeatable, decided, giving_back, tried = set[Any](), set[Any](), set[Place](), 0
    try:
        found = points.open().ask(FindPoints(CALLS_BEFORE_FAULTS), PointsFound).points
        tests = job.scenario.file if job.scenario.target.startswith(HOSTED) else ""
        chosen = to_fail([point for point in found if point.file != tests], legal)
        for one in chosen:
            if points.spent > _SCREENED_S * job.budget.time_s:
                break
            tell(tried, len(chosen))
            tried += 1
            if one.place in decided:  # what it leaves after one exception it leaves after another
                continue
            try:
                growth = points.left_once(one.fault)
                if growth is None:
                    continue
                decided.add(one.place)
                gives_back = (
                    one.fault.kind not in CANCELLATIONS and points.left_once(one.fault._replace(after=True)) is None
                )
            except Unrepeatable:
                points.drop()
                unrepeatable.add(one.place)
                continue
            if gives_back:
                giving_back.add((one.file, one.line, one.fault.function))
            else:
                suspects[one.place] = Suspect(one, growth)
    finally:
        points.drop()
    shortage = short_of_memory(job, giving_back, start, tell) if SHORTAGE in legal else NOT_ASKED
    return Screening(
        calls=points.calls + shortage.calls,
        points=len({one.place for one in chosen}),
        tried=tried,
        suspects=[*suspects.values(), *shortage.suspects],
        unrepeatable=len(unrepeatable - suspects.keys()) + shortage.unrepeatable,
        untried=len({one.place for one in chosen[tried:]} - {one.place for one in chosen[:tried]}),
        shortage=shortage,
    )


def results(
    job: Job, seen: Screening, judge: Callable[[Job], ScenarioResult], seconds: Callable[[], float]
) -> list[ScenarioResult]:
    """One result for all points, then one for each that leaks; `judge` measures a job."""
    leaking: list[tuple[Suspect, ScenarioResult]] = []
    alike: dict[str, list[Suspect]] = {}
    died = list(seen.shortage.died)
    judged = undecided = 0
    for suspect in sorted(seen.suspects, key=_likelihood):
        twin = next((result.id for other, result in leaking if _alike(other, suspect)), None)
        if twin is not None:
            alike.setdefault(twin, []).append(suspect)
        elif judged >= _MOST_JUDGED:
            undecided += 1
        else:
            judged += 1
            patient = job if suspect.growth else impatient(job)
            result = judge(_job(patient, suspect.failing, {result.id for _, result in leaking}))
            twin = next((other.id for _, other in leaking if _have_one_cause(other, result)), None)
            if twin is not None:
                alike.setdefault(twin, []).append(suspect)
            elif suspect.failing.fault.kind == "allocation" and _crashed(result):
                died.append(died_in_words(suspect.failing))
            elif result.verdict == "leak" or _died(result):
                leaking.append((suspect, result))
    told = [_in_words(result, suspect, alike.get(result.id, ())) for suspect, result in leaking]
    points = len(told) + sum(map(len, alike.values()))
    return [_whole(job, seen, points, undecided, died, seconds()), *told]


def _likelihood(suspect: Suspect) -> tuple[int, bool]:
    """What is likely comes first: that a wait is cancelled before that a call fails, and a built-in one last."""
    return _LIKELY.index(suspect.failing.fault.kind), hasattr(builtins, suspect.failing.text)


def of_all_points(job: Job) -> str:
    """The id of the result of all points together."""
    return f"{job.scenario.id}{ALL_POINTS}"


def _died(result: ScenarioResult) -> bool:
    return result.failure is not None and result.failure.type in ("timeout", "signal")


def _crashed(result: ScenarioResult) -> bool:
    return result.failure is not None and result.failure.type == "signal"


def _have_one_cause(one: ScenarioResult, other: ScenarioResult) -> bool:
    """Whether two points that leak have the same first finding."""
    causes = [result.findings[0].fingerprint for result in (one, other) if result.findings]
    return len(causes) == 2 and causes[0] == causes[1]


def _alike(one: Suspect, other: Suspect) -> bool:
    """Whether two points leave the same."""
    if one.growth.keys() != other.growth.keys() or bool(one.growth) != bool(other.growth):
        return False
    return all(
        abs(rate - other.growth[name]) <= (_NOISE if name == meters.LEDGER else 0) + _ALIKE * rate
        for name, rate in one.growth.items()
    )


def _job(job: Job, failing: Failing, taken: set[str]) -> Job:
    """The job of one point: the scenario with a step that fails there."""
    name = f"{job.scenario.id}{POINT}{failing.name}"
    number = 2
    whole = name
    while whole in taken:
        whole, number = f"{name}~{number}", number + 1
    return msgspec.structs.replace(job, fault=failing.fault, scenario=msgspec.structs.replace(job.scenario, id=whole))


def _in_words(result: ScenarioResult, suspect: Suspect, others: Sequence[Suspect]) -> ScenarioResult:
    failing = words(suspect.failing)
    if others:
        failing = f"{failing}, or at {units.count(len(others), 'point')} more"
    findings = [
        msgspec.structs.replace(finding, title=f"when {failing}: {finding.title}") for finding in result.findings
    ]
    why, failure = result.reason, result.failure
    if failure is not None and failure.type == "timeout":
        why = "the step hangs when it is called again: what it waits for was never given back"
        stack = [row for row in failure.traceback.splitlines() if not any(own in row for own in HERE.roots.own)]
        failure = msgspec.structs.replace(failure, message=f"when {failing}: {why}", traceback="\n".join(stack))
    also = [f"the same stays when {words(each.failing)}" for each in others]
    return msgspec.structs.replace(
        result,
        failing=failing,
        reason=f"when {failing}: {why}",
        failure=failure,
        findings=findings,
        advice=[*also, *result.advice],
    )


def _whole(
    job: Job, seen: Screening, leaking: int, undecided: int, died: Sequence[str], seconds: float
) -> ScenarioResult:
    """The result of all points together."""
    parts = [f"{units.count(seen.tried, 'failure')} at {units.count(seen.points, 'point')}{seen.shortage.in_words()}"]
    if leaking:
        parts.append(f"{units.count(leaking, 'point')} {'leaves' if leaking == 1 else 'leave'} something behind")
    elif not undecided and not seen.untried:
        parts.append("none leaves anything behind")
    if seen.unrepeatable:
        parts.append(f"after {seen.unrepeatable} of them the step cannot be called again")
    if undecided:
        parts.append(f"{undecided} more that leave something were not judged")
    if seen.untried:
        parts.append(f"no time for {seen.untried} (raise {job.option('time-budget')})")
    return verdicts.describe(
        job,
        id=of_all_points(job),
        verdict="inconclusive" if undecided or seen.untried else "screened",
        ok=True,
        reason=", ".join(parts),
        iterations=seen.calls,
        duration_s=seconds,
        failing="all points",
        advice=[*died, *([f"not looked at: allocations that fail ({why})"] if (why := seen.shortage.why_not) else [])],
    )

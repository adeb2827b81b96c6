"""Every step also fails: once its usual verdict stands, it is called on with a failure at each of its points.

All points are screened, by a few calls each in one process. A call that gives something back is left out, for whoever
makes it cannot help it: that is one after whose failure something stays, and nothing where it fails once it has
returned. What is left is for the judge, one point of those that leave the same.
"""

from __future__ import annotations

import builtins
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from leakcheck import meters, units
from leakcheck.agent.faults.messages import FaultSet, FindPoints, PointsFound, SetFault
from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import (
    CALLS_BEFORE_FAULTS,
    CANCELLATIONS,
    HOSTED,
    CountReferences,
    Emptied,
    EmptyCaches,
    Fault,
    PointKind,
    ReferencesCounted,
)
from leakcheck.agent.screen import Meters, screen
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Job
from leakcheck.execution.worker import INTERRUPT, Round, Worker
from leakcheck.records import ALL_POINTS, POINT, ScenarioResult
from leakcheck.run.points import Failing, to_fail, words
from leakcheck.verdict import result as verdicts

_HANGS_S = 5.0
"""Seconds, and ten times what a call took before, after which a call hangs that comes after one that failed."""
_SCREENED_S = 3.0
"""Times of the budget of a verdict that all points together may be screened for."""
_MOST_JUDGED = 6
"""Points that are judged: more of them have one cause, as a rule, and whoever mends that runs it again."""
_ALIKE = 0.1
"""Part by which the growth of two points may differ that have one cause."""
_NOISE = 32.0
"""Bytes of heap by which it may differ in any case: what an exception carries."""
_MOST_CALLS = 32
"""Calls after which what still moves is a suspect, once before and once after caches have been emptied."""
_START_S = 0.3
"""Seconds of screening that the start of a process counts for."""
_REFERENCE_CALLS = (7, 21)
"""Calls over which references are counted where all else stays: roughly, and what other objects hold taken off."""
_SLOW = ("anon.bytes", "disk.files")
"""Meters that move by themselves now and then: they are compared over several calls."""


class Suspect(NamedTuple):
    """A point, after whose failures something stays, or the step hangs."""

    failing: Failing
    growth: dict[str, float]
    """Per call, by meter; empty where it hangs."""


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


_LIKELY: tuple[PointKind, ...] = ("await", "task", "call", "entry", "operation")
"""The kinds of points, those first that are met most often."""

Start = Callable[[Job], Worker]
Tell = Callable[[int, int], None]
"""Told how many failures of how many have been tried."""


class _Unrepeatable(Exception):  # noqa: N818 - no error of ours
    """The step raised where no failure was injected."""


class _Points:
    """A process in which one point after the other fails; a fresh one where the last has left something behind."""

    def __init__(self, job: Job, start: Start) -> None:
        self._job = _impatient(job)
        self._start = start
        self._worker: Worker | None = None
        self._names: list[str] = []
        self.calls = 0
        self.spent = 0.0
        """Seconds of its own time."""
        self.is_fresh = False

    def open(self) -> Worker:
        """The process, started and warm."""
        if self._worker is None:
            self._worker = self._start(self._job)
            self._names = [name for name, _ in self._worker.open().meters]
            self._run(self._worker, CALLS_BEFORE_FAULTS)
            self.spent += _START_S
            self.is_fresh = True
        return self._worker

    def drop(self) -> None:
        """End the process: what comes next begins anew."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def screened(self, fault: Fault) -> tuple[dict[str, float], bool]:
        """What stays after each failure, by meter (nothing, as a rule), and whether all calls have failed.

        Raises `_Unrepeatable`, and `WorkerFailed` where the process is gone.
        """
        worker = self.open()
        self.is_fresh = False
        worker.ask(SetFault(fault), FaultSet)
        specs = {spec.name: spec for spec in meters.CATALOGUE}
        chosen = [at for at, name in enumerate(self._names) if name in specs and specs[name].screened]
        quick = [at for at in chosen if self._names[at] not in _SLOW]
        slow = [at for at in chosen if self._names[at] in _SLOW]
        last = self._run(worker, 0)
        stale = False

        def step() -> None:
            nonlocal last
            last = self._run(worker, 1)

        def read(into: array[float], at: int) -> None:
            nonlocal last, stale
            if stale:
                last, stale = self._run(worker, 0), False
            for index, meter in enumerate(quick, at):
                into[index] = last.values[meter]

        def read_slow(into: array[float], at: int) -> None:
            for index, meter in enumerate(slow, at):
                into[index] = last.values[meter]

        def find_caches() -> Callable[[], None]:
            def empty() -> None:
                nonlocal stale
                worker.ask(EmptyCaches(), Emptied)
                stale = True

            return empty

        reading = Meters(len(quick), read, len(slow), read_slow, read_slow)
        seen = screen(step, reading, find_caches, lambda: self.spent, _MOST_CALLS)
        drift = self._drift(worker, last.spent) if seen.flat else 0.0
        done = worker.ask(SetFault(None), FaultSet)
        names = [self._names[at] for at in (*quick, *slow)]
        growth = {name: rate for name, rate in zip(names, seen.growth, strict=True) if rate}
        if seen.flat:
            growth = {meters.REFERENCES: drift} if drift else {}
        elif not growth:
            growth = {meters.LEDGER: 0.0}
        return growth, done.hits == done.calls

    def _drift(self, worker: Worker, spent: float) -> float:
        """References that are not given back after each failure; `spent` are the seconds of one call."""
        rate = 0.0
        for whole, calls in enumerate(_REFERENCE_CALLS):
            counted = worker.ask(CountReferences(calls, whole=bool(whole)), ReferencesCounted)
            if counted.raised:
                raise _Unrepeatable
            self.calls += counted.iterations + 1
            self.spent += spent * (counted.iterations + 1)
            rate = sum(abs(each.rate(calls)) for each in counted.drifts if not each.by_instances)
            if not rate:
                break
        return rate

    def _run(self, worker: Worker, count: int) -> Round:
        made = worker.run(count)
        self.calls += count
        self.spent += made.spent
        if made.raised is not None:
            raise _Unrepeatable
        return made


def screened(job: Job, legal: Sequence[str], start: Start, tell: Tell) -> Screening:
    """Let each point fail. Raises `WorkerFailed` where the step cannot be looked at."""
    points = _Points(job, start)
    suspects: dict[Any, Suspect] = {}
    unrepeatable, decided, tried = set[Any](), set[Any](), 0
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
                growth = _left_once(points, one.fault)
                if growth is None:
                    continue
                decided.add(one.place)
                gives_back = (
                    one.fault.kind not in CANCELLATIONS and _left_once(points, one.fault._replace(after=True)) is None
                )
            except _Unrepeatable:
                points.drop()
                unrepeatable.add(one.place)
                continue
            if not gives_back:
                suspects[one.place] = Suspect(one, growth)
    finally:
        points.drop()
    return Screening(
        calls=points.calls,
        points=len({one.place for one in chosen}),
        tried=tried,
        suspects=list(suspects.values()),
        unrepeatable=len(unrepeatable - suspects.keys()),
        untried=len({one.place for one in chosen[tried:]} - {one.place for one in chosen[:tried]}),
    )


def _left_once(points: _Points, fault: Fault) -> dict[str, float] | None:
    """What a failure leaves each time, nothing where the step hangs; None where it is no suspect."""
    was_fresh = points.is_fresh
    try:
        growth, whole = points.screened(fault)
        if not whole and not was_fresh:
            points.drop()
            growth, whole = points.screened(fault)
    except WorkerFailed as failed:
        points.drop()
        if failed.failure.type == INTERRUPT:
            raise
        if failed.failure.type == "timeout" and fault.kind == "task":
            raise _Unrepeatable from failed  # the step waits for what the task was to bring
        if failed.failure.type in ("timeout", "signal"):
            return {}
        raise
    if growth or not whole:
        points.drop()  # a pool that is empty by now, or a lock that is held, is nothing to the next point
    return growth or None


def results(
    job: Job, seen: Screening, judge: Callable[[Job], ScenarioResult], seconds: Callable[[], float]
) -> list[ScenarioResult]:
    """One result for all points, then one for each that leaks; `judge` measures a job."""
    leaking: list[tuple[Suspect, ScenarioResult]] = []
    alike: dict[str, list[Suspect]] = {}
    judged = undecided = 0
    for suspect in sorted(seen.suspects, key=_likelihood):
        twin = next((result.id for other, result in leaking if _alike(other, suspect)), None)
        if twin is not None:
            alike.setdefault(twin, []).append(suspect)
        elif judged >= _MOST_JUDGED:
            undecided += 1
        else:
            judged += 1
            patient = job if suspect.growth else _impatient(job)
            result = judge(_job(patient, suspect.failing, {result.id for _, result in leaking}))
            twin = next((other.id for _, other in leaking if _have_one_cause(other, result)), None)
            if twin is not None:
                alike.setdefault(twin, []).append(suspect)
            elif result.verdict == "leak" or _died(result):
                leaking.append((suspect, result))
    told = [_in_words(result, suspect, alike.get(result.id, ())) for suspect, result in leaking]
    points = len(told) + sum(map(len, alike.values()))
    return [_whole(job, seen, points, undecided, seconds()), *told]


def _likelihood(suspect: Suspect) -> tuple[int, bool]:
    """What is likely comes first: that a wait is cancelled before that a call fails, and a built-in one last."""
    return _LIKELY.index(suspect.failing.fault.kind), hasattr(builtins, suspect.failing.text)


def of_all_points(job: Job) -> str:
    """The id of the result of all points together."""
    return f"{job.scenario.id}{ALL_POINTS}"


def _died(result: ScenarioResult) -> bool:
    return result.failure is not None and result.failure.type in ("timeout", "signal")


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


def _impatient(job: Job) -> Job:
    """The job, with less time for what hangs: that is no rare end of a call that comes after one that failed."""
    limits = {**job.scenario.timeouts, "call": min(_HANGS_S, job.timeout("call"))}
    return msgspec.structs.replace(job, scenario=msgspec.structs.replace(job.scenario, timeouts=limits))


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


def _whole(job: Job, seen: Screening, leaking: int, undecided: int, seconds: float) -> ScenarioResult:
    """The result of all points together."""
    parts = [f"{units.count(seen.tried, 'failure')} at {units.count(seen.points, 'point')}"]
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
    )

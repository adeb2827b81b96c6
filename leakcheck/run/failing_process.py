"""A process in which a step fails at one point after the other: what stays of each failure is read there."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from leakcheck import meters
from leakcheck.agent.faults.messages import FaultSet, SetFault
from leakcheck.agent.protocol import (
    CALLS_BEFORE_FAULTS,
    CountReferences,
    Emptied,
    EmptyCaches,
    Fault,
    ReferencesCounted,
)
from leakcheck.agent.screen import Meters, screen
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Job
from leakcheck.execution.worker import INTERRUPT, Round, Worker
from leakcheck.run.points import Failing

_HANGS_S = 5.0
"""Seconds, and ten times what a call took before, after which a call hangs that comes after one that failed."""
_MOST_CALLS = 32
"""Calls after which what still moves is a suspect, once before and once after caches have been emptied."""
_START_S = 0.3
"""Seconds of screening that the start of a process counts for."""
_REFERENCE_CALLS = (7, 21)
"""Calls over which references are counted where all else stays: roughly, and what other objects hold taken off."""
_SLOW = ("anon.bytes", "disk.files")
"""Meters that move by themselves now and then: they are compared over several calls."""

Start = Callable[[Job], Worker]


class Suspect(NamedTuple):
    """A point, after whose failures something stays, or the step hangs."""

    failing: Failing
    growth: dict[str, float]
    """Per call, by meter; empty where it hangs."""


class Left(NamedTuple):
    """What a failure leaves."""

    growth: dict[str, float]
    """With each call, by meter; nothing, as a rule."""
    whole: bool
    """Whether all calls have failed."""
    struck: bool
    """Whether any has."""


def impatient(job: Job) -> Job:
    """The job, with less time for what hangs: that is no rare end of a call that comes after one that failed."""
    limits = {**job.scenario.timeouts, "call": min(_HANGS_S, job.timeout("call"))}
    return msgspec.structs.replace(job, scenario=msgspec.structs.replace(job.scenario, timeouts=limits))


class Unrepeatable(Exception):  # noqa: N818 - no error of ours
    """The step raised where no failure was injected."""


class FailingProcess:
    """A process in which one point after the other fails; a fresh one where the last has left something behind."""

    def __init__(self, job: Job, start: Start) -> None:
        self._job = impatient(job)
        self._start = start
        self._worker: Worker | None = None
        self._names: list[str] = []
        self.calls = 0
        self.spent = 0.0
        """Seconds of its own time."""
        self.call_s = 0.0
        """Seconds of a call that does not fail."""
        self.is_fresh = False

    def open(self) -> Worker:
        """The process, started and warm."""
        if self._worker is None:
            self._worker = self._start(self._job)
            self._names = [name for name, _ in self._worker.open().meters]
            self.call_s = self._run(self._worker, CALLS_BEFORE_FAULTS).seconds / CALLS_BEFORE_FAULTS
            self.spent += _START_S
            self.is_fresh = True
        return self._worker

    def drop(self) -> None:
        """End the process: what comes next begins anew."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def left_once(self, fault: Fault) -> dict[str, float] | None:
        """What a failure leaves each time, nothing where the step hangs; None where it is no suspect.

        Raises as `screened` does.
        """
        was_fresh = self.is_fresh
        try:
            growth, whole, _ = self.screened(fault)
            if not whole and not was_fresh:
                self.drop()
                growth, whole, _ = self.screened(fault)
        except WorkerFailed as failed:
            self.drop()
            if failed.failure.type == INTERRUPT:
                raise
            if failed.failure.type == "timeout" and fault.kind == "task":
                raise Unrepeatable from failed  # the step waits for what the task was to bring
            if failed.failure.type in ("timeout", "signal"):
                return {}
            raise
        if growth or not whole:
            self.drop()  # a pool that is empty by now, or a lock that is held, is nothing to the next point
        return growth or None

    def screened(self, *faults: Fault) -> Left:
        """Let it fail until it is seen whether something stays; of several allocations each, in turn.

        Raises `Unrepeatable`, and `WorkerFailed` where the process is gone.
        """
        worker = self.open()
        self.is_fresh = False
        worker.ask(SetFault(list(faults)), FaultSet)
        turns = sum(each.turns for each in faults)
        specs = {spec.name: spec for spec in meters.CATALOGUE}
        chosen = [at for at, name in enumerate(self._names) if name in specs and specs[name].screened]
        quick = [at for at in chosen if self._names[at] not in _SLOW]
        slow = [at for at in chosen if self._names[at] in _SLOW]
        last = self._run(worker, 0)
        stale = False

        def step() -> None:
            nonlocal last
            last = self._run(worker, turns)

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
        drift = self._drift(worker, turns, last.spent) if seen.flat else 0.0
        done = worker.ask(SetFault([]), FaultSet)
        names = [self._names[at] for at in (*quick, *slow)]
        growth = {name: rate for name, rate in zip(names, seen.growth, strict=True) if rate}
        if seen.flat:
            growth = {meters.REFERENCES: drift} if drift else {}
        elif not growth:
            growth = {meters.LEDGER: 0.0}
        return Left(growth, done.hits == done.calls, done.hits > 0)

    def _drift(self, worker: Worker, turns: int, spent: float) -> float:
        """References that are not given back after so many failures, which take `spent` seconds."""
        rate = 0.0
        for whole, calls in enumerate(_REFERENCE_CALLS):
            counted = worker.ask(CountReferences(turns * calls, whole=bool(whole)), ReferencesCounted)
            if counted.raised:
                raise Unrepeatable
            self.calls += counted.iterations + 1
            self.spent += spent * (counted.iterations / turns + 1)
            rate = sum(abs(each.rate(calls)) for each in counted.drifts if not each.by_instances)
            if not rate:
                break
        return rate

    def _run(self, worker: Worker, count: int) -> Round:
        made = worker.run(count)
        self.calls += count
        self.spent += made.spent
        if made.raised is not None:
            raise Unrepeatable
        return made

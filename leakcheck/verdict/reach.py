"""The one path to a verdict, for every scenario, test, call and control: measure, judge, challenge, budget."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from leakcheck import meters
from leakcheck.agent.protocol import Failed, GarbageMade, GcMode, Opened, Roots
from leakcheck.execution.allocators import foreign
from leakcheck.execution.job import Budget
from leakcheck.meters import MeterSpec
from leakcheck.records import Failure, Sample
from leakcheck.verdict import budget, garbage, pace, references
from leakcheck.verdict.caches import CacheSuspicion
from leakcheck.verdict.challenges import Suspicion, challenge
from leakcheck.verdict.judgement import Judgement
from leakcheck.verdict.measure import Measurement, Unsuspecting, Watch, decisive, measure
from leakcheck.verdict.process import Process
from leakcheck.verdict.unfinished import unfinished

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC}
"""What the system answers when there is no more of something."""


class Reached(NamedTuple):
    """A verdict on each meter, and what led to it."""

    measured: Measurement
    judgements: dict[str, Judgement]
    """The last word: after the challenges and the budget."""
    advice: list[str]
    pause_s: float
    """Seconds after which what the step keeps for a time only has gone; 0 where it keeps nothing so."""
    roots: Roots
    """Where code lives in the measured interpreter."""
    failed: Failed | None
    """The exception that ended the measurement, where the growth does not explain it."""
    foreign: Sequence[str] = ()
    """Allocators beside the C library's that the process has loaded."""
    garbage: GarbageMade | None = None
    """The cyclic garbage that the step makes."""
    questions_s: float = 0.0
    """Seconds in which the process was asked, after its rounds, what else may explain them."""

    @property
    def had_children(self) -> bool:
        """Whether the process had others below it when it was read."""
        return any(sample.value for sample in self.measured.samples.get(meters.CHILDREN_ALIVE, ()))

    @property
    def leaking(self) -> dict[str, float]:
        """Growth per iteration of each decisive meter that leaks."""
        leaks = decisive(self.measured.meters, self.judgements, "leak")
        return {spec.name: self.judgements[spec.name].growth for spec in leaks}


def reach(
    process: Process,
    opened: Opened,
    allowed: Budget,
    *,
    gc: GcMode = "collect",
    accepted: Mapping[str, float] | None = None,
    unasked: str = "",
    watch: Watch = lambda *_: None,
) -> Reached:
    """Measure an opened scenario within `allowed`, and judge it; `accepted` is the growth of its budget, by meter.

    `unasked` says why the process is asked nothing: a question has been the end of the one before.
    """
    specs = [meters.of(name, unit, opened.floors.get(name, 0.0)) for name, unit in opened.meters]
    unasked = unasked or ("" if opened.answers_probes else "the program answers no questions")
    suspected = CacheSuspicion(process)
    measured = measure(process, specs, _within_limits(allowed, opened), Unsuspecting() if unasked else suspected, watch)
    began = time.perf_counter()
    judgements, advice, pause_s = dict(measured.judgements), list[str](), 0.0
    raised = failed = measured.raised
    if measured.broken is not None:
        advice = [_cut_short(measured.broken)] if measured.leaking else []
    elif raised is None and unasked:
        advice = [f"not looked at: whether it has an innocent explanation ({unasked})"] if measured.leaking else []
    elif raised is None:
        judgements, advice, pause_s = challenge(Suspicion(measured, judgements, gc, suspected), process)
    elif _ran_into_a_limit(raised) and measured.leaking:
        advice = [f"the step ended with {raised.type}: {raised.said}, which the growth explains"]
        failed = None
    made: GarbageMade | None = None
    # What is looked at afterwards disturbs a process, and a service has others that wait for it.
    may_call = raised is None and measured.broken is None and not unasked and not opened.service
    if may_call and not decisive(specs, judgements, "leak"):
        looked = _afterwards(process, measured, judgements, allowed, gc, limited=meters.GARBAGE in (accepted or {}))
        judgements, advice, made = {**judgements, **looked.judgements}, [*advice, *looked.advice], looked.garbage
        measured = measured._replace(meters=[*specs, *looked.meters], samples={**measured.samples, **looked.samples})
    advice += pace.advice(process, measured, may_call=may_call)
    if may_call and any(spec.name == meters.TASKS for spec in specs):
        advice += unfinished(process, measured, allowed)
    judgements = budget.applied(judgements, measured.meters, accepted or {})
    asked_s = time.perf_counter() - began
    return Reached(
        measured, judgements, advice, pause_s, opened.roots, failed, foreign(opened.libraries), made, asked_s
    )


class _Looked(NamedTuple):
    """What is read once all other meters are judged."""

    meters: list[MeterSpec]
    judgements: dict[str, Judgement]
    samples: dict[str, list[Sample]]
    advice: list[str]
    garbage: GarbageMade | None


def _afterwards(
    process: Process,
    measured: Measurement,
    judgements: Mapping[str, Judgement],
    allowed: Budget,
    gc: GcMode,
    *,
    limited: bool,
) -> _Looked:
    """The meters that have a look of their own, which would disturb the others."""
    found = _Looked([], {}, {}, [], None)

    def add(name: str, judgement: Judgement, samples: list[Sample]) -> None:
        spec = meters.of(name, "")
        found.meters.append(spec._replace(decisive=spec.decisive or judgement.verdict == "leak"))
        found.judgements[name], found.samples[name] = judgement, samples

    # What keeps things that grow in number keeps references of them.
    counted: references.Counted | str = "something still grows"
    if not decisive(measured.meters, judgements, "inconclusive"):
        counted = references.counted(process, measured, allowed)
    if isinstance(counted, str):
        found.advice.append(f"not looked at: reference counts ({counted})")
    else:
        add(meters.REFERENCES, counted.judgement, counted.samples)
        found.advice.extend(counted.advice)
        if counted.judgement.verdict == "leak":
            return found
    made = garbage.garbage(process, measured, allowed, gc, limited=limited)
    if made is None:
        return found
    add(meters.GARBAGE, made.judgement, made.samples)
    return found._replace(garbage=made.made)


def _cut_short(failure: Failure) -> str:
    """Why a leak that the readings had shown is reported before its time."""
    return f"the measurement ended early ({failure.type}: {failure.message}); what was read until then shows the leak"


def _within_limits(allowed: Budget, opened: Opened) -> Budget:
    """The budget, lowered to what the process may have: half of its descriptors, for readings need some too."""
    limit = opened.descriptor_limit
    return allowed if limit is None else msgspec.structs.replace(allowed, resources=min(allowed.resources, limit // 2))


def _ran_into_a_limit(raised: Failed) -> bool:
    """Whether an exception says that the process, or the system, has no more of something."""
    return raised.errno in _EXHAUSTED or raised.type == "MemoryError" or "can't start new thread" in raised.message

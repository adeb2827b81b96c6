"""Reference counts that drift: asked once every other meter is judged, for such a fault costs no memory.

Whatever keeps a reference needs memory for it. So where memory has not grown and the references to an object go on by
the same with each call, nobody has them: native code has forgotten to give one back, or has given back one too many.
A buffer that was made beforehand and fills is the exception; it is told by going on for as long as for any line.
"""

from __future__ import annotations

from typing import NamedTuple

from leakcheck import units
from leakcheck.agent.protocol import CountReferences, Drift, ReferencesCounted
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Budget
from leakcheck.records import Sample
from leakcheck.verdict.judgement import Judgement
from leakcheck.verdict.measure import Measurement
from leakcheck.verdict.process import Process

_CALLS = 211
"""Calls of the first stretch: a prime, so that no period divides it."""
_FEWEST_CALLS = 7
"""The same where calls are slow: with fewer, what comes and goes looks like a drift."""
_TIME_SHARE = 0.15
"""Part of the time of the measurement that the first look may take."""
_LEAST_S = 0.05
"""Seconds that it may take in any case."""
_LINE_CALLS = 32_768
"""Calls after which a line is believed that nothing of Python's holds (`patience.LOST`)."""
_SAME_RATE = 0.1
"""Part by which the rate of a drift may differ between the two looks."""
_SAFE_SHARE = 4
"""Part of an object's references that a second look may use up: without any, it is freed while it is in use."""
_MOST_NAMED = 2
"""Objects that are named in the reason."""


class Counted(NamedTuple):
    """What became of the reference counts."""

    judgement: Judgement
    samples: list[Sample]
    advice: list[str]
    """References that cost nothing for as long as the program runs."""


def counted(process: Process, measured: Measurement, allowed: Budget) -> Counted | str:
    """Look at the reference counts of a scenario whose memory does not grow; or why that was not done."""
    calls = _first_calls(measured, allowed)
    if calls < _FEWEST_CALLS:
        return "the calls are too slow, or too few, for them"
    try:
        first = process.ask(CountReferences(calls, whole=False), ReferencesCounted)
        if first.why_not:
            return first.why_not
        if not first.drifts:
            return _counted(measured, first, [], calls)
        longer = _second_calls(measured, allowed, first.drifts, calls)
        second = process.ask(CountReferences(longer, whole=True), ReferencesCounted)
    except WorkerFailed as failed:
        return failed.failure.message
    if second.why_not:
        return second.why_not
    rates = {each.identity: each.rate(calls) for each in first.drifts}
    same = [
        each
        for each in second.drifts
        if abs(each.rate(longer) - (before := rates.get(each.identity, 0.0))) <= _SAME_RATE * abs(before)
    ]
    return _counted(measured, second, same, longer)


def _first_calls(measured: Measurement, allowed: Budget) -> int:
    affordable = max(_LEAST_S, _TIME_SHARE * measured.seconds) / measured.per_iteration
    left = (allowed.max_iterations or float("inf")) - measured.iterations
    return int(min(_CALLS, affordable / 3, (left - 1) / 3))


def _second_calls(measured: Measurement, allowed: Budget, drifts: list[Drift], calls: int) -> int:
    """As many as a line needs to be believed, as far as the time budget and the references go."""
    falling = [drift for drift in drifts if drift.rate(calls) < 0]
    until_freed = min((drift.left / -drift.rate(calls) / _SAFE_SHARE for drift in falling), default=float("inf"))
    left = (allowed.max_iterations or float("inf")) - measured.iterations - 3 * calls - 1
    wanted = min(_LINE_CALLS, allowed.time_s / measured.per_iteration, until_freed, left - 1)
    return max(_FEWEST_CALLS, int(wanted / 3))


def _counted(measured: Measurement, last: ReferencesCounted, all_drifts: list[Drift], calls: int) -> Counted:
    drifts = [each for each in all_drifts if not each.by_instances]
    changes = [sum(map(abs, each)) for each in zip(*(drift.changes for drift in drifts), strict=True)] or [0, 0]
    rate = sum(changes) / (3 * calls)
    began = measured.iterations
    samples = [
        Sample(began, 0.0),
        *([Sample(began + calls, float(changes[0]))] if drifts else []),
        Sample(began + last.iterations, float(sum(changes))),
    ]
    reason = "; ".join(map(_drift_in_words, ((each, each.rate(calls)) for each in drifts[:_MOST_NAMED])))
    if not drifts:
        immortal = f" ({last.immortal:,} are immortal: these have no count)" if last.immortal else ""
        looked_at = f"{last.objects:,} objects and all that they refer to{immortal}"
        reason = f"no reference count drifts: {looked_at}, over {last.iterations:,} calls"
    verdict = "leak" if drifts else "clean"
    shape = "linear" if drifts else "constant"
    judgement = Judgement(verdict, shape, rate, rate, rate, None, reason, "afterwards")  # type: ignore[arg-type]
    return Counted(judgement, samples, [_of_instances(each, calls) for each in all_drifts if each.by_instances])


def _of_instances(drift: Drift, calls: int) -> str:
    amount = units.quantity(drift.rate(calls), "references")
    return (
        f"{amount} to {drift.what} with each call: its instances, when they end, do not give back theirs, "
        "which costs nothing as long as the type stays"
    )


def _drift_in_words(found: tuple[Drift, float]) -> str:
    drift, rate = found
    amount = units.quantity(abs(rate), "references")
    if rate > 0:
        return f"{amount} to {drift.what} with each call, never given back"
    return f"{amount} to {drift.what} too few with each call: it will be freed while it is in use"

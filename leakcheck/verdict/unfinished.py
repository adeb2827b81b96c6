"""Work of coroutines that is begun and never done: counted at the end, and told as advice."""

from __future__ import annotations

from leakcheck import units
from leakcheck.agent.protocol import CountUnfinished, Unfinished, UnfinishedWork
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Budget
from leakcheck.verdict.measure import Measurement
from leakcheck.verdict.process import Process

_CALLS = 23
"""Calls in which it is counted: a prime, so that no period divides it."""
_TIME_SHARE = 0.1
"""Part of the time of the measurement that these calls may take."""
_LEAST_S = 0.05
"""Seconds that they may take in any case."""
_LEAST_RATE = 0.5
"""Things per iteration from which on they are the step's: some are left by what it once began."""
_ENDS = {
    "task": "destroyed while pending",
    "coroutine": "never awaited",
    "async generator": "left before its end, and closed by the collector",
}


def unfinished(process: Process, measured: Measurement, allowed: Budget) -> list[str]:
    """What an async step leaves undone with each call, in words."""
    left = (allowed.max_iterations or float("inf")) - measured.iterations
    calls = int(min(_CALLS, max(_LEAST_S, _TIME_SHARE * measured.seconds) / measured.per_iteration, left))
    if calls < 1:
        return []
    try:
        work = process.ask(CountUnfinished(calls), Unfinished).work
    except WorkerFailed:
        return []
    return [_in_words(one) for one in work if one.rate >= _LEAST_RATE]


def _in_words(work: UnfinishedWork) -> str:
    """`1 task per iteration is destroyed while pending: worker, created at app.py:9 in call`."""
    file, line, function = work.stack[0] if work.stack else ("", 0, "")
    where = f", created at {file.rpartition('/')[2]}:{line} in {function}" if file else ""
    amount = units.quantity(work.rate, f"{work.kind}s")
    return f"{amount} per iteration {'is' if amount.startswith('1 ') else 'are'} {_ENDS[work.kind]}: {work.name}{where}"

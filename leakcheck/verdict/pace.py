"""Calls that get slower with their number: a list that is searched, a registry that is walked. Advice, never a leak."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from leakcheck.agent.protocol import TimeSpent, WhereTimeGoes
from leakcheck.execution.failure import WorkerFailed
from leakcheck.records import Sample
from leakcheck.series import rates
from leakcheck.verdict.measure import Measurement
from leakcheck.verdict.process import Process

_SLOWER = 1.3
"""How many times as long as in the doubling before a call takes where calls get slower: caches of processors and a busy
machine leave less."""
_LEAST_CALLS = 16
"""Calls that have three doublings."""
_WATCHED_CALLS = 5
"""Calls in which it is seen on which line the time is spent."""
_LONGEST_CALL_S = 0.2
"""Seconds of a call that is called again to see it: a trace function makes it slower still."""
_MOST_OF_IT = 0.5
"""Part of the time that a line must have to be named."""


def slower(pace: Sequence[Sample]) -> float:
    """How many times slower calls have become with each of the last two doublings; 1 where they have not, in both."""
    total = pace[-1].iterations if pace else 0
    if total < _LEAST_CALLS:
        return 1.0
    at = [min(pace, key=lambda each: abs(each.iterations - total / part)) for part in (8, 4, 2, 1)]
    costs = rates(at)
    if len(costs) < 3 or min(costs) <= 0:
        return 1.0
    ratios = [later / earlier for earlier, later in pairwise(costs)]
    return math.sqrt(ratios[0] * ratios[1]) if min(ratios) >= _SLOWER else 1.0


def advice(process: Process, measured: Measurement, *, may_call: bool) -> list[str]:
    """That calls get slower, and the line on which they spend their time, where the step may be called again."""
    times = slower(measured.pace)
    if times <= 1.0:
        return []
    text = f"calls get slower with their number, {times:.1f} times with each doubling"
    lately = rates(measured.pace[-2:])
    if not may_call or not lately or lately[0] > _LONGEST_CALL_S:
        return [text]
    try:
        spent = process.ask(WhereTimeGoes(_WATCHED_CALLS), TimeSpent)
    except WorkerFailed:
        return [text]
    if not spent.stack or spent.share < _MOST_OF_IT:
        return [text]
    file, line, function = spent.stack[0]
    return [f"{text}: {spent.share:.0%} of their time is spent at {file.rpartition('/')[2]}:{line} in {function}"]

"""Cyclic garbage in bytes: no leak where the collector frees it, but memory that the program takes until then."""

from __future__ import annotations

from typing import NamedTuple

from leakcheck import units
from leakcheck.agent.protocol import GarbageMade, GcMode, MeasureGarbage
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Budget
from leakcheck.records import Sample
from leakcheck.verdict.judgement import Judgement
from leakcheck.verdict.measure import Measurement
from leakcheck.verdict.process import Process

LEAST_OBJECTS = 0.01
"""Objects of garbage per iteration from which on it is worth a word."""
_LEAST_UNSEEN = 0.5
"""The same where the rounds have shown none, for the collector counts none that a finalizer frees."""
_MOST_CALLS = 20_000
"""Calls within which the collector comes by itself, if ever: it waits for some 700 objects."""
_MOST_BYTES = 256 << 20
"""Bytes that may wait for it meanwhile."""
_TIME_SHARE = 0.2
"""Part of the time of the measurement for which it is waited for."""
_LEAST_S = 0.05
"""Seconds for which it is waited for in any case."""


class Garbage(NamedTuple):
    """What became of it."""

    made: GarbageMade
    judgement: Judgement
    samples: list[Sample]


def garbage(process: Process, measured: Measurement, allowed: Budget, mode: GcMode, *, limited: bool) -> Garbage | None:
    """How much garbage the step makes, and who; None where it makes none. It is a leak where nobody collects it.

    `limited` says that there is a budget for it, which has the last word.
    """
    left = _MOST_CALLS if allowed.max_iterations is None else allowed.max_iterations - measured.iterations - 64
    seconds = max(_LEAST_S, _TIME_SHARE * measured.seconds)
    seen = measured.cycles_per_iteration >= LEAST_OBJECTS or mode in ("auto", "off") or limited
    if left <= 0 or (not seen and measured.per_iteration > seconds):
        return None
    try:
        made = process.ask(
            MeasureGarbage(min(left, _MOST_CALLS), min(_MOST_BYTES, allowed.max_growth / 4), seconds), GarbageMade
        )
    except WorkerFailed:
        return None
    if made.why_not or (made.objects < (LEAST_OBJECTS if seen else _LEAST_UNSEEN) and not limited):
        return None
    leaks = limited or (mode == "off" and made.bytes > 0)
    samples = [Sample(iterations, waiting) for iterations, waiting in made.waiting]
    rate = made.bytes
    reason = in_words(made, collected=mode != "off")
    return Garbage(
        made, Judgement("leak" if leaks else "clean", "linear", rate, rate, rate, None, reason, "afterwards"), samples
    )


def in_words(made: GarbageMade, *, collected: bool) -> str:
    """`195.3 KiB of cyclic garbage per iteration, of which 66.8 MiB ...: app.Node leads back to itself by .parent`."""
    text = f"makes {units.size(made.bytes)} of cyclic garbage per iteration"
    if collected:
        peak = units.size(max((size for _, size in made.waiting), default=0.0))
        until = f"up to {peak} wait until the collector comes by itself"
        text += f", {until}" if made.collected else f", {peak} had come before the collector came by itself"
    if made.type:
        text += f": {made.type} leads back to itself by {made.way or 'what it refers to'}"
    if made.stack:
        file, line, function = made.stack[0]
        text += f", closed at {file.rpartition('/')[2]}:{line} in {function}"
    return text

"""Whether a step leaves anything, from a few calls with an exact reading after each.

What is only done once (a cache is warmed, a module is loaded) falls to zero, and what is lost in each call does not::

    in use |        . . . . .        in use |          . '
           |    . '                         |      . '
           | .'                             |  . '
           +----------- calls               +----------- calls
             screened                         for the judge

Nothing is concluded from what moves: that is for the judge, with its thousands of calls.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

Read = Callable[["array[float]", int], None]
"""Reads all meters, the ledger of the heap first, into an array from an index on: nothing new is kept of a reading."""

_STILL_CALLS = 5
"""Calls in a row that have to leave nothing, where they are quick."""
_STILL_S = 0.002
"""Seconds that they should not take together; slow tests have fewer, at least one: each call was a plain run more."""
_PATIENCE_S = 0.3
"""Seconds that a test may move before its caches are emptied, and again before it is the judge's, who needs ten times
as long for it."""
_SLOW_CALLS = 3
"""Calls that a slow one has in any case until then: what is done once is done by the first of them."""
_MOST_CALLS = 512
"""Calls after which one that is quick is the judge's."""
_LOOKS = (16, 32, 64, 128, 256)
"""Calls after which it is looked whether one that moves comes back again and again."""
_MOST_MASKED = 1024.0
"""Bytes of heap a call that may hide in what goes up and down: more, and nothing is said."""
_MOST_HIDDEN = 64.0
"""The same as long as there is patience left: the smallest leak of an object is larger."""
GRAIN = 16.0
"""Bytes by which malloc counts: the least that can be lost."""


class Screened(NamedTuple):
    """What some calls have shown."""

    flat: bool
    calls: int
    """In which it was flat; all after the first, where it was not."""
    growth: list[float]
    """Per call, a number a meter."""
    masked: list[float]
    """The loss per call that would have been hidden, a number a meter."""


def screen(
    step: Callable[[], object],
    read: Read,
    meters: int,
    find_caches: Callable[[], Callable[[], object]] = lambda: lambda: None,
    now: Callable[[], float] = time.perf_counter,
) -> Screened:
    """Call the step until it leaves nothing, or for so long that the judge should look at it.

    `meters` is how many numbers a reading has. `find_caches` returns a function that empties all caches with a limit:
    what still moves after some time may be one that fills, and is called on with a reading after they were emptied.
    """
    levels = array("d", bytes(8 * meters * (_MOST_CALLS + 1)))
    step()
    read(levels, 0)
    began = now()
    calls, empty = 0, None
    while True:
        step()
        if empty is not None:
            empty()
        calls += 1
        read(levels, meters * calls)
        spent = now() - began
        wanted = max(1, min(_STILL_CALLS, int(_STILL_S * calls / max(spent, 1e-9))))
        if calls >= wanted and (still := _still(_series(levels, meters, calls - wanted, calls))):
            return still
        over = (spent > _PATIENCE_S and calls >= _SLOW_CALLS) or calls >= _MOST_CALLS
        if over or calls in _LOOKS:
            moving = _moving(_series(levels, meters, 0, calls))
            if moving.flat and (over or moving.masked[0] <= _MOST_HIDDEN):
                return moving
            if over and empty is not None:
                return moving
        if over:
            empty = find_caches()
            step()
            empty()
            read(levels, 0)
            began, calls = now(), 0


def _series(levels: array[float], meters: int, first: int, last: int) -> list[array[float]]:
    """Of each meter its readings after the calls `first` to `last`."""
    return [levels[meters * first + meter : meters * last + meter + 1 : meters] for meter in range(meters)]


def _still(levels: Sequence[Sequence[float]]) -> Screened | None:
    """A stretch in which not every call can have left something; what was freed in it could have hidden as much."""
    calls = len(levels[0]) - 1
    rises = [sum(max(0.0, series[call + 1] - series[call]) for call in range(calls)) for series in levels]
    freed = [rise - (series[-1] - series[0]) for rise, series in zip(rises, levels, strict=True)]
    if rises[0] >= GRAIN * calls or freed[0] > _MOST_HIDDEN * calls or any(rises[1:]) or any(freed[1:]):
        return None
    return Screened(True, calls, [0.0] * len(levels), [freed[0] / calls + GRAIN, *freed[1:]])


def _moving(levels: Sequence[Sequence[float]]) -> Screened:
    """One that goes up and down: what is lost in each call has raised the lowest of the second half above the first's.

    ::

        in use | .   . .   .  .        in use |            ' .  .
               |  ' '   ' ' '' '              |    . ' .  '   '
               |                              | ' .  '
               +---- : -------- calls         +------- : ------- calls
    """
    half = len(levels[0]) // 2
    growth, masked = [], []
    for series in levels:
        later = series[half:]
        growth.append(max(0.0, (min(later) - min(series[:half])) / half))
        masked.append((max(later) - min(later)) / half)
    if growth[0] < GRAIN:  # not in every call
        growth[0] = 0.0
    flat = not any(growth) and masked[0] <= _MOST_MASKED
    masked[0] += GRAIN
    return Screened(flat, len(levels[0]) - 1, growth, masked)

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
_FEWEST_CALLS = 3
"""Calls in a row that are asked of all but slow tests: in one, what was freed may hide what is lost."""
_SLOW_S = 0.02
"""Seconds from which on a call is slow."""
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


class Meters(NamedTuple):
    """How the readings are taken."""

    quick: int
    """Numbers that are read after each call, the ledger of the heap first."""
    read: Read
    slow: int
    """Numbers that are read at the beginning and at the end."""
    read_before: Read
    read_after: Read


class Screened(NamedTuple):
    """What some calls have shown."""

    flat: bool
    calls: int
    """In which it was flat; all after the first, where it was not."""
    growth: list[float]
    """Per call, a number a meter: the quick ones, then the slow ones."""
    masked: list[float]
    """The loss per call that would have been hidden, a number a meter."""


def screen(
    step: Callable[[], object],
    meters: Meters,
    find_caches: Callable[[], Callable[[], object]] = lambda: lambda: None,
    now: Callable[[], float] = time.perf_counter,
    most: int = _MOST_CALLS,
) -> Screened:
    """Call the step until it leaves nothing, or for so long (`most` calls, twice) that the judge should look at it.

    `find_caches` returns a function that empties all caches with a limit: what still moves after some time may be one
    that fills, and is called on with a reading after they were emptied.
    """
    quick, slow = meters.quick, meters.slow
    levels = array("d", bytes(8 * quick * (most + 1)))
    before, after = array("d", bytes(8 * slow)), array("d", bytes(8 * slow))
    step()
    meters.read_before(before, 0)
    meters.read(levels, 0)
    began = now()
    calls, since, empty = 0, 0, None
    while True:
        step()
        if empty is not None:
            empty()
        calls += 1
        meters.read(levels, quick * calls)
        spent = now() - began
        least = 1 if spent > _SLOW_S * calls else _FEWEST_CALLS
        wanted = max(least, min(_STILL_CALLS, int(_STILL_S * calls / max(spent, 1e-9))))
        over = (spent > _PATIENCE_S and calls >= _SLOW_CALLS) or calls >= most
        found = _still(_series(levels, quick, calls - wanted, calls)) if calls - since >= wanted else None
        if found is None and (over or calls in _LOOKS):
            found = _moving(_series(levels, quick, 0, calls))
            if not over and found.masked[0] > _MOST_HIDDEN:
                found = None
        if found is not None and (found.flat or (over and empty is not None)):
            meters.read_after(after, 0)
            rose = [max(0.0, end - start) / max(1, calls - since) for start, end in zip(before, after, strict=True)]
            if not found.flat or over or not any(rose):
                flat = found.flat and not any(rose)
                return Screened(flat, found.calls, [*found.growth, *rose], [*found.masked, *(0.0 for _ in rose)])
            before[:] = after  # by what is done once, perhaps: it is asked again after as many calls
            since = calls
        if over:
            empty = find_caches()
            step()
            empty()
            meters.read_before(before, 0)
            meters.read(levels, 0)
            began, calls, since = now(), 0, 0


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

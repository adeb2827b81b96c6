"""What a step keeps for a time only: whether it reads a clock, and what stays when that time is over.

The object graph shows what stays where bytes cannot: tables grow and shrink by more than what stays in them.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from types import FrameType
from typing import TYPE_CHECKING, Any

from leakcheck.agent.origin import HERE
from leakcheck.agent.probes import snapshot
from leakcheck.agent.probes.elements import entry_weight, mean_weight
from leakcheck.agent.probes.growing import Growing, Point, growing
from leakcheck.agent.probes.limited import limits
from leakcheck.agent.probes.walk import TooLargeError, Walk
from leakcheck.agent.protocol import STRETCHES, ClockRead, ReadsClock, Stayed, WhatStays

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation
    from leakcheck.agent.step import Driver

_CLOCKS = frozenset(
    {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "localtime", "gmtime"}
)
_DATES = frozenset({"now", "utcnow", "today"})
_LONG_S = 60.0
"""Seconds for which nobody waits."""
_RARE_CALLS = 100
"""Of so many calls at least one must leave something: what is there by chance differs by as much."""
_UNEVEN_SHARE = 0.1
"""Part by which stretches may differ: what stays comes at a rate."""
_WEIGHED_ADDITIONS = 100
"""Additions that are weighed."""
_LAST_CALLS_SHARE = 64
"""Part of the iterations whose things may be there still at the end."""


async def answer(conversation: Conversation, question: ReadsClock | WhatStays) -> ClockRead | Stayed:
    """Runs the step."""
    if isinstance(question, ReadsClock):
        return ClockRead(await _reads_clock(conversation.driver, question.calls))
    try:
        return Stayed(await _stay(conversation, question))
    except TooLargeError:  # by the object graph nothing can be said
        return Stayed([0.0] * (STRETCHES - 1))


async def let_expire(driver: Driver, pause_s: float, count: int) -> None:
    """Let go what the step keeps for a time only: wait until that is over, and call it again, for it looks then.

    After `count` iterations: as many again, since some forget only a few things at each call, and then a few. Nothing
    is done where `pause_s` is 0.
    """
    if pause_s:
        for calls in (count, max(1, count // _LAST_CALLS_SHARE)):
            await _pause(driver, pause_s, calls)


async def _pause(driver: Driver, seconds: float, calls: int) -> None:
    """Wait, and run on; where nobody waits for so long, time passes while the step runs."""
    if seconds < _LONG_S:
        time.sleep(seconds)
        await driver.run(calls)
        return
    from leakcheck.agent.probes import ahead  # loaded where it is needed

    await ahead.pass_time(driver, seconds, calls)


async def _reads_clock(driver: Driver, calls: int) -> bool:
    """Whether code that is not the standard library's reads a clock in the step.

    The library itself looks at clocks wherever it waits or logs, and keeps nothing for a time. Other threads are not
    looked at, nor is native code.
    """
    reads = False

    def look(frame: FrameType, event: str, function: Any) -> None:
        nonlocal reads
        if event == "c_call" and not reads and _is_clock(function):
            reads = not (HERE.own(frame.f_code.co_filename) or HERE.standard(frame.f_code.co_filename))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        await driver.run(calls)
    except Exception:  # noqa: BLE001 - a step that raises now has no answer to give
        return False
    finally:
        sys.setprofile(before)
    return reads


def _is_clock(function: Any) -> bool:
    if getattr(function, "__module__", None) == "time":
        return function.__name__ in _CLOCKS
    return function.__name__ in _DATES and isinstance(getattr(function, "__self__", None), type)


async def _stay(conversation: Conversation, question: WhatStays) -> list[float]:
    """The bytes that stay of an iteration, by stretch."""
    driver, count = conversation.driver, question.iterations
    seen: list[snapshot.Snapshot] = []
    for _ in range(STRETCHES):
        await driver.run(count)
        await _pause(driver, question.pause, count)  # as many, for some forget only a few things at each call
        await conversation.settler.settle()
        seen.append(snapshot.take(conversation))
    points = [each.point for each in seen]
    found = [each for each in growing(points, seen[-1].parents(), seen[-1].chains()) if each.shape != "heavier"]
    rates = {each.node: _rates(points, each, 2 * count) for each in found}
    walk = Walk(HERE.own)
    walk.keep = frozenset(node for node, by_stretch in rates.items() if by_stretch)
    walk.hide([conversation, seen])
    walk.run(snapshot.all_roots(conversation))
    limited = limits()
    bytes_left = [0.0] * (STRETCHES - 1)
    for each in found:
        members = walk.members.get(each.node, [])
        if members and all(id(member) in limited for member in members):
            continue  # it stops when it is full
        weight = _weight(members, each.shape)
        for stretch, rate in enumerate(rates[each.node]):
            bytes_left[stretch] += rate * weight
    return bytes_left


def _rates(points: list[Point], each: Growing, iterations: int) -> list[float]:
    """What a node gains per iteration, by stretch; nothing where that is little, or comes and goes."""
    counts = [(point.objects if each.shape == "deeper" else point.children).get(each.node, 0) for point in points]
    gains = [after - before for before, after in pairwise(counts)]
    steady = max(gains) - min(gains) <= max(2, _UNEVEN_SHARE * max(gains))
    return [gain / iterations for gain in gains] if steady and min(gains) * _RARE_CALLS >= iterations else []


def _weight(members: list[Any], shape: str) -> float:
    """What one addition takes."""
    if shape == "deeper" or not members:
        return mean_weight([(member,) for member in members[-_WEIGHED_ADDITIONS:]])
    return entry_weight(members)

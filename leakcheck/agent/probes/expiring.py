"""What stays when what the step keeps for a time only has gone: containers that are larger after each equal stretch.

The object graph tells it where bytes cannot: tables grow and shrink by more than what stays in them.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

from leakcheck.agent import origin
from leakcheck.agent.probes import snapshot
from leakcheck.agent.probes.additions import entries_of, mean_weight, slot_bytes
from leakcheck.agent.probes.bounded_caches import limits
from leakcheck.agent.probes.growing import Growing, Point, growing
from leakcheck.agent.probes.walk import Walk

_STRETCHES = 4
_FEW = 100
"""Of so many calls at least one must leave something: what is there by chance differs by as much."""
_ALIKE = 0.1
"""Part by which stretches may differ: what stays comes at a rate."""
_NEWEST = 100
"""Additions that are weighed."""


async def probe(conversation: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: `count` iterations, `pause` in seconds. Answers the bytes that stay of an iteration, by stretch."""
    driver, count = conversation.driver, arguments["count"]
    seen: list[snapshot.Picture] = []
    for _ in range(_STRETCHES):
        await driver.run(count)
        time.sleep(arguments["pause"])
        await driver.run(count)  # as many, for some forget only a few things at each call
        await conversation.settler.settle()
        seen.append(snapshot.take(conversation))
    points = [each.point for each in seen]
    found = [each for each in growing(points, seen[-1].parents(), seen[-1].chains()) if each.shape != "heavier"]
    rates = {each.node: _rates(points, each, 2 * count) for each in found}
    walk = Walk(origin.own)
    walk.keep = frozenset(node for node, by_stretch in rates.items() if by_stretch)
    walk.hide([conversation, seen])
    walk.run(snapshot.all_roots(conversation))
    limited = limits()
    bytes_left = [0.0] * (_STRETCHES - 1)
    for each in found:
        members = walk.members.get(each.node, [])
        if members and all(id(member) in limited for member in members):
            continue  # it stops when it is full
        weight = _weight(members, each.shape)
        for stretch, rate in enumerate(rates[each.node]):
            bytes_left[stretch] += rate * weight
    return {"bytes": bytes_left}


def _rates(points: list[Point], each: Growing, iterations: int) -> list[float]:
    """What a node gains per iteration, by stretch; nothing where that is little, or comes and goes."""
    counts = [(point.objects if each.shape == "deeper" else point.children).get(each.node, 0) for point in points]
    gains = [after - before for before, after in pairwise(counts)]
    steady = max(gains) - min(gains) <= max(2, _ALIKE * max(gains))
    return [gain / iterations for gain in gains] if steady and min(gains) * _FEW >= iterations else []


def _weight(members: list[Any], shape: str) -> float:
    """What one addition takes."""
    if shape == "deeper" or not members:
        return mean_weight([(member,) for member in members[-_NEWEST:]])
    return mean_weight(entries_of(members[-1])[-_NEWEST:]) + slot_bytes(members)

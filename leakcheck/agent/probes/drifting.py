"""After which line, and which call, an object has a reference that is never given back, or one too few."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

from leakcheck.agent.inquiry import Adder, DriftingObject, DriftingObjects, WatchReferences
from leakcheck.agent.meters.objects import bring_back
from leakcheck.agent.probes.instances import keep_theirs
from leakcheck.agent.probes.newborn import only_new
from leakcheck.agent.probes.references import count, name_of
from leakcheck.agent.probes.takers import in_variables
from leakcheck.agent.probes.watch import Callees, Ledger

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation
    from leakcheck.agent.step import Driver

_LEAST_SHARE = 0.25
"""Part of the references that a line must have taken to be named."""
_MOST_LINES = 3
"""Lines that are named, most references first."""


async def answer(conversation: Conversation, question: WatchReferences) -> DriftingObjects:
    """Runs the step: to see which objects drift, and once more for each, line by line."""
    bring_back()
    driver = conversation.driver
    await driver.run(question.warm)
    _, _, drifting = await count(conversation, question.iterations, accounted=True)
    found = []
    for each in drifting:
        rate = sum(each.changes) / (3 * question.iterations)
        if await keep_theirs(driver, each.value, rate):
            continue
        turns = min(question.watch, max(5, int(5 / abs(rate))))
        adders = await _lines(driver, each.value, 1 if rate > 0 else -1, turns, abs(rate))
        found.append(DriftingObject(name_of(each.value), rate, adders))
    return DriftingObjects(tuple(found))


async def _lines(driver: Driver, value: Any, sign: int, turns: int, rate: float) -> tuple[Adder, ...]:
    """The lines after which there are more references of that sign, with the C function that a line calls."""

    def read() -> int:
        return sign * _unaccounted(value)

    with only_new():
        with Ledger(read) as ledger:
            await driver.run(turns)
            sums = ledger.sums()
        with Callees(read) as callees:
            await driver.run(turns)
    return tuple(
        Adder(stack, amount / turns, callees.at(stack[0]))
        for stack, amount in sums[:_MOST_LINES]
        if stack and amount >= _LEAST_SHARE * rate * turns
    )


def _unaccounted(value: Any) -> int:
    """References to an object that no new object and no local variable holds, apart from a constant."""
    own = id(value)
    return sys.getrefcount(value) - list(map(id, gc.get_referents(*gc.get_objects()))).count(own) - in_variables()[own]

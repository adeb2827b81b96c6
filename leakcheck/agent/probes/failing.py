"""Finds the points at which a step can fail, and lets it fail at one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.agent.faults import allocations, shortage
from leakcheck.agent.faults.finding import find
from leakcheck.agent.faults.injecting import inject
from leakcheck.agent.faults.messages import (
    AllocationsFound,
    FaultSet,
    FindAllocations,
    FindPoints,
    PointsFound,
    SetFault,
)
from leakcheck.agent.protocol import Fault

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation


async def answer(
    conversation: Conversation, question: FindPoints | FindAllocations | SetFault
) -> PointsFound | AllocationsFound | FaultSet:
    """Runs the step where it looks for points, or allocations."""
    driver = conversation.driver
    if isinstance(question, FindPoints):
        return PointsFound(await find(driver, int(question.calls)))
    if isinstance(question, FindAllocations):
        why_not = shortage.why_not()
        return AllocationsFound([] if why_not else await allocations.find(driver), why_not)
    return inject(driver, *(Fault(*each) for each in question.faults))

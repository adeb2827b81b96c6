"""Finds the points at which a step can fail, and lets it fail at one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.agent.faults.finding import find
from leakcheck.agent.faults.injecting import inject
from leakcheck.agent.faults.messages import FaultSet, FindPoints, PointsFound, SetFault
from leakcheck.agent.protocol import Fault

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation


async def answer(conversation: Conversation, question: FindPoints | SetFault) -> PointsFound | FaultSet:
    """Runs the step where it looks for points."""
    driver = conversation.driver
    if isinstance(question, FindPoints):
        return PointsFound(await find(driver, int(question.calls)))
    return FaultSet(*inject(driver, Fault(*question.fault) if question.fault else None))

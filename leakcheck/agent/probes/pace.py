"""On which line a call spends its time: a trace function reads the clock after each line that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.agent.probes.watch import Ledger
from leakcheck.agent.protocol import TimeSpent, WhereTimeGoes
from leakcheck.agent.step import StepRaisedError

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation


async def answer(conversation: Conversation, question: WhereTimeGoes) -> TimeSpent:
    """Runs the step."""
    ledger = Ledger(conversation.clock)
    try:
        with ledger:
            await conversation.driver.run(question.calls)
            sums = [(stack, seconds) for stack, seconds in ledger.sums() if stack and seconds > 0]
    except StepRaisedError:
        return TimeSpent((), 0.0)
    total = sum(seconds for _, seconds in sums)
    return TimeSpent(sums[0][0], sums[0][1] / total) if sums else TimeSpent((), 0.0)

"""Stands between the tool and the agents in the processes of a service, in the process that sends the requests.

To the tool it is a measured process like any other, whose meters are the sums over the service. To the agents it is the
tool: it opens them, has them settle and read, and hands the question of a probe to the process that grows most. While
that answers, it may ask for requests; these are sent here.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

from leakcheck.agent.channel import Answer
from leakcheck.agent.processes.agents import READ_ONCE, Agents
from leakcheck.agent.processes.asking import Asking
from leakcheck.agent.protocol import READING, Emptied, Opened, Run, Sampled
from leakcheck.agent.session import Conversation, describe_error
from leakcheck.agent.step import StepRaisedError


class Relay:
    """The processes of one service."""

    def __init__(self, conversation: Conversation, listening: Any) -> None:
        self._conversation = conversation
        self._agents = Agents(listening, conversation.opening, "main process")
        self._asking = Asking(conversation.driver, self._agents)
        self._read_here: list[str] = []
        self._has_agents = False
        """Whether there was one when it was opened; else the service is read from outside, as any child process is."""

    def opened(self, own: Opened) -> Opened:
        """What the tool is told: the meters of the agents, and those that are read here."""
        first = self._agents.look()
        here = {*READ_ONCE, *(name for name, _, _ in self._conversation.context.meters)}
        self._has_agents = first is not None
        if first is None:  # what this process keeps is none of the service's
            first = own._replace(meters=[], unavailable={})
            here.add("children")
        read_here = [(name, unit) for name, unit in own.meters if name in here]
        self._read_here = [name for name, _ in read_here]
        return first._replace(
            meters=[*first.meters, *read_here],
            unavailable={name: why for name, why in first.unavailable.items() if name not in READ_ONCE},
            service=True,
        )

    async def answer(self, name: str, fields: list[Any]) -> Answer:
        """Answer one request of the tool."""
        if name == "Run":
            return await self._sample(Run(*fields))
        if not self._has_agents:
            return await self._conversation.answer(name, fields)
        if name == "WhoGrows":
            return await self._asking.who_grows(*fields)
        if name == "EmptyCaches" and not self._agents.by_pid:
            return Emptied(0)
        return await self._asking.ask(name, fields)

    async def _sample(self, run: Run) -> Sampled:
        conversation = self._conversation
        driver, clock = conversation.driver, conversation.clock
        began, seconds = clock(), 0.0
        raised: StepRaisedError | None = None
        try:
            seconds = await driver.run(int(run.iterations))
        except StepRaisedError as error:
            raised = error
        await conversation.settler.settle(whole=run.whole)
        cycles = self._agents.read(driver.iterations, whole=run.whole) if self._has_agents else 0
        conversation.settler.empty_free_lists()
        sums = bytes(8 * len(self._agents.meters))
        here = [reader() if (reader := conversation.readings.reader(name)) else 0.0 for name in self._read_here]
        numbers = array("d", [driver.iterations, seconds, clock() - began, cycles, math.nan])
        numbers.frombytes(sums)
        numbers.extend(here)
        self._agents.add_to(numbers, len(READING), since_first=False)
        return Sampled(numbers.tobytes().hex(), describe_error(raised.__cause__ or raised, "step") if raised else None)

"""The processes that a scenario's step has made: what they grow by is added to what this one reads of itself.

It stands in the process that calls the step. As long as that has no children there is none of it, not even its module:
a scenario without children pays nothing.
"""

from __future__ import annotations

import os
import time
from array import array
from typing import TYPE_CHECKING, Any

from leakcheck.agent.channel import Answer
from leakcheck.agent.children import descendants
from leakcheck.agent.entry.resident import dropped_in_child, listen_for_children
from leakcheck.agent.processes.agents import CHILD, LEDGER, READ_ONCE, Agents, History
from leakcheck.agent.processes.asking import Asking
from leakcheck.agent.protocol import READING

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation

_COME_S = 0.5
"""Seconds that those which are there already have to come, once: they look every 0.2 s whether they are waited for."""
_LOOK_APART_S = 0.01
"""Seconds between two looks at whether they have."""

_CHALLENGES = (
    *("LimitedContainers", "EmptyCaches", "Collect", "HolderSizes", "NewAreHeld"),
    *("ReadsClock", "LetTimePass", "KeysComeAgain", "WhatStays"),
)
"""What is asked because something grows, whichever process that is. All else is asked of the step's own process."""

_sleep, _now = time.sleep, time.monotonic


class Family:
    """The process that calls the step, and those below it that have an agent."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._asked = conversation.opening.asked
        names = [*conversation.readings.readers]
        self._agents = Agents(listen_for_children(), conversation.opening, CHILD)
        self._agents.meters = ["" if name in READ_ONCE else name for name in names]
        self._asking = Asking(conversation.driver, self._agents)
        self._own = History(names)
        self._ledger = names.index(LEDGER) if LEDGER in names else None
        dropped_in_child.append(self._agents.close)
        self._await_those_that_are_there()

    def _await_those_that_are_there(self) -> None:
        until = _now() + _COME_S
        expected = {pid for pid in descendants() if _may_have_an_agent(pid)}
        while True:
            self._agents.look()
            if expected <= self._agents.by_pid.keys() or _now() > until:
                return
            _sleep(_LOOK_APART_S)

    def read(self, *, whole: bool) -> int:
        """Have the other processes settle and read; returns the objects of cyclic garbage that they found."""
        return self._agents.read(self._conversation.driver.iterations, whole=whole)

    def add_to(self, numbers: array[float]) -> None:
        """Note what this process has read, in `numbers` as they are reported, and add what the others have grown by."""
        values = numbers[len(READING) :]
        self._own.note(int(numbers[0]), values)
        self._agents.add_to(numbers, len(READING), since_first=True)
        if self._ledger is not None:
            numbers[READING.index("lowest")] += numbers[len(READING) + self._ledger] - values[self._ledger]

    async def answer(self, name: str, fields: list[Any]) -> Answer:
        """Answer one request of the tool, in the process that it is about."""
        if name == "WhoGrows":
            return await self._asking.who_grows(fields[0], fields[1], self._own)
        elsewhere = self._asked or (name in _CHALLENGES and self._asking.grows_more_than(self._own))
        if name == "Run" or not elsewhere:
            return await self._conversation.answer(name, fields)
        return await self._asking.ask(name, fields, self._asked)


def _may_have_an_agent(pid: int) -> bool:
    """Whether a process is of an interpreter; what has ended is not waited for."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False
    return program == os.path.realpath("/proc/self/exe") or "python" in os.path.basename(program)

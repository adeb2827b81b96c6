"""Hands questions to the process of a program that grows most, and has the step called where that needs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from leakcheck.agent.channel import Answer
from leakcheck.agent.children import processor_ticks
from leakcheck.agent.probes import ahead
from leakcheck.agent.processes.agents import LEDGER, Agent, Agents, Gone, History, Role
from leakcheck.agent.processes.stopping import stopped, wait_together
from leakcheck.agent.protocol import (
    ClockRead,
    Driven,
    Failed,
    Grower,
    Growers,
    Held,
    HeldByOld,
    KeysCame,
    TimePassed,
)
from leakcheck.agent.session import FailedElsewhereError
from leakcheck.agent.step import StepRaisedError

_sleep, _now = time.sleep, time.monotonic

_LOOKS = (1, 4, 16, 64, 256)
"""Calls after each of which it is looked which process grows, where nobody has measured that before."""
_LOOKS_S = 2.0
"""Seconds that these calls may take."""
_COMES_S = 10.0
"""Seconds that a process has to come, on a machine that is busy: as a rule it takes 0.2 s."""
_LOOK_APART_S = 0.02
"""Seconds between two looks at whether it has."""
_SLICE_S = 0.5
"""Seconds for which the other workers are stopped at a time: far less than any master waits for a sign of life."""
_LIKE_A_SLICE = 16
"""Calls of the first slice, before it is known what one takes."""

_STARTS_S = 5.0
"""Seconds that all starts of a client may take while the clock is put forward: as many pieces as there is time for."""
_GROWS_TOO = 0.1
"""Part of the growth of the process that grows most from which on another grows too."""
_MOST_FOR_ONE = 12
"""How many times the calls that it should have a process may get, for each that shares them."""

_ANSWERS: dict[str, Answer] = {
    "HolderSizes": Held(False, 0, [], 0, []),
    "NewAreHeld": HeldByOld(None),
    "ReadsClock": ClockRead(True),
    "KeysComeAgain": KeysCame(0.0, 0, 0),
}
"""Questions that such a process is not asked, with the answer that leads to no acquittal and to no haste: what
they try out (emptied dicts) is no good to a program that has others waiting for it."""


class Calls(Protocol):
    """Calls the step: see `step.Driver`."""

    iterations: int

    @property
    def start_s(self) -> float:
        """Seconds that it takes to have it called at all, however often."""

    async def run(self, count: int, /) -> float:
        """Call it so often, and return the seconds that it took."""


async def handed_over(
    agent: Agent, question: Sequence[Any], drive: Callable[[Agent, int], Coroutine[Any, Any, Driven]]
) -> Any:
    """What a process answers, decoded; where it asks for calls of the step meanwhile, `drive` makes them.

    Raises `Gone` where it has ended.
    """
    agent.send(question)
    while isinstance(answer := agent.receive(0), dict) and "drive" in answer:
        agent.send(["Driven", *await drive(agent, int(answer["drive"]))])
    return answer


class Asking:
    """Asks the processes of one program."""

    def __init__(self, driver: Calls, agents: Agents) -> None:
        self._driver = driver
        self._agents = agents
        self._raised: StepRaisedError | None = None
        self._asked: int | None = None
        """The process that was asked before: it is asked again as long as it lives."""
        self._others: list[int] | None = None
        """Who waits at the same socket as that one. The kernel is asked once for each question: its list of connections
        has thousands of rows by then, and a question may want calls hundreds of times."""

    async def who_grows(self, meter: str, calls: int, own: History | None = None) -> Growers:
        """The processes in which a meter has risen, together where they have the same role.

        `own` is what the process that calls the step has read, where that is one of the program. Where others wait at
        the same socket, the one that grows most gets `calls` requests for itself.
        """
        found = {Role("main process", 0): [own.rate(meter)]} if own is not None and own.readings > 1 else {}
        for agent in self._agents:
            if agent.history.readings > 1:
                found.setdefault(agent.role, []).append(agent.history.rate(meter))
        roles = [
            Grower(name, len(rates), rates, *self._agents.ended.pop(name, (0, 0.0)))
            for (name, _), rates in found.items()
        ]
        roles += [Grower(name, 0, [], *ended) for name, ended in self._agents.ended.items()]
        most = self._growing([meter])
        if most is None or (own is not None and own.grown(meter) >= most.history.grown(meter)):
            return Growers(roles, 0.0, "")
        self._others = self._waiting_with(most)
        if not self._others:
            return Growers(roles, sum(rate for rate in found.get(most.role, []) if rate > 0), most.role.name)
        before = most.history.since_first(meter)
        driven = await self._drive(most, calls)
        self._agents.read(self._driver.iterations, whole=True)
        return Growers(roles, (most.history.since_first(meter) - before) / max(1, driven.done), most.role.name)

    def grows_more_than(self, own: History) -> bool:
        """Whether the heap of another process has risen more lately than that of this one."""
        most = self._growing([LEDGER])
        return most is not None and most.history.grown(LEDGER) > own.grown(LEDGER)

    async def ask(self, name: str, fields: list[Any], role: str = "") -> Answer:
        """The answer of the process that grows most, of those of a role where one is named."""
        if name in _ANSWERS:
            return _ANSWERS[name]
        meters = [*fields[1]] if name == "WatchResources" else [LEDGER]
        if self._asked not in self._agents.by_pid and not any(each.history.readings > 1 for each in self._agents):
            await self._await_one(role)
            await self._look_around(meters, role)
        agent = self._growing(meters, role)
        if agent is None:
            raise RuntimeError("no other process of the program can be asked: all that had the agent have ended")
        if name == "LetTimePass":
            return await self._let_time_pass(agent, *fields)
        return await self._ask(agent, name, fields)

    async def _let_time_pass(self, agent: Agent, seconds: float, calls: int) -> TimePassed:
        """The clocks of the processes that grow go forward, piece by piece, while the step is called.

        The others keep theirs: a process that watches over these would take them for dead. Where one ends even so,
        what it held has gone with it and not with the time, so that counts as a step that has raised.
        """
        self._agents.look()
        least = _GROWS_TOO * agent.history.grown(LEDGER)
        together = [
            each
            for each in self._agents
            if each is agent or each.role == agent.role or each.history.grown(LEDGER) > least > 0
        ]
        most = int(_STARTS_S / driver.start_s) if (driver := self._driver).start_s else calls
        pieces = ahead.pieces(calls, most)
        for part in pieces:
            if not await self._put_forward(together, seconds / len(pieces)):
                return TimePassed(True)
            try:
                await self._driver.run(part)
            except StepRaisedError:
                return TimePassed(True)
        return TimePassed(not await self._put_forward(together, 0.0))

    async def _put_forward(self, agents: Sequence[Agent], seconds: float) -> bool:
        """Whether all of them were there to put their clocks forward."""
        for agent in agents:
            try:
                await handed_over(agent, ["LetTimePass", seconds, 0], self._drive)
            except Gone:
                self._agents.forget(agent)
                return False
        return True

    async def _await_one(self, role: str) -> None:
        """Wait until a process of the role has come: it comes by itself, once its code has run for a moment."""
        until = _now() + _COMES_S
        while _now() < until:
            self._agents.look()
            if any(role in ("", agent.role.name) for agent in self._agents):
                return
            await self._driver.run(1)
            _sleep(_LOOK_APART_S)

    async def _look_around(self, meters: Sequence[str], role: str) -> None:
        driver, seconds, done = self._driver, 0.0, 0
        for calls in _LOOKS:
            affordable = int(_LOOKS_S * done / seconds) if seconds > 0 else calls
            part = max(1, min(calls, affordable))
            seconds, done = seconds + await driver.run(part), done + part
            self._agents.read(driver.iterations, whole=True)
            if part < calls and any(each.history.grown(meter) > 0 for each in self._of(role) for meter in meters):
                return

    def _of(self, role: str) -> list[Agent]:
        """The processes of a role; all of them where there is none of it."""
        return [agent for agent in self._agents if role in ("", agent.role.name)] or [*self._agents]

    def _growing(self, meters: Sequence[str], role: str = "") -> Agent | None:
        """The process whose meters have risen most; the same one for all questions, as long as it lives."""
        if self._asked in self._agents.by_pid:
            return self._agents.by_pid[self._asked]
        there = self._of(role)
        for meter in meters:
            most = max(there, key=lambda agent: agent.history.grown(meter), default=None)
            if most is not None and most.history.grown(meter) > 0:
                return most
        return max(there, key=lambda agent: processor_ticks(agent.pid), default=None)

    async def _ask(self, agent: Agent, name: str, fields: list[Any]) -> Answer:
        """The answer of that process; the step is called for it."""
        self._raised, self._asked, self._others = None, agent.pid, None
        try:
            answer = await handed_over(agent, [name, *fields], self._drive)
        except Gone:
            self._agents.forget(agent)
            raise RuntimeError(f"the {agent.role.name} that was asked has ended") from None
        if self._raised is not None:
            raise self._raised
        if isinstance(answer, dict):
            raise FailedElsewhereError(Failed(*answer["failed"]))
        return list(answer)

    def _waiting_with(self, agent: Agent) -> list[int]:
        """The processes that wait for requests at the same socket."""
        return [each.pid for each in self._agents if each is not agent and wait_together(each, agent)]

    def _sharing(self, agent: Agent) -> list[Agent]:
        """The other processes of the same role: each gets a part of the work."""
        self._agents.look()
        return [each for each in self._agents if each is not agent and each.role == agent.role]

    async def _drive(self, agent: Agent, count: int) -> Driven:
        """Call the step, so that this process has done what `count` calls are.

        Where others wait at the same socket they are stopped meanwhile. So what is said per request is what a request
        does, and not the part of it that came here by chance: the slower a process is made by what looks at it, the
        fewer requests it would take. Where others take from the same queue, the step is called more often.
        """
        if self._others is None:
            self._others = self._waiting_with(agent)
        others = self._others
        if not others and (sharing := self._sharing(agent)):
            return await self._drive_with(agent, count, sharing)
        driver, done, seconds = self._driver, 0, 0.0
        while done < count:
            per_request = seconds / done if done else _SLICE_S / _LIKE_A_SLICE
            part = min(count - done, max(1, int(_SLICE_S / max(per_request, 1e-6)))) if others else count
            try:
                with stopped(others):
                    seconds += await driver.run(part)
            except StepRaisedError as error:
                self._raised = error
                return Driven(done, seconds)
            done += part
        return Driven(done, seconds)

    async def _drive_with(self, agent: Agent, count: int, sharing: list[Agent]) -> Driven:
        """What each of them grows by tells how many of the calls were whose."""
        driver, done, seconds = self._driver, 0, 0.0

        def grown() -> tuple[float, float]:
            agent.send(["Ledger"])
            return float(agent.receive()[0]), sum(each.history.since_first(LEDGER) for each in sharing)

        self._agents.read_some(sharing, driver.iterations, whole=True)
        before, its_own = grown(), 0.0
        most = _MOST_FOR_ONE * (1 + len(sharing)) * count
        while its_own + 0.5 < count and done < most:
            missing = count - its_own
            part = max(1, min(int(missing * done / its_own) if its_own > 0 else count, most - done))
            try:
                seconds += await driver.run(part)
            except StepRaisedError as error:
                self._raised = error
                return Driven(0, seconds)
            done += part
            self._agents.read_some(sharing, driver.iterations, whole=True)
            own, others = (max(0.0, now - then) for now, then in zip(grown(), before, strict=True))
            its_own = done * own / (own + others) if own + others > 0 else done
        return Driven(count, seconds * count / done)

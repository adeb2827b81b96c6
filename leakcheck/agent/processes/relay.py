"""Stands between the tool and the agents in the processes of a service, in the process that sends the requests.

To the tool it is a measured process like any other, whose meters are the sums over the service. To the agents it is the
tool: it opens them, has them settle and read, and hands the question of a probe to the process that grows most. While
that answers, it may ask for requests; these are sent here.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import struct
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from leakcheck.agent.channel import Answer, Channel
from leakcheck.agent.children import processor_ticks, status
from leakcheck.agent.meters import descendants
from leakcheck.agent.protocol import (
    READING,
    ClockRead,
    Driven,
    Emptied,
    Failed,
    Grower,
    Growers,
    Held,
    HeldByOld,
    KeysCame,
    Opened,
    Run,
    Sampled,
    TimePassed,
)
from leakcheck.agent.session import Conversation, FailedElsewhereError, describe_error
from leakcheck.agent.step import StepRaisedError

if TYPE_CHECKING:
    from leakcheck.agent.service.started import Service

_READ_HERE = (
    *("children.bytes", "children.unread", "disk.files", "disk.bytes"),
    *("sysv.segments", "sysv.sets", "keyring.keys"),
)
"""Meters that are read once for all processes, and not in each."""
_WARM_CALLS = 64
"""Requests after which what is loaded once is loaded."""
_LOOKS = (_WARM_CALLS, 4 * _WARM_CALLS)
"""Requests after which it is looked which process grows, where nobody has measured that before."""
_SLICE_S = 0.5
"""Seconds for which the other workers are stopped at a time: far less than any master waits for a sign of life."""
_STOPPED_S = 2.0
"""Seconds after which they go on in any case: the request may need one of them."""
_LIKE_A_SLICE = 16
"""Requests of the first slice, before it is known what one takes."""

_ANSWERS: dict[str, Answer] = {
    "HolderSizes": Held(False, 0, [], 0, []),
    "NewAreHeld": HeldByOld(None),
    "ReadsClock": ClockRead(True),
    "LetTimePass": TimePassed(True),
    "KeysComeAgain": KeysCame(0.0, 0, 0),
}
"""Questions that a process of a service is not asked, with the answer that leads to no acquittal and to no haste: what
they try out (emptied dicts, a clock that is ahead) is no good to a program that has others waiting for it."""


class Role(NamedTuple):
    """What a process is in its service."""

    name: str
    parent: int


class _Agent:
    """One connected process."""

    def __init__(self, connection: socket.socket, role: Role, pid: int) -> None:
        self._connection = connection
        self._channel = Channel(connection.fileno(), connection.fileno())
        self.pid = pid
        self.role = role
        self.meters: list[str] = []
        self.values: dict[str, float] = {}
        self.past: list[tuple[int, dict[str, float]]] = []
        """What it read after how many requests."""

    def send(self, message: Sequence[Any]) -> None:
        """A request, or what it has asked for."""
        try:
            self._channel.send([*message])
        except (SystemExit, OSError) as error:
            raise Gone from error

    def receive(self) -> Any:
        """The next message of the process, decoded. Raises `Gone` where it has ended."""
        try:
            answer = self._channel.receive_any()
        except (SystemExit, OSError) as error:
            raise Gone from error
        if answer is None:
            raise Gone
        return answer

    def close(self) -> None:
        """Forget it."""
        self._connection.close()

    def grown(self, meter: str) -> float:
        """How far a meter has risen in the last half of the requests."""
        if not self.past:
            return 0.0
        last, values = self.past[-1]
        before = [earlier for count, earlier in self.past if 2 * count <= last] or [self.past[0][1]]
        return values.get(meter, 0.0) - before[-1].get(meter, 0.0)


class Gone(Exception):  # noqa: N818 - no error: processes end
    """The process has ended, or its connection."""


class Relay:
    """The processes of one service."""

    def __init__(self, conversation: Conversation, service: Service) -> None:
        self._conversation = conversation
        self._service = service
        self._agents: dict[int, _Agent] = {}
        self._meters: list[str] = []
        self._read_here: list[str] = []
        self._raised: StepRaisedError | None = None
        self._asked: int | None = None
        """The process that grows most, once it is known."""

    def opened(self, own: Opened) -> Opened:
        """What the tool is told: the meters of the agents, and those that are read here."""
        first = self._look_for_agents()
        if first is None:
            return own
        self._meters = [name for name, _ in first.meters]
        taken = {name for name, _, _ in self._conversation.context.meters}
        here = [(name, unit) for name, unit in own.meters if name in _READ_HERE or name in taken]
        self._read_here = [name for name, _ in here]
        return first._replace(
            meters=[*first.meters, *here],
            unavailable={name: why for name, why in first.unavailable.items() if name not in _READ_HERE},
            service=True,
        )

    @property
    def measures(self) -> bool:
        """Whether there is an agent; else the service is read from outside, as any child process is."""
        return bool(self._meters)

    async def answer(self, name: str, fields: list[Any]) -> Answer:
        """Answer one request of the tool."""
        if name == "Run":
            return await self._sample(Run(*fields))
        if name == "WhoGrows":
            return await self._who_grows(*fields)
        if name in _ANSWERS:
            return _ANSWERS[name]
        agent = await self._growing(fields[1] if name == "WatchResources" else ("heap.bytes",))
        if agent is None:
            return Emptied(0) if name == "EmptyCaches" else _nobody()
        return await self._ask(agent, name, fields)

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
        cycles = self._read(run.whole)
        sums = [sum(agent.values.get(name, 0.0) for agent in self._agents.values()) for name in self._meters]
        here = [reader() if (reader := conversation.readings.reader(name)) else 0.0 for name in self._read_here]
        numbers = array("d", [driver.iterations, seconds, clock() - began, cycles, math.nan, *sums, *here])
        return Sampled(numbers.tobytes().hex(), describe_error(raised.__cause__ or raised, "step") if raised else None)

    def _read(self, whole: bool) -> int:
        """Have all agents settle and read, side by side; returns the objects of cyclic garbage."""
        self._look_for_agents()
        asked, cycles = [], 0
        for agent in [*self._agents.values()]:
            try:
                agent.send(["Run", *Run.of(0, 0, whole)])
                asked.append(agent)
            except Gone:
                self._forget(agent)
        for agent in asked:
            try:
                answer = agent.receive()
            except Gone:
                self._forget(agent)
                continue
            if isinstance(answer, dict):  # it could not read: what it had before is as good as nothing
                self._forget(agent)
                continue
            numbers = array("d", bytes.fromhex(answer[0]))
            cycles += int(numbers[3])
            agent.values = dict(zip(agent.meters, numbers[len(READING) :], strict=True))
            agent.past.append((self._conversation.driver.iterations, agent.values))
        return cycles

    def _look_for_agents(self) -> Opened | None:
        """Take in processes that have connected since the last look; the first one's word, where there is one."""
        first: Opened | None = None
        while True:
            try:
                connection, _ = self._service.agents.accept()
            except BlockingIOError:
                return first
            agent, opened = self._taken_in(connection)
            if agent is None or opened is None:
                connection.close()
                continue
            self._agents[agent.pid] = agent
            descendants.read_inside.add(agent.pid)
            first = first or opened

    def _taken_in(self, connection: socket.socket) -> tuple[_Agent | None, Opened | None]:
        size = struct.calcsize("3i")
        _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        if user != os.geteuid():
            return None, None
        connection.settimeout(None)
        agent = _Agent(connection, Role("", 0), 0)
        names = [name for name in self._conversation.opening.meters if name not in _READ_HERE]
        try:
            pid, forked = agent.receive()
            agent.pid, agent.role = pid, self._role(pid, forked)
            agent.send(["Open", *self._conversation.opening._replace(meters=names)])
            answer = agent.receive()
        except Gone:
            return None, None
        if isinstance(answer, dict):
            return None, None
        opened = Opened(*answer)
        agent.meters = [name for name, _ in opened.meters]
        return agent, opened

    def _role(self, pid: int, forked: bool) -> Role:
        """By how it came to be: forked from a process of the service, or started with a command of its own."""
        parent, command = _parent_of(pid), _command_of(pid)
        if forked or any("multiprocessing.spawn" in word or "multiprocessing.forkserver" in word for word in command):
            return Role("worker", parent)
        if any("resource_tracker" in word for word in command):
            return Role("resource tracker", parent)
        return Role("main process" if parent not in self._agents else "child process", parent)

    def _forget(self, agent: _Agent) -> None:
        agent.close()
        self._agents.pop(agent.pid, None)
        descendants.read_inside.discard(agent.pid)

    async def _who_grows(self, meter: str, calls: int) -> Growers:
        """The processes in which a meter has risen, together where they have the same role."""
        found: dict[Role, list[float]] = {}
        for agent in self._agents.values():
            if len(agent.past) > 1:
                found.setdefault(agent.role, []).append(agent.grown(meter))
        half = max(1.0, self._conversation.driver.iterations / 2)
        roles = [Grower(role.name, len(grown), [more / half for more in grown]) for role, grown in found.items()]
        most = await self._growing([meter])
        if most is None:
            return Growers(roles, 0.0)
        before = most.values.get(meter, 0.0)
        driven = await self._drive(most, calls)
        self._read(whole=True)
        return Growers(roles, (most.values.get(meter, 0.0) - before) / max(1, driven.done))

    async def _growing(self, meters: Sequence[str]) -> _Agent | None:
        """The process whose meters have risen most; the same one for all questions, as long as it lives."""
        if self._asked in self._agents:
            return self._agents[self._asked]
        if not any(len(agent.past) > 1 for agent in self._agents.values()):
            for calls in _LOOKS:
                await self._conversation.driver.run(calls)
                self._read(whole=True)
        for meter in meters:
            agents = sorted(self._agents.values(), key=lambda agent: agent.grown(meter))
            if agents and agents[-1].grown(meter) > 0:
                self._asked = agents[-1].pid
                return agents[-1]
        return max(self._agents.values(), key=lambda agent: processor_ticks(agent.pid), default=None)

    async def _ask(self, agent: _Agent, name: str, fields: list[Any]) -> Answer:
        """Hand a question on, and send the requests that it needs."""
        self._raised = None
        try:
            agent.send([name, *fields])
            while isinstance(answer := agent.receive(), dict) and "drive" in answer:
                agent.send(["Driven", *await self._drive(agent, int(answer["drive"]))])
        except Gone:
            self._forget(agent)
            raise RuntimeError(f"the {agent.role.name} that was asked has ended") from None
        if self._raised is not None:
            raise self._raised
        if isinstance(answer, dict):
            raise FailedElsewhereError(Failed(*answer["failed"]))
        return list(answer)

    async def _drive(self, agent: _Agent, count: int) -> Driven:
        """Send requests, all of them to this process where others wait at the same socket: they are stopped meanwhile.

        So what is said per request is what a request does, and not the part of it that came here by chance: the slower
        a process is made by what looks at it, the fewer requests it would take.
        """
        driver, done, seconds = self._conversation.driver, 0, 0.0
        others = [each.pid for each in self._agents.values() if each is not agent and _wait_together(each, agent)]
        while done < count:
            per_request = seconds / done if done else _SLICE_S / _LIKE_A_SLICE
            part = min(count - done, max(1, int(_SLICE_S / max(per_request, 1e-6))))
            try:
                with _stopped(others):
                    seconds += await driver.run(part)
            except StepRaisedError as error:
                self._raised = error
                return Driven(done, seconds)
            done += part
        return Driven(done, seconds)


def _nobody() -> Answer:
    raise RuntimeError("no process of the service can be asked: all that had the agent have ended")


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    """Other workers do not run for a moment, and go on whatever happens here."""

    def go_on() -> None:
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGCONT)

    latest = threading.Timer(_STOPPED_S, go_on)
    latest.daemon = True
    if pids:
        latest.start()
    try:
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        latest.cancel()
        go_on()


def _wait_together(one: _Agent, other: _Agent) -> bool:
    """Whether two children of one process accept at one socket: what the one does not take, the other does."""
    return one.role == other.role and bool(_listening(one.pid) & _listening(other.pid))


def _listening(pid: int) -> set[str]:
    """The sockets of a process that wait for connections over TCP, by the kernel's number."""
    own, waiting = set[str](), set[str]()
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                own.add(os.readlink(f"/proc/{pid}/fd/{name}").removeprefix("socket:[").removesuffix("]"))
    for table in ("tcp", "tcp6"):
        with suppress(OSError), open(f"/proc/{pid}/net/{table}") as file:
            rows = (line.split() for line in file)
            waiting.update(row[9] for row in rows if len(row) > 9 and row[3] == "0A")
    return own & waiting


def _parent_of(pid: int) -> int:
    try:
        return int(status(pid)[1])
    except OSError:
        return 0


def _command_of(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [word.decode(errors="replace") for word in file.read().split(b"\0")]
    except OSError:
        return []

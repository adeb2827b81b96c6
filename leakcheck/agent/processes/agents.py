"""The processes of a program that have an agent: taken in as they come, read side by side, forgotten when they end.

Where it stands in a process that is measured itself, readings must leave nothing there: what is kept of them is of
fixed size.
"""

from __future__ import annotations

import os
import struct
from _socket import SO_PEERCRED, SO_RCVTIMEO, SOL_SOCKET, socket
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from leakcheck.agent.channel import Channel
from leakcheck.agent.children import status
from leakcheck.agent.meters import descendants
from leakcheck.agent.protocol import READING, Open, Opened, Run

READ_ONCE = (
    *("children.bytes", "children.unread", "disk.files", "disk.bytes"),
    *("sysv.segments", "sysv.sets", "keyring.keys"),
)
"""Meters that are read once for all processes, and not in each."""
CHILD = "child process"
LEDGER = "heap.bytes"
_READ_S = 20
"""Seconds in which a process has to read its meters; one that does not, for it was stopped, is read from outside."""


class Gone(Exception):  # noqa: N818 - no error: processes end
    """The process has ended, or its connection."""


class Role(NamedTuple):
    """What a process is in its program."""

    name: str
    parent: int


class History:
    """What one process has read: at first, lately, and after half as many calls of the step."""

    def __init__(self, meters: Sequence[str]) -> None:
        self.meters = list(meters)
        self.first, self.now, self._middle, self._before = (array("d", bytes(8 * len(meters))) for _ in range(4))
        self._at = self._middle_at = self._before_at = 0
        self.readings = 0

    def note(self, iterations: int, values: array[float]) -> None:
        """Take in one reading, of the meters in their order."""
        if not self.readings:
            self.first[:] = self._middle[:] = self._before[:] = values
            self._middle_at = self._before_at = iterations
        elif self._at >= 2 * self._middle_at:
            self._before[:], self._before_at = self._middle, self._middle_at
            self._middle[:], self._middle_at = self.now, self._at
        self.now[:], self._at = values, iterations
        self.readings += 1

    def grown(self, meter: str) -> float:
        """How far a meter has risen in the last half of the calls, or a little more than that."""
        if meter not in self.meters:
            return 0.0
        index = self.meters.index(meter)
        return self.now[index] - self._before[index]

    def rate(self, meter: str) -> float:
        """The same for each call of the step."""
        return self.grown(meter) / max(1, self._at - self._before_at)

    def last(self, meter: str) -> float:
        """What a meter was when it was read last; 0 where it is not read."""
        return self.now[self.meters.index(meter)] if meter in self.meters else 0.0

    def since_first(self, meter: str) -> float:
        """How far a meter has risen since the process was met."""
        if meter not in self.meters:
            return 0.0
        index = self.meters.index(meter)
        return self.now[index] - self.first[index]


class Agent:
    """One connected process."""

    def __init__(self, descriptor: int) -> None:
        self._connection = socket(fileno=descriptor)
        self._channel = Channel(descriptor, descriptor)
        self.pid = 0
        self.role = Role("", 0)
        self.history = History(())
        self.places: list[int] = []
        """Where in its readings each meter of the program is; below 0 where it has none of the name."""

    @property
    def user(self) -> int:
        """Who the process belongs to, as the kernel says."""
        size = struct.calcsize("3i")
        return int(struct.unpack("3i", self._connection.getsockopt(SOL_SOCKET, SO_PEERCRED, size))[1])

    def send(self, message: Sequence[Any]) -> None:
        """A request, or what it has asked for. Raises `Gone` where it has ended."""
        try:
            self._channel.send([*message])
        except (SystemExit, OSError) as error:
            raise Gone from error

    def receive(self, within_s: int = _READ_S) -> Any:
        """The next message of the process, decoded; 0 waits for ever. Raises `Gone` where it has ended, or is late."""
        try:
            self._connection.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack("ll", within_s, 0))
            answer = self._channel.receive_any()
        except (SystemExit, OSError) as error:
            raise Gone from error
        if answer is None:
            raise Gone
        return answer

    def close(self) -> None:
        """Let it go."""
        self._connection.close()


class Agents:
    """The processes of one program, which come to a socket that listens.

    `started` is what one is called that was started by a process without an agent.
    """

    def __init__(self, listening: socket, opening: Open, started: str) -> None:
        self._listening = listening
        self._inode = os.fstat(listening.fileno()).st_ino
        self._opening = opening
        self._started = started
        self.by_pid: dict[int, Agent] = {}
        self.meters: list[str] = []
        """Of the whole program, in the order of its readings: those of the first process where nobody says others."""
        self.ended: dict[str, tuple[int, float]] = {}
        """Of each role, how many have ended, and how far the heap had risen at most in one of them."""

    def __iter__(self) -> Any:
        return iter([*self.by_pid.values()])

    def look(self) -> Opened | None:
        """Take in processes that have connected since the last look; the first one's word, where there is one."""
        first: Opened | None = None
        for agent in self._greeted():
            try:
                answer = agent.receive()
            except Gone:
                agent.close()
                continue
            if isinstance(answer, dict):
                agent.close()
                continue
            opened = Opened(*answer)
            agent.history = History([name for name, _ in opened.meters])
            self.meters = self.meters or agent.history.meters
            own = {name: index for index, name in enumerate(agent.history.meters)}
            agent.places = [own.get(name, -1) for name in self.meters]
            self.by_pid[agent.pid] = agent
            descendants.read_inside.add(agent.pid)
            first = first or opened
        return first

    def _greeted(self) -> list[Agent]:
        """Those that have come, each asked to open: they load what they need for it side by side."""
        found = []
        names = [name for name in self._opening.meters if name not in READ_ONCE]
        while not self._was_closed():
            try:
                descriptor, _ = self._listening._accept()  # type: ignore[attr-defined]
            except OSError:
                break
            agent = Agent(descriptor)
            try:
                if agent.user == os.geteuid():
                    agent.pid, forked = agent.receive()
                    agent.role = self._role(agent.pid, forked)
                    agent.send(["Open", *self._opening._replace(meters=names)])
                    found.append(agent)
                    continue
            except Gone:
                pass
            agent.close()
        return found

    def _was_closed(self) -> bool:
        """Whether the user's code has closed the socket, with all descriptors: the number may be another's then."""
        try:
            return os.fstat(self._listening.fileno()).st_ino != self._inode
        except OSError:
            return True

    def _role(self, pid: int, forked: bool) -> Role:
        """By how it came to be: forked from a process of the program, or started with a command of its own."""
        parent, command = _parent_of(pid), _command_of(pid)
        if any("resource_tracker" in word for word in command):
            return Role("resource tracker", parent)
        if any("multiprocessing.forkserver" in word for word in command) and not forked:
            return Role("fork server", parent)
        if forked or any("multiprocessing.spawn" in word for word in command):
            return Role("worker", parent)
        if parent not in self.by_pid and self._started != CHILD:
            return Role(self._started, parent)
        return Role(f"{CHILD} {name}" if (name := _program_of(command)) else CHILD, parent)

    def read(self, iterations: int, *, whole: bool) -> int:
        """Have all of them settle and read, side by side; returns the objects of cyclic garbage that they found."""
        self.look()
        return self.read_some([*self], iterations, whole=whole)

    def read_some(self, some: Sequence[Agent], iterations: int, *, whole: bool) -> int:
        """The same of some."""
        asked, cycles = [], 0
        for agent in some:
            try:
                agent.send(["Run", *Run.of(0, 0, whole)])
                asked.append(agent)
            except Gone:
                self.forget(agent)
        for agent in asked:
            try:
                answer = agent.receive()
            except Gone:
                self.forget(agent)
                continue
            if isinstance(answer, dict):  # it could not read: what it had before is as good as nothing
                self.forget(agent)
                continue
            numbers = array("d", bytes.fromhex(answer[0]))
            cycles += int(numbers[3])
            agent.history.note(iterations, numbers[len(READING) :])
        return cycles

    def add_to(self, numbers: array[float], start: int, *, since_first: bool) -> None:
        """Add what they have read last to `numbers`, from `start` on in the order of `meters`.

        With `since_first` only what each has grown by: then one that comes, or goes, is no step.
        """
        for agent in self:
            history = agent.history
            for position, index in enumerate(agent.places, start):
                if index >= 0:
                    numbers[position] += history.now[index] - (history.first[index] if since_first else 0.0)

    def forget(self, agent: Agent) -> None:
        """It has ended, or answers no more."""
        agent.close()
        self.by_pid.pop(agent.pid, None)
        descendants.read_inside.discard(agent.pid)
        ended, grown = self.ended.get(agent.role.name, (0, 0.0))
        self.ended[agent.role.name] = ended + 1, max(grown, agent.history.since_first(LEDGER))

    def close(self) -> None:
        """Let all of them go, and wait for no more; in a child that was forked they are its parent's."""
        for agent in self:
            agent.close()
        if not self._was_closed():
            self._listening.close()


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


def _program_of(command: Sequence[str]) -> str:
    """The file or module that an interpreter runs; empty where that is neither."""
    for index, word in enumerate(command[1:], 1):
        if word == "-m":
            return "".join(command[index + 1 : index + 2])
        if word == "-c" or not word.startswith("-"):
            return os.path.basename(word) if word.endswith(".py") else ""
    return ""

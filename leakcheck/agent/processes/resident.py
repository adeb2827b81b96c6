"""The agent in a process of a measured service: a thread that waits for questions and answers them.

It is started before the user's code, which may replace sockets and threads by others of its own (gevent does): so what
it needs is bound here. A process that forks lets the thread end before, and both sides start one of their own after:
a fork beside a thread is warned of, and could meet that thread while it holds a lock.
"""

from __future__ import annotations

import gc
import math
import os
import select
import time
from _socket import AF_UNIX, SOCK_STREAM, socket
from _thread import get_native_id, start_new_thread
from collections.abc import Callable
from importlib import import_module
from typing import Any

from leakcheck.agent.channel import Channel
from leakcheck.agent.meters.objects import put_aside
from leakcheck.agent.meters.reading import Readings
from leakcheck.agent.protocol import ASKED_WHILE_MEASURING, Open
from leakcheck.agent.scenario import Context, Options, Scenario
from leakcheck.agent.session import Conversation, describe_error
from leakcheck.agent.step import Driver, StepRaisedError, run_plain

_LOADED_BEFORE = (Readings, *map(import_module, ASKED_WHILE_MEASURING))
"""Loaded at the first question, they would be a step in the readings."""
_THREAD_ENDS_S = 0.05
"""Seconds that a fork waits for the thread to end, which takes some 0.1 ms."""
_IDLE_WAIT_S = 0.1
"""Seconds that a reading waits for the other threads to have done what they do."""
_LOOK_APART_S = 0.001
"""Seconds between two looks at whether they run."""

_sleep, _now, _poll = time.sleep, time.monotonic, select.poll


class _Requests(Driver):
    """Stands for the step, which runs elsewhere: requests that are sent when this process asks for them."""

    def __init__(self, channel: ResidentChannel, context: Context) -> None:
        super().__init__(Scenario("service", _nothing, {}, Options()), context)
        self.clock = time.perf_counter  # one for all threads: each fork brings another
        self.step = self.plain_step = _nothing
        self._channel = channel

    async def run(self, count: int) -> float:
        """Have `count` requests sent, and return the seconds that they took. Raises `StepRaisedError`."""
        if not count:
            return 0.0
        self._channel.demand(count)
        received = self._channel.receive()
        if received is None:
            raise SystemExit(1)
        _, (done, seconds) = received
        self.iterations += done
        if done < count:
            raise StepRaisedError(done)
        return float(seconds)

    async def run_to_lowest(
        self,
        count: int,
        read: Callable[[], float],  # noqa: ARG002
        settle: Callable[[], None],  # noqa: ARG002
    ) -> tuple[float, float]:
        """As `run`: what a request holds while it is answered is in no reading."""
        return await self.run(count), math.inf

    async def returned(self) -> Any:
        """What a request returns is with the one who sent it."""
        await self.run(1)


def _nothing() -> None:
    """The step of a process that has none of its own."""


class ResidentChannel(Channel):
    """The channel of an agent, which can ask for requests in the middle of an answer."""

    def demand(self, count: int) -> None:
        """Have requests sent to the service. `Driven` comes back."""
        self._send({"drive": count})


class _Resident:
    """One connection to the process that measures, and the thread that serves it."""

    def __init__(self, address: str, *, forked: bool) -> None:
        self._socket = socket(AF_UNIX, SOCK_STREAM)
        self._socket.connect("\0" + address)
        descriptor = self._socket.fileno()
        self._wake_read, self._wake = os.pipe()
        os.set_blocking(self._wake_read, False)
        self._channel = ResidentChannel(descriptor, descriptor)
        self._inode = os.fstat(descriptor).st_ino
        self._conversation: Conversation | None = None
        self._busy = self._paused = False
        self._thread = 0
        """As the kernel numbers it; 0 while it has not begun."""
        self._channel.send([os.getpid(), forked])

    def start(self) -> None:
        """Wait for questions from now on."""
        self._thread = 0
        start_new_thread(self._serve, ())

    def pause(self) -> None:
        """End the thread, unless it is answering: then it is itself the one that forks, or is not waited for."""
        if self._busy or self._paused:
            return
        self._paused = True
        os.write(self._wake, b"x")
        until = _now() + _THREAD_ENDS_S
        while (not self._thread or os.path.exists(f"/proc/self/task/{self._thread}")) and _now() < until:
            _sleep(_LOOK_APART_S / 10)

    def resume(self) -> None:
        """Start the thread again that `pause` has ended."""
        if not self._paused:
            return
        self._paused = False
        try:
            os.read(self._wake_read, 1)  # it has not come to see that it should end: now it need not
        except BlockingIOError:
            self.start()

    def drop(self) -> None:
        """Close what a child has inherited; the connection is its parent's."""
        self._socket.close()
        os.close(self._wake_read)
        os.close(self._wake)

    def _serve(self) -> None:
        self._thread = get_native_id()
        waiting = _poll()
        waiting.register(self._socket.fileno(), select.POLLIN)
        waiting.register(self._wake_read, select.POLLIN)
        while True:
            ready = dict(waiting.poll())
            if self._was_closed():
                return
            if self._wake_read in ready:
                try:
                    os.read(self._wake_read, 1)
                except BlockingIOError:  # it was taken back
                    continue
                except OSError:  # closed since it was looked at
                    pass
                return
            self._busy = True
            try:
                request = self._channel.receive()
                if request is None:
                    return
                self._answer(*request)
            except OSError:  # whoever measured has gone
                return
            finally:
                self._busy = False

    def _was_closed(self) -> bool:
        """Whether the program has closed all descriptors, as a daemon does; then the number may be another file's."""
        try:
            return os.fstat(self._socket.fileno()).st_ino != self._inode
        except OSError:
            return True

    def _answer(self, name: str, fields: list[Any]) -> None:
        if name == "Open":
            # What the program has made to start, 30,000 objects and more, each collection before a reading would walk.
            gc.collect()
            gc.freeze()
            context = Context(fields[2])
            context.settle(_until_idle)
            self._conversation = Conversation(self._channel, context, _Requests(self._channel, context), Open(*fields))
            try:
                self._channel.send(self._conversation.make_meters())
            except Exception as error:  # noqa: BLE001 - whatever it is, the service goes on
                self._channel.fail(describe_error(error, name))
        elif self._conversation is not None:
            run_plain(self._conversation.reply(name, fields))


def _until_idle() -> None:
    """Wait until no other thread of the process runs: the answer that the client has is not the end of the work."""
    own = str(get_native_id())
    until = _now() + _IDLE_WAIT_S
    before = _time_of_others(own)
    while _now() < until:
        _sleep(_LOOK_APART_S)
        after = _time_of_others(own)
        if after == before:
            return
        before = after


def _time_of_others(own: str) -> list[bytes]:
    """What the kernel has counted for each other thread: nanoseconds on a processor, and waiting for one."""
    found = []
    for name in os.listdir("/proc/self/task"):
        if name != own:
            try:
                descriptor = os.open(f"/proc/self/task/{name}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # it has ended
                continue
            try:
                found.append(os.read(descriptor, 96))
            except OSError:
                pass
            finally:
                os.close(descriptor)
    return found


_resident: _Resident | None = None


def begin(address: str) -> None:
    """Connect to the process that measures, and serve it from now on, in the children of this process too."""
    global _resident
    put_aside()
    _resident = _Resident(address, forked=False)
    _resident.start()
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=lambda: _in_child(address))


def _before_fork() -> None:
    if _resident is not None:
        _resident.pause()


def _after_fork() -> None:
    if _resident is not None:
        _resident.resume()


def _in_child(address: str) -> None:
    global _resident
    if _resident is None:
        return
    _resident.drop()
    try:
        _resident = _Resident(address, forked=True)
        _resident.start()
    except OSError:  # nobody measures any more
        _resident = None

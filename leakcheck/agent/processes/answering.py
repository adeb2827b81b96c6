"""What the agent in a process of a measured program answers: it reads the meters, and runs the probes.

The step runs elsewhere: where a probe needs it, this process asks for it.
"""

from __future__ import annotations

import gc
import math
import sys
import time
import types
from _thread import get_native_id
from collections.abc import Callable
from importlib import import_module
from typing import Any

from leakcheck.agent.channel import Channel
from leakcheck.agent.children import run_times
from leakcheck.agent.meters.heap import malloc_ledger
from leakcheck.agent.meters.objects import put_aside
from leakcheck.agent.meters.reading import Readings
from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import ASKED_WHILE_MEASURING, Open
from leakcheck.agent.scenario import Context, Options, Scenario
from leakcheck.agent.session import Conversation, describe_error
from leakcheck.agent.step import Driver, StepRaisedError, run_plain

_LOADED_BEFORE = (Readings, *map(import_module, ASKED_WHILE_MEASURING))
"""Loaded at the first question, they would be a step in the readings."""
_IDLE_WAIT_S = 0.1
"""Seconds that a reading waits for the other threads to have done what they do."""
_LOOK_APART_S = 0.001
"""Seconds between two looks at whether they run."""

_sleep, _now = time.sleep, time.monotonic


class _Requests(Driver):
    """Stands for the step, which runs elsewhere: it is called when this process asks for that."""

    estimates = True

    def __init__(self, channel: ResidentChannel, context: Context) -> None:
        super().__init__(Scenario("step", _nothing, {}, Options()), context)
        self.clock = time.perf_counter  # one for all threads: each fork brings another
        self.step = self.plain_step = _nothing
        self._channel = channel

    async def run(self, count: int) -> float:
        """Have the step called `count` times, and return the seconds it took. Raises `StepRaisedError`."""
        if not count:
            return 0.0
        self._channel.demand(count)
        while True:
            received = self._channel.receive()
            if received is None:
                raise SystemExit(1)
            name, fields = received
            if name != "Ledger":
                break
            self._channel.send([_in_use()])
        done, seconds = fields
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
        """What a call returns is with the process that made it."""
        await self.run(1)


def _in_use() -> float:
    """Bytes of the heap in use, less what is noted of each block where that is done.

    Without garbage and free lists, as the others that it is held against are read: the look has just emptied them here,
    and the first calls would seem to grow by what fills them again.
    """
    gc.collect()
    tracing = sys.modules.get("tracemalloc")
    return malloc_ledger()[0]() - (tracing.get_tracemalloc_memory() if tracing is not None else 0)


def _nothing() -> None:
    """The step of a process that has none of its own."""


class ResidentChannel(Channel):
    """The channel of an agent, which can ask for calls of the step in the middle of an answer."""

    def demand(self, count: int) -> None:
        """Have the step called elsewhere. `Driven` comes back."""
        self._send({"drive": count})


class Answering:
    """Answers on one connection, from the thread that calls `next`."""

    put_aside = staticmethod(put_aside)

    def __init__(self, descriptor: int, forked_in: types.FrameType | None) -> None:
        HERE.was_forked_in(forked_in)
        self._channel = ResidentChannel(descriptor, descriptor)
        self._conversation: Conversation | None = None

    def next(self) -> bool:
        """Answer one question; false where no more will come. Raises `OSError` where the connection is broken."""
        request = self._channel.receive()
        if request is None:
            return False
        name, fields = request
        if name == "Open":
            self._open(Open(*fields))
        elif self._conversation is not None:
            run_plain(self._conversation.reply(name, fields))
        return True

    def close(self) -> None:
        """Leave the program as it was: what was put aside is the collector's again."""
        if self._conversation is not None:
            gc.unfreeze()

    def _open(self, opening: Open) -> None:
        # What the program has made to start, 30,000 objects and more, each collection before a reading would walk.
        gc.collect()
        gc.freeze()
        context = Context(opening.directory)
        context.settle(_until_idle)
        self._conversation = Conversation(self._channel, context, _Requests(self._channel, context), opening)
        try:
            self._channel.send(self._conversation.make_meters())
        except Exception as error:  # noqa: BLE001 - whatever it is, the program goes on
            self._channel.fail(describe_error(error, "Open"))


def _until_idle() -> None:
    """Wait until no other thread of the process runs: the answer that the caller has is not the end of the work."""
    own = str(get_native_id())
    until = _now() + _IDLE_WAIT_S
    before = _times_of_others(own)
    while _now() < until:
        _sleep(_LOOK_APART_S)
        after = _times_of_others(own)
        if after == before:
            return
        before = after


def _times_of_others(own: str) -> dict[str, bytes]:
    """What each other thread has run."""
    times = run_times("self")
    times.pop(own, None)
    return times

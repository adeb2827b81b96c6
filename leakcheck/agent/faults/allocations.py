"""Lets an allocation of each call of a step fail, and finds where the interpreter makes some.

How many a call has made until it comes to a place differs from call to call: a list that has room asks for none. So a
point is an instruction of Python code, whoever's, and one of the allocations that are made from there on: the code in C
that the instruction runs meets it in each call.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from opcode import opname
from operator import length_hint
from types import CodeType, FrameType
from typing import Any

from leakcheck.agent.faults import places
from leakcheck.agent.faults.cancelling import Watched
from leakcheck.agent.faults.messages import FaultSet, Point
from leakcheck.agent.faults.shortage import fail_at, fail_no_more
from leakcheck.agent.faults.watching import called_once, watched, watcher
from leakcheck.agent.meters.objects import empty_free_lists
from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import Fault
from leakcheck.agent.step import Driver

_MOST_COUNTED = 20_000
"""Allocations of one instruction that are counted: one more would fail. To count takes 0.6 ms for each instruction."""
_MOST_TOLD = 200
"""Allocations of one instruction that are told: what makes more makes them in a loop."""
_FINDING_S = 3.0
"""Seconds of the thread's own time for which instructions are looked at: a call of a large library runs thousands."""
_LOOKS = 10
"""Times that our own are counted, of which the fewest are those that are always there."""
_MOST = 2000
"""Points that are told."""
_WITHOUT_MEMORY = (
    "CACHE", "COPY", "EXTENDED_ARG", "JUMP", "KW_NAMES", "LOAD_CONST", "LOAD_FAST", "LOAD_SMALL_INT", "NOP",
    "NOT_TAKEN", "POP_JUMP", "POP_TOP", "PRECALL", "PUSH_NULL", "RESUME", "RETURN", "STORE_FAST", "SWAP", "YIELD",
)  # fmt: skip
"""How instructions begin that ask for no memory, or end the function: what is counted for them is our own."""
_ALL = range(sys.maxsize)
"""Offsets of instructions: all."""


class _Window:
    """The stretch of a call in which one allocation fails, if so many are made."""

    def __init__(self) -> None:
        self._turns: Iterator[None] = iter(())
        self.is_open = False

    def open(self, allocation: int) -> None:
        """From now on the allocation of this number fails, counted from 0.

        What was freed before is not used again: else there were more allocations in one call than in another.
        """
        empty_free_lists()
        self._turns = repeat(None, allocation + 1)
        self.is_open = True
        fail_at(allocation)

    def close(self) -> int:
        """None fails any longer. Returns how many were made before; -1 where it has failed.

        To see it, those are made that are left: an object is one allocation.
        """
        turns, made = self._turns, -1
        try:
            for _ in turns:
                object()
        except MemoryError:
            made = length_hint(turns)
        finally:
            fail_no_more()
        self.is_open = False
        return made


class Allocations:
    """One allocation of each call fails; of several, one after the other, each in a call of its own."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._calls = 0
        self._hits = 0
        self._own = _own()
        self._points = [
            ((each.file, each.function, each.first_line, each.offset), number)
            for each in faults
            for number in range(each.turn, each.turn + each.turns)
        ]
        self._offsets: dict[tuple[str, str, int], set[int]] = {}
        for (file, function, first_line, offset), _ in self._points:
            self._offsets.setdefault((file, function, first_line), set()).add(offset)
        self._window = _Window()
        self._at: places.Where | None = None
        """The instruction whose allocation is still to fail in this call."""
        self._number = 0
        self._has_struck = False
        self._watcher = watcher(self._wants, self._comes, None, self._goes_on, self._instructions)

    def close(self) -> FaultSet:
        """Leave the interpreter as it was; returns how it did."""
        self._watcher.close()
        return FaultSet(self._calls, self._hits)

    def struck(self, step: Callable[[], Any], *, is_async: bool) -> Callable[[], Any]:
        """The step under this fault."""

        def plain() -> None:
            self._begin()
            try:
                step()
            except BaseException as error:  # noqa: BLE001 - also what a test runner raises where a test fails
                self._end(error)
            else:
                self._end(None)

        async def waiting() -> None:
            self._begin()
            try:
                await Watched(step(), lambda _: self._close())  # while it waits, others have all memory they want
            except BaseException as error:  # noqa: BLE001 - also what a test runner raises where a test fails
                self._end(error)
            else:
                self._end(None)

        return waiting if is_async else plain

    def _begin(self) -> None:
        self._at, self._number = self._points[self._calls % len(self._points)]
        self._has_struck = False
        self._calls += 1
        self._watcher.begin()

    def _end(self, error: BaseException | None) -> None:
        """Raises the error again where no allocation has failed."""
        self._close()
        self._watcher.end()
        if self._has_struck:
            self._hits += error is None or not _is_ours(error)
        elif error is not None:
            raise error

    def _wants(self, code: CodeType) -> bool:
        return (code.co_filename, code.co_qualname, code.co_firstlineno) in self._offsets

    def _instructions(self, code: CodeType) -> set[int]:
        return self._offsets[code.co_filename, code.co_qualname, code.co_firstlineno]

    def _comes(self, frame: FrameType, offset: int, _: Any) -> None:
        if self._at is not None and places.of(frame.f_code, offset) == self._at and _is_of_the_step(frame):
            self._at = None
            self._watcher.follow(frame)
            self._window.open(self._own + self._number - 1)

    def _goes_on(self, *_: Any) -> None:
        self._close()

    def _close(self) -> None:
        if self._window.is_open:
            self._has_struck = self._window.close() < 0


class _Found:
    """The instructions that allocate, each with how much it did the first time."""

    def __init__(self) -> None:
        self._made: dict[places.Where, tuple[int, bool]] = {}
        """With our own, and whether Python code was called."""
        self._points: dict[places.Where, Point] = {}
        self._offsets: dict[int, tuple[CodeType, frozenset[int]]] = {}
        """Of instructions that may allocate, by the identity of a code; not those that give back what a block has."""
        self._until = time.thread_time() + _FINDING_S
        self._window = _Window()
        self._at: places.Where | None = None
        self._frame: FrameType | None = None

    def comes(self, frame: FrameType, offset: int, _: Any) -> None:
        """An instruction is about to be carried out; the one before it has been, or it has called this one's function.

        One that returns, or waits, comes to an end in code that is not the step's.
        """
        made = self.close()
        if self._at is not None and (frame is self._frame or frame.f_back is self._frame):
            self._made[self._at] = made, frame is not self._frame
        self._at, self._frame = None, None
        if offset not in self._allocating(frame.f_code) or time.thread_time() > self._until:
            return
        at = places.of(frame.f_code, offset)
        if at not in self._points and len(self._points) < _MOST and _is_of_the_step(frame):
            self._points[at] = _point(frame, at)
            self._at, self._frame = at, frame
            self._window.open(_MOST_COUNTED)

    def _allocating(self, code: CodeType) -> frozenset[int]:
        known = self._offsets.get(id(code))
        if known is None:
            raw = code.co_code
            offsets = {at for at in range(0, len(raw), 2) if not opname[raw[at]].startswith(_WITHOUT_MEMORY)}
            known = self._offsets[id(code)] = code, frozenset(offsets - places.leaving_blocks(code))
        return known[1]

    def close(self) -> int:
        """Count no longer; returns what has been counted since."""
        if not self._window.is_open:
            return 0
        made = self._window.close()
        return _MOST_COUNTED if made < 0 else made

    def points(self) -> list[Point]:
        """In the order in which they came. Most instructions allocate nothing: what there is then is ours."""
        own = {
            calls: min((made for made, called in self._made.values() if called is calls), default=0)
            for calls in (False, True)
        }
        return [
            self._points[at]._replace(turns=min(made - own[called], _MOST_TOLD))
            for at, (made, called) in self._made.items()
            if made > own[called]
        ]


async def find(driver: Driver) -> list[Point]:
    """Call the step once, and tell in which instructions memory is allocated. Raises `StepRaisedError`."""
    found = _Found()
    watch = watcher(lambda code: not HERE.own(code.co_filename), found.comes, instructions=lambda _: _ALL)
    try:
        await called_once(driver, watched(watch, driver.step, is_async=driver.has_async_step, ends=found.close))
    finally:
        watch.close()
    return found.points()


def _own() -> int:
    """Allocations between the opening and the closing of a window in which nothing happens."""
    window, most = _Window(), _MOST_TOLD
    made = []
    for _ in range(_LOOKS):
        window.open(most)
        made.append(window.close())
    return min(made)


def _is_of_the_step(frame: FrameType) -> bool:
    """Whether code of the user's has led there: what an event loop does for itself is nobody's step."""
    at: FrameType | None = frame
    while at is not None and not HERE.own(at.f_code.co_filename):
        if places.is_users(at.f_code):
            return True
        at = at.f_back
    return False


def _is_ours(error: BaseException) -> bool:
    """Whether an exception was raised in our own code: there was one allocation less than in the call before."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and HERE.own(trace.tb_frame.f_code.co_filename)


def _point(frame: FrameType, at: places.Where) -> Point:
    index, users = next((at, each) for at, each in enumerate(_outwards(frame)) if places.is_users(each.f_code))
    called = "" if users is frame else frame.f_code.co_qualname
    span = places.span(users.f_code, at[3] if users is frame else users.f_lasti)
    stack = places.stack(frame)
    return Point("allocation", *at, turns=0, stack=stack, span=span, called=called, users=min(index, len(stack) - 1))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back

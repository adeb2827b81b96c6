"""Names the lines after which something has become more: a trace function reads it after each line that runs.

Lines of the standard library are not looked into: what grows there is put down to the line that called it. Whatever is
watched must be cheap to read and must not run code of the user's.
"""

from __future__ import annotations

import sys
import threading
import types
from array import array
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from leakcheck.agent.inquiry import Stack
from leakcheck.agent.origin import HERE
from leakcheck.agent.probes import every_thread
from leakcheck.agent.protocol import Place

if TYPE_CHECKING:
    from leakcheck.agent.step import Driver

MOST_S = 3.0
"""Seconds that a stretch under a trace function may take, in pieces that double."""
MAX_DEPTH = 40
"""Frames of a stack."""
_MOST_LINES = 20_000
"""Lines that have a sum of their own; they take 160 KB."""
_MOST_ADDITIONS = 100_000
"""Additions that are kept; a stretch has some thousands."""


async def in_time(driver: Driver, iterations: int) -> int:
    """Run so many iterations, or as many as there is time for; returns how many.

    A trace function is called for each line, and what it reads may take the longer the more of it there is: nobody
    knows before how long.
    """
    began, done = driver.clock(), 0
    while done < iterations:
        piece = min(max(1, done), iterations - done)
        await driver.run(piece)
        done += piece
        if 2 * (driver.clock() - began) > MOST_S:  # the next piece is as large as all before
            break
    return done


class Addition(NamedTuple):
    """One thing that came while it was watched, and the stack of the line that brought it, the line itself first."""

    thing: Hashable
    amount: float
    stack: Stack


def stack_of(frame: types.FrameType | None, line: int) -> Stack:
    """The places from a line of a frame outwards, as far as they are the user's or a library's."""
    stack: list[Place] = []
    while frame is not None and len(stack) < MAX_DEPTH:
        code = frame.f_code
        if HERE.own(code.co_filename):
            break
        stack.append((code.co_filename, line, code.co_qualname))
        frame = frame.f_back
        line = (frame.f_lineno or 0) if frame is not None else 0
    return HERE.inside(tuple(stack))


class Watch:
    """A trace function around a *reader*: it returns what is there now, as a number or as a set of things."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read
        self._now = read()
        self._frame: types.FrameType | None = None
        self._line = 0
        self._over = False
        self.additions: list[Addition] = []

    def __enter__(self) -> Self:
        every_thread.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self._over = True
        every_thread.settrace(None)
        self._frame = None

    def _enter(self, frame: types.FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if self._over or HERE.own(file):
            return None
        self._check()
        if HERE.standard(file):
            return None
        self._reached(frame, frame.f_lineno or 0)
        return self._inside

    def _inside(self, frame: types.FrameType, event: str, _argument: Any) -> Any:
        if self._over:
            return None
        self._check()
        reached: types.FrameType | None = frame
        if event == "return":
            reached = frame.f_back
            while reached is not None and HERE.standard(reached.f_code.co_filename):
                reached = reached.f_back  # what the library does next is put down to the line that called it
        line = (reached.f_lineno or 0) if reached is not None else 0
        self._reached(reached, line, frame.f_code if event == "return" else None)
        return self._inside

    def _reached(self, frame: types.FrameType | None, line: int, left: types.CodeType | None = None) -> None:  # noqa: ARG002
        """A line of a frame was reached: by leaving the function `left`, where one returned."""
        self._frame, self._line = frame, line

    def _check(self) -> None:
        now = self._read()
        before = self._now
        if now == before:
            return
        self._now = now
        if len(self.additions) >= _MOST_ADDITIONS:
            return
        came = now - before
        stack = stack_of(self._frame, self._line) if came else ()
        self.additions += [Addition(thing, 1, stack) for thing in came]
        self.additions += [Addition(thing, -1, ()) for thing in before - now]


class Ledger(Watch):
    """Watches a number: what each line adds to it, less what it and the calls that it is part of take back.

    It keeps one sum a stack and allocates nothing that lasts beyond the first pass over it, so that the heap's own
    ledger can be watched too.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        super().__init__(read)
        self._reached_by: dict[int, tuple[types.FrameType | None, int, types.CodeType | None]] = {}
        self._indices: dict[Any, int] = {}
        self._stacks: list[Stack] = []
        self._sums = array("d", bytes(8 * _MOST_LINES))

    def clear(self) -> None:
        """Forget the sums, keep the lines."""
        for index in range(len(self._sums)):
            self._sums[index] = 0.0
        self._now = self._read()

    def sums(self) -> list[tuple[Stack, float]]:
        """What each line added, most first, with the stack on which it added most.

        That is no more than what the function, each line that leads there, and the functions of these have added: what
        a function makes for itself is gone when it is over. Of the outermost one that is not known.
        """
        own: dict[Stack, float] = {}
        parts: dict[Any, float] = {}
        for stack, amount in zip(self._stacks, self._sums, strict=False):
            own[stack] = own.get(stack, 0.0) + amount
            for part in _parts(stack):
                parts[part] = parts.get(part, 0.0) + amount
        lines: dict[Stack, list[tuple[float, Stack]]] = {}
        for stack, amount in own.items():
            lines.setdefault(stack[:1], []).append((min(amount, *map(parts.__getitem__, _parts(stack))), stack))
        found = [(max(each)[1], sum(amount for amount, _ in each)) for each in lines.values()]
        return sorted(found, key=lambda pair: -pair[1])

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._reached_by.clear()

    def _reached(self, frame: types.FrameType | None, line: int, left: types.CodeType | None = None) -> None:
        super()._reached(frame, line)
        self._reached_by[threading.get_ident()] = frame, line, left

    def _check(self) -> None:
        change = self._read() - self._now
        if change:
            self._add(change)
        self._now = self._read()  # what the sum has taken meanwhile is given back

    def _add(self, change: float) -> None:
        # The line of this thread: what adds to a container does not let go of the interpreter's lock.
        frame, line, left = self._reached_by.get(threading.get_ident(), (self._frame, self._line, None))
        if change > 0:
            left = None  # what a function that has returned lets go of is its own, what comes is its caller's
        key = (left, *_calls(frame, line))
        index = self._indices.get(key)
        if index is None and len(self._stacks) < _MOST_LINES:
            index = self._indices[key] = len(self._stacks)
            end = ((left.co_filename, 0, left.co_qualname),) if left is not None else ()
            self._stacks.append((*end, *stack_of(frame, line)))
        if index is not None:
            self._sums[index] += change


def _calls(frame: types.FrameType | None, line: int) -> tuple[Any, ...]:
    """What tells a stack from others, without the names that it is shown with: those take their time."""
    found: list[Any] = []
    while frame is not None and len(found) < 2 * MAX_DEPTH:
        found += (frame.f_code, line)
        frame = frame.f_back
        line = (frame.f_lineno or 0) if frame is not None else 0
    return tuple(found)


def _parts(stack: Stack) -> Iterator[Any]:
    """What a line is part of: each call that leads there, from itself on, and each function that one of these calls."""
    yield stack
    for depth, (file, _, function) in enumerate(stack):
        if depth:
            yield stack[depth:]
        if callers := stack[depth + 1 :]:
            yield file, function, callers


class Callees:
    """A profile function that notes of which C functions a number gets larger."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._before = 0.0
        self.sums: dict[tuple[types.CodeType, int, str], float] = {}
        """What was added, by the caller's code, its line, and the function."""

    def __enter__(self) -> Self:
        self._before = self._read()
        sys.setprofile(self._returned)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def at(self, place: Place) -> str:
        """The function that added most of those that a line calls; empty where it was none."""
        file, line, name = place
        found = {
            function: amount
            for (code, where, function), amount in self.sums.items()
            if (code.co_filename, where, code.co_qualname) == (file, line, name)
        }
        return max(found, key=found.__getitem__, default="")

    def _returned(self, frame: types.FrameType, event: str, function: Any) -> None:
        now = self._read()
        if event in ("c_return", "c_exception") and now > self._before and not HERE.own(frame.f_code.co_filename):
            key = frame.f_code, frame.f_lineno or 0, called(function)
            self.sums[key] = self.sums.get(key, 0.0) + now - self._before
        self._before = now


def called(function: Any) -> str:
    """`module.function`, or `module.Type.method`, of a C function."""
    name, module = str(getattr(function, "__qualname__", "?")), getattr(function, "__module__", None)
    if not isinstance(module, str):  # a method: its type knows
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__objclass__", owner if isinstance(owner, type) else type(owner)).__module__
    return name if module == "builtins" or not isinstance(module, str) else f"{module}.{name}"


def lasting(additions: list[Addition]) -> list[Addition]:
    """The additions whose thing has not gone since."""
    there: dict[Hashable, Addition] = {}
    for each in additions:
        if each.amount > 0:
            there[each.thing] = each
        else:
            there.pop(each.thing, None)
    return list(there.values())

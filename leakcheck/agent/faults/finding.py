"""At which points a step can fail: calls of it are watched, once what is only done at first has been done."""

from __future__ import annotations

import sys
from collections import Counter
from types import CodeType, FrameType
from typing import Any

from leakcheck.agent.faults import places
from leakcheck.agent.faults.cancelling import Watched, children_watched
from leakcheck.agent.faults.messages import Point
from leakcheck.agent.faults.watching import called_once, watched, watcher
from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import CANCELLATIONS, Place, PointKind
from leakcheck.agent.step import CO_ASYNC_GENERATOR, CO_COROUTINE, Driver

_MOST = 2000
"""Points that are told: a step that makes more calls than that at different places is no step."""
_OF_THE_SYSTEM = frozenset({"_io", "_socket", "_ssl", "posix", "select"})
"""Modules in C whose functions and methods are operations of files and sockets."""
_NO_OPERATIONS = frozenset({
    "close", "closed", "detach", "fileno", "flush", "fspath", "get_inheritable", "getpid", "getrandom", "getsockname",
    "gettimeout", "isatty", "readable", "seekable", "set_blocking", "set_inheritable", "setblocking", "settimeout",
    "tell", "text_encoding", "unregister", "urandom", "writable", "__enter__", "__exit__",
})  # fmt: skip
"""Their functions that give back what there is, or ask nothing of the system."""
_IN_MEMORY = ("BytesIO", "StringIO")
"""Their types that are no files."""
_CALL_BYTES = 10
"""Of the instruction of a call, with the room behind it in which the interpreter keeps what it has learned of it."""
_ANYWHERE = -1
"""Offset of a point that is a whole function."""


class _Found:
    """The points that the step came by, each with how often it did."""

    def __init__(self) -> None:
        self._points: dict[tuple[PointKind, places.Where], Point] = {}
        self._users: dict[int, tuple[CodeType, bool]] = {}
        self._entered: Counter[places.Where] = Counter()
        self._last: dict[int, places.Where] = {}
        """The last call in each code, by its identity, as long as no function of the user's has begun in it."""

    def points(self) -> list[Point]:
        """In the order in which they came."""
        return list(self._points.values())

    def is_users(self, code: CodeType) -> bool:
        """Whether code is the user's; asked for each call that there is."""
        known = self._users.get(id(code))
        if known is None or known[0] is not code:
            known = self._users[id(code)] = code, places.is_users(code)
        return known[1]

    def call(self, frame: FrameType, offset: int, called: Any) -> None:
        """The user's code makes a call."""
        name = getattr(called, "__qualname__", "") if called is not None else ""
        at = self._last[id(frame.f_code)] = places.of(frame.f_code, offset)
        self._add("call", at, frame, places.stack(frame), str(name))

    def entry(self, frame: FrameType) -> None:
        """A function or generator of the user's begins or goes on; who has called it may be no call of the user's."""
        code, caller = frame.f_code, frame.f_back
        if code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR) or caller is None:
            return
        at = places.of(code, _ANYWHERE)
        self._entered[at] += 1
        if HERE.calls_the_step(caller.f_code.co_filename):
            return
        called_at = self._last.get(id(caller.f_code))
        call = None if called_at is None else self._points.get(("call", called_at))
        if call is not None and 0 <= caller.f_lasti - call.offset <= _CALL_BYTES:
            del self._last[id(caller.f_code)]  # as a rule it is what was called
        else:
            self._add("entry", at, frame, places.stack(frame), code.co_qualname, self._entered[at])

    def waits(self, frames: list[FrameType]) -> None:
        """The step waits. What it waits in is a library's function, or the user's."""
        self._waits("await", frames)

    def child_waits(self, frames: list[FrameType]) -> None:
        """A task waits that the step has started; one that runs no code of the user's is nobody's to cancel."""
        if any(self.is_users(frame.f_code) for frame in frames):
            self._waits("task", frames)

    def _waits(self, kind: PointKind, frames: list[FrameType]) -> None:
        users = places.users_innermost(frames)
        stack = tuple(places.place(each) for each in reversed(frames) if not HERE.own(each.f_code.co_filename))
        library = (function for file, _, function in stack if HERE.installed(file))
        self._add(kind, places.where(frames), users, stack, next(library, ""))

    def operation(self, frame: FrameType, event: str, called: Any) -> None:
        """A profile function: a library's code calls a function in C."""
        if event == "c_call" and not self.is_users(frame.f_code) and _is_operation(called):
            stack = places.stack(frame)
            if any(self.is_users_file(file) for file, _, _ in stack):
                at = places.of(frame.f_code, frame.f_lasti)
                self._add("operation", at, frame, stack, called.__name__)

    def is_users_file(self, file: str) -> bool:
        """Whether a file is part of the user's project."""
        return HERE.rank(file) == 0

    def _add(
        self,
        kind: PointKind,
        at: places.Where,
        frame: FrameType,
        stack: tuple[Place, ...],
        called: str,
        turns: int = 0,
    ) -> None:
        known = self._points.get((kind, at))
        if known is not None:
            self._points[kind, at] = known._replace(turns=turns or known.turns + 1)
        elif len(self._points) < _MOST and stack:
            span = places.span(frame.f_code, at[3] if kind not in CANCELLATIONS else frame.f_lasti)
            self._points[kind, at] = Point(kind, *at, turns=turns or 1, stack=stack, span=span, called=called)


def _is_operation(function: Any) -> bool:
    owner = type(getattr(function, "__self__", None))
    module = getattr(function, "__module__", None) or owner.__module__
    name = function.__name__
    if module not in _OF_THE_SYSTEM or owner.__name__ in _IN_MEMORY:
        return False
    return name not in _NO_OPERATIONS and not name.startswith("_")


async def find(driver: Driver, calls: int) -> list[Point]:
    """Call the step so often, and tell by which points the last two calls came. Raises `StepRaisedError`."""
    await driver.run(calls - 2)
    found = _Found()
    watch = watcher(found.is_users, found.call, found.entry)
    step = driver.step

    async def waits() -> None:
        with children_watched(found.child_waits):
            await Watched(step(), found.waits)

    is_async = driver.has_async_step
    try:
        await called_once(driver, watched(watch, waits if is_async else step, is_async=is_async))
    finally:
        watch.close()
    before = sys.getprofile()
    sys.setprofile(found.operation)
    try:
        await driver.run(1)
    finally:
        sys.setprofile(before)
    return found.points()

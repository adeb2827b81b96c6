"""At which points a step can fail: one call of it is watched, once what is only done at first has been done."""

from __future__ import annotations

from types import CodeType, FrameType
from typing import Any

from leakcheck.agent.faults import places
from leakcheck.agent.faults.cancelling import watched
from leakcheck.agent.faults.messages import Point
from leakcheck.agent.faults.watching import watcher
from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import PointKind
from leakcheck.agent.step import Driver

_MOST = 2000
"""Points that are told: a step that makes more calls than that at different places is no step."""


class _Found:
    """The points that the step came by, each with how often it did."""

    def __init__(self) -> None:
        self._points: dict[tuple[PointKind, places.Where], Point] = {}
        self._users: dict[int, tuple[CodeType, bool]] = {}

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
        self._add("call", places.of(frame.f_code, offset), frame, name)

    def waits(self, frames: list[FrameType]) -> None:
        """The step waits. What it waits in is the innermost function, which may be a library's."""
        at = places.where(frames)
        inner = frames[-1].f_code
        self._add("await", at, frames, "" if places.of(inner, frames[-1].f_lasti) == at else inner.co_qualname)

    def _add(self, kind: PointKind, at: places.Where, frames: FrameType | list[FrameType], called: Any) -> None:
        known = self._points.get((kind, at))
        if known is not None:
            self._points[kind, at] = known._replace(turns=known.turns + 1)
        elif len(self._points) < _MOST:
            if isinstance(frames, list):
                inner = next((each for each in reversed(frames) if each.f_code.co_filename == at[0]), frames[0])
                stack = tuple(places.place(each) for each in reversed(frames) if not HERE.own(each.f_code.co_filename))
            else:
                inner, stack = frames, places.stack(frames)
            self._points[kind, at] = Point(
                kind, *at, turns=1, stack=stack, span=places.span(inner.f_code, at[3]), called=str(called)
            )


async def find(driver: Driver, calls: int) -> list[Point]:
    """Call the step so often, and tell by which points the last call came. Raises `StepRaisedError`."""
    await driver.run(calls - 1)
    found = _Found()
    watch = watcher(found.is_users, found.call)
    step = driver.step

    async def async_watched() -> None:
        watch.begin()
        try:
            await watched(step(), found.waits)
        finally:
            watch.end()

    def plain_watched() -> None:
        watch.begin()
        try:
            step()
        finally:
            watch.end()

    driver.step = async_watched if driver.has_async_step else plain_watched
    try:
        await driver.run(1)
    finally:
        driver.step = step
        watch.close()
    return found.points()

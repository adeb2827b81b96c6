"""Cancels an async step where it waits for the n-th time at a place: as a server does when its client is gone."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from leakcheck.agent.faults.places import Where, where
from leakcheck.agent.faults.turns import Turns

Look = Callable[[list[types.FrameType]], None]
"""Told of the frames of a coroutine that waits, the outermost first."""
_LOOK: ContextVar[Look | None] = ContextVar("_LOOK", default=None)
"""Who is told of the tasks of the step that runs in this context."""


def cancelled(step: Callable[[], Any], wanted: Where, turns: Turns) -> Callable[[], Any]:
    """The step in a task of its own, which is cancelled where it waits at that place."""
    import asyncio

    async def struck() -> None:
        turns.begin()
        loop = asyncio.get_running_loop()

        def look(frames: list[types.FrameType]) -> None:
            if where(frames) == wanted and turns.strikes():
                loop.call_soon(task.cancel)

        task = loop.create_task(Watched(step(), look))
        try:
            await task
        except BaseException:
            if not turns.has_struck:
                raise

    return struck


def child_cancelled(step: Callable[[], Any], wanted: Where, turns: Turns) -> Callable[[], Any]:
    """The step, one of whose tasks is cancelled where it waits at that place."""
    import asyncio

    async def struck() -> None:
        turns.begin()

        def look(frames: list[types.FrameType]) -> None:
            task = asyncio.current_task()
            if task is not None and where(frames) == wanted and turns.strikes():
                task.get_loop().call_soon(task.cancel)

        with children_watched(look):
            try:
                await step()
            except BaseException:
                if not turns.has_struck:
                    raise

    return struck


@contextmanager
def children_watched(look: Look) -> Iterator[None]:
    """Tell `look` each time that a task waits which the block starts, or such a task: they inherit the context."""
    import asyncio

    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()

    def make(running: Any, coroutine: Any, **options: Any) -> Any:
        if _LOOK.get() is look and asyncio.iscoroutine(coroutine):
            coroutine = Watched(coroutine, look)
        return factory(running, coroutine, **options) if factory else asyncio.Task(coroutine, loop=running, **options)

    token = _LOOK.set(look)
    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(factory)
        _LOOK.reset(token)


class Watched(Generator[Any, Any, Any], Coroutine[Any, Any, Any]):
    """A coroutine; `look` is told each time that it waits."""

    def __init__(self, coroutine: Any, look: Look) -> None:
        self._coroutine = coroutine
        self._look = look

    def send(self, value: Any) -> Any:
        """Go on."""
        return self._told(self._coroutine.send(value))

    def throw(self, *error: Any) -> Any:
        """Go on with an exception."""
        return self._told(self._coroutine.throw(*error))

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def _told(self, awaited: Any) -> Any:
        self._look(frames_of(self._coroutine))
        return awaited


def frames_of(coroutine: Any) -> list[types.FrameType]:
    """Of a coroutine and all that it waits for, the outermost first, as far as the interpreter shows it."""
    found = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            found.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found

"""Cancels an async step where it waits for the n-th time at a place: as a server does when its client is gone."""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from typing import Any

from leakcheck.agent.faults.places import Where, where
from leakcheck.agent.faults.turns import Turns

Look = Callable[[list[types.FrameType]], None]
"""Told of the frames of a coroutine that waits, the outermost first."""


def cancelled(step: Callable[[], Any], wanted: Where, turns: Turns) -> Callable[[], Any]:
    """The step in a task of its own, which is cancelled where it waits at that place."""
    import asyncio

    async def struck() -> None:
        turns.begin()
        loop = asyncio.get_running_loop()

        def look(frames: list[types.FrameType]) -> None:
            if where(frames) == wanted and turns.strikes():
                loop.call_soon(task.cancel)

        task = loop.create_task(watched(step(), look))
        try:
            await task
        except BaseException:
            if not turns.has_struck:
                raise

    return struck


async def watched(coroutine: Any, look: Look) -> Any:
    """Await a coroutine; `look` is told each time that it waits."""
    return await _handed_on(coroutine, look)


@types.coroutine
def _handed_on(coroutine: Any, look: Look) -> Generator[Any, Any, Any]:
    go_on, value = coroutine.send, None
    while True:
        try:
            awaited = go_on(value)
        except StopIteration as stop:
            return stop.value
        look(frames_of(coroutine))
        try:
            value = yield awaited
            go_on = coroutine.send
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:  # noqa: BLE001 - it is for the coroutine
            go_on, value = coroutine.throw, error


def frames_of(coroutine: Any) -> list[types.FrameType]:
    """Of a coroutine and all that it waits for, the outermost first, as far as the interpreter shows it."""
    found = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            found.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found

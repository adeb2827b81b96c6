"""Tasks and threads that wait for ever: nothing that can still run leads to what they wait for.

One walk from all that can run: modules, the step, the event loop with what it will call, threads that are not waiting.
It does not go on through a task or thread that waits, until it has come to what that waits for: then this one can run
as well. Whoever is left at the end waits for something that nobody can set.
"""

from __future__ import annotations

import gc
import sys
import threading
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from leakcheck.agent.origin import HERE
from leakcheck.agent.probes.referents import frame_locals

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation


IN_VAIN = ", waits for ever: nothing that can still run leads to its {}"
"""What is said of it beside its name."""


class Waiting(NamedTuple):
    """A task or thread that waits."""

    owner: Any
    """The task, or the object of the thread."""
    awaited: int
    """What it waits for, by `id`."""
    called: str
    """How that is called: `Queue.get`, else its type."""
    inner: list[Any]
    """What can be reached once it runs, beside what its owner refers to."""


class Lost(NamedTuple):
    """One that waits for what nobody can set."""

    waiting: Waiting
    held: bool
    """Whether something that can run leads to the task itself, and could cancel it."""


def of_step(conversation: Conversation) -> dict[int, str]:
    """The tasks, by `id`, and threads, by their system's number, that wait for ever, and for what."""
    driver = conversation.driver
    roots = [driver._generator, driver.plain_step, *conversation.context.settlers]
    hidden = [conversation, driver]
    if driver.in_loop:
        import asyncio

        hidden.append(asyncio.current_task())
    found = for_ever([*tasks(), *threads()], roots, hidden)
    return {_number(each.waiting.owner): each.waiting.called for each in found}


def for_ever(candidates: list[Waiting], roots: list[Any], hidden: list[Any]) -> list[Lost]:
    """Those of the candidates that wait for ever, where `roots` can run beside what every program has.

    `hidden` leads to everything and is nobody's who could set anything.
    """
    waiting = {id(each.owner): each for each in candidates}
    programs, ours = _of_every_program(waiting)
    ready = [*roots, *programs]
    seen = {*map(id, (*hidden, *ours)), *map(id, (waiting, candidates, roots, hidden, programs, ours, ready))}
    while ready:
        _walk(ready, seen, waiting)
        ready = []
        for key, each in list(waiting.items()):
            if each.awaited in seen and each.awaited not in waiting:
                del waiting[key]
                ready += [*gc.get_referents(each.owner), *each.inner]
    return [Lost(each, id(each.owner) in seen) for each in waiting.values()]


def _number(owner: Any) -> int:
    return (owner.native_id or 0) if isinstance(owner, threading.Thread) else id(owner)


def _walk(start: list[Any], seen: set[int], waiting: dict[int, Waiting]) -> None:
    level = start
    while level:
        new: dict[int, Any] = {id(each): each for each in level if id(each) not in seen}
        seen.update(new)
        level = []
        for each in new.values():
            if id(each) in waiting:
                continue
            if isinstance(each, types.FrameType):  # one that runs tells the collector nothing
                level += frame_locals(each).values()
            elif isinstance(each, types.ModuleType):  # it tells more than it has: see `by_type`
                level.append(vars(each))
            else:
                level += gc.get_referents(each)


def _of_every_program(waiting: dict[int, Waiting]) -> tuple[list[Any], list[Any]]:
    """What can run in every program, its modules, threads and the loop that runs here; and what of that is ours."""
    roots: list[Any] = []
    hidden: list[Any] = []
    for module in list(sys.modules.values()):
        if isinstance(module, types.ModuleType):
            (hidden if HERE.own(getattr(module, "__file__", None) or "") else roots).append(module)
    held_up = {_number(each.owner) for each in waiting.values() if isinstance(each.owner, threading.Thread)}
    numbers = {thread.ident: thread.native_id for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        current: types.FrameType | None = frame
        while current is not None:
            theirs = not HERE.own(current.f_code.co_filename) and numbers.get(ident) not in held_up
            (roots if theirs else hidden).append(current)
            current = current.f_back
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    return ([*roots, loop] if loop is not None else roots), hidden


def tasks(loop: Any = None) -> list[Waiting]:
    """Those of a loop, without one of that which runs here."""
    asyncio = sys.modules.get("asyncio")
    try:
        tasks = asyncio.all_tasks(loop) if asyncio is not None else ()
    except RuntimeError:  # no loop runs
        return []
    found = []
    for task in tasks:
        awaited = getattr(task, "_fut_waiter", None)
        if awaited is not None and not awaited.done():
            found.append(Waiting(task, id(awaited), _awaited_by(task.get_coro(), awaited), []))
    return found


def _awaited_by(coroutine: Any, awaited: Any) -> str:
    """The innermost coroutine of a class, `Queue.get`; else the type of what is awaited."""
    called = type(awaited).__qualname__
    while coroutine is not None:
        code = getattr(coroutine, "cr_code", None)
        if code is not None and HERE.standard(code.co_filename) and "." in code.co_qualname:
            called = code.co_qualname
        coroutine = getattr(coroutine, "cr_await", None)
    return called


def threads() -> list[Waiting]:
    """Those that are in a method of the standard library's by which one waits, with the object of that method."""
    found = []
    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        awaited, called, inner = None, "", []
        while frame is not None and HERE.standard(frame.f_code.co_filename):
            owner = frame.f_locals.get("self")
            if owner is None or owner is thread:
                break
            if (frame.f_locals.get("timeout") or -1) >= 0:  # it goes on when that is over; -1 means never
                awaited = None
                break
            awaited, called = owner, frame.f_code.co_qualname
            frame = frame.f_back
        while frame is not None:
            inner.append(frame)
            frame = frame.f_back
        if awaited is not None and thread is not threading.main_thread():
            found.append(Waiting(thread, id(awaited), called, inner))
    return found

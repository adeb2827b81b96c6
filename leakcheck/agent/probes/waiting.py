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


class _Waiting(NamedTuple):
    """A task or thread that waits."""

    owner: Any
    """The task, or the object of the thread."""
    awaited: int
    """What it waits for, by `id`."""
    called: str
    """How that is called: `Queue.get`, else its type."""
    inner: list[Any]
    """What can be reached once it runs, beside what its owner refers to."""


def for_ever(conversation: Conversation) -> dict[int, str]:
    """The tasks, by `id`, and threads, by their system's number, that wait for ever, and for what."""
    waiting = {id(each.owner): each for each in (*_tasks(), *_threads())}
    roots, hidden = _roots(conversation, waiting)
    seen = {*map(id, hidden), id(waiting), id(roots), id(hidden)}
    ready = roots
    while ready:
        _walk(ready, seen, waiting)
        ready = []
        for key, each in list(waiting.items()):
            if each.awaited in seen and each.awaited not in waiting:
                del waiting[key]
                ready += [*gc.get_referents(each.owner), *each.inner]
    return {_number(each.owner): each.called for each in waiting.values()}


def _number(owner: Any) -> int:
    return (owner.native_id or 0) if isinstance(owner, threading.Thread) else id(owner)


def _walk(start: list[Any], seen: set[int], waiting: dict[int, _Waiting]) -> None:
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


def _roots(conversation: Conversation, waiting: dict[int, _Waiting]) -> tuple[list[Any], list[Any]]:
    """All that can run, and what of ours leads to everything."""
    driver = conversation.driver
    roots: list[Any] = [driver._generator, driver._step, *conversation.context.settlers]
    hidden: list[Any] = [conversation, driver]
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
    if driver.in_loop:
        import asyncio

        roots.append(asyncio.get_running_loop())
        hidden.append(asyncio.current_task())
    return roots, hidden


def _tasks() -> list[_Waiting]:
    asyncio = sys.modules.get("asyncio")
    try:
        tasks = asyncio.all_tasks() if asyncio is not None else ()
    except RuntimeError:  # no loop runs
        return []
    found = []
    for task in tasks:
        awaited = getattr(task, "_fut_waiter", None)
        if awaited is not None and not awaited.done():
            found.append(_Waiting(task, id(awaited), _awaited_by(task.get_coro(), awaited), []))
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


def _threads() -> list[_Waiting]:
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
            awaited, called = owner, frame.f_code.co_qualname
            frame = frame.f_back
        while frame is not None:
            inner.append(frame)
            frame = frame.f_back
        if awaited is not None and thread is not threading.main_thread():
            found.append(_Waiting(thread, id(awaited), called, inner))
    return found

"""Tasks, coroutines and generators that nobody finishes: what the interpreter itself complains of when it frees them.

They are counted over some calls of an async step, with the lines that create them. What they leave is no memory: it is
work that was begun and is never done.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from leakcheck.agent.origin import HERE
from leakcheck.agent.probes.watch import MAX_DEPTH, stack_of
from leakcheck.agent.protocol import CountUnfinished, Place, Unfinished, UnfinishedWork
from leakcheck.agent.step import StepRaisedError

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation

_MOST_TOLD = 6
"""Places that are told, those with most of it first."""


async def answer(conversation: Conversation, question: CountUnfinished) -> Unfinished:
    """Runs the step."""
    notes: list[_Note] = []
    restore = [_note_tasks(notes), _note_coroutines(notes), _note_generators(notes)]
    try:
        await conversation.driver.run(question.calls)
        await conversation.settler.settle()
        gc.collect()
    except StepRaisedError:
        notes.clear()
    finally:
        for each in restore:
            each()
    counts = Counter(notes)
    return Unfinished([UnfinishedWork(*note, count / question.calls) for note, count in counts.most_common(_MOST_TOLD)])


class _Note(NamedTuple):
    kind: Literal["task", "coroutine", "async generator"]
    name: str
    stack: tuple[Place, ...]


def _note_tasks(notes: list[_Note]) -> Any:
    """Tasks that are freed before they are done."""
    import asyncio

    loop = asyncio.get_running_loop()
    factory, handler = loop.get_task_factory(), loop.get_exception_handler()
    created: dict[int, tuple[Place, ...]] = {}

    def make(running: Any, coroutine: Any, **options: Any) -> Any:
        task = (factory or asyncio.Task)(*([running, coroutine] if factory else [coroutine]), **_in(running, options))
        created[id(task)] = _here()
        return task

    def _in(running: Any, options: dict[str, Any]) -> dict[str, Any]:
        return options if factory else {"loop": running, **options}

    def note(running: Any, context: dict[str, Any]) -> None:
        task = context.get("task")
        if task is not None and not task.done() and "exception" not in context:
            notes.append(_Note("task", _name(task.get_coro()), created.get(id(task), ())))
        if handler is not None:
            handler(running, context)
        elif task is None:
            running.default_exception_handler(context)

    def restore() -> None:
        loop.set_task_factory(factory)
        loop.set_exception_handler(handler)

    loop.set_task_factory(make)
    loop.set_exception_handler(note)
    return restore


def _note_coroutines(notes: list[_Note]) -> Any:
    """Coroutines that are freed before they have begun: the interpreter looks up whom to tell each time."""
    module: Any = warnings
    tell, depth = module._warn_unawaited_coroutine, sys.get_coroutine_origin_tracking_depth()

    def note(coroutine: Any) -> None:
        origin = HERE.inside(tuple(tuple(place) for place in coroutine.cr_origin or ()))
        notes.append(_Note("coroutine", _name(coroutine), _users(origin)))

    def restore() -> None:
        module._warn_unawaited_coroutine = tell
        sys.set_coroutine_origin_tracking_depth(depth)

    module._warn_unawaited_coroutine = note
    sys.set_coroutine_origin_tracking_depth(MAX_DEPTH)
    return restore


def _note_generators(notes: list[_Note]) -> Any:
    """Async generators that are freed before their end."""
    first, finalize = sys.get_asyncgen_hooks()
    begun: dict[int, tuple[Place, ...]] = {}

    def begin(generator: Any) -> None:
        begun[id(generator)] = _here()
        if first is not None:
            first(generator)

    def note(generator: Any) -> None:
        notes.append(_Note("async generator", _name(generator), begun.get(id(generator), ())))
        if finalize is not None:
            finalize(generator)

    sys.set_asyncgen_hooks(begin, note)
    return lambda: sys.set_asyncgen_hooks(first, finalize)


def _here() -> tuple[Place, ...]:
    """The user's places from the caller outwards."""
    frame = sys._getframe(1)
    while frame.f_back is not None and HERE.own(frame.f_code.co_filename):
        frame = frame.f_back
    return _users(stack_of(frame, frame.f_lineno or 0))


def _users(stack: tuple[Place, ...]) -> tuple[Place, ...]:
    """From the innermost place that is not the standard library's."""
    for index, place in enumerate(stack):
        if not HERE.standard(place[0]):
            return stack[index:]
    return stack


def _name(coroutine: Any) -> str:
    return str(getattr(coroutine, "__qualname__", type(coroutine).__qualname__))

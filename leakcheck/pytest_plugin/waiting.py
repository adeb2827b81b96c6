"""`--leakcheck-tasks`: fail each test that leaves a task or thread that waits for ever, in the one run there is.

One look after each test, and only where it has left something that waits. A task must have been let go of as well: who
holds it can cancel it.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from operator import add
from typing import Any
from weakref import ref

import pytest

from leakcheck.agent.faults.cancelling import frames_of
from leakcheck.agent.origin import HERE
from leakcheck.agent.probes.waiting import IN_VAIN, Waiting, for_ever, tasks, threads


class WaitingTests:
    """Looks after each test."""

    def __init__(self) -> None:
        self._there: set[int | None] = set()  # threads that were there before the test, by their identifiers

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, None, None]:
        """Note who was there before."""
        self._there = {thread.ident for thread in threading.enumerate()}
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Look for tasks before the loop of the test ends: of an async test, or of one that calls `asyncio.run()`."""
        function = getattr(item, "obj", None)
        if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(function):
            with _looking_at_runners() as told:
                result = yield
            _fail_for(told)
            return result
        item.obj = _looking(function)
        try:
            return (yield)
        finally:
            item.obj = function

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, None, None]:
        """Look for threads once all fixtures of the test have ended."""
        result = yield
        _fail_for(_lost(lambda: [each for each in threads() if each.owner.ident not in self._there]))
        return result


def _looking(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The test, which looks for tasks when it is done: a little later its loop cancels them."""

    @wraps(function)
    async def test(*arguments: Any, **options: Any) -> None:
        __tracebackhide__ = True
        await function(*arguments, **options)
        _fail_for(_lost(tasks, may_be_held=False))

    return test


@contextmanager
def _looking_at_runners() -> Iterator[Counter[str]]:
    """What is told of tasks that are left where a runner ends its loop, and cancels them, as long as the block runs.

    One that ends it by an exception has been stopped in the middle.
    """
    told: Counter[str] = Counter()
    results: dict[int, Any] = {}  # they are on their way to the caller, where nobody sees them
    runners: Any = asyncio.Runner
    run, close = runners.run, runners.close

    @wraps(run)
    def run_and_note(runner: asyncio.Runner, *arguments: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        results[id(runner)] = result = run(runner, *arguments, **options)
        return result

    @wraps(close)
    def look_and_close(runner: asyncio.Runner) -> None:
        result = results.pop(id(runner), None)
        if sys.exc_info()[0] is None:
            with suppress(RuntimeError):  # it is closed already
                loop = runner.get_loop()
                told.update(_lost(lambda: tasks(loop), loop, result, may_be_held=False))
        close(runner)

    runners.run, runners.close = run_and_note, look_and_close
    try:
        yield told
    finally:
        runners.run, runners.close = run, close


def _fail_for(told: Counter[str]) -> None:
    __tracebackhide__ = True
    if told:
        times = [f" ({count} times)" if count > 1 else "" for count in told.values()]
        pytest.fail("\n".join(map(add, told, times)), pytrace=False)


def _lost(find: Callable[[], list[Waiting]], *roots: Any, may_be_held: bool = True) -> Counter[str]:
    """What is said of those that wait for ever, and how often; `roots` can run beside what every program has."""
    suspects = _suspects(find, roots, may_be_held)
    if not suspects:
        return Counter()
    # What the collector frees may wake them. One that it frees itself has waited for as long as there was of it.
    gc.collect()
    still = {id(thing()) for thing, _ in _suspects(find, roots, may_be_held)}
    return Counter(text for thing, text in suspects if _has_been_freed(thing()) or id(thing()) in still)


def _suspects(
    find: Callable[[], list[Waiting]], roots: tuple[Any, ...], may_be_held: bool
) -> list[tuple[ref[Any], str]]:
    """Those that wait for ever, and what is said of them: held by nothing here, where the walk would find that."""
    candidates = find()
    found = for_ever(candidates, [*roots], []) if candidates else []
    return [(ref(each.waiting.owner), _told(each.waiting)) for each in found if may_be_held or not each.held]


def _has_been_freed(thing: Any) -> bool:
    """Whether the collector has taken it: of a task it closes the coroutine, which schedules a last call of the task.

    Until Python 3.14 the reference to it is gone by then.
    """
    if thing is None or isinstance(thing, threading.Thread):
        return thing is None
    return not thing.done() and getattr(thing.get_coro(), "cr_frame", thing) is None


def _told(waiting: Waiting) -> str:
    owner = waiting.owner
    if isinstance(owner, threading.Thread):
        kind, name, frames = "thread", owner.name, waiting.inner
    else:
        kind, name, frames = "task", owner.get_coro().__qualname__, frames_of(owner.get_coro())[::-1]
    users = [frame for frame in frames if HERE.rank(frame.f_code.co_filename) == 0]
    where = f" at {os.path.relpath(users[0].f_code.co_filename)}:{users[0].f_lineno}" if users else ""
    return f"leaves {kind} {name}{where}{IN_VAIN.format(waiting.called)}"

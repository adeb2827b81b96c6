"""Open one scenario, run its step n times, close it again: the same for plain and async ones.

All of it is written as coroutines. A plain scenario never suspends, so `run_plain` drives it without an event loop (and
without importing asyncio into a process that has no use for it); an async one runs in a single task of one loop, so
that set-up, steps and tear-down share their context.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Coroutine
from itertools import repeat
from operator import length_hint
from typing import Any

from leakcheck.agent.clock import own_clock
from leakcheck.agent.scenario import Context, Scenario

# Flags of a code object; `inspect`, which names them, is dear to import.
CO_COROUTINE = 0x80
CO_GENERATOR = 0x20  # of `inspect`
CO_ASYNC_GENERATOR = 0x200  # of `inspect`


class StepRaisedError(Exception):
    """The step raised; `__cause__` is what."""

    def __init__(self, done: int) -> None:
        super().__init__(f"the step raised in iteration {done + 1}")
        self.done = done


class NoStepError(Exception):
    """A scenario does not give one step."""


class DidNotRaiseError(Exception):
    """A step of a scenario with `raises=` returned."""


def flags(function: Callable[..., Any]) -> int:
    """The code flags of a function, method, partial or object with `__call__`."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    code = getattr(function, "__code__", None) or getattr(getattr(function, "__call__", None), "__code__", None)  # noqa: B004
    return getattr(code, "co_flags", 0)


def is_async(scenario: Scenario) -> bool:
    """Whether the scenario needs an event loop from the start."""
    return bool(flags(scenario.function) & (CO_COROUTINE | CO_ASYNC_GENERATOR))


def run_plain(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Drive a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("a plain scenario suspended; an async step needs an `async def` scenario function")


class Driver:
    """One opened scenario."""

    estimates = False
    """Whether the iterations of a stretch are estimated by what the process has grown by.

    Under `tracemalloc` its own memory makes that too many: the stretch before tells the rate, this one only what comes.
    """

    def __init__(self, scenario: Scenario, context: Context) -> None:
        self.scenario = scenario
        self.context = context
        self.iterations = 0
        self.in_loop = is_async(scenario)
        self.clock = own_clock()
        self._generator: Any = None
        self.step: Callable[[], Any] = _not_open
        """What `run` calls."""
        self.has_async_step = False
        self.plain_step = self.step
        """The same without the fault that is injected into it."""
        self.injected: Any = None
        """That fault; see `leakcheck.agent.faults`."""

    async def open(self) -> None:
        """Run the set-up."""
        function, arguments = self.scenario.function, dict(self.scenario.arguments)
        code = getattr(function, "__code__", None)
        if code is not None and "ctx" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            arguments["ctx"] = self.context
        kind = flags(function)
        if kind & CO_ASYNC_GENERATOR:
            self._generator = function(**arguments)
            step = await self._generator.__anext__()
        elif kind & CO_GENERATOR:
            self._generator = function(**arguments)
            step = next(self._generator)
        elif arguments:
            step = _bound(function, arguments)
        else:
            step = function
        self.has_async_step = bool(flags(step) & CO_COROUTINE) or bool(kind & CO_COROUTINE)
        try:
            self._refuse_unless_callable(step)
        except NoStepError:
            await self.close()
            raise
        if self.scenario.options.raises is not None:
            step = _expecting(step, self.scenario.options.raises, self.has_async_step)
        self.step = self.plain_step = step

    def _refuse_unless_callable(self, step: Any) -> None:
        if not callable(step):
            raise NoStepError(f"{self.scenario.name} must yield its step, a function; it yielded {type(step).__name__}")
        if self.has_async_step and not self.in_loop:
            raise NoStepError(
                f"{self.scenario.name} yields an async step: make the scenario itself `async def`, so that set-up "
                "and step share one event loop"
            )

    async def run(self, count: int) -> float:
        """Call the step `count` times; returns the seconds it took (see `clock`). Raises `StepRaisedError`.

        Adds one turn of a C-level iterator to each call, some 15 ns, and allocates nothing per call.
        """
        return await self._run(self.step, count)

    async def run_to_lowest(
        self, count: int, read: Callable[[], float], settle: Callable[[], None]
    ) -> tuple[float, float]:
        """As `run`, with a reading after each call; returns the seconds and the lowest value that was read.

        Where that is lower than all before, `settle` is called and it is read again.
        """
        lowest = array("d", [math.inf])
        seconds = await self._run(_watched(self.step, read, settle, lowest, self.has_async_step), count)
        return seconds, lowest[0]

    @property
    def start_s(self) -> float:
        """Seconds that it takes to have the step called at all, however often."""
        return float(getattr(self.step, "start_s", 0.0))

    async def returned(self) -> Any:
        """Call the step once, and return what it returns. Raises `StepRaisedError`."""
        step, kept = self.step, list[Any]()

        async def call_async() -> None:
            kept.append(await step())

        await self._run(call_async if self.has_async_step else lambda: kept.append(step()), 1)
        return kept.pop()

    async def _run(self, step: Callable[[], Any], count: int) -> float:
        many = getattr(step, "many", None)
        if many is not None:
            return self._run_many(step, many, count)
        turns = repeat(None, count)
        started = self.clock()
        try:
            if self.has_async_step:
                for _ in turns:
                    await step()
            else:
                for _ in turns:
                    step()
        except BaseException as error:  # also what is no `Exception`: `sys.exit()` in a step, a test that is skipped
            done = count - length_hint(turns) - 1
            self.iterations += done
            raise StepRaisedError(done) from error
        self.iterations += count
        return self.clock() - started

    def _run_many(self, step: Any, many: Callable[[int], None], count: int) -> float:
        """The same for a step that knows how to be called often, some at a time; `done` says how far it came."""
        started = self.clock()
        try:
            many(count)
        except BaseException as error:
            self.iterations += step.done
            raise StepRaisedError(step.done) from error
        self.iterations += count
        return self.clock() - started

    async def close(self) -> None:
        """Run the tear-down."""
        if self.injected is not None:
            self.injected.close()
        self.step = self.plain_step = _not_open
        generator, self._generator = self._generator, None
        if generator is None:
            return
        try:
            if hasattr(generator, "__anext__"):
                await generator.__anext__()
            else:
                next(generator)
        except (StopIteration, StopAsyncIteration):
            return
        raise NoStepError(f"{self.scenario.name} yielded twice; a scenario yields one step")


def _not_open() -> None:
    raise NoStepError("the scenario is not open")


def _bound(function: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[], Any]:
    if flags(function) & CO_COROUTINE:

        async def async_step() -> None:
            await function(**arguments)

        return async_step
    return lambda: function(**arguments)


_WATCHING_S = 0.1
"""Seconds of readings that a round may have in any case, and beyond them as many as the step itself has taken."""


def _watched(
    step: Callable[[], Any],
    read: Callable[[], float],
    settle: Callable[[], None],
    lowest: array[float],
    is_async_step: bool,
    now: Callable[[], float] = time.perf_counter,
) -> Callable[[], Any]:
    """The step, and after it a reading of which only the lowest is kept, settled as the reading after a round is.

    What a flush frees the interpreter keeps in part, to use it again: more than a leak leaves there each time.

    On a heap of many holes a reading costs milliseconds. Then not every call has one: the step gets half of the time.
    """
    began = now()
    spent = 0.0

    def look() -> None:
        nonlocal spent
        start = now()
        if 2 * spent > _WATCHING_S + start - began:
            return
        value = read()
        if value < lowest[0]:
            settle()
            lowest[0] = min(value, read())
        spent += now() - start

    if is_async_step:

        async def async_watched() -> None:
            await step()
            look()

        return async_watched

    def watched() -> None:
        step()
        look()

    return watched


def _expecting(step: Callable[[], Any], raises: Any, is_async_step: bool) -> Callable[[], Any]:
    """The step of a scenario with `raises=`: the exception is what is wanted, its absence is the error."""
    if is_async_step:

        async def async_expecting() -> None:
            try:
                await step()
            except raises:
                return
            raise DidNotRaiseError(f"the step returned; it should have raised {raises}")

        return async_expecting

    def expecting() -> None:
        try:
            step()
        except raises:
            return
        raise DidNotRaiseError(f"the step returned; it should have raised {raises}")

    return expecting

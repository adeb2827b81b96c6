"""Is told of the calls that code makes, before they are made, by the means that each interpreter has for it.

From 3.12 on that is `sys.monitoring`, which leaves all other code as fast as it was. In 3.11 it is a trace function
that sees the instructions of chosen code. What the one who is told raises is raised by the call that was to be made.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Container
from types import CodeType, FrameType
from typing import Any, Protocol

from leakcheck.agent.step import Driver

Wants = Callable[[CodeType], bool]
Calls = Callable[[FrameType, int, Any], None]
"""Told of a call with the frame that makes it, the offset of the instruction, and what is called (None: not known)."""
Enters = Callable[[FrameType], None]
"""Told of a function that begins, or a generator that goes on, with its frame."""
Follows = Callable[[FrameType, int], None]
"""Told of the instruction that comes after one for which `follow` was called."""
Step = Callable[[], Any]
Instructions = Callable[[CodeType], Container[int]]
"""The offsets of the instructions of a code of which is told in the place of its calls, whatever they do."""


class Watcher(Protocol):
    """Tells what happens in this thread between `begin` and `end`, in the code that is wanted."""

    def begin(self) -> None:
        """Tell from now on."""

    def end(self) -> None:
        """Tell no longer."""

    def follow(self, frame: FrameType) -> None:
        """Tell of the next instruction of a frame."""

    def close(self) -> None:
        """Leave the interpreter as it was."""


_NAME = "leakcheck"


class _Told:
    """Who is told, and of what."""

    def __init__(
        self,
        wants: Wants,
        calls: Calls,
        enters: Enters | None,
        follows: Follows | None,
        instructions: Instructions | None,
    ) -> None:
        self._wants, self._calls, self._enters, self._follows = wants, calls, enters, follows
        self._instructions = instructions
        self._followed: FrameType | None = None


class Monitored(_Told):
    """By `sys.monitoring`."""

    def __init__(self, *told: Any) -> None:
        super().__init__(*told)
        self._monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        self._thread = 0
        self._local: dict[int, tuple[CodeType, Container[int]]] = {}
        """Code in which instructions are told of, by its identity, and which are besides those that follow."""
        monitoring = self._monitoring
        events = monitoring.events
        free = [tool for tool in (4, 3, 1, 2, 5, 0) if monitoring.get_tool(tool) is None]
        if not free:
            raise RuntimeError(
                "no tool id of sys.monitoring is free: end a debugger, profiler or coverage to use --errors"
            )
        self._tool = free[0]
        monitoring.use_tool_id(self._tool, _NAME)
        self._heard: dict[int, Any] = {events.INSTRUCTION: self._instruction}
        if self._instructions is None:
            self._heard[events.CALL] = self._call
        if self._instructions is not None or self._enters is not None:
            self._heard |= {events.PY_START: self._enter, events.PY_RESUME: self._enter}
        for event, hear in self._heard.items():
            monitoring.register_callback(self._tool, event, hear)
        monitoring.set_events(self._tool, sum(self._heard) - events.INSTRUCTION)
        monitoring.restart_events()

    def begin(self) -> None:
        """Tell from now on."""
        self._thread = threading.get_ident()

    def end(self) -> None:
        """Tell no longer."""
        self._thread, self._followed = 0, None

    def follow(self, frame: FrameType) -> None:
        """Tell of the next instruction of a frame."""
        self._followed = frame
        self._look_into(frame.f_code)

    def _look_into(self, code: CodeType) -> None:
        if id(code) not in self._local:
            self._local[id(code)] = code, self._instructions(code) if self._instructions is not None else ()
            self._monitoring.set_local_events(self._tool, code, self._monitoring.events.INSTRUCTION)

    def close(self) -> None:
        """Leave the interpreter as it was."""
        self._monitoring.set_events(self._tool, 0)
        for code, _ in self._local.values():
            self._monitoring.set_local_events(self._tool, code, 0)
        for event in self._heard:
            self._monitoring.register_callback(self._tool, event, None)
        self._monitoring.free_tool_id(self._tool)

    def _call(self, code: CodeType, offset: int, called: Any, _: Any) -> Any:
        if not self._wants(code):
            return self._monitoring.DISABLE
        if self._thread == threading.get_ident():
            self._calls(sys._getframe(1), offset, called)
        return None

    def _enter(self, code: CodeType, _: int) -> Any:
        if not self._wants(code):
            return self._monitoring.DISABLE
        if self._instructions is not None:
            self._look_into(code)
        if self._thread == threading.get_ident() and self._enters is not None:
            self._enters(sys._getframe(1))
        return None

    def _instruction(self, code: CodeType, offset: int) -> None:
        if self._followed is not None and self._followed is sys._getframe(1):
            self._followed = None
            if self._follows is not None:
                self._follows(sys._getframe(1), offset)
        if offset in self._local[id(code)][1] and self._thread == threading.get_ident():
            self._calls(sys._getframe(1), offset, None)


class Traced(_Told):
    """By a trace function, which hands on to the one that was there before."""

    def __init__(self, *told: Any) -> None:
        from opcode import opmap

        super().__init__(*told)
        self._opcodes = {opmap["CALL"], opmap["CALL_FUNCTION_EX"]}
        self._before: Any = None
        self._offsets: dict[int, tuple[CodeType, Container[int]]] = {}
        """Of the instructions of which is told, by a code's identity: its hash is that of all its instructions."""

    def begin(self) -> None:
        """Tell from now on."""
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def end(self) -> None:
        """Tell no longer. A trace function that has raised is no longer there; the one before it is again."""
        sys.settrace(self._before)
        self._before = self._followed = None

    def follow(self, frame: FrameType) -> None:
        """Tell of the next instruction of a frame."""
        self._followed = frame

    def close(self) -> None:
        """Nothing is left where `end` was called."""

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        inner = self._before and self._before(frame, event, argument)
        code = frame.f_code
        if not self._wants(code):
            return inner
        if id(code) not in self._offsets:
            self._offsets[id(code)] = code, (self._instructions or self._calls_in)(code)
        _, offsets = self._offsets[id(code)]
        frame.f_trace_opcodes = True
        if self._enters is not None:
            self._enters(frame)

        def look(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal inner
            if event != "opcode":
                inner = inner and inner(frame, event, argument)
                return look
            if self._followed is frame:
                self._followed = None
                if self._follows is not None:
                    self._follows(frame, frame.f_lasti)
            if frame.f_lasti in offsets:
                self._calls(frame, frame.f_lasti, None)
            return look

        return look

    def _calls_in(self, code: CodeType) -> frozenset[int]:
        raw = code.co_code
        return frozenset(at for at in range(0, len(raw), 2) if raw[at] in self._opcodes)


def watcher(
    wants: Wants,
    calls: Calls,
    enters: Enters | None = None,
    follows: Follows | None = None,
    instructions: Instructions | None = None,
) -> Watcher:
    """The one for this interpreter."""
    return (Monitored if sys.version_info >= (3, 12) else Traced)(wants, calls, enters, follows, instructions)


def watched(watch: Watcher, step: Step, *, is_async: bool, ends: Callable[[], object] = lambda: None) -> Step:
    """The step, of which is told while it runs; `ends` is called before that is over."""

    def plain() -> None:
        watch.begin()
        try:
            step()
        finally:
            ends()
            watch.end()

    async def waiting() -> None:
        watch.begin()
        try:
            await step()
        finally:
            ends()
            watch.end()

    return waiting if is_async else plain


async def called_once(driver: Driver, step: Step) -> None:
    """Let the driver call another step, once."""
    plain, driver.step = driver.step, step
    try:
        await driver.run(1)
    finally:
        driver.step = plain

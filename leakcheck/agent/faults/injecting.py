"""Lets each call of a step fail at one point, and takes what comes of it from the step.

A call fails before it is made: what is called has done nothing then. What the step raises after that is expected,
whatever it is; before it, it is the step's own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from leakcheck.agent.faults.exceptions import made, named
from leakcheck.agent.faults.watching import Watcher, watcher

if TYPE_CHECKING:
    from leakcheck.agent.protocol import Fault

Step = Callable[[], Any]


class Injected:
    """A step under a fault, and how often that has struck."""

    def __init__(self, step: Step, fault: Fault, *, is_async: bool) -> None:
        self.plain = step
        self.calls = 0
        self.hits = 0
        self._fault = fault
        self._make = named(fault.exception)
        self._left = 0
        """Turns to come in this call; 0 when it has struck."""
        self._code: CodeType | None = None
        if fault.kind == "await":
            from leakcheck.agent.faults.cancelling import cancelled

            self._watcher: Watcher | None = None
            self.step: Step = cancelled(step, fault, self)
        else:
            enters = self._enters if fault.kind == "entry" else None
            self._watcher = watcher(self._wants, self._calls, enters, self._follows)
            self.step = self._async_step(step, self._watcher) if is_async else self._plain_step(step, self._watcher)

    def close(self) -> None:
        """Leave the interpreter as it was."""
        if self._watcher is not None:
            self._watcher.close()

    def begin(self) -> None:
        """A call of the step begins."""
        self.calls += 1
        self._left = self._fault.turn

    def strikes(self) -> bool:
        """Count one turn; whether it is the one."""
        if not self._left:
            return False
        self._left -= 1
        self.hits += not self._left
        return not self._left

    @property
    def has_struck(self) -> bool:
        """Whether this call of the step has been struck."""
        return not self._left

    def _plain_step(self, step: Step, watcher: Watcher) -> Step:
        def struck() -> None:
            self.begin()
            watcher.begin()
            try:
                step()
            except BaseException:  # also what a test runner raises where a test fails
                if not self.has_struck:
                    raise
            finally:
                watcher.end()

        return struck

    def _async_step(self, step: Step, watcher: Watcher) -> Step:
        async def struck() -> None:
            self.begin()
            watcher.begin()
            try:
                await step()
            except BaseException:
                if not self.has_struck:
                    raise
            finally:
                watcher.end()

        return struck

    def _wants(self, code: CodeType) -> bool:
        if code is self._code:
            return True
        fault = self._fault
        if code.co_filename != fault.file or code.co_firstlineno != fault.first_line:
            return False
        if code.co_qualname != fault.function:
            return False
        self._code = code
        return True

    def _calls(self, frame: FrameType, offset: int, _: Any) -> None:
        if self._fault.kind == "entry" or offset != self._fault.offset or not self.strikes():
            return
        if not self._fault.after:
            raise made(self._make)
        assert self._watcher is not None
        self._watcher.follow(frame)

    def _follows(self, *_: Any) -> None:
        raise made(self._make)

    def _enters(self, _: FrameType) -> None:
        if self.strikes():
            raise made(self._make)

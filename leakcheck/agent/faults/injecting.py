"""Lets each call of a step fail at one point, and takes what comes of it from the step.

A call fails before it is made: what is called has done nothing then. What the step raises after that is expected,
whatever it is; before it, it is the step's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any

from leakcheck.agent.faults.allocations import Allocations
from leakcheck.agent.faults.cancelling import cancelled, child_cancelled
from leakcheck.agent.faults.exceptions import made, named
from leakcheck.agent.faults.messages import FaultSet
from leakcheck.agent.faults.turns import Turns
from leakcheck.agent.faults.watching import Instructions, Step, Watcher, watched, watcher
from leakcheck.agent.protocol import CANCELLATIONS, Fault
from leakcheck.agent.step import Driver


def inject(driver: Driver, *faults: Fault) -> FaultSet:
    """Let each call of the step fail so from now on, or no longer; returns how those before did.

    Several are of allocations: one strikes with each call, in turn.

    Raises what an import of the exception's class does.
    """
    done = FaultSet(0, 0)
    if driver.injected is not None:
        done = driver.injected.close()
        driver.step, driver.injected = driver.plain_step, None
    if faults:
        driver.injected = _means(faults)
        driver.step = driver.injected.struck(driver.step, is_async=driver.has_async_step)
    return done


def _means(faults: Sequence[Fault]) -> Any:
    fault = faults[0]
    if fault.kind == "allocation":
        return Allocations(faults)
    return _Await(fault) if fault.kind in CANCELLATIONS else _Call(fault)


class _Await:
    """A wait that is cancelled."""

    def __init__(self, fault: Fault) -> None:
        self.turns = Turns(fault.turn)
        self._cancelled = cancelled if fault.kind == "await" else child_cancelled
        self._where = fault.file, fault.function, fault.first_line, fault.offset

    def close(self) -> FaultSet:
        """Nothing of it is left; returns how it did."""
        return self.turns.told()

    def struck(self, step: Step, *, is_async: bool) -> Step:
        """The step under this fault."""
        assert is_async
        return self._cancelled(step, self._where, self.turns)


class _Call:
    """A call or another instruction that is not made, or a function that ends as it begins, with an exception."""

    def __init__(self, fault: Fault) -> None:
        self.turns = Turns(fault.turn)
        self._fault = fault
        self._make = named(fault.exception)
        self._code: CodeType | None = None
        enters = self._enters if fault.kind == "entry" else None
        self._watcher: Watcher = watcher(self._wants, self._calls, enters, self._follows, self._instructions())

    def close(self) -> FaultSet:
        """Leave the interpreter as it was; returns how it did."""
        self._watcher.close()
        return self.turns.told()

    def struck(self, step: Step, *, is_async: bool) -> Step:
        """The step under this fault."""
        turns, step = self.turns, watched(self._watcher, step, is_async=is_async)

        def plain() -> None:
            turns.begin()
            try:
                step()
            except BaseException:  # also what a test runner raises where a test fails
                if not turns.has_struck:
                    raise

        async def waiting() -> None:
            turns.begin()
            try:
                await step()
            except BaseException:
                if not turns.has_struck:
                    raise

        return waiting if is_async else plain

    def _instructions(self) -> Instructions | None:
        fault = self._fault
        return (lambda _: (fault.offset,)) if fault.kind == "instruction" else None

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
        if self._fault.kind == "entry" or offset != self._fault.offset or not self.turns.strikes():
            return
        if not self._fault.after:
            raise made(self._make)
        self._watcher.follow(frame)

    def _follows(self, *_: Any) -> None:
        raise made(self._make)

    def _enters(self, _: FrameType) -> None:
        if self.turns.strikes():
            raise made(self._make)

"""Time that passes in an instant: what a step keeps for an hour goes at once, and nobody has to wait for it.

The functions of `time` and the dates of `datetime` are replaced wherever a module has them under a name of its own.
Native code, and threads that sleep, have the true time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import LetTimePass, TimePassed
from leakcheck.agent.step import StepRaisedError

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation
    from leakcheck.agent.step import Driver

_IN_SECONDS = ("time", "monotonic", "perf_counter")
_SECOND_NS = 1_000_000_000
"""Nanoseconds."""
_PIECES = 512
"""Of an hour each piece is seven seconds."""

_ahead_s = 0.0
"""By how much the clock is ahead of the true one."""
_put = False
"""Whether modules have the replaced clocks."""


async def answer(conversation: Conversation, question: LetTimePass) -> TimePassed:
    """Runs the step."""
    try:
        await pass_time(conversation.driver, question.seconds, question.calls)
    except StepRaisedError:
        return TimePassed(True)
    return TimePassed(False)


async def pass_time(driver: Driver, seconds: float, iterations: int) -> None:
    """Run the step while its clock goes forward, in many pieces: what has a bucket a second gets its buckets."""
    global _ahead_s, _put
    if not _put:
        _put = True
        _replace(dict(_clocks()))
    parts = pieces(iterations)
    for calls in parts:
        _ahead_s += seconds / len(parts)
        await driver.run(calls)


def pieces(iterations: int, most: int = _PIECES) -> list[int]:
    """The pieces in which a time passes beside so many calls: how many of them are made in each, `most` of them."""
    count = max(1, min(_PIECES, most, iterations))
    return [(piece + 1) * iterations // count - piece * iterations // count for piece in range(count)]


def _clocks() -> Iterator[tuple[int, Any]]:
    """What stands in place of each clock, by the identity of the true one."""
    for name in _IN_SECONDS:
        true, true_ns = getattr(time, name), getattr(time, f"{name}_ns")
        yield id(true), _shifted(true, 1)
        yield id(true_ns), _shifted(true_ns, _SECOND_NS)
    for true in (time.localtime, time.gmtime):
        yield id(true), _of_now(true)
    dates = sys.modules.get("datetime")
    if dates is not None:
        yield id(dates.datetime), _dates(dates, dates.datetime, ("now", "utcnow", "today"))
        yield id(dates.date), _dates(dates, dates.date, ("today",))


def _shifted(true: Callable[[], Any], unit: int) -> Callable[[], Any]:
    return lambda: true() + (_ahead_s if unit == 1 else int(_ahead_s * unit))


def _of_now(true: Callable[[float], Any], now: Callable[[], float] = time.time) -> Callable[..., Any]:
    return lambda seconds=None: true(now() + _ahead_s if seconds is None else seconds)


def _dates(dates: Any, true: Any, names: tuple[str, ...]) -> Any:
    """A class that makes dates of the true class, which are taken for its own."""
    moment_of = dates.datetime.now
    seconds = dates.timedelta

    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, true)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, true)

    def now(name: str) -> Any:
        def read(*zone: Any, **named: Any) -> Any:
            if not hasattr(true, "hour"):
                return (moment_of() + seconds(seconds=_ahead_s)).date()
            return getattr(true, name)(*zone, **named) + seconds(seconds=_ahead_s)

        return staticmethod(read)

    made = {"__new__": lambda _, *parts, **named: true(*parts, **named)}
    return Meta(true.__name__, (true,), {**made, **{name: now(name) for name in names}})


def _replace(clocks: dict[int, Any]) -> None:
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if type(names) is not dict or HERE.own(names.get("__file__") or ""):
            continue
        for name, value in list(names.items()):
            if id(value) in clocks:
                names[name] = clocks[id(value)]

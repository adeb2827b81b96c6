"""Names the lines after which something has become more: a trace function reads it after each line that runs.

Lines of the standard library are not looked into: what grows there is put down to the line that called it. Whatever is
watched must be cheap to read and must not run code of the user's.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

MAX_DEPTH = 40

Place = tuple[str, int, str]
"""File, line, qualified function name."""


class Addition(NamedTuple):
    """One thing that came while it was watched, and the stack of the line that brought it, the line itself first."""

    thing: Hashable
    amount: float
    stack: tuple[Place, ...]


class Watch:
    """A trace function around a *reader*: it returns what is there now, as a number or as a set of things."""

    def __init__(self, read: Callable[[], Any], opaque: Callable[[str], bool], own: Callable[[str], bool]) -> None:
        self._read = read
        self._opaque = opaque
        self._own = own
        self._now = read()
        self._frame: types.FrameType | None = None
        self._line = 0
        self.additions: list[Addition] = []
        self.most = 100_000

    def __enter__(self) -> Watch:
        if sys.version_info >= (3, 12):
            threading.settrace_all_threads(self._enter)
        else:
            threading.settrace(self._enter)
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        if sys.version_info >= (3, 12):
            threading.settrace_all_threads(None)  # type: ignore[arg-type]
        threading.settrace(None)  # type: ignore[arg-type]
        self._frame = None

    def _enter(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if self._own(file):
            return None
        self._check()
        if self._opaque(file):
            return None
        self._frame, self._line = frame, frame.f_lineno
        return self._inside

    def _inside(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        self._check()
        if event == "return":
            caller = frame.f_back
            self._frame, self._line = caller, (caller.f_lineno or 0) if caller is not None else 0
        else:
            self._frame, self._line = frame, frame.f_lineno or 0
        return self._inside

    def _check(self) -> None:
        now = self._read()
        before = self._now
        if now == before:
            return
        self._now = now
        if len(self.additions) >= self.most:
            return
        if isinstance(now, (int, float)):
            self.additions.append(Addition(None, now - before, self._stack()))
            return
        came = now - before
        stack = self._stack() if came else ()
        self.additions += [Addition(thing, 1, stack) for thing in came]
        self.additions += [Addition(thing, -1, ()) for thing in before - now]

    def _stack(self) -> tuple[Place, ...]:
        places: list[Place] = []
        frame, line = self._frame, self._line
        while frame is not None and len(places) < MAX_DEPTH:
            code = frame.f_code
            if self._own(code.co_filename):
                break
            places.append((code.co_filename, line, code.co_qualname))
            frame = frame.f_back
            line = (frame.f_lineno or 0) if frame is not None else 0
        return tuple(places)


def lasting(additions: list[Addition]) -> list[Addition]:
    """The additions whose thing has not gone since."""
    there: dict[Hashable, Addition] = {}
    for each in additions:
        if each.amount > 0:
            there[each.thing] = each
        else:
            there.pop(each.thing, None)
    return list(there.values())

"""The control of a sweep: leaks of each kind, and innocents that look like them, in Python alone.

Every sweep is made of this module first. What is planted must be found, and of the innocents nothing.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet

_lost: list[object] = []
_known: WeakSet[type] = WeakSet()
_cached: dict[str, bytes] = {}
_ADD, _DROP = ctypes.pythonapi.Py_IncRef, ctypes.pythonapi.Py_DecRef
_ADD.argtypes, _DROP.argtypes = [ctypes.py_object], [ctypes.py_object]


def _lose() -> None:
    _lost.append(bytearray(100))


def loses_on_return(text: str) -> int:
    """Each call keeps something."""
    _lose()
    return len(text)


def loses_on_error(text: Any) -> int:
    """A call that fails keeps something."""
    if not isinstance(text, str):
        _lose()
        raise TypeError
    return len(text)


def loses_where_callback_raises(function: Callable[[], object]) -> None:
    """A callback that raises leaves something behind."""
    if not callable(function):
        raise TypeError
    try:
        function()
    except ValueError:
        _lose()
        raise


def loses_descriptor() -> None:
    """A descriptor that is not closed."""
    os.dup(os.dup(0))


def loses_where_abandoned(count: int) -> Iterator[int]:
    """An iterator that loses something where it is not run to its end."""
    try:
        yield from range(1000 + count)
    except GeneratorExit:
        _lose()


class LosesWhenInitializedTwice:
    """The second `__init__` forgets what the first has made."""

    def __init__(self) -> None:
        if hasattr(self, "made"):
            _lose()
        self.made = bytearray(10)


class LosesWhenClosedTwice:
    """The second `close` loses something."""

    def __init__(self) -> None:
        self.closed_before = False

    def close(self) -> None:
        """Close it."""
        if self.closed_before:
            _lose()
        self.closed_before = True


class HoldsUnseen:
    """Holds an object without telling the collector, as a type in C does that has no `tp_traverse`."""

    __slots__ = ("_held",)

    def __init__(self, held: Any) -> None:
        _ADD(held)
        self._held = id(held)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError  # as a type in C is copied that says nothing of it: not at all

    def __del__(self) -> None:
        _DROP(ctypes.cast(self._held, ctypes.py_object).value)


class KeepsSubclasses:
    """Keeps every class that is made of it."""

    def __init_subclass__(cls) -> None:
        _lost.append(cls)


def innocent_return(text: str) -> str:
    """Keeps a value, the same one each time."""
    _cached[str(len(text) % 3)] = text.encode("utf-8", "replace")
    return text * 2


def innocent_error(text: Any) -> int:
    """Fails, and keeps nothing."""
    held = [bytearray(100)]
    if not isinstance(text, str):
        raise TypeError(held)
    return len(text)


def innocent_callback(function: Callable[[], object]) -> None:
    """Lets a callback raise."""
    held = bytearray(100)
    function()
    del held


def innocent_descriptor() -> None:
    """Closes what it opens."""
    os.close(os.dup(0))


def innocent_iterator(count: int) -> Iterator[int]:
    """Can be left at any time."""
    held = bytearray(100)
    yield from range(len(held) + count)


class InnocentTwice:
    """Can be initialized, and closed, as often as one likes."""

    def __init__(self, held: Any = None) -> None:
        self.held = held
        self.made = bytearray(10)

    def __init_subclass__(cls) -> None:
        _known.add(cls)

    def close(self) -> None:
        """Let go of what is held."""
        self.held = None


PLANTED = {
    "loses_on_return": "call",
    "loses_on_error": "error",
    "loses_where_callback_raises": "callback raises",
    "loses_descriptor": "call",
    "loses_where_abandoned": "abandoned",
    "LosesWhenInitializedTwice": "initialized twice",
    "LosesWhenClosedTwice": "closed twice",
    "HoldsUnseen": "cycle",
    "KeepsSubclasses": "subclass",
}
"""What must be found, and in which way."""

"""Sets a trace function in every thread, those that are there already too.

Before Python 3.12 the interpreter does so for the calling thread alone, but it has a function that does it for any.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

Trace = Callable[[types.FrameType, str, Any], Any]

_EVENTS = ("call", "exception", "line", "return")
"""Of a trace function in C, by number; it is also told of C functions, which one of Python's is not."""


def settrace(function: Trace | None) -> None:
    """As `threading.settrace_all_threads`, on any version."""
    if sys.version_info >= (3, 12):
        threading.settrace_all_threads(function)  # type: ignore[arg-type]
        return
    threading.settrace(function)
    sys.settrace(function)
    _set_in_others(function)


def _set_in_others(function: Trace | None) -> None:
    """Of 3.11: nobody else runs meanwhile, for the interpreter's lock is held."""
    interpreter = ctypes.pythonapi
    native = _native(function) if function is not None else None
    if native is not None:
        _kept.append(native)
    set_one = interpreter._PyEval_SetTrace
    set_one.restype, set_one.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    current = _pointer(interpreter.PyThreadState_Get)
    address = ctypes.cast(native, ctypes.c_void_p) if native is not None else None
    for thread in _threads():
        if thread != current:
            set_one(thread, address, None)


def _native(function: Trace) -> Any:
    """A trace function in C that does what the interpreter's own does with one of Python's."""

    def trace(_: object, frame: types.FrameType, event: int, argument: int | None) -> int:  # noqa: ARG001
        if event >= len(_EVENTS):
            return 0
        name = _EVENTS[event]
        local = function if name == "call" else frame.f_trace
        if local is not None:
            frame.f_trace = local(frame, name, None)
        return 0

    return _Native(trace)


_Native = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.py_object, ctypes.c_int, ctypes.c_void_p)
_kept: list[Any] = []
"""Keeps alive what a thread may be about to call."""


def _threads() -> Iterator[int]:
    interpreter = ctypes.pythonapi
    thread = _pointer(interpreter.PyInterpreterState_ThreadHead, _pointer(interpreter.PyInterpreterState_Get))
    while thread:
        yield thread
        thread = _pointer(interpreter.PyThreadState_Next, thread)


def _pointer(function: Any, *arguments: int) -> int:
    function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p] * len(arguments)
    return int(function(*arguments) or 0)

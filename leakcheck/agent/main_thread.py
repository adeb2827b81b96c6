"""Has a function called in the main thread soon, from another one: what is set for a thread can be set only there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def call_soon(function: Callable[[], object]) -> None:
    """Call `function` in the main thread when that next runs Python code; nothing happens if this is the main thread.

    By the interpreter's own list of pending calls, of which it makes some before the next line.
    """
    if threading.get_ident() == threading.main_thread().ident:
        return
    import ctypes

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)

    def call(_: Any) -> int:
        _waiting.remove(pending)
        function()
        return 0

    pending = kind(call)
    _waiting.append(pending)
    ctypes.pythonapi.Py_AddPendingCall(pending, None)


_waiting: list[Any] = []
"""Keeps alive what the interpreter will call."""

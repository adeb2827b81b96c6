"""`tracemalloc` around the step, and not around the look at what the step has left.

`tracemalloc` notes the stack of each allocation, those of a look too, which has more of them than the step: a walk of
the object graph takes ten times as long under it, and more. It cannot be told to stand still, and forgets all when it
is stopped. But it works by taking the place of the interpreter's allocators, and these can be put back for a while.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

DEPTH = 25
"""Frames that are noted for each block: every one costs about as much as the allocation itself."""
_UNDER_THE_LOCK: Final = (1, 2)
"""`PYMEM_DOMAIN_MEM` and `PYMEM_DOMAIN_OBJ`, whose functions are called by whoever has the interpreter's lock, as we do
who exchange them. Those of `PYMEM_DOMAIN_RAW` other threads may be about to call."""


class _Allocator(ctypes.Structure):
    """`PyMemAllocatorEx`."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free")]


class Tracing:
    """What is allocated while the block lasts has its stack noted."""

    def __init__(self) -> None:
        self._plain: dict[int, _Allocator] = {}

    def __enter__(self) -> Self:
        self._plain = _allocators()
        tracemalloc.start(DEPTH)
        return self

    def __exit__(self, *_: object) -> None:
        tracemalloc.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is noted and nothing is forgotten while the block lasts; where that cannot be, it is only slow.

        Under `pymalloc` large blocks are noted even so, for it takes them from `PYMEM_DOMAIN_RAW`.

        The collector stands still too: what it would free now would count as there.
        """
        enabled, tracing = gc.isenabled(), _allocators() if self._plain else {}
        gc.disable()
        _set(self._plain)
        try:
            yield
        finally:
            _set(tracing)
            if enabled:
                gc.enable()


def _allocators() -> dict[int, _Allocator]:
    """The interpreter's allocators by domain; none where they cannot be exchanged."""
    get = _function("PyMem_GetAllocator")
    if get is None or _function("PyMem_SetAllocator") is None or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return {}
    found = {}
    for domain in _UNDER_THE_LOCK:
        found[domain] = _Allocator()
        get(domain, ctypes.byref(found[domain]))
    return found


def _set(allocators: dict[int, _Allocator]) -> None:
    exchange = _function("PyMem_SetAllocator")
    for domain, allocator in allocators.items():
        exchange(domain, ctypes.byref(allocator))


def _function(name: str) -> Any:
    """A function of the interpreter that is called with its lock held."""
    function = getattr(ctypes.pythonapi, name, None)
    if function is not None:
        function.restype, function.argtypes = None, [ctypes.c_int, ctypes.c_void_p]
    return function

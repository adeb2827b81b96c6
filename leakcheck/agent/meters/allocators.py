"""Allocators beside the C library's, by what they export: their own ledgers, and handing back what they keep free.

Which of them are there is seen when a reader is made; one that is loaded later shows in the pages that it touches.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from leakcheck.agent.meters import Place, Read, Unavailable, reader

Release = Callable[[], object]

_ALL_ARENAS = 4096
"""`MALLCTL_ARENAS_ALL` of jemalloc(3): an index that stands for every arena."""


def libraries() -> list[str]:
    """Files of the libraries that are loaded, in the order of their addresses."""
    found: dict[str, None] = {}
    try:
        with open("/proc/self/maps") as file:
            for line in file:
                fields = line.split(None, 5)
                if len(fields) == 6 and "x" in fields[1] and ".so" in fields[5]:
                    found[fields[5].rstrip()] = None
    except OSError:
        return []
    return list(found)


def release() -> Release:
    """A function that has the allocators which can be asked give free memory back to the system."""
    found = [release for _, release in _allocators()]

    def release_all() -> None:
        for each in found:
            each()

    return release_all


@reader("allocators.bytes")
def allocated_bytes(_: Place) -> Read:
    """Bytes in use by the ledgers of other allocators, and of libraries that keep one."""
    ledgers = [ledger for ledger, _ in _allocators()]
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is not None and hasattr(arrow, "total_allocated_bytes"):
        ledgers.append(arrow.total_allocated_bytes)
    if not ledgers:
        raise Unavailable("no other allocator that keeps a ledger is loaded")
    return lambda: float(sum(ledger() for ledger in ledgers))


def _allocators() -> Iterator[tuple[Read, Release]]:
    """Ledger and release of each allocator that exports them; of several copies, each."""
    import ctypes

    seen = set()
    for path in libraries():
        try:
            library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        except OSError:  # unloaded meanwhile, or in another namespace
            continue
        for symbol, make in _KNOWN.items():
            function = getattr(library, symbol, None)
            address = ctypes.cast(function, ctypes.c_void_p).value if function is not None else None
            if address is None or address in seen:  # a library finds those of its dependencies too
                continue
            seen.add(address)
            try:
                yield make(library, function)
            except (AttributeError, Unavailable):  # built without statistics
                continue


def _jemalloc(_: Any, mallctl: Any) -> tuple[Read, Release]:
    import ctypes

    epoch, size, length = ctypes.c_uint64(1), ctypes.c_size_t(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_size_t))

    def ledger() -> float:
        mallctl(b"thread.tcache.flush", None, None, None, ctypes.c_size_t(0))  # what is cached counts as in use
        mallctl(b"epoch", None, None, ctypes.byref(epoch), ctypes.c_size_t(ctypes.sizeof(epoch)))
        mallctl(b"stats.allocated", ctypes.byref(size), ctypes.byref(length), None, ctypes.c_size_t(0))
        return size.value

    if mallctl(b"stats.allocated", ctypes.byref(size), ctypes.byref(length), None, ctypes.c_size_t(0)):
        raise Unavailable("it keeps no statistics")
    purge = f"arena.{_ALL_ARENAS}.purge".encode()
    return ledger, lambda: mallctl(purge, None, None, None, ctypes.c_size_t(0))


def _tcmalloc(library: Any, numeric_property: Any) -> tuple[Read, Release]:
    import ctypes

    size = ctypes.c_size_t()

    def ledger() -> float:
        numeric_property(b"generic.current_allocated_bytes", ctypes.byref(size))
        return size.value

    return ledger, library.MallocExtension_ReleaseFreeMemory


def _mimalloc(library: Any, visit_blocks: Any) -> tuple[Read, Release]:
    """The blocks of this thread's heap; those of other threads are in no ledger, only in pages."""
    import ctypes

    class Area(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in ("blocks", "reserved", "committed", "used", "block_size")]

    total = 0

    def visit(_heap: Any, area: Any, _block: Any, _size: Any, _argument: Any) -> bool:
        nonlocal total
        total += area.contents.used * area.contents.block_size
        return True

    visitor = ctypes.CFUNCTYPE(
        ctypes.c_bool, ctypes.c_void_p, ctypes.POINTER(Area), ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
    )(visit)
    default = library.mi_heap_get_default
    default.restype = ctypes.c_void_p
    visit_blocks.argtypes = [ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p]

    def ledger() -> float:
        nonlocal total
        total = 0
        visit_blocks(default(), False, visitor, None)
        return total

    def collect() -> None:
        library.mi_collect(ctypes.c_bool(True))

    return ledger, collect


_KNOWN: dict[str, Callable[[Any, Any], tuple[Read, Release]]] = {
    "mallctl": _jemalloc,
    "je_mallctl": _jemalloc,
    "_rjem_mallctl": _jemalloc,
    "MallocExtension_GetNumericProperty": _tcmalloc,
    "mi_heap_visit_blocks": _mimalloc,
}
"""What makes the ledger of an allocator, by the function that it exports. jemalloc is often built with a prefix."""

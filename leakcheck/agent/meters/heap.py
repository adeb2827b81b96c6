"""The allocator's own ledger: bytes in use in malloc, and blocks in use in pymalloc."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache

from leakcheck.agent.meters import Place, Read, Unavailable, reader

_MALLINFO2 = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)
"""The fields of `struct mallinfo2` in their order, each a `size_t`."""

_TRIAL_BYTES = 1 << 20
"""Bytes of the block by which is seen whether the ledger counts what malloc gives: much more than other threads, or the
collector, give back meanwhile."""


@cache
def malloc_ledger() -> tuple[Callable[[], float], Callable[[], float], Callable[[], float]]:
    """Functions: bytes in use (in heaps and malloc's own mmaps), bytes that it has from the system, bytes free in it.

    glibc's `mallinfo2` counts every arena exactly; chunks in thread caches and fast bins count as in use, which is why
    the parent switches both off in the environment. It is read through ctypes and not through psutil, so that an
    interpreter in which nothing is installed can be measured too.
    """
    import ctypes

    class MallocInfo(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO2]

    try:
        process = ctypes.CDLL(None)
        mallinfo2, malloc, free_block = process.mallinfo2, process.malloc, process.free
    except (AttributeError, OSError, TypeError):
        raise Unavailable("the C library has no mallinfo2 (glibc 2.33 or newer has it)") from None
    mallinfo2.restype = MallocInfo
    malloc.restype, malloc.argtypes, free_block.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

    def in_use() -> float:
        info = mallinfo2()
        return info.uordblks + info.hblkhd  # type: ignore[no-any-return]

    def from_system() -> float:
        info = mallinfo2()
        return info.arena + info.hblkhd  # type: ignore[no-any-return]

    def free() -> float:
        return mallinfo2().fordblks  # type: ignore[no-any-return]

    # Asked by trial: the address of `malloc` tells nothing where the interpreter has an entry of its own for it.
    before = in_use()
    block = malloc(_TRIAL_BYTES)
    on_ledger = in_use() - before > _TRIAL_BYTES / 2
    free_block(block)
    if not on_ledger:
        whose = os.path.basename(_library_of(ctypes.cast(malloc, ctypes.c_void_p).value or 0))
        raise Unavailable(f"memory comes from {whose}, whose ledger cannot be read")
    return in_use, from_system, free


def _library_of(address: int) -> str:
    """The file whose code lies at an address of this process; empty where the system does not say."""
    try:
        with open("/proc/self/maps") as file:
            for line in file:
                first, _, rest = line.partition("-")
                if int(first, 16) <= address < int(rest.partition(" ")[0], 16):
                    return line.split(None, 5)[-1].rstrip()
    except OSError:
        return ""
    return ""


_PLUGS = (*(1 << power for power in range(16, 9, -1)), *range(1000, 8, -16))
"""Sizes of blocks in bytes, from large to small: with the last ones no hole is left that malloc could use."""


def plug_holes() -> None:
    """Take all free chunks but the heap's end, for good.

    The ledger is counted by walking them. After imports there are some ten thousand, and a reading takes a millisecond;
    without them it takes microseconds.
    """
    import ctypes

    try:
        process = ctypes.CDLL(None)
        malloc, give_back, break_of_heap = process.malloc, process.free, process.sbrk
        mallinfo2 = process.mallinfo2
    except (AttributeError, OSError, TypeError):
        return
    malloc.restype, malloc.argtypes, give_back.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    break_of_heap.restype, break_of_heap.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    mallinfo2.restype = type(
        "MallocInfo", (ctypes.Structure,), {"_fields_": [(n, ctypes.c_size_t) for n in _MALLINFO2]}
    )
    end = break_of_heap(0) - mallinfo2().keepcost
    for size in _PLUGS:
        while (block := malloc(size)) and block < end:
            pass
        give_back(block)


def trim() -> Callable[[], object]:
    """A function that gives free memory back to the system, or does nothing where the C library cannot."""
    import ctypes

    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda: None
    return lambda: malloc_trim(0)


@reader("heap.bytes")
def heap_bytes(_: Place) -> Read:
    """Bytes in use in malloc: with `PYTHONMALLOC=malloc` all of Python's objects and all native memory."""
    return malloc_ledger()[0]


@reader("heap.free")
def heap_free(_: Place) -> Read:
    """Bytes in malloc's free chunks. Whole pages of them have gone back to the system before a reading."""
    return malloc_ledger()[2]


@reader("py.blocks")
def python_blocks(_: Place) -> Read:
    """Blocks in use in Python's own allocator."""
    if sys.getallocatedblocks() == 0:
        raise Unavailable("Python uses malloc here, and heap.bytes counts all of it; --allocator pymalloc has blocks")
    return sys.getallocatedblocks

"""Private pages outside the C heap, exactly: what allocators that are not the C library's have touched."""

from __future__ import annotations

import os
import re
import sys

from leakcheck.agent.meters import Place, Read, Unavailable, reader
from leakcheck.agent.meters.heap import malloc_ledger

_TOUCHED = re.compile(rb"\n(?:Anonymous|Swap): +([1-9]\d*)")
"""Sizes in KiB, of a mapping in /proc/self/smaps: private pages that were written to, in memory or swapped out."""
_HEAP = re.compile(rb"\[heap\]\n(?:[A-Z].*\n)*")
"""The C library's heap there: it is one mapping, or several where parts of it are locked or protected."""
_PART = 65536
"""Bytes that are read at a time; the kernel gives whole lines."""
_TUNED = ("glibc.malloc.mmap_max=0", "glibc.malloc.arena_max=1")
"""With these, all that malloc has lies in that mapping."""

_SET_THP_DISABLE = 41
"""`PR_SET_THP_DISABLE` of prctl(2)."""


def in_small_pages() -> None:
    """Have the kernel give this process single pages: a huge one is 2 MiB that nobody has touched.

    Where the kernel merges pages in the background, they would also come and go by themselves.
    """
    import ctypes

    try:
        ctypes.CDLL(None).prctl(_SET_THP_DISABLE, 1, 0, 0, 0)
    except (AttributeError, OSError, TypeError):
        return


def all_of_malloc_is_heap() -> bool:
    """Whether no memory of malloc, nor of Python's objects, lies outside the heap's own mapping."""
    tunables = os.environ.get("GLIBC_TUNABLES", "").split(":")
    return sys.getallocatedblocks() == 0 and all(each in tunables for each in _TUNED)


@reader("anon.bytes")
def anonymous_bytes(_: Place) -> Read:
    """Private pages that were touched, of all mappings but the heap's.

    They are counted in the page tables: /proc/self/statm is cheaper, but its counters are not exact on all kernels, and
    the heap's pages cannot be told from others there.
    """
    malloc_ledger()  # or it is not glibc's malloc, which the tunables are for
    if not all_of_malloc_is_heap():
        raise Unavailable("needs all of malloc in one mapping (glibc, PYTHONMALLOC=malloc): see private.bytes")
    try:
        descriptor = os.open("/proc/self/smaps", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise Unavailable("needs /proc/self/smaps (Linux)") from None

    def read() -> float:
        global _heap
        total = heap = position = 0
        while text := os.pread(descriptor, _PART, position):
            position += len(text)
            total += _kib(text)
            heap += sum(map(_kib, _HEAP.findall(text)))
        _heap = heap * 1024
        return (total - heap) * 1024

    return read


_heap = 0
"""Bytes of the heap's own pages, at the last reading."""


@reader("heap.resident")
def resident_heap(place: Place) -> Read:
    """Pages of the heap that were touched and have not gone back, as they were counted with the others just before."""
    anonymous_bytes(place)
    return lambda: _heap


def _kib(text: bytes) -> int:
    return sum(map(int, _TOUCHED.findall(text)))

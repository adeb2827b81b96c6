"""Pages are touched by faults, which are cheap to count: a ledger of pages need be read only after one."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable


class PagesOfCalls:
    """A ledger of pages between two moments: read only where pages were touched in between.

    At the first it is not read. Where it is read at the second, it may have risen before the first: ask once more then,
    after as many calls.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._last = 0.0
        self._seen = self._touched()

    def begin(self) -> float:
        """The number as it was last read."""
        self._seen = self._touched()
        return self._last

    def end(self) -> float:
        """The same, unless a page was touched since, or the process has grown."""
        if self._touched() != self._seen:
            self._last = self._read()
            self._seen = self._touched()
        return self._last

    def _touched(self) -> tuple[int, bytes]:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt, os.pread(self._statm, 128, 0)


def after_faults(read: Callable[[], float]) -> Callable[[], float]:
    """The same number as `read`, which is called where a page fault, or the process's size, says that it may be new.

    A line takes a microsecond so, and not a walk through all page tables.
    """
    descriptor = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    faults, sizes, last = -1, b"", 0.0

    def read_after_faults() -> float:
        nonlocal faults, sizes, last
        faults_now = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        sizes_now = os.pread(descriptor, 128, 0)
        if (faults_now, sizes_now) != (faults, sizes):
            last = read()
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt  # reading may touch pages of the heap
            sizes = os.pread(descriptor, 128, 0)
        return last

    return read_after_faults

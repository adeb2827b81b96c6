"""A clock that stands still while other processes have the processor: a busy neighbour must not change a verdict.

Verdicts need some time, so that caches may fill; that time is the step's own. On Linux the kernel counts how long this
thread was ready to run and was not let (`/proc/thread-self/schedstat`, second number, in nanoseconds).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

_TRIES = 8
"""Readings of both numbers. The thread is rarely put off between them, and hardly ever time after time."""


def own_clock(now: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """Seconds since some moment in the past, less those that this thread waited for a processor; never falls.

    Call it in the thread that it is to measure. Where the kernel does not tell, it is the plain monotonic clock: that
    of before the user's code was imported, which may replace the functions of `time` (and tests do).
    """
    try:
        descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return now
    # One buffer for all readings: strings of other lengths would leave other holes in the heap that is to be measured.
    buffer = bytearray(96)

    def waited() -> float:
        os.preadv(descriptor, [buffer], 0)
        start = buffer.index(b" ") + 1
        return int(buffer[start : buffer.index(b" ", start)]) / 1e9

    try:
        waited()
    except (OSError, ValueError):
        return now
    return without_waiting(now, waited)


def without_waiting(now: Callable[[], float], waited: Callable[[], float]) -> Callable[[], float]:
    """The clock of two readings that belong together: of a wait between them only one of them would know."""
    latest = -math.inf

    def own() -> float:
        nonlocal latest
        before = waited()
        for _ in range(_TRIES):
            moment, after = now(), waited()
            if after == before:
                break
            before = after
        latest = max(latest, moment - after)
        return latest

    return own

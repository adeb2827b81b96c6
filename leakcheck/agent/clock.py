"""A clock that stands still while other processes have the processor: a busy neighbour must not change a verdict.

Verdicts need some time, so that caches may fill; that time is the step's own. On Linux the kernel counts how long this
thread was ready to run and was not let (`/proc/thread-self/schedstat`, second number, in nanoseconds).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def own_clock(now: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """Seconds since some moment in the past, less those that this thread waited for a processor.

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
    return lambda: now() - waited()

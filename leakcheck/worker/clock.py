"""A clock that stands still while other processes have the processor: a busy neighbour must not change a verdict.

Verdicts need some time, so that caches may fill; that time is the step's own. On Linux the kernel tells how long this
thread was ready to run and was not let (`/proc/thread-self/schedstat`, second number, in nanoseconds).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def own_clock() -> Callable[[], float]:
    """Seconds since some moment in the past, less those that this thread waited for a processor.

    Call it in the thread that it is to measure. Where the kernel does not tell, it is the plain monotonic clock.
    """
    try:
        descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        os.pread(descriptor, 128, 0).split()[1]
    except (OSError, IndexError):
        return time.perf_counter
    return lambda: time.perf_counter() - int(os.pread(descriptor, 128, 0).split()[1]) / 1e9

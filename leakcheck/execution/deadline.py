"""When a process has had its time: its own, which stands still while others have the processor, and some in all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

_COMPANY = 10
"""How many times its limit a process is waited for in all: so many others may want each processor."""


def waited(pid: int) -> dict[int, float]:
    """Seconds that each thread of a process was ready to run and was not let; empty where the system does not say."""
    found = {}
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/task/{name}/schedstat", "rb") as file:
                found[int(name)] = int(file.read().split()[1]) / 1e9
    return found


class Deadline:
    """The end of `limit` seconds of a process's own time, from when this is made."""

    def __init__(
        self,
        limit: float,
        pid: int,
        now: Callable[[], float] = time.monotonic,
        waited: Callable[[int], Mapping[int, float]] = waited,
    ) -> None:
        self.limit = limit
        self._pid = pid
        self._now = now
        self._waited = waited
        self._began = now()
        self._before: Mapping[int, float] | None = None

    def passed(self) -> bool:
        """Whether it is over. Ask now and then: the first time it notes what has been waited for by then."""
        if self._before is None:
            self._before = self._waited(self._pid)
        elapsed = self._now() - self._began
        if elapsed <= self.limit:
            return False
        waits = (seconds - self._before.get(thread, 0.0) for thread, seconds in self._waited(self._pid).items())
        return elapsed - max(waits, default=0.0) > self.limit or elapsed > _COMPANY * self.limit

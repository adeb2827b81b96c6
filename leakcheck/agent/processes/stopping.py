"""Has one of several processes that do the same get all of the work for a moment: the others are stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from leakcheck.agent.children import status
from leakcheck.agent.processes.agents import Agent

_STOPPED = "TtZX"
"""Letters by which the kernel says of a process that it does not run."""
_STOPS_S = 0.2
"""Seconds that they have to stop."""
_LOOK_APART_S = 0.0005
"""Seconds between two looks whether they have."""
_STOPPED_S = 2.0
"""Seconds after which they go on in any case: the request may need one of them."""


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Other workers do not run for a moment, and go on whatever happens here."""

    def go_on() -> None:
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGCONT)

    latest = threading.Timer(_STOPPED_S, go_on)
    latest.daemon = True
    if pids:
        latest.start()
    try:
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        _await_stopped(pids)
        yield
    finally:
        latest.cancel()
        go_on()


def _await_stopped(pids: Sequence[int]) -> None:
    """The kernel stops them when they next run: until then one may take a request."""
    until = time.monotonic() + _STOPS_S
    for pid in pids:
        with suppress(OSError):
            while status(pid)[0] not in _STOPPED and time.monotonic() < until:
                time.sleep(_LOOK_APART_S)


def wait_together(one: Agent, other: Agent) -> bool:
    """Whether two children of one process accept at one socket: what the one does not take, the other does."""
    return one.role == other.role and bool(_listening(one.pid) & _listening(other.pid))


def _listening(pid: int) -> set[str]:
    """The sockets of a process that wait for connections over TCP, by the kernel's number."""
    own, waiting = set[str](), set[str]()
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                own.add(os.readlink(f"/proc/{pid}/fd/{name}").removeprefix("socket:[").removesuffix("]"))
    for table in ("tcp", "tcp6"):
        with suppress(OSError), open(f"/proc/{pid}/net/{table}") as file:
            rows = (line.split() for line in file)
            waiting.update(row[9] for row in rows if len(row) > 9 and row[3] == "0A")
    return own & waiting

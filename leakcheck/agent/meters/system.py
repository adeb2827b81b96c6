"""Things of the operating system that a process holds: descriptors, threads, children."""

from __future__ import annotations

import os
import threading

from leakcheck.agent.meters import Meter, Unavailable


def _entries(directory: str) -> int:
    """How many entries a /proc directory has. The descriptor that lists them counts itself in /proc/self/fd."""
    return len(os.listdir(directory))


def descriptors() -> Meter:
    """Open file descriptors."""
    if not os.path.isdir("/proc/self/fd"):
        raise Unavailable("needs /proc/self/fd (Linux)")
    return Meter("fds", "fds", lambda: _entries("/proc/self/fd"))


def system_threads() -> Meter:
    """Threads of the process, whoever started them."""
    if not os.path.isdir("/proc/self/task"):
        raise Unavailable("needs /proc/self/task (Linux)")
    return Meter("threads", "threads", lambda: _entries("/proc/self/task"))


def python_threads() -> Meter:
    """Threads that the threading module counts as alive."""
    return Meter("py.threads", "threads", threading.active_count)


def child_pids() -> list[int]:
    """Direct children of this process, dead ones that nobody waited for included."""
    pids = []
    for thread in os.listdir("/proc/self/task"):
        try:
            descriptor = os.open(f"/proc/self/task/{thread}/children", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # the thread has just ended
        try:
            text = b""
            while part := os.read(descriptor, 65536):
                text += part
        finally:
            os.close(descriptor)
        pids += [int(pid) for pid in text.split()]
    return pids


def children() -> Meter:
    """Child processes, zombies included."""
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        raise Unavailable("needs /proc/self/task/*/children (Linux with CONFIG_PROC_CHILDREN)")
    return Meter("children", "processes", lambda: len(child_pids()))

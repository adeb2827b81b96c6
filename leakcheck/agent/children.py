"""Other processes, as the kernel tells of them: which are below one, and what each has had of a processor."""

from __future__ import annotations

import os
from collections.abc import Iterator


def child_pids(parent: int | str = "self") -> list[int]:
    """Direct children of a process, dead ones that nobody waited for included. Raises `OSError` where it is gone."""
    pids = []
    for thread in os.listdir(f"/proc/{parent}/task"):
        try:
            descriptor = os.open(f"/proc/{parent}/task/{thread}/children", os.O_RDONLY | os.O_CLOEXEC)
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


def has_children() -> bool:
    """Whether this process has any; not known where the kernel does not tell, and then it has none."""
    try:
        return bool(child_pids())
    except OSError:
        return False


def descendants(parent: int | str = "self") -> Iterator[int]:
    """Processes below one, those that have ended and wait to be asked for included."""
    waiting = child_pids(parent)
    while waiting:
        pid = waiting.pop()
        yield pid
        try:
            waiting += child_pids(pid)
        except OSError:  # it has just gone
            continue


def status(pid: int) -> list[str]:
    """What `/proc/PID/stat` says behind the name, the state and the parent first. Raises `OSError` where it is gone."""
    with open(f"/proc/{pid}/stat", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def run_times(pid: int | str) -> dict[str, bytes]:
    """What the kernel has counted of each thread of a process: nanoseconds on a processor, and waiting for one."""
    found: dict[str, bytes] = {}
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it has ended
        return found
    for thread in threads:
        try:
            descriptor = os.open(f"/proc/{pid}/task/{thread}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # it has ended
            continue
        try:
            found[thread] = os.read(descriptor, 96)
        except OSError:
            pass
        finally:
            os.close(descriptor)
    return found


def processor_ticks(pid: int) -> int:
    """Processor time of a process, in ticks of the kernel's clock; 0 where it has ended."""
    try:
        return sum(map(int, status(pid)[11:13]))
    except OSError:
        return 0

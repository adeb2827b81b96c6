"""Things that the system or the interpreter counts: descriptors, threads, children, tasks, files, named memory."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Sequence
from typing import Any

from leakcheck.agent.children import child_pids
from leakcheck.agent.meters import Place, Read, Unavailable, reader


def _entries(directory: str) -> int:
    """How many entries a /proc directory has. The descriptor that lists them counts itself in /proc/self/fd."""
    return len(os.listdir(directory))


@reader("fds")
def descriptors(_: Place) -> Read:
    """Open file descriptors."""
    if not os.path.isdir("/proc/self/fd"):
        raise Unavailable("needs /proc/self/fd (Linux)")
    return lambda: _entries("/proc/self/fd")


@reader("threads")
def system_threads(_: Place) -> Read:
    """Threads of the process, whoever started them."""
    if not os.path.isdir("/proc/self/task"):
        raise Unavailable("needs /proc/self/task (Linux)")
    return lambda: _entries("/proc/self/task")


@reader("py.threads")
def python_threads(_: Place) -> Read:
    """Threads that the threading module counts as alive."""
    return threading.active_count


@reader("children")
def children(_: Place) -> Read:
    """Child processes, zombies included."""
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        raise Unavailable("needs /proc/self/task/*/children (Linux with CONFIG_PROC_CHILDREN)")
    return lambda: len(child_pids())


@reader("tasks")
def tasks(place: Place) -> Read:
    """Tasks of the scenario's event loop that are not done."""
    if not place.in_loop:
        raise Unavailable("only an async scenario has tasks")
    import asyncio

    return lambda: len(asyncio.all_tasks())


def _usage(directories: Sequence[str]) -> tuple[int, int]:
    """Number and size in bytes of all files below the directories; a file that goes meanwhile does not count."""
    count = size = 0
    waiting = list(directories)
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    count += 1
                    size += entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
        except FileNotFoundError:
            continue
    for path in named_memory():
        count += 1
        try:
            size += os.stat(path).st_size
        except FileNotFoundError:
            continue
    return count, size


_SHARED_MEMORY = "/dev/shm/"  # noqa: S108 - looked at, not written to
_made: set[str] = set()


def named_memory() -> list[str]:
    """Files of the shared memory that this process made through Python and that still has its name.

    It is memory until someone unlinks it, this process's mapping of it gone or not, and no process shows it. Others
    make theirs in the same folder, so a name counts only where the call that made it was seen.
    """
    _see_shared_memory_made()
    for name in [each for each in _made if not os.path.exists(_SHARED_MEMORY + each)]:
        _made.discard(name)  # by another process
    return [_SHARED_MEMORY + name for name in _made]


def release_named_memory() -> None:
    """Unlink what is left: it would outlive the process, and a leak of it is thousands of them."""
    for path in named_memory():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _see_shared_memory_made() -> None:
    """From when `multiprocessing.shared_memory` was imported: it looks up these functions at each call."""
    module: Any = sys.modules.get("_posixshmem")
    if module is None or hasattr(module.shm_open, "__wrapped__"):
        return
    make, unlink = module.shm_open, module.shm_unlink

    def shm_open(path: str, flags: int, mode: int = 0o777) -> int:
        descriptor: int = make(path, flags, mode=mode)
        if flags & os.O_CREAT:
            _made.add(path.lstrip("/"))
        return descriptor

    def shm_unlink(path: str) -> None:
        unlink(path)
        _made.discard(path.lstrip("/"))

    shm_open.__wrapped__ = make  # type: ignore[attr-defined]
    module.shm_open, module.shm_unlink = shm_open, shm_unlink


@reader("disk.files")
def disk_files(place: Place) -> Read:
    """Files and directories below the job's directories, and shared memory with a name."""
    return lambda: _usage(place.directories)[0]


@reader("disk.bytes")
def disk_bytes(place: Place) -> Read:
    """Bytes in those files, and in open files that have no name (any more)."""
    return lambda: _usage(place.directories)[1] + _nameless()


def _nameless() -> int:
    """Bytes of temporary files that were deleted while open, and of memory files: no directory shows them."""
    size = 0
    try:
        names = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return 0
    for name in names:
        try:
            status = os.fstat(int(name))
        except OSError:  # the descriptor that lists them
            continue
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
            size += status.st_size
    return size

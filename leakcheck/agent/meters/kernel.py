"""What the kernel and the C library keep for a process and no descriptor stands for, each with a limit of its own."""

from __future__ import annotations

import os
from collections.abc import Callable

from leakcheck.agent.meters import Place, Read, Unavailable, reader

_WATCHING = ("anon_inode:inotify", "anon_inode:[eventpoll]")
"""Descriptors that have a line for each thing that is watched in their `fdinfo`, proc(5)."""
_ENTRIES = (b"inotify wd:", b"tfd:")
_PART = 65536
"""Bytes that are read at a time; the kernel gives whole lines."""


def _rows(path: str) -> Callable[[], list[bytes]]:
    """A function that reads the lines of a file of /proc."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise Unavailable(f"needs {path} (Linux)") from None

    def read() -> list[bytes]:
        text, position = b"", 0
        while part := os.pread(descriptor, _PART, position):
            text += part
            position += len(part)
        return text.splitlines()

    return read


@reader("timers")
def timers(_: Place) -> Read:
    """POSIX timers that were created and not deleted."""
    rows = _rows("/proc/self/timers")
    return lambda: sum(row.startswith(b"ID:") for row in rows())


@reader("watches")
def watches(_: Place) -> Read:
    """What this process has inotify and epoll watch: one descriptor may stand for thousands."""
    if not os.path.isdir("/proc/self/fdinfo"):
        raise Unavailable("needs /proc/self/fdinfo (Linux)")

    def read() -> float:
        found = 0
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}") in _WATCHING:
                    with open(f"/proc/self/fdinfo/{name}", "rb") as file:
                        found += sum(line.startswith(_ENTRIES) for line in file)
            except OSError:  # the descriptor that lists them
                continue
        return found

    return read


@reader("pthread.keys")
def pthread_keys(_: Place) -> Read:
    """Keys of thread-specific data, of which a process may have 1024: the lowest that is free."""
    import ctypes

    try:
        library = ctypes.CDLL(None)
        create, delete = library.pthread_key_create, library.pthread_key_delete
    except (AttributeError, OSError, TypeError):
        raise Unavailable("the C library has no pthread_key_create") from None
    key = ctypes.c_ulong()  # as wide as on any system; Linux writes its lower half

    def read() -> float:
        if create(ctypes.byref(key), None):
            return float(os.sysconf("SC_THREAD_KEYS_MAX"))
        delete(key)
        return key.value

    return read


def segments() -> list[int]:
    """Identifiers of the System V shared memory that this process has made and nobody has removed."""
    creator = str(os.getpid()).encode()
    return [int(row.split()[1]) for row in _rows("/proc/sysvipc/shm")()[1:] if row.split()[4] == creator]


def release_segments() -> None:
    """Remove what is left of them: they would outlive the process, and a leak of them is thousands."""
    import ctypes

    remove = 0  # IPC_RMID
    try:
        for segment in segments():
            ctypes.CDLL(None).shmctl(segment, remove, None)
    except (Unavailable, AttributeError, OSError):
        return


@reader("sysv.segments")
def shared_segments(_: Place) -> Read:
    """System V shared memory of this process, attached or not."""
    rows = _rows("/proc/sysvipc/shm")
    creator = str(os.getpid()).encode()
    return lambda: sum(row.split()[4] == creator for row in rows()[1:])


@reader("sysv.sets")
def semaphores_and_queues(_: Place) -> Read:
    """Sets of semaphores and message queues of System V that this user has made: the kernel does not tell by whom."""
    tables = [(_rows("/proc/sysvipc/sem"), 6), (_rows("/proc/sysvipc/msg"), 9)]
    user = str(os.geteuid()).encode()
    return lambda: sum(row.split()[creator] == user for rows, creator in tables for row in rows()[1:])


@reader("keyring.keys")
def keys(_: Place) -> Read:
    """Keys in the kernel's keyrings that belong to this user."""
    rows = _rows("/proc/key-users")
    user = f"{os.geteuid()}:".encode()
    return lambda: sum(int(row.split()[2].partition(b"/")[0]) for row in rows() if row.split()[0] == user)

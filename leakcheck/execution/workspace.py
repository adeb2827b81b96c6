"""Temporary folders that do not stay: each is locked while its owner lives, and the next run clears what nobody holds.

An owner that is killed cannot clean up. The kernel takes its lock away, and by that its folder is known; what the
measured process had started, and ended its session to outlive it, is known by the folder in its environment.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PREFIX = "elkyn-leakcheck-"
_SCANS = 4
"""Looks for processes of a folder: one that is ended may have started another meanwhile, and that one more."""
_GONE_S = 5.0
"""Seconds in which a process that was killed should be gone."""


class Workspace:
    """A folder of its own, made when this is, as a `Path` or a context manager; `close` removes it, twice too."""

    def __init__(self) -> None:
        fresh = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
        self._lock = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # a file system without locks: nobody else's lock tells that this one is free, either
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = fresh.rename(fresh.with_name(fresh.name[1:]))  # no other run sees it under its name before the lock

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove it, with all that is in it."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def clear_abandoned() -> None:
    """Remove this user's folders whose owners are gone, and end what still runs with one of them in its environment."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if path.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # gone by now, or no folder
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            end_processes(path)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:  # its owner lives
            continue
        finally:
            os.close(lock)


def end_processes(folder: Path) -> None:
    """Kill every process that was started with temporary files in `folder`, in whatever session it is."""
    for _ in range(_SCANS):
        found = list(_processes(b"TMPDIR=%b/" % os.fsencode(folder)))
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            _wait_until_gone(pid)


def _wait_until_gone(pid: int) -> None:
    """A busy machine takes its time to end what was killed; what hangs in the kernel is not waited for."""
    with suppress(OSError):  # gone already, or a kernel without pidfds
        process = os.pidfd_open(pid)
        try:
            select.select([process], [], [], _GONE_S)
        finally:
            os.close(process)


def _processes(mark: bytes) -> Iterator[int]:
    """Those with `mark` in their environment that have not ended."""
    with suppress(FileNotFoundError):  # no /proc
        for name in os.listdir("/proc"):
            if not name.isdecimal():
                continue
            with suppress(OSError):  # another user's, or gone
                descriptor = os.open(f"/proc/{name}/environ", os.O_RDONLY)
                try:
                    environment = os.read(descriptor, 1 << 17)
                finally:
                    os.close(descriptor)
                if mark in environment:
                    yield int(name)

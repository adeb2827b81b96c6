"""Files left behind in the job's own directories."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from leakcheck.meters import Meter


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
    return count, size


def disk_files(directories: Sequence[str]) -> Meter:
    """Files and directories below the job's directories."""
    return Meter("disk.files", "files", lambda: _usage(directories)[0])


def disk_bytes(directories: Sequence[str]) -> Meter:
    """Bytes in files below the job's directories, and in open files that have no name (any more)."""
    return Meter("disk.bytes", "B", lambda: _usage(directories)[1] + _nameless())


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

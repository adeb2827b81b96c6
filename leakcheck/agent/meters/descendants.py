"""Child processes and theirs, read from outside: the private pages that they have written to."""

from __future__ import annotations

import os
import re

from leakcheck.agent.children import descendants
from leakcheck.agent.meters import Place, Read, Unavailable, reader

_WRITTEN = re.compile(rb"\n(?:Private_Dirty|Swap): +([1-9]\d*)")
"""Sizes in KiB, in /proc/PID/smaps_rollup. What a child has inherited counts from when either side writes to it."""


def _text(pid: int) -> bytes | None:
    """What the kernel says of a process's memory: nothing of one that has ended, None where it may not be read."""
    try:
        descriptor = os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return None
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    except OSError:  # ESRCH: it ended meanwhile
        return b""
    finally:
        os.close(descriptor)


read_inside: set[int] = set()
"""Processes that an agent of their own reads, more exactly."""


@reader("children.bytes")
def memory_of_children(_: Place) -> Read:
    """Private pages of all descendants that were written to, in memory or swapped out."""
    if not os.path.exists("/proc/self/smaps_rollup"):
        raise Unavailable("needs /proc/self/smaps_rollup (Linux)")

    def read() -> float:
        global _unread
        size = _unread = 0
        for pid in descendants():
            if pid in read_inside:
                continue
            text = _text(pid)
            if text is None:
                _unread += 1
            else:
                size += sum(map(int, _WRITTEN.findall(text)))
        return size * 1024

    return read


_unread = 0
"""Of the last reading."""


@reader("children.unread")
def unread_children(_: Place) -> Read:
    """Descendants whose memory could not be read just before: of another user, say."""
    return lambda: _unread

"""Which processes are below one: its children, and theirs."""

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

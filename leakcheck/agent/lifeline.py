"""Ends a process when the one that started it is gone, whatever happened to that and whatever runs here.

The kernel does it: it sends a signal when the last writer of a pipe has closed its end, and an end of a process closes
all that it had open. So no thread has to watch, and no Python code has to run, which could not in a long call of C.
"""

from __future__ import annotations

import fcntl
import os
import signal

VARIABLE = "LEAKCHECK_LIFELINE"
"""Environment variable of a command of ours that another has started: the descriptor to hold."""


def hold(descriptor: int, number: int) -> None:
    """Have signal `number` sent to this process group when the other end of a pipe, that nobody writes to, is closed.

    Where the kernel cannot, nothing happens: the process ends when it next wants to talk.
    """
    os.set_inheritable(descriptor, False)
    if not hasattr(fcntl, "F_SETSIG"):
        return
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, number)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    os.set_blocking(descriptor, False)
    try:
        gone = not os.read(descriptor, 1)
    except BlockingIOError:
        return
    if gone:  # before the kernel was asked
        signal.raise_signal(number)

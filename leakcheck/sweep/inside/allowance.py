"""What a child may use of the machine."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

_MEMORY = 1 << 30
"""Bytes of address space beyond what the process has: a hundred times what any step needs that is worth a report."""
_FILE = 64 << 20
"""Bytes of one file."""
_DESCRIPTORS = 512
"""Open at a time."""
_PROCESSES = 400
"""Of this user; the kernel does not count those of root."""
_PARENT_DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of linux/prctl.h."""
_LEAST_RUN_S, _MOST_RUN_S = 0.5, 2.0
"""Seconds of processor time after which a trial, or a few repetitions of a recipe, count as what does not end: they
take milliseconds, and the longest that the ledgers ask for a third of a second."""


def set_limits() -> None:
    """Of this process, for good."""
    limits = {
        resource.RLIMIT_AS: _address_space() + _MEMORY,
        resource.RLIMIT_FSIZE: _FILE,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
        resource.RLIMIT_NPROC: _PROCESSES,
        resource.RLIMIT_CORE: 0,
    }
    for what, limit in limits.items():
        _, hard = resource.getrlimit(what)
        lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (lowest, lowest))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that is full is an error of the call, as on a full disk


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it has ended, which has one thread only."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def start_clock(seconds: float) -> None:
    """The kernel ends the process after these seconds, half a one to two, unless this is called again."""
    signal.setitimer(signal.ITIMER_PROF, min(max(seconds, _LEAST_RUN_S), _MOST_RUN_S))


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")

"""SIGTERM and a closed terminal end a command as Ctrl-C does, with what is finished; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import stat
from types import FrameType

from leakcheck.agent import lifeline

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_STANDARD_STREAMS = (0, 1, 2)
"""Input, output, errors."""


def install() -> None:
    """Take these signals as `KeyboardInterrupt`; those that are ignored (`nohup`) stay so."""
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    if held := os.environ.pop(lifeline.VARIABLE, ""):
        lifeline.hold(int(held), signal.SIGTERM)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    if number == signal.SIGHUP:
        _let_go_of_the_terminal()
    raise KeyboardInterrupt


def _let_go_of_the_terminal() -> None:
    """What is still said goes nowhere: each write to a terminal that is gone fails, and would take the run with it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in _STANDARD_STREAMS:
        try:
            if stat.S_ISCHR(os.fstat(stream).st_mode):  # nothing else tells a terminal that is gone
                os.dup2(nowhere, stream)
        except OSError:  # closed
            continue
    os.close(nowhere)

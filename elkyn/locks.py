"""Locks that can tell that their caller already holds them."""

import threading
from typing import Any

Lock = threading.RLock  # the one of the standard library's that knows its owner; nobody here means to enter it twice


def is_mine(lock: Any) -> bool:
    """Whether this thread holds `lock`.

    The garbage collector (or a signal) may end a subscription in the middle of anything, so also where this very
    thread holds the lock of a table that is to change by that: to wait would be for ever, and to go on would pull the
    table from under its user. Whoever can be called so asks first, and leaves the work to the dispatcher thread.
    """
    return bool(lock._is_owned())

"""How many references to an object there are beside those of whoever looks."""

from __future__ import annotations

import sys

_UNCOUNTED = 1 << 28
"""References from which on the number is a mark: of an immortal object, or one whose references a free-threaded build
counts only when it collects. No object of a program has as many."""


def _of_a_look() -> int:
    """References of a list, of the variable of a loop over it, and of the argument of the call.

    Since 3.14 the interpreter lends the argument, and counts none for it.
    """
    for each in [object()]:
        return sys.getrefcount(each)
    raise AssertionError


_OWN = _of_a_look()


def others(count: int) -> int:
    """Of what `sys.getrefcount` says of a loop's variable, those that are not the loop's: none where it is a mark."""
    return count - _OWN if count < _UNCOUNTED else 0

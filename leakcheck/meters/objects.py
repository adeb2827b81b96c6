"""What Python's collector knows: live container objects, garbage in cycles, and what it could not free."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable

from leakcheck.meters import Meter

_own: int | None = None
"""How many objects the collector does not see, as long as only `put_aside` has been at work.

To count them is to walk them, which took a third of a reading. They stay to the end, so they are walked once, until the
program puts something aside itself.
"""


def put_aside() -> None:
    """Take the interpreter's and our own objects out of the collector's sight, before any of the user's exist.

    They are some 10,000, they stay to the end, and every collection before a reading would walk them: most of the cost
    of a round. What the user's code makes, at its import too, stays in sight.
    """
    global _own
    if not hasattr(gc, "freeze"):
        return
    gc.freeze()
    gc.freeze, gc.unfreeze = _noted(gc.freeze), _noted(gc.unfreeze)
    _own = gc.get_freeze_count()


def _noted(change: Callable[[], None]) -> Callable[[], None]:
    @functools.wraps(change)
    def noted() -> None:
        global _own
        _own = None
        change()

    return noted


def _frozen_objects() -> int:
    """How many objects are put aside now."""
    if _own is not None:
        return _own
    return gc.get_freeze_count() if hasattr(gc, "get_freeze_count") else 0


def live_objects() -> Meter:
    """Objects that the collector tracks, those put aside with `gc.freeze` among them.

    The list is freed before the next reading; heap.bytes is read before it.
    """
    return Meter("py.objects", "objects", lambda: len(gc.get_objects()) + _frozen_objects())


def uncollectable() -> Meter:
    """Objects that the collector found unreachable and could not free."""
    return Meter("uncollectable", "objects", lambda: len(gc.garbage))

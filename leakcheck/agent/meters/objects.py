"""What Python's collector knows: live container objects, garbage in cycles, and what it could not free."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable

from leakcheck.agent.meters import Place, Read, reader

_freeze = getattr(gc, "freeze", lambda: None)
_unfreeze = getattr(gc, "unfreeze", lambda: None)

_own: int | None = None
"""How many objects more there are than the collector sees, as long as only `put_aside` has been at work.

To count them is to walk them, which took a third of a reading. They stay to the end, so they are walked once, until the
program puts something aside itself.
"""
_aside = False
"""Whether they are out of sight now."""


def put_aside() -> None:
    """Take the interpreter's and our own objects out of the collector's sight, before any of the user's exist.

    They are some 10,000, they stay to the end, and every collection before a reading would walk them: most of the cost
    of a round. What the user's code makes, at its import too, stays in sight.
    """
    global _own, _aside
    if not hasattr(gc, "freeze"):
        return
    gc.collect()  # it takes tuples of numbers and the like off its lists: a later one shall find no more of them
    _freeze()
    gc.freeze, gc.unfreeze = _noted(_freeze), _noted(_unfreeze)
    _own, _aside = gc.get_freeze_count(), True


def collect_young() -> int:
    """Collect the young generations, and empty the free lists, which only a whole collection does.

    Returns how many objects in cycles were found.
    """
    return bring_back() + gc.collect(1) + empty_free_lists()


def empty_free_lists() -> int:
    """Give back what the interpreter keeps of freed objects to use again: from 3.14 on of numbers too.

    The old objects are put aside for a moment, so that none of them is walked: of a million that takes a tenth of a
    second. Where some are put aside already, they stay so, and the others are walked. Returns how many objects in
    cycles were found.
    """
    if _own is None or _aside:
        return gc.collect()
    _freeze()
    found = gc.collect()
    _unfreeze()
    return found


def bring_back() -> int:
    """Let the collector see what `put_aside` took out of its sight. The count stays, though some of it is garbage.

    Returns how many objects in cycles of the program's were found meanwhile.
    """
    global _own, _aside
    if _own is None or not _aside:
        _unfreeze()
        return 0
    found = gc.collect()
    counted = _own + len(gc.get_objects())
    _unfreeze()
    gc.collect()
    _own, _aside = counted - len(gc.get_objects()) - gc.get_freeze_count(), False
    return found


def _noted(change: Callable[[], None]) -> Callable[[], None]:
    @functools.wraps(change)
    def noted() -> None:
        global _own
        _own = None
        change()

    return noted


def all_in_sight() -> bool:
    """Whether the collector sees all objects but those that `put_aside` took out of its sight."""
    return _own is not None


def _frozen_objects() -> int:
    """How many objects are put aside now."""
    if _own is not None:
        # Python 3.12 puts aside immortal objects, some hundreds of tuples, at each whole collection.
        return _own if _aside else _own + gc.get_freeze_count()
    return gc.get_freeze_count() if hasattr(gc, "get_freeze_count") else 0


@reader("py.objects")
def live_objects(_: Place) -> Read:
    """Objects that the collector tracks, those put aside with `gc.freeze` among them.

    The list is freed before the next reading; heap.bytes is read before it.
    """
    return lambda: len(gc.get_objects()) + _frozen_objects()


@reader("uncollectable")
def uncollectable(_: Place) -> Read:
    """Objects that the collector found unreachable and could not free."""
    return lambda: len(gc.garbage)

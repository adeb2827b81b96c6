"""What Python's collector knows: live container objects, garbage in cycles, and what it could not free."""

from __future__ import annotations

import gc

from leakcheck.meters import Meter


def live_objects() -> Meter:
    """Objects that the collector tracks, those put aside with `gc.freeze` among them.

    The list is freed before the next reading; heap.bytes is read before it.
    """
    frozen = getattr(gc, "get_freeze_count", lambda: 0)
    return Meter("py.objects", "objects", lambda: len(gc.get_objects()) + frozen())


def uncollectable() -> Meter:
    """Objects that the collector found unreachable and could not free."""
    return Meter("uncollectable", "objects", lambda: len(gc.garbage))

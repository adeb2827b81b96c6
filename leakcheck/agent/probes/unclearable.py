"""Cycles that the collector finds again each time: no type in them can let go of what it refers to (`tp_clear`)."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

from leakcheck.agent.inquiry import Unclearable
from leakcheck.agent.probes.births import Kept, birth
from leakcheck.agent.probes.hidden import HAVE_GC
from leakcheck.agent.probes.referents import full_name
from leakcheck.agent.probes.sizes import is_foreign, type_flags

_CLEAR = object.__basicsize__ + 22 * ctypes.sizeof(ctypes.c_void_p)
"""Where a type keeps `tp_clear`: behind the object's own header the 23rd word, in all of Python 3 (`PyTypeObject`)."""
_LEAST_FOUND = 3
"""Objects that are found again, from which on they may be a leak."""


def unclearable(claimed: dict[int, str], stretch: int) -> tuple[Unclearable, ...]:
    """What the collector finds and cannot free, by the type at fault.

    `claimed` are the new objects that were counted already; those that are counted here join them.
    """
    gc.collect()
    if gc.collect() < max(_LEAST_FOUND, stretch // 2):
        return ()
    stubborn: dict[Any, list[Any]] = {}
    for each in _garbage():
        if _cannot_let_go(type(each)) and birth(each) is not None:
            stubborn.setdefault(type(each), []).append(each)
    found = []
    for kind, instances in stubborn.items():
        kept = Kept(claimed, set(map(id, instances)), full_name(kind))
        kept.follow_all([(each,) for each in instances], len(instances))
        found.append(
            Unclearable(
                type=full_name(kind),
                per_iteration=len(instances) / stretch,
                bytes=kept.bytes * kept.scale / stretch,
                sites=kept.sites_per_iteration(stretch),
            )
        )
    return tuple(found)


def _garbage() -> list[Any]:
    """What the collector would clear now, left as it is."""
    before = gc.get_debug()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        found = list(gc.garbage)
    finally:
        gc.set_debug(before)
        gc.garbage.clear()
    return found


def _cannot_let_go(kind: Any) -> bool:
    """Whether a foreign type is known to the collector and has no `tp_clear`."""
    if not is_foreign(kind) or not type_flags(kind) & HAVE_GC:
        return False
    return ctypes.c_void_p.from_address(id(kind) + _CLEAR).value is None

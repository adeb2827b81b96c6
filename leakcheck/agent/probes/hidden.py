"""C types that keep the collector from freeing a cycle, for they do not tell what they refer to.

Whether a suspect really refers to the object can be seen in its memory only, which the parent reads.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator
from typing import Any

from leakcheck.agent.inquiry import Node, Pin, Suspect
from leakcheck.agent.probes.births import birth
from leakcheck.agent.probes.referents import derives, full_name, is_leaf, references
from leakcheck.agent.probes.sizes import is_c_type, is_foreign, lineage, type_flags

HAVE_GC = 1 << 14
"""`Py_TPFLAGS_HAVE_GC`: instances can be part of a cycle, as far as the collector knows."""
_MOST_PINS = 3
"""Objects of a group that are looked at: a cycle is the same each time."""
_MOST_REACHED = 400
"""Objects that one of them may lead to."""
_MOST_SUSPECTS = 32
"""Suspects of one of them; reading the memory of each takes some microseconds."""

_Way = tuple[Node, ...]


def pins(members: list[Any]) -> tuple[Pin, ...]:
    """The newest of some objects that native code holds, with what may lead back to them."""
    return tuple(Pin(id(each), tuple(_suspects(each))) for each in members[-_MOST_PINS:])


def base_in_c(value: Any) -> str:
    """The nearest base of a class that an extension made, if its instances are not the interpreter's own."""
    if not derives(type(value), type) or is_c_type(value):
        return ""
    base = next(each for each in lineage(value) if is_c_type(each))
    return full_name(base) if is_foreign(base) else ""


def _suspects(pinned: Any) -> list[Suspect]:
    found = []
    for value, way in _newborn_below(pinned):
        kind = type(value)
        lack = "traverse" if type_flags(kind) & HAVE_GC else "support"
        if lack == "traverse" and any(each is pinned for each in gc.get_referents(value)):
            continue
        # Its own memory: not what its type says of what hangs on it.
        found.append(Suspect(id(value), object.__sizeof__(value), full_name(kind), lack, way))  # type: ignore[arg-type]
        if len(found) == _MOST_SUSPECTS:
            break
    return found


def _newborn_below(start: Any) -> Iterator[tuple[Any, _Way]]:
    """The instances of foreign C types that `start` leads to by newborn objects, the nearest first, and how.

    `start` itself may be one.
    """
    seen = {id(start)}
    waiting: deque[tuple[Any, _Way]] = deque([(start, (Node("", full_name(type(start))),))])
    while waiting and len(seen) < _MOST_REACHED:
        value, way = waiting.popleft()
        if _may_hide(type(value)):
            yield value, way
        for label, values in references(value):
            for each in values:
                if id(each) in seen or is_leaf(each) or birth(each) is None:
                    continue
                seen.add(id(each))
                waiting.append((each, (*way, Node(label, full_name(type(each))))))


def _may_hide(kind: Any) -> bool:
    """Whether a type is made in C and not known to tell all.

    One whose name has no module passes for a built-in one: these cannot be told apart but by what they lack.
    """
    return is_foreign(kind) or (is_c_type(kind) and not type_flags(kind) & HAVE_GC)

"""Cycles that the collector cannot see: an object of a C type has the address of what leads to it in its memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from leakcheck.agent.inquiry import Graph, Node, Pin, PinnedObjects, Suspect
from leakcheck.execution.memory import ProcessMemory


class HiddenCycle(NamedTuple):
    """A C type that refers to an object without telling the collector, and how the object leads to it."""

    type: str
    lack: str
    """As in `Suspect`."""
    path: tuple[Node, ...]


def hidden_cycles(graph: Graph, pid: int) -> tuple[HiddenCycle | None, ...]:
    """For each group of pinned objects, the cycle that pins them; None where there is none, or nothing can be read."""
    if not any(pin.suspects for group in graph.pinned for pin in group.pins):
        return (None,) * len(graph.pinned)
    try:
        with ProcessMemory(pid) as memory:
            return tuple(_cycle_of(group, memory) for group in graph.pinned)
    except OSError:
        return (None,) * len(graph.pinned)


def _cycle_of(group: PinnedObjects, memory: ProcessMemory) -> HiddenCycle | None:
    """What the newest objects have in common: by chance a word may be left over in one, not in all."""
    found = [_holder(pin, memory) for pin in group.pins]
    first = found[0] if found else None
    if first is None or any(each is None or each.type != first.type for each in found):
        return None
    return HiddenCycle(first.type, first.lack, first.path)


def _holder(pin: Pin, memory: ProcessMemory) -> Suspect | None:
    """The suspect in whose memory the address is, or in a block of memory that it has of its own."""
    for suspect in pin.suspects:
        words = memory.words(suspect.address, suspect.size)
        if pin.address in words or any(pin.address in block for block in _blocks(words, pin, memory)):
            return suspect
    return None


def _blocks(words: tuple[int, ...], pin: Pin, memory: ProcessMemory) -> Iterable[tuple[int, ...]]:
    known = {suspect.address for suspect in pin.suspects}
    # After the count of references and the type: what lies behind these is no memory of its own.
    return (memory.block(word) for word in words[2:] if word not in known)

"""Cycles that the collector cannot see: an object of a C type has the address of what leads to it in its memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from leakcheck.agent.inquiry import Node, Pin, PinnedObjects, Suspect
from leakcheck.diagnosis.objects import object_at
from leakcheck.execution.memory import WORD, ProcessMemory

_MOST_ADDRESSES = 2000
"""Addresses behind one suspect that are looked at: some ten microseconds each."""
_WINDOW_BYTES = 128
"""Of what is no block of malloc's own, but a part of a larger one that its owner divides: some neighbours show too."""


class HiddenCycle(NamedTuple):
    """A C type that refers to an object without telling the collector, and how the object leads to it."""

    type: str
    lack: str
    """As in `Suspect`."""
    path: tuple[Node, ...]


def hidden_cycles(pinned: Sequence[PinnedObjects], pid: int) -> tuple[HiddenCycle | None, ...]:
    """For each group of pinned objects, the cycle that pins them; None where there is none, or nothing can be read."""
    if not any(pin.suspects for group in pinned for pin in group.pins):
        return (None,) * len(pinned)
    try:
        with ProcessMemory(pid) as memory:
            holders = [_holders(group, memory) for group in pinned]
            inside = {word: each for some in holders for each in some for word in memory.words(each.address, each.size)}
    except OSError:
        return (None,) * len(pinned)
    return tuple(_cycle(some or _keepers(group, inside)) for some, group in zip(holders, pinned, strict=True))


def _cycle(holders: Sequence[Suspect]) -> HiddenCycle | None:
    return HiddenCycle(holders[0].type, holders[0].lack, holders[0].path) if holders else None


def _holders(group: PinnedObjects, memory: ProcessMemory) -> list[Suspect]:
    """The suspect that leads to each of the newest objects; none where they are not of one type.

    By chance a word may be left over in one, not in all.
    """
    everyone = {pin.address for pin in group.pins}
    return _alike(
        next((each for each in pin.suspects if _leads_to(each, pin, everyone - {pin.address}, memory)), None)
        for pin in group.pins
    )


def _keepers(group: PinnedObjects, inside: Mapping[int, Suspect]) -> list[Suspect]:
    """What closes a cycle of others, and has each of the newest objects for itself: these close none of their own."""
    return _alike(inside.get(pin.address) for pin in group.pins)


def _alike(found: Iterable[Suspect | None]) -> list[Suspect]:
    each = list(found)
    suspects = [suspect for suspect in each if suspect is not None]
    return suspects if len(suspects) == len(each) and len({suspect.type for suspect in suspects}) == 1 else []


def _leads_to(suspect: Suspect, pin: Pin, others: AbstractSet[int], memory: ProcessMemory) -> bool:
    """Whether the first of the objects that it leads to, by memory that the collector knows nothing of, is the pinned.

    Else that memory is not its own, but what all of them share.
    """
    words = memory.words(suspect.address, suspect.size)
    if pin.address in words:
        return True
    # After the count of references and the type.
    waiting, seen = deque(words[2:]), {each.address for each in pin.suspects}
    while waiting and len(seen) < _MOST_ADDRESSES:
        address = waiting.popleft()
        if address in seen or address % WORD or not memory.is_heap(address):
            continue
        start, size = memory.block(address)
        seen |= {address, start}
        value = object_at(start or address, memory)
        if value is not None and not value.is_hidden:
            continue
        content = memory.addresses(start or address, size or _WINDOW_BYTES)
        if pin.address in content or (start and not others.isdisjoint(content)):
            return others.isdisjoint(content)
        waiting.extend(content)
    return False

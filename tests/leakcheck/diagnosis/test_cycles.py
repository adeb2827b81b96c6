"""Cycles that the collector cannot see, told by the memory of a process: here of this one."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

from leakcheck.agent.inquiry import Node, Pin, PinnedObjects, Suspect
from leakcheck.diagnosis.cycles import HiddenCycle, hidden_cycles
from leakcheck.execution.memory import WORD

LIBRARY = ctypes.CDLL(None)
LIBRARY.malloc.restype, LIBRARY.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
LIBRARY.free.argtypes = [ctypes.c_void_p]
LIBRARY.malloc_usable_size.restype, LIBRARY.malloc_usable_size.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
WAY = (Node("", "app.Owner"), Node(".held", "native.Box"))
CYCLE = HiddenCycle("native.Box", "support", WAY)


class Heap:
    """Blocks of words."""

    def __init__(self) -> None:
        self.blocks: list[int] = []

    def block(self, *words: int, packed: bool = False, size: int = 0) -> int:
        """A block with these words, behind half a word where it is packed; of more bytes than they take if wanted."""
        size = size or (len(words) + packed) * WORD
        address: int = LIBRARY.malloc(size)
        self.blocks.append(address)
        # All that malloc gave, which may be more than was asked for: in the rest stands what was there before.
        ctypes.memset(address, 0, LIBRARY.malloc_usable_size(address))
        for number, word in enumerate(words):
            ctypes.c_size_t.from_address(address + number * WORD + packed * WORD // 2).value = word
        return address

    def holder(self, word: int, kind: str = "native.Box") -> Suspect:
        """An instance: after the count of references and the type, its one member."""
        return Suspect(self.block(1, id(object), word), 3 * WORD, kind, "support", WAY)


@pytest.fixture
def heap() -> Iterator[Heap]:
    made = Heap()
    yield made
    for address in made.blocks:
        LIBRARY.free(address)


def cycles(*groups: list[Pin]) -> tuple[HiddenCycle | None, ...]:
    pinned = [
        PinnedObjects(
            bytes=100.0, objects=1.0, types={}, sites=(), opaque=False, type="app.Owner", per_iteration=1.0, heads=(),
            examples=(), pins=tuple(pins),
        )
        for pins in groups
    ]  # fmt: skip
    return hidden_cycles(pinned, os.getpid())


def test_an_instance_that_has_the_address_closes_the_cycle(heap: Heap) -> None:
    assert cycles([Pin(4711, (heap.holder(4711),)), Pin(4712, (heap.holder(4712),))]) == (CYCLE,)
    assert cycles([Pin(4711, (heap.holder(4711),)), Pin(4712, (heap.holder(99),))]) == (None,), "one by chance"
    assert cycles([Pin(4711, (heap.holder(4711),)), Pin(4712, (heap.holder(4712, "native.Other"),))]) == (None,)


@pytest.mark.parametrize("depth", [1, 2, 20])
def test_it_may_have_it_in_memory_behind_its_own(heap: Heap, depth: int) -> None:
    def pin(address: int) -> Pin:
        word = address
        for _ in range(depth):
            # What is counted comes behind its count, and who owns it points there.
            word = heap.block(1, word, packed=True) if depth % 2 else heap.block(1, 0, word) + WORD
        return Pin(address, (heap.holder(word),))

    assert cycles([pin(4711), pin(4712), pin(4713)]) == (CYCLE,)


def test_what_it_leads_to_may_lie_far_away(heap: Heap) -> None:
    def pin(address: int) -> Pin:
        far = heap.block(address, size=40 << 20)  # a mapping of its own: malloc divides its heap for smaller ones
        return Pin(address, (heap.holder(far),))

    assert cycles([pin(4711), pin(4712)]) == (CYCLE,)


def test_what_all_instances_share_is_memory_of_none(heap: Heap) -> None:
    table = heap.block(4711, 4712, 4713)
    assert cycles([Pin(each, (heap.holder(heap.block(0, table)),)) for each in (4711, 4712, 4713)]) == (None,)
    last = 0
    nodes = {each: (last := heap.block(each, last)) for each in (4711, 4712, 4713)}
    assert cycles([Pin(each, (heap.holder(node),)) for each, node in nodes.items()]) == (CYCLE,), "each its own first"
    assert cycles([Pin(each, (heap.holder(last),)) for each in nodes]) == (None,), "the newest is the first for all"


def test_nothing_is_looked_for_behind_objects_that_the_collector_knows(heap: Heap) -> None:
    def pin(address: int) -> Pin:
        seen_by_the_collector = heap.block(1, id(list), heap.block(0, address))
        return Pin(address, (heap.holder(seen_by_the_collector),))

    assert cycles([pin(4711), pin(4712)]) == (None,)


def test_what_the_instance_keeps_beside_is_part_of_its_cycle(heap: Heap) -> None:
    words = [Suspect(heap.block(1, id(object), each, beside), 4 * WORD, "native.Box", "support", WAY)
             for each, beside in ((4711, 815), (4712, 816))]  # fmt: skip
    closing = [Pin(each, (suspect,)) for each, suspect in zip((4711, 4712), words, strict=True)]
    assert cycles(closing, [Pin(815, ()), Pin(816, ())], [Pin(815, ()), Pin(9, ())]) == (CYCLE, CYCLE, None)


def test_memory_that_cannot_be_read_tells_nothing() -> None:
    suspect = Suspect(4096, 24, "native.Box", "support", WAY)
    assert hidden_cycles([], os.getpid()) == ()
    assert cycles([Pin(4711, (suspect,))]) == (None,)

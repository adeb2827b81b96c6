"""What the surviving blocks of an allocation site are: read from the memory of the process in which memray saw them.

A block that holds a Python object begins with its count of references and its type, behind the collector's header where
it has one. What refers to what is in the words of the blocks: a way from an object that the collector knows nothing of
through surviving blocks back to it is a cycle that nothing can free.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from leakcheck.diagnosis.objects import GC_HEADER_BYTES, Object, object_at
from leakcheck.execution.memory import ProcessMemory

_SAMPLES = 5
"""Blocks of a site that are looked at, the newest."""
_MOST_RECORDS = 500_000
"""Records of a capture that are gone through for addresses: a microsecond or two each."""
_MOST_REACHED = 300
"""Blocks that one may lead to."""
_MOST_BYTES = 16 << 20
"""Of blocks that are looked through for addresses, some 0.1 us for each: stacks and buffers are large."""
SiteKey = tuple[int, int, int]
"""Thread, Python stack and native stack of an allocation, by memray's numbers."""
Blocks = dict[int, tuple[SiteKey, int]]
"""The site and size in bytes of blocks, by address."""


class Content(NamedTuple):
    """What the blocks of one site are."""

    type: str = ""
    """The type of the objects in them; empty where they are none, or not all of one type."""
    cycle: str = ""
    """The type without support for the collector that closes a cycle which they are part of."""


def contents(blocks: Blocks, pid: int) -> dict[SiteKey, Content]:
    """What the surviving blocks of each site are, in a process that is as it was when its capture ended.

    Nothing where its memory may not be read.
    """
    addresses: dict[SiteKey, list[int]] = {}
    for address, (key, _) in blocks.items():
        addresses.setdefault(key, []).append(address)
    try:
        with ProcessMemory(pid) as memory:
            look = _Look(memory, {address: size for address, (_, size) in blocks.items()})
            return {key: look.content(its[-_SAMPLES:]) for key, its in addresses.items()}
    except OSError:
        return {}


def surviving(capture: Path, wanted: frozenset[SiteKey]) -> Blocks:
    """The surviving blocks of some sites, the newest last; none where there is too much to go through."""
    import memray

    found: Blocks = {}
    with memray.FileReader(capture) as reader:
        if reader.metadata.total_allocations > _MOST_RECORDS:
            return {}
        for record in reader.get_allocation_records():
            found.pop(record.address, None)
            if record.size and record.stack_id:
                key = record.tid, record.stack_id, record.native_stack_id
                if key in wanted:
                    found[record.address] = key, record.size
    return found


class _Look:
    """One look at the surviving blocks."""

    def __init__(self, memory: ProcessMemory, sizes: Mapping[int, int]) -> None:
        self._memory = memory
        self._sizes = sizes
        self._objects: dict[int, Object | None] = {}
        self._referred: dict[int, tuple[int, ...]] = {}
        self._left = _MOST_BYTES

    def content(self, addresses: list[int]) -> Content:
        objects = [self._object(address) for address in addresses]
        types = {each.type if each else "" for each in objects}
        kind = types.pop() if len(types) == 1 else ""
        cycles = Counter(filter(None, map(self._cycle, addresses)))
        cycle, count = cycles.most_common(1)[0] if cycles else ("", 0)
        return Content(kind, cycle if count == len(addresses) else "")

    def _cycle(self, start: int) -> str:
        """The type of an object without support for the collector on a way from a block back to it; empty if none."""
        waiting, seen = deque([(start, "")]), {start}
        while waiting and len(seen) < _MOST_REACHED:
            address, through = waiting.popleft()
            found = self._object(address)
            if found and found.is_hidden:
                through = found.type
            for target in self._references(address):
                if target == start and through:
                    return through
                if target not in seen:
                    seen.add(target)
                    waiting.append((target, through))
        return ""

    def _object(self, address: int) -> Object | None:
        if address not in self._objects:
            self._objects[address] = object_at(address, self._memory)
        return self._objects[address]

    def _references(self, address: int) -> tuple[int, ...]:
        """The surviving blocks that a block leads to; none once too much was looked through."""
        if address not in self._referred:
            self._left -= self._sizes[address]
            words = self._memory.addresses(address, self._sizes[address]) if self._left >= 0 else ()
            blocks = (block for word in words for block in (word, word - GC_HEADER_BYTES) if block in self._sizes)
            self._referred[address] = tuple(dict.fromkeys(blocks))
        return self._referred[address]

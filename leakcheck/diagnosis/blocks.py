"""What the surviving blocks of an allocation site are: read from the memory of the process in which memray saw them.

A block that holds a Python object begins with its count of references and its type, behind the collector's header where
it has one. What refers to what is in the words of the blocks: a way from an object that the collector knows nothing of
through surviving blocks back to it is a cycle that nothing can free.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from leakcheck.agent.probes.hidden import HAVE_GC
from leakcheck.execution.memory import WORD, ProcessMemory

_GC_HEADER_BYTES = 16
"""What lies before an object that the collector knows."""
_NAME, _FLAGS = 3, 21
"""Where a type keeps its name and its flags, in words (`PyTypeObject`, in all of Python 3)."""
_MOST_REFERENCES = 1 << 40
"""What is more is no count of references; that of an immortal object is less."""
_SAMPLES = 5
"""Blocks of a site that are looked at, the newest."""
_MOST_RECORDS = 500_000
"""Records of a capture that are gone through for addresses: a microsecond or two each."""
_MOST_REACHED = 300
"""Blocks that one may lead to."""
_LEAVES = frozenset({"str", "bytes", "int", "float", "complex", "bool"})
"""Objects that the collector need not know, for they refer to nothing."""

SiteKey = tuple[int, int, int]
"""Thread, Python stack and native stack of an allocation, by memray's numbers."""


class Content(NamedTuple):
    """What the blocks of one site are."""

    type: str = ""
    """The type of the objects in them; empty where they are none, or not all of one type."""
    cycle: str = ""
    """The type without support for the collector that closes a cycle which they are part of."""


class _Object(NamedTuple):
    type: str
    flags: int


def contents(capture: Path, wanted: Iterable[SiteKey], pid: int) -> dict[SiteKey, Content]:
    """What the surviving blocks of some sites are, in a process that is as it was when the capture ended.

    Nothing where its memory may not be read.
    """
    alive = _alive(capture, frozenset(wanted))
    blocks: dict[SiteKey, list[int]] = {}
    for address, (key, _) in alive.items():
        blocks.setdefault(key, []).append(address)
    try:
        with ProcessMemory(pid) as memory:
            look = _Look(memory, {address: size for address, (_, size) in alive.items()})
            return {key: look.content(addresses[-_SAMPLES:]) for key, addresses in blocks.items()}
    except OSError:
        return {}


def _alive(capture: Path, wanted: frozenset[SiteKey]) -> dict[int, tuple[SiteKey, int]]:
    """The site and size of each surviving block, by address, the newest last."""
    import memray

    found: dict[int, tuple[SiteKey, int]] = {}
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

    def content(self, addresses: list[int]) -> Content:
        objects = [self._object(address) for address in addresses]
        types = {each.type if each else "" for each in objects}
        kind = types.pop() if len(types) == 1 else ""
        cycles = Counter(filter(None, map(self._cycle, addresses)))
        cycle, count = cycles.most_common(1)[0] if cycles else ("", 0)
        return Content(kind, cycle if count == len(addresses) else "")

    def _object(self, address: int) -> _Object | None:
        for start in (address, address + _GC_HEADER_BYTES):
            words = self._memory.words(start, 2 * WORD)
            if len(words) == 2 and 0 < words[0] < _MOST_REFERENCES and self._is_type(words[1]):
                fields = self._memory.words(words[1], (_FLAGS + 1) * WORD)
                name = self._memory.text(fields[_NAME])
                if name:
                    return _Object(name.removeprefix("builtins."), fields[_FLAGS])
        return None

    def _is_type(self, address: int) -> bool:
        """Whether an object is a type: its type's type is `type`, which is its own."""
        for _ in range(2):
            words = self._memory.words(address, 2 * WORD)
            if len(words) < 2:
                return False
            address = words[1]
        words = self._memory.words(address, 2 * WORD)
        return len(words) == 2 and words[1] == address

    def _cycle(self, start: int) -> str:
        """The type of an object without support for the collector on a way from a block back to it; empty if none."""
        waiting, seen = deque([(start, "")]), {start}
        while waiting and len(seen) < _MOST_REACHED:
            address, through = waiting.popleft()
            found = self._object(address)
            if found and not found.flags & HAVE_GC and found.type not in _LEAVES:
                through = found.type
            for target in self._references(address):
                if target == start and through:
                    return through
                if target not in seen:
                    seen.add(target)
                    waiting.append((target, through))
        return ""

    def _references(self, address: int) -> Iterable[int]:
        for word in self._memory.words(address, self._sizes[address]):
            for block in (word, word - _GC_HEADER_BYTES):
                if block in self._sizes:
                    yield block

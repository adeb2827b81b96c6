"""How much of the heap an object takes, without running anything of the user's."""

from __future__ import annotations

from typing import Any

from leakcheck.probes.graph import lineage

_GC_HEADER = 16
_NOT_TRACKED = frozenset(map(id, (str, bytes, int, float, complex, bytearray)))
_HEAP_TYPE = 1 << 9
_flags: Any = vars(type)["__flags__"].__get__


def size_of(value: Any) -> int:
    """Bytes of an object, as its innermost built-in base counts them: no `__sizeof__` of the user's is called."""
    base: Any = next(each for each in lineage(type(value)) if not _flags(each) & _HEAP_TYPE)
    return int(base.__sizeof__(value))


def chunk(size: int, kind: type) -> int:
    """What malloc takes for it, the collector's header included: multiples of 16 after 8 bytes of its own."""
    if id(kind) not in _NOT_TRACKED:
        size += _GC_HEADER
    return max(32, (size + 8 + 15) & ~15)

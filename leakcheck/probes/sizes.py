"""How much of the heap an object takes, without running anything of the user's."""

from __future__ import annotations

from typing import Any

_GC_HEADER = 16
_NOT_TRACKED = (str, bytes, int, float, complex, bytearray)
_BASES = (dict, list, set, frozenset, bytearray, bytes, str, int, tuple)


def size_of(value: Any) -> int:
    """Bytes of an object by its built-in base: `__sizeof__` of a user's class is not called."""
    kind = type(value)
    if kind.__module__ == "builtins" or type(kind.__module__) is not str:
        return int(kind.__sizeof__(value)) if kind is not type else int(type.__sizeof__(value))
    for base in _BASES:
        if isinstance_exact(kind, base):
            return int(base.__sizeof__(value))
    return int(object.__sizeof__(value))


def isinstance_exact(kind: type, base: type) -> bool:
    """Whether instances of `kind` are laid out as `base`, without any `__instancecheck__`."""
    return any(each is base for each in type.__dict__["__mro__"].__get__(kind))


def chunk(size: int, kind: type) -> int:
    """What malloc takes for it, the collector's header included: multiples of 16 after 8 bytes of its own."""
    if kind not in _NOT_TRACKED:
        size += _GC_HEADER
    return max(32, (size + 8 + 15) & ~15)

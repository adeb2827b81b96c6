"""How much of the heap an object takes, without running anything of the user's."""

from __future__ import annotations

import types
from typing import Any

_GC_HEADER = 16
_NOT_TRACKED = frozenset(map(id, (str, bytes, int, float, complex, bytearray)))
_HEAP_TYPE = 1 << 9
_IMMUTABLE = 1 << 8
_TELLING = frozenset({"builtins", "collections", "functools", "itertools", "types", "weakref"})
"""Modules whose C types tell the collector all that they refer to."""
_flags: Any = vars(type)["__flags__"].__get__
_C_METHODS = (types.WrapperDescriptorType, types.MethodDescriptorType)
_namespace: Any = vars(type)["__dict__"].__get__
_module: Any = vars(type)["__module__"].__get__
lineage: Any = vars(type)["__mro__"].__get__


def innermost_base(kind: Any) -> Any:
    """The first type in the method resolution order that is not made by a `class` statement or its like."""
    return next(each for each in lineage(kind) if not _flags(each) & _HEAP_TYPE)


def is_foreign(kind: Any) -> bool:
    """Whether instances are of a C type of a library: what it holds only its own code knows."""
    return _module(next(each for each in lineage(kind) if _made_in_c(each))) not in _TELLING


def _made_in_c(kind: Any) -> bool:
    if not _flags(kind) & _HEAP_TYPE or _flags(kind) & _IMMUTABLE:
        return True
    return any(type(each) in _C_METHODS for each in list(_namespace(kind).values()))


def size_of(value: Any) -> int:
    """Bytes of an object, as its innermost built-in base counts them: no `__sizeof__` of the user's is called."""
    return int(innermost_base(type(value)).__sizeof__(value))


def chunk(size: int, kind: type) -> int:
    """What malloc takes for it, the collector's header included: multiples of 16 after 8 bytes of its own."""
    if id(kind) not in _NOT_TRACKED:
        size += _GC_HEADER
    return max(32, (size + 8 + 15) & ~15)

"""How much of the heap an object takes, and what single objects weigh that grow without referring to more.

The latter are texts, numbers, buffers, arrays: by what they hold rather than by what they have reserved, where their
type tells, for a reserve grows by leaps. Nothing of the user's runs: sizes are read by the types' own C functions.
"""

from __future__ import annotations

import io
import sys
import types
from collections import deque
from collections.abc import Callable
from typing import Any, Final

_GC_HEADER = 16
"""Bytes of the collector's header, before each object that it tracks."""
_NOT_TRACKED = frozenset(map(id, (str, bytes, int, float, complex, bytearray)))
HEAP_TYPE = 1 << 9
"""`Py_TPFLAGS_HEAPTYPE`."""
_IMMUTABLE = 1 << 8
"""`Py_TPFLAGS_IMMUTABLETYPE`."""
_TELLING = frozenset({"builtins", "collections", "functools", "itertools", "types", "weakref"})
"""Modules whose C types tell the collector all that they refer to."""
type_flags: Any = vars(type)["__flags__"].__get__
_C_METHODS = (types.WrapperDescriptorType, types.MethodDescriptorType)
_namespace: Any = vars(type)["__dict__"].__get__
_module: Any = vars(type)["__module__"].__get__
lineage: Any = vars(type)["__mro__"].__get__


def innermost_base(kind: Any) -> Any:
    """The first type in the method resolution order that is not made by a `class` statement or its like."""
    return next(each for each in lineage(kind) if not type_flags(each) & HEAP_TYPE)


def is_foreign(kind: Any) -> bool:
    """Whether instances are of a C type of a library: what it holds only its own code knows."""
    return _module(next(each for each in lineage(kind) if is_c_type(each))) not in _TELLING


def is_c_type(kind: Any) -> bool:
    """Whether a type is made in C, and not by a `class` statement or its like."""
    if not type_flags(kind) & HEAP_TYPE or type_flags(kind) & _IMMUTABLE:
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


LIGHT: Final = 256
"""Bytes below which nothing is noted: most names and numbers never get there."""

Weigh = Callable[[Any], int]


def _position(stream: Any) -> int:
    """How far a stream in memory has been written."""
    try:
        return int(type(stream).tell(stream))
    except ValueError:  # it is closed, and holds nothing
        return 0


def _plain(value: Any) -> int:
    return sys.getsizeof(value)


LEAF_WEIGHTS: Final[dict[int, Weigh]] = {
    id(str): _plain,
    id(bytes): _plain,
    id(int): _plain,
    id(bytearray): bytearray.__len__,
}
"""How leaves are weighed, by the `id` of their type."""
_WEIGHTS: Final[dict[int, Weigh]] = {**LEAF_WEIGHTS, id(io.BytesIO): _position, id(io.StringIO): _position}
_COUNTED: Final = frozenset(
    map(id, (list, tuple, dict, set, frozenset, deque, type, types.FunctionType, types.FrameType))
)
"""Bases whose size is the number of what they refer to, which is counted, or is not worth asking for."""


def weigher(kind: Any) -> Weigh | None:
    """How objects of a type are weighed; None where their size says no more than their references do."""
    known = _WEIGHTS.get(id(kind))
    if known is not None:
        return known
    array = sys.modules.get("array")
    if array is not None and kind is array.array:
        return _array
    if not _COUNTED.isdisjoint(map(id, lineage(kind))):
        return None
    own = vars(innermost_base(kind)).get("__sizeof__")
    return own if type(own) is types.MethodDescriptorType and own is not object.__sizeof__ else None


def _array(value: Any) -> int:
    return len(value) * int(value.itemsize)

"""What single objects weigh that grow without referring to more: a text, a number, a buffer, an array.

By what they hold rather than by what they have reserved, where their type tells: a reserve grows by leaps. Nothing of
the user's runs: sizes are read by the types' own C functions.
"""

from __future__ import annotations

import io
import sys
import types
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from leakcheck.agent.probes.sizes import innermost_base, lineage

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

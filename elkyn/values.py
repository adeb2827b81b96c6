"""Values: what may be stored, its encoding, and how an object becomes leaves and leaves an object.

An object (dict) is stored as one leaf per value below it; everything else, lists included, is one leaf in msgpack.
An object whose keys cannot be path segments, or which lies too deep or too long for a path, is stored whole, as an
opaque leaf: it reads back equal all the same.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from elkyn._native import MAX_PATH_BYTES
from elkyn._native import flatten as flatten_plain
from elkyn._native import unflatten as unflatten_rows
from elkyn.errors import InvalidTypeError, InvalidValueError
from elkyn.paths import MAX_SEGMENTS, ROOT, SEPARATOR, is_segment, prefix_of

MAX_NESTING = 64
"""Lists and objects inside each other: far from where reading them back would overflow the stack."""
MIN_INT, MAX_INT = -(2**63), 2**63 - 1
"""The 64 bits of msgpack's integers."""
EMPTY_OBJECT = b"\x80"
"""`{}`, encoded."""

_SCALARS = frozenset({type(None), bool, float, str, bytes})
# Sorted, so that equal objects have equal bytes: that is how an equal-value set is recognised.
encode = msgspec.msgpack.Encoder(order="sorted").encode
decode = msgspec.msgpack.Decoder().decode

BAD_BYTES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises where the bytes are none that we have written."""

Leaves = list[tuple[bytes, bytes]]


class _Missing:
    """The type of MISSING, told apart from every value, None included."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()


def flatten(key: bytes, value: object) -> Leaves:
    """Check `value` through and through and return the leaves that store it at `key`. Raises before any write."""
    kind = type(value)
    try:
        if kind in _SCALARS:
            return [(key, encode(value))]
        if kind is int and MIN_INT <= value <= MAX_INT:  # type: ignore[operator]
            return [(key, encode(value))]
        if kind is dict and value:
            plain = flatten_plain(prefix_of(key), 0 if key == ROOT else key.count(SEPARATOR), value)  # type: ignore[arg-type]
            if plain is not None:
                return plain
        check(value)
        leaves: Leaves = []
        _flatten_object(key, value, leaves)
    except UnicodeEncodeError as error:
        lone = error.object[error.start]
        raise InvalidValueError(f"the value holds a str with {lone!r} in it: surrogates have no UTF-8 form") from None
    return leaves


def _flatten_object(key: bytes, value: object, leaves: Leaves) -> None:
    if type(value) is not dict or not value:
        leaves.append((key, encode(value)))
        return
    prefix = prefix_of(key)
    depth = 0 if key == ROOT else key.count(SEPARATOR)
    children = [(prefix + name.encode(), child) for name, child in value.items()]
    addressable = depth < MAX_SEGMENTS and all(map(is_segment, value))
    if not addressable or max(len(child_key) for child_key, _ in children) > MAX_PATH_BYTES:
        leaves.append((key, encode(value)))
        return
    for child_key, child in children:
        _flatten_object(child_key, child, leaves)


def check(value: object, depth: int = 0) -> None:
    """Raise TypeError or ValueError unless `value` reads back equal and of the same type."""
    kind = type(value)
    if kind in _SCALARS:
        return
    if kind is int:
        _check_int(value)
    elif kind is list or kind is dict:
        if depth >= MAX_NESTING:
            raise InvalidValueError(f"the value nests deeper than {MAX_NESTING} levels (or contains itself)")
        children: Iterable[object] = value  # type: ignore[assignment]  # a list or a dict, by its exact type
        if kind is dict:
            for name in children:
                if type(name) is not str:
                    raise InvalidTypeError(f"the keys of an object must be str, not {type(name).__name__}: {name!r}")
            children = value.values()  # type: ignore[attr-defined]
        for child in children:
            check(child, depth + 1)
    else:
        raise InvalidTypeError(
            f"cannot store a {kind.__name__}: use exactly None, bool, int, float, str, bytes, list or dict"
        )


def _check_int(value: Any) -> None:
    if not MIN_INT <= value <= MAX_INT:
        raise InvalidValueError(f"the integer {value} does not fit in 64 bits; store it as str or bytes")


def is_object(raw: bytes) -> bool:
    """Whether an encoded value is an object."""
    first = raw[0] if raw else 0
    return 0x80 <= first <= 0x8F or first in (0xDE, 0xDF)


def unflatten(prefix: bytes, rows: Iterable[tuple[bytes, bytes]]) -> dict[str, Any] | None:
    """Build the object from the leading `rows`, in key order, whose keys start with `prefix`; None where there is none.

    Raises one of `BAD_BYTES`.
    """
    return unflatten_rows(prefix, rows, decode)

"""What is added to a container: its name, a short description, and what it weighs. No code of the user's runs."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterable
from typing import Any

from leakcheck.agent.probes.referents import derives, elements_of, full_name, namespace_of, reference_count, type_name
from leakcheck.agent.probes.sizes import LEAF_WEIGHTS, chunk, size_of

_SHOWN_CHARACTERS = 60
"""Characters of a text that are shown."""
_SHOWN_ELEMENTS = 4
"""Elements of a sequence that are shown."""
_MOST_ELEMENTS = 20_000
"""Additions to one container that are looked at."""
_WEIGHED_ENTRIES = 100
"""Entries that are weighed."""
_MOST_MEMBERS = 1000
"""Containers of a kind whose slots are weighed."""
_NUMBERS = frozenset(map(id, (int, float, bool, type(None), complex)))
_TEXTS = frozenset(map(id, (str, bytes, bytearray)))
_SEQUENCES = frozenset(map(id, (tuple, list, set, frozenset)))
_BRACKETS = {"tuple": ("(", ")"), "list": ("[", "]")}


def element_name(value: Any) -> str:
    """The type of an element as a person would say it: functions, methods and classes with their names."""
    kind = type(value)
    if kind is types.FunctionType:
        return f"function {value.__qualname__}"
    if kind is types.MethodType and type(value.__func__) is types.FunctionType:
        return f"method {value.__func__.__qualname__}"
    if kind is types.BuiltinMethodType or kind is types.MethodWrapperType:
        return _written_in_c(value)
    if issubclass(kind, type):
        return f"class {type_name(value)}"
    if kind is types.CoroutineType or kind is types.GeneratorType:
        return f"{full_name(kind)} {value.__qualname__}"
    return full_name(kind)


def _written_in_c(method: Any) -> str:
    """`method list.append`, `function sin`: a built-in method is bound to its object, a function to its module."""
    bound_to = method.__self__
    kind = type(bound_to)
    if bound_to is None or kind is types.ModuleType:
        return f"function {method.__name__}"
    return f"method {full_name(bound_to if issubclass(kind, type) else kind)}.{method.__name__}"


def described(value: Any, values: bool, depth: int = 1) -> str:
    """A built-in value: with `values` its `repr`, else types and lengths, `{str of 8: [int, int]}`. Of others the type.

    What a program keeps may be a password; a description goes into reports and logs.
    """
    kind = type(value)
    if id(kind) in _NUMBERS:
        return _number(value, kind) if values else kind.__name__
    if id(kind) in _TEXTS:
        return _text(value) if values else f"{kind.__name__} of {len(value)}"
    if id(kind) in _SEQUENCES:
        return _sequence(value, kind, values, depth)
    if kind is dict:
        return _dict(value, values, depth)
    return element_name(value)


def _number(value: Any, kind: type) -> str:
    return repr(value) if kind is not int or value.bit_length() < 200 else "a large int"


def _text(value: Any) -> str:
    text = repr(value[:_SHOWN_CHARACTERS])
    if len(value) <= _SHOWN_CHARACTERS and len(text) <= 2 * _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}… ({len(value)} long)"


def different(texts: Iterable[str]) -> tuple[str, ...]:
    """Each text once, in the order of its first appearance."""
    return tuple(dict.fromkeys(texts))


def _sequence(value: Any, kind: type, values: bool, depth: int) -> str:
    if not depth:
        return f"{kind.__name__} of {len(value)}"
    # Not by iteration: a list that native code made and never filled has holes, over which that would crash.
    inner = ", ".join(described(each, values, depth - 1) for each in gc.get_referents(value)[::-1][:_SHOWN_ELEMENTS])
    opening, closing = _BRACKETS.get(kind.__name__, ("{", "}"))
    return f"{opening}{inner}{', …' if len(value) > _SHOWN_ELEMENTS else ''}{closing}"


def _dict(value: dict[Any, Any], values: bool, depth: int) -> str:
    if not depth:
        return f"dict of {len(value)}"
    items = list(dict.items(value))[:_SHOWN_ELEMENTS]
    inner = ", ".join(f"{described(key, values, 0)}: {described(item, values, depth - 1)}" for key, item in items)
    return f"{{{inner}{', …' if len(value) > _SHOWN_ELEMENTS else ''}}}"


def mean_weight(entries: list[tuple[Any, ...]]) -> float:
    """What an addition weighs, with the plain values that it refers to."""
    parts = {id(part): part for entry in entries for part in entry if part is not None}
    parts |= {id(each): each for each in gc.get_referents(*parts.values()) if id(type(each)) in LEAF_WEIGHTS}
    return sum(chunk(size_of(part), type(part)) for part in parts.values()) / max(1, len(entries))


def entry_weight(members: list[Any]) -> float:
    """What one more entry of containers takes: the newest of the last one are weighed, and their slots."""
    return mean_weight(entries_of(members[-1])[-_WEIGHED_ENTRIES:]) + slot_bytes(members)


def slot_bytes(members: list[Any]) -> float:
    """What one more element takes in the container itself."""
    members = members[:_MOST_MEMBERS]
    sizes = sum(chunk(size_of(member), type(member)) for member in members)
    return sizes / max(1, sum(map(reference_count, members)))


def entries_of(member: Any) -> list[tuple[Any, ...]]:
    """What was added to a container, one tuple an addition: keys stand with their values."""
    table = table_of(member)
    if table is not None:
        return list(dict.items(table))[-_MOST_ELEMENTS:]
    return [(value,) for value in elements_of(member)[_MOST_ELEMENTS::-1]]


def table_of(member: Any) -> Any:
    """The dictionary in which a container keeps what it holds: itself, or that of its attributes."""
    if derives(type(member), dict):
        return member
    return namespace_of(member) if is_namespace(member) else None


def is_namespace(member: Any) -> bool:
    """Whether most of what an object refers to are its attributes."""
    names = None if derives(type(member), dict) else namespace_of(member)
    return names is not None and 2 * len(names) > reference_count(member)

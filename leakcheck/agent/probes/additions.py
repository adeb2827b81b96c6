"""What was added to a container, and what an addition weighs."""

from __future__ import annotations

import gc
from typing import Any

from leakcheck.agent.probes.sizes import chunk, size_of
from leakcheck.agent.probes.walk import derives, elements_of, namespace_of, reference_count
from leakcheck.agent.probes.weights import LEAF_WEIGHTS

_MOST_ELEMENTS = 20_000
_MOST_MEMBERS = 1000


def mean_weight(entries: list[tuple[Any, ...]]) -> float:
    """What an addition weighs, with the plain values that it refers to."""
    parts = {id(part): part for entry in entries for part in entry if part is not None}
    parts |= {id(each): each for each in gc.get_referents(*parts.values()) if id(type(each)) in LEAF_WEIGHTS}
    return sum(chunk(size_of(part), type(part)) for part in parts.values()) / max(1, len(entries))


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

"""What growing nodes of the object graph have gained in a stretch under `tracemalloc`, and how to read them cheaply."""

from __future__ import annotations

import gc
import sys
import threading
import types
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from leakcheck.agent.inquiry import Birth, GrowingContainer, Node, PinnedObjects
from leakcheck.agent.probes import births, snapshot
from leakcheck.agent.probes.births import Kept, birth
from leakcheck.agent.probes.elements import (
    different,
    element_name,
    entries_of,
    is_namespace,
    mean_weight,
    slot_bytes,
    table_of,
)
from leakcheck.agent.probes.growing import Growing, Path
from leakcheck.agent.probes.hidden import base_in_c, pins
from leakcheck.agent.probes.referents import derives, full_name, is_leaf, namespace_of, reference_count, references
from leakcheck.agent.probes.sizes import Weigh, weigher

Describe = Callable[[Any], str]
"""A short description of one of the newest elements."""
_MOST_ENTRIES = 40
"""Additions that are looked at, of the newest and of all others."""
_GOLDEN = 0.6180339887498949
"""Steps of the golden ratio spread evenly and fall in with no period."""
_LEAST_SHARE = 0.4
"""Part of its rate that a leak must have gained in the traced stretches; what gained less did not go on growing."""
_MOST_TIMES, _MORE_BY_CHANCE = 4, 10
"""How many times as many references as its rate says, and how many beside them, a leak may gain: a node that gains more
has been joined by something that was there all the time."""
_MOST_READ = 1000
"""Containers of a kind that are read after each line: some microseconds."""


def gained(
    each: Growing,
    members: list[Any],
    path: Path,
    before: int,
    stretch: int,
    claimed: dict[int, str],
    describe: Describe,
) -> GrowingContainer | None:
    """What a node has gained of references or objects; None when it did not go on growing.

    It had `before` of them `stretch` iterations ago. `claimed` are the new objects that were counted already.
    """
    if not members:
        return None
    if each.shape == "deeper":
        more = len(members) - before
        entries: list[tuple[Any, ...]] = [(member,) for member in members]
    else:
        more = sum(map(reference_count, members)) - before
        entries = [entry for member in members for entry in entries_of(member)]
    expected = each.per_iteration * stretch
    if more < 2 or more < _LEAST_SHARE * expected:
        return None
    if each.shape == "wider" and more > _MOST_TIMES * expected + _MORE_BY_CHANCE:
        return None
    newest = [entry for entry in _sampled(entries) if any(birth(part) is not None for part in entry)]
    latest = newest or entries[-20:]
    part = telling_part(latest)
    names = Counter(element_name(entry[part]) for entry in latest)
    kept = Kept(claimed, {id(part) for entry in entries for part in entry}, "".join(label for label, _ in path))
    kept.follow_all(list(reversed(newest)), more)
    rate = more / stretch
    size = kept.bytes * kept.scale / stretch + (slot_bytes(members) * rate if each.shape == "wider" else 0.0)
    if not newest:  # they were born long before they were added: by themselves at least they count
        size += mean_weight(entries[-_MOST_ENTRIES:]) * rate
    return GrowingContainer(
        bytes=size,
        objects=kept.objects * kept.scale / stretch,
        types=kept.types_per_iteration(stretch),
        sites=kept.sites_per_iteration(stretch),
        opaque=kept.opaque,
        path=path,
        shape=each.shape,
        many=".*" if is_namespace(members[-1]) else "[*]",
        per_iteration=rate,
        shared_with=kept.main_owner(),
        elements={name: n * rate / max(1, names.total()) for name, n in names.most_common(4)},
        heads=births.heads([entry[part] for entry in newest]),
        examples=different(describe(entry[part]) for entry in latest[-3:]),
        adders=(),
        other_threads=_other_threads(),
    )


def gained_weight(
    each: Growing, members: list[Any], path: Path, before: int, stretch: int, describe: Describe
) -> GrowingContainer | None:
    """The same of a node whose objects refer to no more than before, but weigh more: `before` in bytes."""
    weigh = weigher(type(members[-1])) if members else None
    if weigh is None:
        return None
    rate = (sum(map(weigh, members)) - before) / stretch
    if rate < each.per_iteration * _LEAST_SHARE:
        return None
    kind, trace = element_name(members[-1]), birth(members[-1])
    return GrowingContainer(
        bytes=rate,
        objects=0.0,
        types={kind: 0.0},
        sites=(Birth(trace, 0.0, rate),) if trace else (),
        opaque=False,
        path=path,
        shape=each.shape,
        many="",
        per_iteration=rate,
        shared_with="",
        elements={kind: rate},
        heads=(),
        examples=(describe(members[-1]),),
        adders=(),
        other_threads=_other_threads(),
    )


def at_rate(container: GrowingContainer, rate: float) -> GrowingContainer:
    """The same of a container that gains so much in one iteration, where the iterations were but estimated."""
    part = rate / container.per_iteration
    return container._replace(
        bytes=container.bytes * part,
        objects=container.objects * part,
        types={name: count * part for name, count in container.types.items()},
        sites=tuple(each._replace(blocks=each.blocks * part, bytes=each.bytes * part) for each in container.sites),
        per_iteration=rate,
        elements={name: count * part for name, count in container.elements.items()},
    )


def gained_by_native_code(
    name: str, rate: float, members: list[Any], claimed: dict[int, str], stretch: int, describe: Describe
) -> PinnedObjects | None:
    """What a group of objects that only native code holds has gained."""
    if len(members) / stretch < rate * _LEAST_SHARE:
        return None
    kept = Kept(claimed, set(map(id, members)), name)
    kept.follow_all([(member,) for member in members], len(members))
    if not kept.objects:
        return None
    return PinnedObjects(
        bytes=kept.bytes * kept.scale / stretch,
        objects=kept.objects * kept.scale / stretch,
        types=kept.types_per_iteration(stretch),
        sites=kept.sites_per_iteration(stretch),
        opaque=kept.opaque,
        type=Counter(map(element_name, members[-20:])).most_common(1)[0][0],
        per_iteration=len(members) / stretch,
        heads=births.heads(members[-2 * _MOST_ENTRIES :]),
        examples=different(map(describe, members[-3:])),
        pins=pins(members),
        base=base_in_c(members[-1]),
    )


def newborn(claimed: dict[int, str]) -> dict[str, list[Any]]:
    """Objects that native code alone holds, by group.

    They were born in the traced stretches, no growing container leads to them, and something unknown to the collector
    refers to them.
    """
    lost = [each for each in gc.get_objects() if id(each) not in claimed and birth(each) is not None]
    found: dict[str, list[Any]] = {}
    for each in snapshot.held_from_outside(lost):
        found.setdefault(snapshot.group_name(each), []).append(each)
    return found


def telling_part(entries: list[tuple[Any, ...]]) -> int:
    """Which part of the additions says most: not one that they share; of a key and its value, rather an object."""
    parts = range(len(entries[0]))
    differ = [part for part in parts if len({id(entry[part]) for entry in entries}) > 1] or list(parts)
    objects = [part for part in differ if not all(is_leaf(entry[part]) for entry in entries)]
    return (objects or differ)[-1]


def with_names(path: Path, members: list[Any]) -> Path:
    """Where many objects were walked in bulk, the last step has no name yet: ask one object that has it."""
    if path[-1][0] != ".*" or len(path) < 2:
        return path
    for referrer in gc.get_referrers(members[-1]):
        owner: Any = referrer
        if full_name(type(owner)) != path[-2][1]:
            owner = next((each for each in gc.get_referrers(owner) if full_name(type(each)) == path[-2][1]), None)
        for label, values in references(owner) if owner is not None else []:
            if label and any(value is members[-1] for value in values):
                return (*path[:-1], Node(label, path[-1].type))
    return path


def length(members: list[Any]) -> Callable[[], int] | None:
    """A cheap reading of how much is in the containers; None where there is none."""
    members = members[:: 1 + len(members) // _MOST_READ]
    tables = [table for each in members if (table := table_of(each)) is not None]
    if len(tables) == len(members):
        return lambda: sum(map(dict.__len__, tables))
    for base in (list, set, deque):
        if all(derives(type(each), base) for each in members):
            return lambda: sum(map(base.__len__, members))
    if any(type(each) is tuple for each in members):
        return None
    return lambda: len(gc.get_referents(*members[:8]))


def weight(members: list[Any], owners: list[Any] | None, label: str) -> Callable[[], int] | None:
    """A cheap reading of what an object weighs; of a leaf, which may be another each time, by way of its owner."""
    weigh = weigher(type(members[-1])) if len(members) == 1 else None
    if weigh is None:
        return None
    if owners is None or type(members[0]) is bytearray:
        return partial(weigh, members[0])
    return _weight_of_attribute(owners[0], label, weigh, type(members[0]))


def _weight_of_attribute(owner: Any, label: str, weigh: Weigh, kind: Any) -> Callable[[], int] | None:
    if owner is None or type(owner) is types.FrameType:
        return None
    table, name = (owner, None) if type(owner) is dict else (namespace_of(owner), label[1:])
    if name is not None and table is not None and name in table:

        def current() -> list[Any]:
            return [dict.get(table, name)]
    else:

        def current() -> list[Any]:
            return [value for name_of_edge, values in references(owner) if name_of_edge == label for value in values]

    return lambda: sum(weigh(value) for value in current() if type(value) is kind)


def _other_threads() -> bool:
    """Whether there are threads of which it may be that not all lines can be watched."""
    return sys.version_info < (3, 12) and threading.active_count() > 1


def _sampled(entries: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Newest ones where the container keeps an order, else some of all."""
    if len(entries) <= 2 * _MOST_ENTRIES:
        return entries
    older = entries[:-_MOST_ENTRIES]
    spread = {int(turn * _GOLDEN * len(older)) % len(older) for turn in range(1, _MOST_ENTRIES)}
    return [older[index] for index in sorted(spread)] + entries[-_MOST_ENTRIES:]

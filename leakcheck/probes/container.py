"""Which container grows, what is in it, where that was born, and which line adds it: one process, four stretches.

The object graph is walked before and after a stretch of iterations. What grew is looked at again after two more
stretches in which `tracemalloc` notes where each new object is born: an object that has a trace is new, and whatever new
ones a container leads to is what it keeps. A last, short stretch runs under a trace function that watches the containers.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
import tracemalloc
import types
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from leakcheck.probes import places
from leakcheck.probes.graph import LEAVES, Node, Root, Walk, full_name, lineage, reference_count, references, roots
from leakcheck.probes.growth import Growing, Point, growing
from leakcheck.probes.sizes import chunk, size_of
from leakcheck.probes.watch import Ledger
from leakcheck.worker.step import Driver

_TRACE_DEPTH = 40
_MANAGED_DICT = 1 << 4
_PREFIX = 32
"""Bytes before an instance with a managed dictionary: the collector's header, and two pointers."""
_MOST_NEW = 800
"""New objects that are looked at one by one; a container's share is extrapolated from them."""
_MOST_CANDIDATES = 24
_MOST_ELEMENTS = 100_000
_MOST_ENTRIES = 40
_GOLDEN = 0.6180339887498949
"""Steps of the golden ratio spread evenly and fall in with no period."""
_EVENTS = 24
"""Additions to a container that the traced stretches should see."""
_WATCHED = 7
"""Additions that name the line."""

Trace = tuple[tuple[str, int], ...]


def _object_trace() -> Callable[[Any], Trace | None]:
    """`tracemalloc`'s own function; Python 3.11's does not find instances that have a dictionary before their header."""
    plain: Callable[[Any], Trace | None] = tracemalloc._get_object_traceback  # type: ignore[attr-defined]
    if sys.version_info >= (3, 12):
        return plain
    import ctypes

    try:
        by_address = ctypes.pythonapi._PyTraceMalloc_GetTraceback
    except AttributeError:
        return plain
    by_address.restype, by_address.argtypes = ctypes.py_object, [ctypes.c_uint, ctypes.c_size_t]
    flags = type.__dict__["__flags__"].__get__

    def with_managed_dict(value: Any) -> Trace | None:
        if flags(type(value)) & _MANAGED_DICT:
            return by_address(0, id(value) - _PREFIX)  # type: ignore[no-any-return]
        return plain(value)

    return with_managed_dict


async def probe(conversation: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: `warm` and `count` iterations, `traced` how many of those at least under `tracemalloc`, `watch` how many
    at most under the trace function.
    """
    driver, settler = conversation.driver, conversation.settler
    count = arguments["count"]
    phases: dict[str, float] = {}
    began = time.perf_counter()

    def clock(name: str) -> None:
        nonlocal began
        now = time.perf_counter()
        phases[name] = phases.get(name, 0.0) + now - began
        began = now

    await driver.run(arguments["warm"])
    await settler.settle()
    first = _picture(conversation)
    clock("walk")
    await driver.run(count)
    await settler.settle()
    clock("run")
    second = _picture(conversation)
    clock("walk")
    points = [first.point, second.point]
    candidates = growing(points, second.parents, second.chains)[:_MOST_CANDIDATES]
    pinned = _growing_groups(first, second)
    described = {each.node: _path(second.nodes[each.node]) for each in candidates}
    needed = frozenset(node.key for each in candidates for node in second.nodes[each.node].above())
    deeper = frozenset(each.node for each in candidates if each.shape == "deeper")
    del first
    second.nodes.clear()
    rates = [each.per_iteration for each in candidates[:4]] or [rate for _, rate in pinned[:4]]
    traced = min(count, max(arguments["traced"], *(int(_EVENTS / rate) for rate in rates), 0))

    gc.collect()  # empties the free lists too: an object that is made from one of them has no trace
    tracemalloc.start(_TRACE_DEPTH)
    try:
        await driver.run(traced)
        await settler.settle()
        early = _traces()
        frozen = gc.get_freeze_count()
        await driver.run(traced)
        await settler.settle()
        late = _traces()
        clock("traced run")
        walk = Walk(places.own)
        walk.only = needed
        walk.keep = frozenset(described)
        walk.through = deeper
        walk.hide([conversation])
        walk.run(_roots(conversation))
        clock("second walk")
        claimed: dict[int, str] = {}
        containers = []
        measures: list[tuple[int, Any]] = []
        for each in candidates:
            members = walk.members.get(each.node, [])
            container = _examine(each, members, described[each.node], points[1], 2 * traced, claimed)
            if container is not None:
                containers.append(container)
                measures.append((len(containers) - 1, members))
        newborn = _newborn(claimed) if pinned else {}
        groups = [
            each
            for name, rate in pinned
            if (each := _examine_pinned(name, rate, newborn.get(name, []), claimed, 2 * traced)) is not None
        ]
        newborn.clear()
        clock("examine")
    finally:
        tracemalloc.stop()
    sites = _scaling(early, late, traced)
    freezing = []
    if (frozen := (gc.get_freeze_count() - frozen) / traced) > 0:
        freezing = await _adders(driver, gc.get_freeze_count, 5)
    if arguments["watch"] and containers:
        for index, members in measures[:4]:
            turns = min(arguments["watch"], max(5, int(_WATCHED / containers[index]["count"])))
            containers[index]["adders"] = await _adders(driver, _measure(members), turns)
        clock("watch")
    members = []
    walk.members.clear()
    measures.clear()
    return {
        "containers": containers,
        "pinned": groups,
        "sites": sites,
        "frozen": frozen,
        "freezing": freezing,
        "iterations": driver.iterations,
        "objects": second.size,
        "phases": phases,
    }


class _Picture:
    """What is kept of one walk."""

    def __init__(self, walk: Walk, iterations: int, groups: dict[str, int]) -> None:
        self.point = Point(
            iterations,
            {key: node.objects for key, node in walk.nodes.items()},
            {key: node.references for key, node in walk.nodes.items()},
        )
        self.nodes = walk.nodes
        self.size = len(walk.seen)
        self.groups = groups
        """Objects that no walk reaches, by type: how many of them nobody known refers to."""

    @property
    def parents(self) -> dict[int, int]:
        return {key: node.parent.key for key, node in self.nodes.items() if node.parent is not None}

    @property
    def chains(self) -> set[int]:
        return {key for key, node in self.nodes.items() if node.fold}


def _roots(conversation: Any) -> list[Root]:
    driver = conversation.driver
    scenario = [
        Root("<scenario set-up>", "generator", driver._generator),
        Root("<step>", "function", driver._step),
    ]
    return roots(places.own, places.rank, [root for root in scenario if root.value is not None])


def _picture(conversation: Any) -> _Picture:
    """Walk the graph with the collector switched off: what a walk makes would set it going over and over."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return _walk_all(conversation)
    finally:
        if enabled:
            gc.enable()


def _walk_all(conversation: Any) -> _Picture:
    before = gc.get_objects()
    walk = Walk(places.own)
    walk.hide([conversation, before])
    walk.run(_roots(conversation))
    seen = set(walk.seen)
    hidden = Walk(lambda _file: False)
    hidden.seen = seen
    hidden.run(_own_roots(conversation))
    unreached = [each for each in before if id(each) not in seen]
    before.clear()
    groups = dict(Counter(map(group_name, held_from_outside(unreached))))
    unreached.clear()
    picture = _Picture(walk, conversation.driver.iterations, groups)
    if not walk.seen:
        raise RuntimeError("nothing could be walked")
    return picture


def _own_roots(conversation: Any) -> list[Root]:
    """What the toolkit itself keeps: entered after the user's, to know it from what nobody reaches."""
    found = [Root("conversation", "own", conversation)]
    for name, module in list(sys.modules.items()):
        if type(module) is types.ModuleType and (name.startswith("leakcheck") or name == "__main__"):
            found.append(Root(name, "own", module))
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        found.append(Root("frame", "own", frame))
        frame = frame.f_back
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        with contextlib.suppress(RuntimeError):
            found.append(Root("task", "own", asyncio.current_task()))
    return found


def group_name(value: Any) -> str:
    """How objects that only native code holds are told apart: by type, functions and methods by their name."""
    kind = type(value)
    if kind is types.MethodType and type(value.__func__) is types.FunctionType:
        value, kind = value.__func__, types.FunctionType
    if kind is types.FunctionType:
        return f"function {value.__module__}.{value.__qualname__}"
    return full_name(kind)


def _growing_groups(first: _Picture, second: _Picture) -> list[tuple[str, float]]:
    stretch = second.point.iterations - first.point.iterations
    found = []
    for name, count in second.groups.items():
        more = count - first.groups.get(name, 0)
        if more >= 3:
            found.append((name, more / stretch))
    return sorted(found, key=lambda pair: -pair[1])[:_MOST_CANDIDATES]


def _path(node: Node) -> list[list[str]]:
    return [[each.label + ("…" if each.fold else ""), each.type] for each in reversed(list(node.above()))]


_WORKER = os.path.dirname(Driver.run.__code__.co_filename) + os.sep
_STEP = Driver.run.__code__.co_filename


_traced = _object_trace()


def birth(value: Any) -> Trace | None:
    """Where an object was born since the tracing began, the innermost frame first; None for others and for our own.

    Empty where the interpreter makes it on the way into the step's own function (cells).
    """
    trace = _traced(value)
    return None if trace is None else user_part(trace)


def user_part(trace: Trace) -> Trace | None:
    """The part of a trace inside the toolkit's call of the step; None where the step is not in it."""
    for index, (file, _line) in enumerate(trace):
        if places.own(file):
            return trace[:index] if file == _STEP or (index and file.startswith(_WORKER)) else None
    return trace


class _Kept:
    """What new objects some references lead to."""

    def __init__(self, claimed: dict[int, str], starts: set[int], name: str) -> None:
        self.claimed = claimed
        self.name = name
        self.starts = starts
        """One addition is not followed into another: each counts what it alone brought."""
        self.bytes = 0
        self.objects = 0
        self.types: Counter[str] = Counter()
        self.sites: dict[Trace, list[int]] = {}
        self.shared: Counter[str] = Counter()
        """New objects that another container has already laid claim to, by its name."""
        self.overflow = False

    def follow(self, starts: Iterable[Any]) -> None:
        waiting = list(starts)
        claimed = self.claimed
        first = len(waiting)
        while waiting:
            value = waiting.pop()
            identity = id(value)
            kind = type(value)
            if len(waiting) < first:
                first = len(waiting)
            elif identity in self.starts:
                continue
            if identity in claimed:
                if claimed[identity] != self.name:
                    self.shared[claimed[identity]] += 1
                continue
            if kind is types.FrameType and places.own(value.f_code.co_filename):
                continue
            trace = birth(value)
            if trace is None:
                continue
            claimed[identity] = self.name
            if self.objects >= _MOST_NEW:
                self.overflow = True
                return
            size = chunk(size_of(value), kind)
            self.objects += 1
            self.bytes += size
            self.types[full_name(kind)] += 1
            site = self.sites.setdefault(trace, [0, 0])
            site[0] += 1
            site[1] += size
            if kind not in LEAVES:
                waiting.extend(gc.get_referents(value))


def _examine(
    each: Growing, members: list[Any], path: list[list[str]], before: Point, stretch: int, claimed: dict[int, str]
) -> dict[str, Any] | None:
    """What a growing node has gained in the traced stretches; None when it did not go on growing."""
    if not members:
        return None
    if each.shape == "deeper":
        gained = len(members) - before.objects[each.node]
        entries = [(member,) for member in members]
    else:
        gained = sum(map(reference_count, members)) - before.children[each.node]
        entries = [entry for member in members for entry in _entries(member)]
    if gained < 2 or gained / stretch < each.per_iteration * 0.4:
        return None
    newest = [entry for entry in _sampled(entries) if any(birth(part) is not None for part in entry)]
    direct = Counter(element_name(_telling(entry)) for entry in newest or entries[-20:])
    path = _with_names(path, members)
    name = "".join(label for label, _ in path)
    kept = _Kept(claimed, {id(part) for entry in entries for part in entry}, name)
    used = 0
    for entry in reversed(newest):
        kept.follow(entry)
        used += 1
        if kept.overflow:
            break
    scale = gained / used if used else 0.0
    own = sum(chunk(size_of(member), type(member)) for member in members[:1000])
    spread = own / max(1, sum(len(gc.get_referents(member)) for member in members[:1000]))
    rate = gained / stretch
    return {
        "path": path,
        "shape": each.shape,
        "count": rate,
        "bytes": kept.bytes * scale / stretch + (spread * rate if each.shape == "wider" else 0.0),
        "objects": kept.objects * scale / stretch,
        "shared_with": _main_owner(kept),
        "types": {name: n * scale / stretch for name, n in kept.types.most_common(8)},
        "elements": {name: n * rate / max(1, direct.total()) for name, n in direct.most_common(4)},
        "sites": [[list(map(list, trace)), n * scale / stretch, b * scale / stretch] for trace, (n, b) in _top(kept)],
        "heads": _heads([_telling(entry) for entry in newest]),
        "examples": [safe_repr(_telling(entry)) for entry in (newest or entries)[-3:]],
        "adders": [],
        "other_threads": sys.version_info < (3, 12) and threading.active_count() > 1,
    }


def _with_names(path: list[list[str]], members: list[Any]) -> list[list[str]]:
    """Where many objects were walked in bulk, the last step has no name yet: ask one object that has it."""
    if path[-1][0] != ".*" or len(path) < 2:
        return path
    for owner in gc.get_referrers(members[-1]):
        if full_name(type(owner)) != path[-2][1]:
            owner = next((each for each in gc.get_referrers(owner) if full_name(type(each)) == path[-2][1]), None)
        for label, values in references(owner) if owner is not None else []:
            if label and any(value is members[-1] for value in values):
                return [*path[:-1], [label, path[-1][1]]]
    return path


def _entries(member: Any) -> list[tuple[Any, ...]]:
    """What was added to a container, one tuple an addition: keys stand with their values."""
    if dict in lineage(type(member)):
        return list(dict.items(member))[-_MOST_ELEMENTS:]
    return [(value,) for value in gc.get_referents(member)[-_MOST_ELEMENTS:]]


def _sampled(entries: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Newest ones where the container keeps an order, else some of all."""
    if len(entries) <= 2 * _MOST_ENTRIES:
        return entries
    older = entries[:-_MOST_ENTRIES]
    spread = {int(turn * _GOLDEN * len(older)) % len(older) for turn in range(1, _MOST_ENTRIES)}
    return [older[index] for index in sorted(spread)] + entries[-_MOST_ENTRIES:]


def _telling(entry: tuple[Any, ...]) -> Any:
    """The part of an addition that says most."""
    return next((part for part in reversed(entry) if type(part) not in LEAVES), entry[-1])


def _main_owner(kept: _Kept) -> str:
    """The container that holds most of the same objects, if those are at least as many as this one's own."""
    return next((name for name, n in kept.shared.most_common(1) if n >= kept.objects), "")


def _top(kept: _Kept) -> list[tuple[Trace, list[int]]]:
    return sorted(kept.sites.items(), key=lambda item: -item[1][1])[:40]


def _heads(values: list[Any]) -> list[list[Any]]:
    """Where the elements themselves are born: `[trace, how many of the sample, bytes of the sample]`."""
    found: dict[Trace, list[int]] = {}
    for value in values:
        trace = birth(value)
        if trace:
            site = found.setdefault(trace, [0, 0])
            site[0] += 1
            site[1] += size_of(value)
    return [
        [list(map(list, trace)), n, size]
        for trace, (n, size) in sorted(found.items(), key=lambda item: -item[1][1])[:8]
    ]


def _newborn(claimed: dict[int, str]) -> dict[str, list[Any]]:
    """Objects that were born in the traced stretches, that no growing container leads to, and that something unknown to
    the collector refers to, by group.
    """
    lost = [each for each in gc.get_objects() if id(each) not in claimed and birth(each) is not None]
    found: dict[str, list[Any]] = {}
    for each in held_from_outside(lost):
        found.setdefault(group_name(each), []).append(each)
    return found


def held_from_outside(objects: list[Any]) -> list[Any]:
    """Those of `objects` to which more references exist than the others account for. `objects` must be the only list
    that holds them.
    """
    ids = set(map(id, objects))
    inside: Counter[int] = Counter()
    for each in objects:
        inside.update(other for other in map(id, gc.get_referents(each)) if other in ids)
    # Known references: the list, `each`, and the argument of the call.
    return [each for each in objects if sys.getrefcount(each) - 3 > inside[id(each)]]


def _examine_pinned(
    name: str, rate: float, members: list[Any], claimed: dict[int, str], stretch: int
) -> dict[str, Any] | None:
    if len(members) / stretch < rate * 0.4:
        return None
    count = len(members)
    kept = _Kept(claimed, set(map(id, members)), name)
    used = 0
    for value in members:
        kept.follow([value])
        used += 1
        if kept.overflow:
            break
    if not kept.objects:
        return None
    scale = count / used
    return {
        "type": Counter(map(element_name, members[-20:])).most_common(1)[0][0],
        "count": count / stretch,
        "bytes": kept.bytes * scale / stretch,
        "objects": kept.objects * scale / stretch,
        "types": {name: n * scale / stretch for name, n in kept.types.most_common(8)},
        "sites": [[list(map(list, trace)), n * scale / stretch, b * scale / stretch] for trace, (n, b) in _top(kept)],
        "heads": _heads(members[-2 * _MOST_ENTRIES :]),
        "examples": [safe_repr(value) for value in members[-3:]],
        "excess": max(sys.getrefcount(each) - 3 - len(gc.get_referrers(each)) + 1 for each in members[-2:]),
    }


def element_name(value: Any) -> str:
    """The type of an element as a person would say it: functions with their names."""
    kind = type(value)
    if kind is types.FunctionType:
        return f"function {value.__qualname__}"
    if kind is types.MethodType and type(value.__func__) is types.FunctionType:
        return f"method {value.__func__.__qualname__}"
    if kind is type or issubclass(kind, type):
        return f"class {type.__dict__['__name__'].__get__(value)}"
    if kind in (types.CoroutineType, types.GeneratorType):
        return f"{full_name(kind)} {value.__qualname__}"
    return full_name(kind)


def safe_repr(value: Any, depth: int = 1) -> str:
    """A short description for which no code of the user's runs."""
    kind = type(value)
    if kind in (int, float, bool, type(None), complex):
        return kind.__repr__(value) if kind is not int or value.bit_length() < 200 else "int …"
    if kind in (str, bytes, bytearray):
        text = kind.__repr__(value[:60])
        return text if len(value) <= 60 else f"{text}… ({len(value)} long)"
    if kind in (tuple, list, set, frozenset):
        if not depth:
            return f"{kind.__name__} of {len(value)}"
        inner = ", ".join(safe_repr(each, depth - 1) for each in list(value)[:4])
        opening, closing = {"tuple": "()", "list": "[]"}.get(kind.__name__, "{}")
        return f"{opening}{inner}{', …' if len(value) > 4 else ''}{closing}"
    if kind is dict:
        if not depth:
            return f"dict of {len(value)}"
        inner = ", ".join(
            f"{safe_repr(key, 0)}: {safe_repr(item, depth - 1)}" for key, item in list(dict.items(value))[:4]
        )
        return f"{{{inner}{', …' if len(value) > 4 else ''}}}"
    return element_name(value)


def _traces() -> dict[Trace, list[int]]:
    """Blocks and bytes that were allocated since the tracing began and are still there, by place."""
    found: dict[Trace, list[int]] = {}
    parts: dict[Trace, Trace] = {}
    for _domain, size, trace, *_ in tracemalloc._get_traces():  # type: ignore[attr-defined]
        part = parts.get(trace)
        if part is None:
            part = parts[trace] = user_part(trace)
        if part:
            site = found.setdefault(part, [0, 0])
            site[0] += 1
            site[1] += size
    return found


def _scaling(early: dict[Trace, list[int]], late: dict[Trace, list[int]], count: int) -> list[list[Any]]:
    """Places whose survivors grow with the iterations: `[trace, blocks per iteration, bytes per iteration]`."""
    found = []
    for trace, (blocks, size) in late.items():
        blocks_before, size_before = early.get(trace, (0, 0))
        more = blocks - blocks_before
        if blocks_before >= 1 and more >= 2 and 0.5 * blocks_before <= more <= 2.5 * blocks_before + 3:
            found.append([list(map(list, trace)), more / count, (size - size_before) / count])
    found.sort(key=lambda site: -site[2])
    return found[:60]


async def _adders(driver: Any, read: Callable[[], int] | None, iterations: int) -> list[list[Any]]:
    """The lines that add to what is read, with their stacks: `[stack, additions per iteration]`."""
    if read is None:
        return []
    with Ledger(read, places.standard, places.own) as ledger:
        await driver.run(iterations)
        sums = ledger.sums()
    return [[list(map(list, stack)), amount / iterations] for stack, amount in sums[:3] if stack and amount > 0]


def _measure(members: list[Any]) -> Callable[[], int] | None:
    """A cheap reading of how much is in the containers; None where there are too many to read after each line."""
    if len(members) > 8 or any(type(each) is tuple for each in members):
        return None
    if len(members) == 1:
        return partial(reference_count, members[0])
    return lambda: sum(map(reference_count, members))

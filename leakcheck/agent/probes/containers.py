"""Which container grows, what is in it, where that was born, and which line adds it: one process, four stretches.

The object graph is walked before and after a stretch of iterations. What grew is looked at again after two more
stretches in which `tracemalloc` notes where each new object is born; whatever new objects a container leads to is what
it keeps. A last, short stretch runs under a trace function that watches the containers.
"""

from __future__ import annotations

import atexit
import gc
import sys
import threading
import time
import tracemalloc
import types
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

from leakcheck.agent import origin
from leakcheck.agent.probes import births, snapshot
from leakcheck.agent.probes.additions import entries_of, is_namespace, mean_weight, slot_bytes, table_of
from leakcheck.agent.probes.backrefs import draw
from leakcheck.agent.probes.births import Kept, birth
from leakcheck.agent.probes.bounded_caches import limits
from leakcheck.agent.probes.elements import different, element_name, safe_repr
from leakcheck.agent.probes.growing import Growing, Point, growing
from leakcheck.agent.probes.leave_alone import leave_alone
from leakcheck.agent.probes.siblings import Candidate, Path, together
from leakcheck.agent.probes.walk import (
    FOLD_PERIOD,
    Walk,
    derives,
    full_name,
    is_leaf,
    namespace_of,
    reference_count,
    references,
)
from leakcheck.agent.probes.watch import Ledger
from leakcheck.agent.probes.weights import Weigh, weigher

_MOST_CANDIDATES = 24
_MOST_WATCHED = 4
_MOST_ENTRIES = 40
_GOLDEN = 0.6180339887498949
"""Steps of the golden ratio spread evenly and fall in with no period."""
_EVENTS = 24
"""Additions to a container that the traced stretches should see."""
_TRACED_S = 0.3
_SLOWDOWN = 40
"""What `tracemalloc` may slow a step down by that does little but allocate."""
_MOST_TRACED_S = 3.0
"""Seconds that a traced stretch may take. A step that does little but allocate is slowed down by far more than that."""
_PILOT = 7
"""Iterations that show how slow a step is under `tracemalloc`."""
_MOST_TIMES, _MORE_BY_CHANCE = 4, 10
"""How many times as many references as its rate says, and how many beside them, a leak may gain: a node that gains more
has been joined by something that was there all the time."""
_MOST_ADDED = 8
"""How many times its rate an object that gets heavier may gain in a short stretch: by leaps, but not at random."""
_MOST_OF_GROWTH = 1.5
"""What an object that gets heavier may gain, as a part of what the heap does."""
_MOST_READ = 1000
"""Containers of a kind that are read after each line: some microseconds."""
_WATCHED = 7
"""Additions that name the line."""


async def probe(conversation: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Find growing containers.

    Arguments: `warm` and `count` iterations, `traced` how many of those at least under `tracemalloc`, `watch` how many
    at most under the trace function, `bytes` by which the heap grows with each, `pause` in seconds after which has gone
    what the step keeps for a time only.
    """
    # Short functions on purpose: `tracemalloc` works out the line of every frame of the stack at each allocation, which
    # takes the longer the more code a function has.
    hunt = _Hunt(conversation, arguments)
    await hunt.compare()
    await hunt.trace()
    await hunt.watch()
    return hunt.answer


class _Hunt:
    """The stretches one after the other, and what each hands to the next."""

    def __init__(self, conversation: Any, arguments: dict[str, Any]) -> None:
        self.conversation = conversation
        self.driver, self.settler = conversation.driver, conversation.settler
        self.arguments = arguments
        self.candidates: list[Candidate] = []
        self.kept: frozenset[int] = frozenset()
        self.needed: frozenset[int] = frozenset()
        self.through: frozenset[int] = frozenset()
        self.pinned: list[tuple[str, float]] = []
        self.before = Point(0, {}, {})
        self.watched: list[tuple[dict[str, Any], Callable[[], int] | None, list[Any]]] = []
        self.native: list[Any] = []
        self.limits: dict[int, int] = {}
        self.at_exit = 0.0
        self.frozen = 0.0
        self.seconds = 0.0
        self.sample: Any = None
        self.answer: dict[str, Any] = {"containers": [], "pinned": [], "sites": [], "frozen": 0.0, "freezing": []}
        self.answer["at_exit"] = {"count": 0.0, "adders": []}
        self.clock = _Clock()

    async def compare(self) -> None:
        """Walk, run, walk: learn what grew."""
        await self._run(self.arguments["warm"])
        first = snapshot.take(self.conversation)
        self.clock("walk")
        registered = atexit._ncallbacks()  # nothing that the collector knows of leads to them
        count = await self._run(self.arguments["count"])
        self.at_exit = (atexit._ncallbacks() - registered) / count
        self.clock("run")
        second = snapshot.take(self.conversation)
        self.clock("walk")
        found = growing([first.point, second.point], second.parents(), second.chains())
        possible = [each for each in found if self._possible(each)]
        paths = {each.node: snapshot.path_of(second.nodes[each.node]) for each in possible}
        self.candidates = together(possible, paths)[:_MOST_CANDIDATES]
        self.pinned = _growing_groups(first, second)
        self.kept = frozenset(node for each in self.candidates for node in each.nodes)
        self.needed = frozenset(node.key for key in self.kept for node in second.nodes[key].above())
        deeper = frozenset(each.growing.node for each in self.candidates if each.growing.shape == "deeper")
        below = (islice(second.nodes[key].above(), 1, None) for key in self.kept)
        self.through = deeper.union(node.key for above in below for node in above)
        self.needed |= _links(second, deeper)
        self.before = second.point
        self.limits = limits()
        if any(path[0][0] == snapshot.NATIVE.format(path[0][1]) for _, _, path in self.candidates):
            self.native = [each for each in gc.get_objects() if id(each) in second.held]
        self.answer["objects"] = second.size

    def _possible(self, each: Growing) -> bool:
        """Whether something can be the cause: an object whose size comes and goes gains more than the heap does."""
        return each.shape != "heavier" or each.per_iteration <= _MOST_OF_GROWTH * self.arguments["bytes"]

    async def trace(self) -> None:
        """Two stretches in which births are noted: learn what the growing nodes keep, and where it is from."""
        count = self._traced()
        await self._trace_for(count)
        rates = [each.per_iteration for each, _, _ in self.candidates if each.shape != "heavier"]
        if not self.watched and max(rates, default=0.0) * count >= _WATCHED and count < self.arguments["count"]:
            await self._trace_for(self.arguments["count"])  # what comes in bursts was between two
        self.native.clear()

    async def _trace_for(self, count: int) -> None:
        wanted, count = count, await self._affordable(count)
        if count < wanted:
            await self._run(2 * (wanted - count))  # seen by the walk all the same
        gc.collect()  # empties the free lists too: an object that is made from one of them has no trace
        gc.freeze()  # the collector need not look at what is there already, and its list of objects is that of new ones
        tracemalloc.start(births.DEPTH)
        try:
            await self._run(count)
            early, frozen = births.surviving(), gc.get_freeze_count()
            count = await self._run(count)
            late = births.surviving()
            self.answer["sites"] = births.scaling(early, late, count)
            self.frozen = (gc.get_freeze_count() - frozen) / count
            del early, late
            self.clock("traced run")
            self._examine(self.driver.iterations - self.before.iterations)
            self.clock("examine")
        finally:
            tracemalloc.stop()
            gc.unfreeze()

    async def watch(self) -> None:
        """A short stretch for each container, line by line."""
        if self.frozen > 0:
            self.answer["frozen"] = self.frozen
            self.answer["freezing"] = await _adders(self.driver, gc.get_freeze_count, _WATCHED)
        if self.at_exit > 0:
            turns = min(self.arguments["watch"], int(_WATCHED / self.at_exit) + 1)
            adders = await _adders(self.driver, atexit._ncallbacks, turns)
            self.answer["at_exit"] = {"count": self.at_exit, "adders": adders}
        self._draw()
        for container, read, members in self.watched[:_MOST_WATCHED]:
            container["path"] = _with_names(container["path"], members)
            turns = min(self.arguments["watch"], max(5, int(_WATCHED / container["count"])))
            container["adders"] = await _adders(self.driver, read, turns)
            if not container["adders"] and turns < self.arguments["watch"]:  # what comes in bursts was between two
                container["adders"] = await _adders(self.driver, read, self.arguments["watch"])
            if container["shape"] == "heavier" and not _steady(container):
                self.answer["containers"].remove(container)
        self.watched.clear()
        self.clock("watch")
        self.answer["iterations"] = self.driver.iterations
        self.answer["phases"] = self.clock.phases

    def _draw(self) -> None:
        picture = self.arguments.get("picture")
        if picture and self.sample is not None:
            self.answer["picture"] = draw(self.sample, picture["file"], picture["folder"])
        self.sample = None

    async def _run(self, count: int) -> int:
        """Run some iterations, let go what can go, and return how many there were."""
        before = self.driver.iterations
        self.seconds = await self.driver.run(count) / count
        await leave_alone(self.driver, self.arguments["pause"], count)
        await self.settler.settle()
        return int(self.driver.iterations - before)

    async def _affordable(self, count: int) -> int:
        """As many iterations of a traced stretch as there is time for; tried out where there may be too many."""
        if count <= _PILOT or count * self.seconds * _SLOWDOWN <= _MOST_TRACED_S:
            return count
        plain = self.seconds
        tracemalloc.start(births.DEPTH)
        try:
            await self._run(_PILOT)
        finally:
            tracemalloc.stop()
        slowed, self.seconds = self.seconds, plain
        return min(count, max(_PILOT, int(_MOST_TRACED_S / max(slowed, 1e-6))))

    def _traced(self) -> int:
        """Iterations of one traced stretch.

        Enough to see the slowest of the likely causes where there is time for that, and the fastest where there is some
        more.
        """
        rates = (
            [each.per_iteration for each, _, _ in self.candidates[:4]] or [rate for _, rate in self.pinned[:4]] or [1.0]
        )
        affordable = _TRACED_S / max(self.seconds * _SLOWDOWN, 1e-6)
        fastest, slowest = _EVENTS / max(rates), _EVENTS / min(rates)
        wanted = max(self.arguments["traced"], min(fastest, 8 * affordable), min(slowest, affordable))
        return int(min(self.arguments["count"], wanted))

    def _examine(self, stretch: int) -> None:
        enabled = gc.isenabled()
        gc.disable()
        try:
            walk = self._walk_to_candidates()
            claimed: dict[int, str] = {}
            for each, nodes, path in self.candidates:
                members = [member for node in nodes for member in walk.members.get(node, [])]
                if each.shape == "heavier":
                    container = _examine_heavier(each, members, path, self.before, stretch)
                    read = _weight(members, walk.owners.get(each.node), path[-1][0])
                else:
                    numbers = self.before.objects if each.shape == "deeper" else self.before.children
                    container = _examine(each, members, path, sum(map(numbers.__getitem__, nodes)), stretch, claimed)
                    read = _length(members)
                if container is not None:
                    container["limit"] = min((self.limits.get(id(member), 0) for member in members), default=0)
                    self.answer["containers"].append(container)
                    self.watched.append((container, read, members))
                    if self.sample is None and (entries := entries_of(members[-1])):
                        self.sample = entries[-1][_telling(entries[-20:])]
            newborn = _newborn(claimed) if self.pinned else {}
            for name, rate in self.pinned:
                if self.sample is None and newborn.get(name):
                    self.sample = newborn[name][-1]
                group = _examine_pinned(name, rate, newborn.get(name, []), claimed, stretch)
                if group is not None:
                    self.answer["pinned"].append(group)
        finally:
            if enabled:
                gc.enable()

    def _walk_to_candidates(self) -> Walk:
        walk = Walk(origin.own)
        walk.only = self.needed
        walk.keep = self.kept
        walk.through = self.through
        walk.hide([self.conversation])
        walk.run(snapshot.all_roots(self.conversation))
        if self.native:
            # What native code holds now may be another object than before: the new head of a chain.
            fresh = snapshot.held_from_outside(snapshot.outside_of(walk.seen, gc.get_objects()))
            walk.run(snapshot.native_roots([each for each in fresh if birth(each) is not None]))
        return walk.run(snapshot.native_roots(self.native))


class _Clock:
    """Processor seconds by phase."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._began = time.process_time()

    def __call__(self, phase: str) -> None:
        now = time.process_time()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._began
        self._began = now


def _links(picture: snapshot.Picture, chains: frozenset[int]) -> frozenset[int]:
    """The nodes through which chains lead from one link to the next."""
    if not chains:
        return chains
    near = ((key, islice(node.above(), 1, FOLD_PERIOD)) for key, node in picture.nodes.items())
    return frozenset(key for key, above in near if any(each.key in chains for each in above))


def _growing_groups(first: snapshot.Picture, second: snapshot.Picture) -> list[tuple[str, float]]:
    stretch = second.point.iterations - first.point.iterations
    grown = {name: count - first.groups.get(name, 0) for name, count in second.groups.items()}
    found = [(name, more / stretch) for name, more in grown.items() if more >= 3]
    return sorted(found, key=lambda pair: -pair[1])[:_MOST_CANDIDATES]


def _examine(
    each: Growing, members: list[Any], path: Path, before: int, stretch: int, claimed: dict[int, str]
) -> dict[str, Any] | None:
    """What a growing node has gained in the traced stretches; None when it did not go on growing."""
    if not members:
        return None
    if each.shape == "deeper":
        gained = len(members) - before
        entries: list[tuple[Any, ...]] = [(member,) for member in members]
    else:
        gained = sum(map(reference_count, members)) - before
        entries = [entry for member in members for entry in entries_of(member)]
    expected = each.per_iteration * stretch
    if gained < 2 or gained < 0.4 * expected:
        return None
    if each.shape == "wider" and gained > _MOST_TIMES * expected + _MORE_BY_CHANCE:
        return None
    newest = [entry for entry in _sampled(entries) if any(birth(part) is not None for part in entry)]
    latest = newest or entries[-20:]
    part = _telling(latest)
    names = Counter(element_name(entry[part]) for entry in latest)
    kept = Kept(claimed, {id(part) for entry in entries for part in entry}, "".join(label for label, _ in path))
    kept.follow_all(list(reversed(newest)), gained)
    rate = gained / stretch
    report = kept.report(stretch)
    report["bytes"] += slot_bytes(members) * rate if each.shape == "wider" else 0.0
    if not newest:  # they were born long before they were added: by themselves at least they count
        report["bytes"] += mean_weight(entries[-_MOST_ENTRIES:]) * rate
    return {
        **report,
        "path": path,
        "shape": each.shape,
        "many": ".*" if is_namespace(members[-1]) else "[*]",
        "count": rate,
        "shared_with": kept.main_owner(),
        "elements": {name: n * rate / max(1, names.total()) for name, n in names.most_common(4)},
        "heads": births.heads([entry[part] for entry in newest]),
        "examples": different(safe_repr(entry[part]) for entry in latest[-3:]),
        "adders": [],
        "other_threads": _other_threads(),
    }


def _examine_heavier(
    each: Growing, members: list[Any], path: Path, before: Point, stretch: int
) -> dict[str, Any] | None:
    """What a node has gained whose objects refer to no more than before, but weigh more."""
    weigh = weigher(type(members[-1])) if members else None
    if weigh is None:
        return None
    gained = sum(map(weigh, members)) - before.bytes.get(each.node, 0)
    if gained / stretch < each.per_iteration * 0.4:
        return None
    kind, rate = element_name(members[-1]), gained / stretch
    trace = birth(members[-1])
    return {
        "bytes": rate,
        "objects": 0.0,
        "types": {kind: 0.0},
        "opaque": False,
        "sites": [[list(map(list, trace)), 0.0, rate]] if trace else [],
        "path": path,
        "shape": each.shape,
        "many": "",
        "count": rate,
        "shared_with": "",
        "elements": {kind: rate},
        "heads": [],
        "examples": [safe_repr(members[-1])],
        "adders": [],
        "other_threads": _other_threads(),
    }


def _other_threads() -> bool:
    """Whether there are threads that cannot be watched."""
    return sys.version_info < (3, 12) and threading.active_count() > 1


def _steady(container: dict[str, Any]) -> bool:
    """Whether a line was seen to add about as much as was gained; or none, where it adds by leaps."""
    adders = container["adders"]
    return not adders or sum(rate for _, rate in adders) <= _MOST_ADDED * container["count"]


def _with_names(path: Path, members: list[Any]) -> Path:
    """Where many objects were walked in bulk, the last step has no name yet: ask one object that has it."""
    if path[-1][0] != ".*" or len(path) < 2:
        return path
    for referrer in gc.get_referrers(members[-1]):
        owner: Any = referrer
        if full_name(type(owner)) != path[-2][1]:
            owner = next((each for each in gc.get_referrers(owner) if full_name(type(each)) == path[-2][1]), None)
        for label, values in references(owner) if owner is not None else []:
            if label and any(value is members[-1] for value in values):
                return [*path[:-1], [label, path[-1][1]]]
    return path


def _sampled(entries: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Newest ones where the container keeps an order, else some of all."""
    if len(entries) <= 2 * _MOST_ENTRIES:
        return entries
    older = entries[:-_MOST_ENTRIES]
    spread = {int(turn * _GOLDEN * len(older)) % len(older) for turn in range(1, _MOST_ENTRIES)}
    return [older[index] for index in sorted(spread)] + entries[-_MOST_ENTRIES:]


def _telling(entries: list[tuple[Any, ...]]) -> int:
    """Which part of the additions says most: not one that they share; of a key and its value, rather an object."""
    parts = range(len(entries[0]))
    differ = [part for part in parts if len({id(entry[part]) for entry in entries}) > 1] or list(parts)
    objects = [part for part in differ if not all(is_leaf(entry[part]) for entry in entries)]
    return (objects or differ)[-1]


def _newborn(claimed: dict[int, str]) -> dict[str, list[Any]]:
    """Objects that native code alone holds, by group.

    They were born in the traced stretches, no growing container leads to them, and something unknown to the collector
    refers to them.
    """
    lost = [each for each in gc.get_objects() if id(each) not in claimed and birth(each) is not None]
    found: dict[str, list[Any]] = {}
    for each in snapshot.held_from_outside(lost):
        found.setdefault(snapshot.group_name(each), []).append(each)
    return found


def _examine_pinned(
    name: str, rate: float, members: list[Any], claimed: dict[int, str], stretch: int
) -> dict[str, Any] | None:
    """What a group of objects that only native code holds has gained."""
    if len(members) / stretch < rate * 0.4:
        return None
    kept = Kept(claimed, set(map(id, members)), name)
    kept.follow_all([(member,) for member in members], len(members))
    if not kept.objects:
        return None
    return {
        **kept.report(stretch),
        "type": Counter(map(element_name, members[-20:])).most_common(1)[0][0],
        "count": len(members) / stretch,
        "heads": births.heads(members[-2 * _MOST_ENTRIES :]),
        "examples": different(map(safe_repr, members[-3:])),
    }


async def _adders(driver: Any, read: Callable[[], int] | None, iterations: int) -> list[list[Any]]:
    """The lines that add to what is read, with their stacks: `[stack, additions per iteration]`."""
    if read is None:
        return []
    with Ledger(read, origin.standard, origin.own) as ledger:
        await driver.run(iterations)
        sums = ledger.sums()
    return [[list(map(list, stack)), amount / iterations] for stack, amount in sums[:3] if stack and amount > 0]


def _length(members: list[Any]) -> Callable[[], int] | None:
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


def _weight(members: list[Any], owners: list[Any] | None, label: str) -> Callable[[], int] | None:
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
            return [value for told, values in references(owner) if told == label for value in values]

    return lambda: sum(weigh(value) for value in current() if type(value) is kind)

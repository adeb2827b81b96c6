"""Which container grows, what is in it, where that was born, and which line adds it: one process, four stretches.

The object graph is walked before and after a stretch of iterations. What grew is looked at again after two more
stretches in which `tracemalloc` notes where each new object is born; whatever new objects a container leads to is what
it keeps. A last, short stretch runs under a trace function that watches the containers.
"""

from __future__ import annotations

import atexit
import gc
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from leakcheck.agent.inquiry import (
    Adder,
    Birth,
    FindContainers,
    Graph,
    GrowingContainer,
    Picture,
    PinnedObjects,
    Unclearable,
)
from leakcheck.agent.meters.objects import bring_back
from leakcheck.agent.origin import HERE
from leakcheck.agent.probes import births, gained, snapshot
from leakcheck.agent.probes.births import birth
from leakcheck.agent.probes.elements import described, entries_of
from leakcheck.agent.probes.expiring import let_expire
from leakcheck.agent.probes.growing import Candidate, Growing, Point, growing, together
from leakcheck.agent.probes.limited import limits
from leakcheck.agent.probes.takers import Takers
from leakcheck.agent.probes.tracing import Tracing
from leakcheck.agent.probes.unclearable import unclearable
from leakcheck.agent.probes.walk import FOLD_PERIOD, TooLargeError, Walk
from leakcheck.agent.probes.watch import Callees, Ledger, in_time

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation
    from leakcheck.agent.step import Driver

_MOST_CANDIDATES = 24
"""Growing nodes that are looked at."""
_MOST_WATCHED = 4
"""Containers that are watched for the line that adds."""
_TRACED_ADDITIONS = 24
"""Additions to a container that the traced stretches should see."""
_TRACED_S = 0.3
"""Seconds that a traced stretch should take."""
_SLOWDOWN = 40
"""What `tracemalloc` may slow a step down by that does little but allocate."""
_MOST_TRACED_S = 3.0
"""Seconds that a traced stretch may take. A step that does little but allocate is slowed down by far more than that."""
_PILOT_CALLS, _LEAST_TRACED = 7, 3
"""Iterations that show how slow a step is under `tracemalloc`; and how few there are at least, however slow."""
_LEAST_GROUP = 3
"""New objects of a kind that native code holds, from which on they may be a leak."""
_MOST_ADDED = 8
"""How many times its rate an object that gets heavier may gain in a short stretch: by leaps, but not at random."""
_MOST_OF_GROWTH = 1.5
"""What an object that gets heavier may gain, as a part of what the heap does."""
_LONG_CHAIN = 10_000
"""Links of a growing chain of which only the new ones are looked at: each takes some 50 us under `tracemalloc`."""
_NEARLY_ALL = 0.9
"""Part of the links that a chain has gained which shows that it goes on: its first one belongs to another node."""
_TAKEN = 5
"""Objects that native code takes which name the call."""
_WATCHED_ADDITIONS = 7
"""Additions that name the line."""


async def answer(conversation: Conversation, question: FindContainers) -> Graph:
    """Find growing containers."""
    # Short functions on purpose: `tracemalloc` works out the line of every frame of the stack at each allocation, which
    # takes the longer the more code a function has.
    probe = ContainerProbe(conversation, question)
    bring_back()  # what the interpreter itself keeps was put aside, and may hold what is new
    try:
        await probe.compare()
        await probe.trace()
        await probe.watch()
    except TooLargeError as error:
        probe.nothing_seen(str(error))
        await probe.trace()
    return probe.answer()


class ContainerProbe:
    """The stretches one after the other, and what each hands to the next."""

    def __init__(self, conversation: Conversation, question: FindContainers) -> None:
        self.conversation = conversation
        self.driver, self.settler = conversation.driver, conversation.settler
        self.question = question
        self.describe = partial(described, values=question.values)
        self.candidates: list[Candidate] = []
        self.kept: frozenset[int] = frozenset()
        self.needed: frozenset[int] = frozenset()
        self.through: frozenset[int] = frozenset()
        self.pinned: list[tuple[str, float]] = []
        self.before = Point(0, {}, {})
        self.native: list[Any] = []
        self.limits: dict[int, int] = {}
        self.seconds = 0.0
        self.sample: Any = None
        self.clock = _Clock()
        self.until = conversation.clock() + question.seconds
        self.found: list[tuple[GrowingContainer, Callable[[], int] | None, list[Any]]] = []
        """What grows, how to read it cheaply, and the objects themselves."""
        self.groups: dict[str, PinnedObjects] = {}
        self.unclearable: tuple[Unclearable, ...] = ()
        self.sites: tuple[Birth, ...] = ()
        self.frozen, self.freezing = 0.0, tuple[Adder, ...]()
        self.at_exit, self.registering = 0.0, tuple[Adder, ...]()
        self.no_picture = ""
        self.unseen = ""

    def answer(self) -> Graph:
        """What was found."""
        return Graph(
            containers=tuple(container for container, _, _ in self.found),
            pinned=tuple(self.groups.values()),
            unclearable=self.unclearable,
            sites=self.sites,
            frozen=self.frozen,
            freezing=self.freezing,
            at_exit=self.at_exit,
            registering=self.registering,
            iterations=self.driver.iterations,
            phases=self.clock.phases,
            no_picture=self.no_picture,
            unseen=self.unseen,
        )

    def nothing_seen(self, why: str) -> None:
        """Begin again without the object graph."""
        self.candidates, self.pinned, self.found, self.groups = [], [], [], {}
        self.unclearable = ()
        self.unseen = why

    async def compare(self) -> None:
        """Walk, run, walk: learn what grew."""
        await self._run(self.question.warm)
        first = snapshot.take(self.conversation)
        self.clock("walk")
        registered = atexit._ncallbacks()  # nothing that the collector knows of leads to them
        count = await self._run(self.question.iterations)
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
        folded = self.kept & second.chains()
        below = (islice(second.nodes[key].above(), 1, None) for key in self.kept)
        self.through = folded.union(node.key for above in below for node in above)
        self.needed |= _links(second, folded)
        self.before = second.point
        self.limits = limits()
        if any(path[0][0] == snapshot.NATIVE.format(path[0][1]) for _, _, path in self.candidates):
            self.native = [each for each in gc.get_objects() if id(each) in second.held]

    def _possible(self, each: Growing) -> bool:
        """Whether something can be the cause: an object whose size comes and goes gains more than the heap does."""
        return each.shape != "heavier" or each.per_iteration <= _MOST_OF_GROWTH * self.question.bytes

    async def trace(self) -> None:
        """Two stretches in which births are noted: learn what the growing nodes keep, and where it is from."""
        count = self._traced()
        await self._trace_for(count)
        rates = [each.per_iteration for each, _, _ in self.candidates if each.shape != "heavier"]
        if (
            not self.found
            and max(rates, default=0.0) * count >= _WATCHED_ADDITIONS
            and count < self.question.iterations
            and self.conversation.clock() < self.until
        ):
            await self._trace_for(self.question.iterations)  # what comes in bursts was between two
        self.native.clear()

    async def _trace_for(self, count: int) -> None:
        wanted, count = count, await self._affordable(count)
        if count < wanted:
            await self._run(2 * (wanted - count))  # seen by the walk all the same
        gc.collect()  # empties the free lists too: an object that is made from one of them has no trace
        gc.freeze()  # the collector need not look at what is there already, and its list of objects is that of new ones
        try:
            with Tracing() as tracing:
                began = self.driver.iterations
                await self._run(count)
                with tracing.paused():
                    early, frozen = births.surviving(), gc.get_freeze_count()
                gc.collect()  # the look has filled the free lists again
                count = await self._run(count)
                with tracing.paused():
                    late = births.surviving()
                    self.sites = births.scaling(early, late, count)
                    self.frozen = (gc.get_freeze_count() - frozen) / count
                    del early, late
                    self.clock("traced run")
                    if not self.unseen:
                        self._examine(self.driver.iterations - self.before.iterations, self.driver.iterations - began)
                    self.clock("examine")
        finally:
            gc.unfreeze()

    async def watch(self) -> None:
        """A short stretch for each container, line by line."""
        most = self.question.watch
        if self.frozen > 0:
            self.freezing = await _adders(self.driver, gc.get_freeze_count, _WATCHED_ADDITIONS)
        if self.at_exit > 0:
            turns = min(most, int(_WATCHED_ADDITIONS / self.at_exit) + 1)
            self.registering = await _adders(self.driver, atexit._ncallbacks, turns)
        if self.question.picture is not None and self.sample is not None:
            self.no_picture = snapshot.draw(self.sample, Picture(*self.question.picture), self.question.values)
        self.sample = None
        for index, (container, read, members) in enumerate(self.found[:_MOST_WATCHED]):
            if self.conversation.clock() > self.until:
                break
            turns = min(most, max(5, int(_WATCHED_ADDITIONS / container.per_iteration)))
            adders = await _adders(self.driver, read, turns)
            if not adders and turns < most:  # what comes in bursts was between two
                adders = await _adders(self.driver, read, most)
            if read is not None and adders and container.path[0].label.endswith(snapshot.BY_NATIVE):
                adders = await _with_callee(self.driver, read, turns, adders)
            named = container._replace(path=gained.with_names(container.path, members), adders=adders)
            self.found[index] = (named, read, members)
        self.found = [each for each in self.found if each[0].shape != "heavier" or _steady(each[0])]
        await self._watch_takers()
        self.clock("watch")

    async def _watch_takers(self) -> None:
        if not self.groups or self.conversation.clock() > self.until:
            return
        most = max(each.per_iteration for each in self.groups.values())
        turns = max(1, min(self.question.watch, int(_TAKEN / most) + 1))
        takers = await Takers(frozenset(self.groups)).watch(self.driver, turns)
        self.groups = {name: each._replace(takers=takers.get(name, ())) for name, each in self.groups.items()}

    async def _run(self, count: int) -> int:
        """Run some iterations, let go what can go, and return how many there were."""
        before = self.driver.iterations
        self.seconds = await self.driver.run(count) / count
        await let_expire(self.driver, self.question.pause, count)
        await self.settler.settle()
        return int(self.driver.iterations - before)

    async def _affordable(self, count: int) -> int:
        """As many iterations of a traced stretch as there is time for; tried out where there may be too many."""
        slow = max(self.seconds * _SLOWDOWN, 1e-6)
        if count <= _LEAST_TRACED or count * slow <= _MOST_TRACED_S:
            return count
        pilot = max(_LEAST_TRACED, min(_PILOT_CALLS, int(_MOST_TRACED_S / slow)))
        plain = self.seconds
        with Tracing():
            await self._run(pilot)
        slowed, self.seconds = self.seconds, plain
        return min(count, max(pilot, int(_MOST_TRACED_S / max(slowed, 1e-6))))

    def _traced(self) -> int:
        """Iterations of one traced stretch.

        Enough to see the slowest of the likely causes where there is time for that, and the fastest where there is some
        more.
        """
        rates = (
            [each.per_iteration for each, _, _ in self.candidates[:4]] or [rate for _, rate in self.pinned[:4]] or [1.0]
        )
        affordable = _TRACED_S / max(self.seconds * _SLOWDOWN, 1e-6)
        fastest, slowest = _TRACED_ADDITIONS / max(rates), _TRACED_ADDITIONS / min(rates)
        wanted = max(self.question.traced, min(fastest, 8 * affordable), min(slowest, affordable))
        return int(min(self.question.iterations, wanted))

    def _examine(self, stretch: int, traced: int) -> None:
        """Look at what came in the last `stretch` iterations, of which the last `traced` were under `tracemalloc`."""
        walk = self._walk_to_candidates()
        claimed: dict[int, str] = {}
        for each, nodes, path in self.candidates:
            members = [member for node in nodes for member in walk.members.get(node, [])]
            if not walk.cut.isdisjoint(nodes):
                members = [member for member in members if birth(member) is not None]
                before = _unseen_links(each, len(members), traced)
                container = gained.gained(each, members, path, before, traced, claimed, self.describe)
                read = None
            elif each.shape == "heavier":
                before = self.before.bytes.get(each.node, 0)
                container = gained.gained_weight(each, members, path, before, stretch, self.describe)
                read = gained.weight(members, walk.owners.get(each.node), path[-1][0])
            else:
                numbers = self.before.objects if each.shape == "deeper" else self.before.children
                before = sum(map(numbers.__getitem__, nodes))
                container = gained.gained(each, members, path, before, stretch, claimed, self.describe)
                read = gained.length(members)
            if container is not None:
                if self.driver.estimates:
                    container = gained.at_rate(container, each.per_iteration)
                limit = min((self.limits.get(id(member), 0) for member in members), default=0)
                self.found.append((container._replace(limit=limit), read, members))
                if self.sample is None and (entries := entries_of(members[-1])):
                    self.sample = entries[-1][gained.telling_part(entries[-20:])]
        self.unclearable = unclearable(claimed, traced)
        newborn = gained.newborn(claimed) if self.pinned else {}
        for name, rate in self.pinned:
            if self.sample is None and newborn.get(name):
                self.sample = newborn[name][-1]
            group = gained.gained_by_native_code(name, rate, newborn.get(name, []), claimed, traced, self.describe)
            if group is not None:
                self.groups[name] = group

    def _walk_to_candidates(self) -> Walk:
        walk = Walk(HERE.own)
        walk.only = self.needed
        walk.keep = self.kept
        walk.through = self.through
        walk.hide([self.conversation])
        chains = (node for each, nodes, _ in self.candidates if each.shape == "deeper" for node in nodes)
        if any(self.before.objects.get(node, 0) > _LONG_CHAIN for node in chains):
            walk.fresh = gc.get_objects()  # all others are put aside
            walk.hide([walk.fresh])
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


def _unseen_links(each: Growing, seen: int, calls: int) -> int:
    """What there was before so many new links of a chain were `seen`: less than none, for those that were not."""
    gained_links = round(each.per_iteration * calls)
    return seen - gained_links if _NEARLY_ALL * gained_links <= seen < gained_links else 0


def _links(picture: snapshot.Snapshot, chains: frozenset[int]) -> frozenset[int]:
    """The nodes through which chains lead from one link to the next."""
    if not chains:
        return chains
    near = ((key, islice(node.above(), 1, FOLD_PERIOD)) for key, node in picture.nodes.items())
    return frozenset(key for key, above in near if any(each.key in chains for each in above))


def _growing_groups(first: snapshot.Snapshot, second: snapshot.Snapshot) -> list[tuple[str, float]]:
    stretch = second.point.iterations - first.point.iterations
    grown = {name: count - first.groups.get(name, 0) for name, count in second.groups.items()}
    found = [(name, more / stretch) for name, more in grown.items() if more >= _LEAST_GROUP]
    return sorted(found, key=lambda pair: -pair[1])[:_MOST_CANDIDATES]


def _steady(container: GrowingContainer) -> bool:
    """Whether a line was seen to add about as much as was gained; or none, where it adds by leaps."""
    added = sum(each.rate for each in container.adders)
    return not container.adders or added <= _MOST_ADDED * container.per_iteration


async def _with_callee(
    driver: Driver, read: Callable[[], int], iterations: int, adders: tuple[Adder, ...]
) -> tuple[Adder, ...]:
    """The line that adds most to what native code holds, with the C function that does it."""
    with Callees(read) as callees:
        await driver.run(iterations)
    return (adders[0]._replace(function=callees.at(adders[0].stack[0])), *adders[1:])


async def _adders(driver: Driver, read: Callable[[], int] | None, iterations: int) -> tuple[Adder, ...]:
    """The lines that add most to what is read."""
    if read is None:
        return ()
    with Ledger(read) as ledger:
        iterations = await in_time(driver, iterations)
        sums = ledger.sums()
    return tuple(Adder(stack, amount / iterations) for stack, amount in sums[:3] if stack and amount > 0)

"""From what the means found to faults, by ordered lists of rules: each takes a case and returns it, changed.

The idea: what Python objects hold is known best, so containers and pinned objects come first and claim the allocation
sites where their objects are born. What nobody claims is a fault of its own, one for each line that calls into it,
unless it comes with what a holder keeps. Bytes are counted once, and no more of them than the heap grew by.

To add a rule: write a function from case to case whose docstring says its principle, put it into its list, and give it
a test of its name in `test_attribution.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce

from leakcheck.agent.inquiry import Adder, GrowingContainer, PinnedObjects, Place, Taker, Trace
from leakcheck.agent.origin import Origin
from leakcheck.diagnosis.cycles import HiddenCycle
from leakcheck.diagnosis.faults import (
    Allocation,
    Case,
    Container,
    Fault,
    Frozen,
    Native,
    Pinned,
    Resource,
    RetainingPath,
    Unclearable,
    Untracked,
)
from leakcheck.diagnosis.frames import UNKNOWN, Line, outside_library, qualified_name
from leakcheck.diagnosis.memray import BLOCK_OVERHEAD_BYTES, Site
from leakcheck.diagnosis.plan import EVENTS_PER_STRETCH
from leakcheck.diagnosis.valgrind import Loss

Rule = Callable[[Case], Case]

LEDGER_NOISE_BYTES = 16
"""Bytes per iteration that the watching of the heap's ledger may get wrong."""
_WEIGHT_WITHOUT_USER_LINE = 0.25
"""What the bytes of a fault count for in the order of the report to which no line of the user's leads: such a fault is
rarely one that the user can mend."""
_FULLY_EXPLAINED = 0.95
"""Part of the growth that leaves no room for more: what Python code allocates beside it is what it gave back to a free
list of the interpreter, and what is kept got from there."""
_NEGLIGIBLE = 0.02
"""Part of the growth below which an allocation site is not reported beside other faults."""
_MOSTLY_EXPLAINED = 0.8
"""Part of the growth above which an allocation beside a fault of the same line is taken for a part of it."""
_NO_ROOM = 1.1
"""Part of the growth that the faults may account for together: the rest is what the measurement may get wrong."""
_SMALL_BESIDE = 0.5
"""Part of a fault's bytes below which an allocation of the same line is taken for a part of it."""
_MOST_BLOCKS_PER_ELEMENT = 16
"""Blocks that an element may bring: a decoder has a table or two, a state and a window. Of more, a fraction that is
left over says nothing."""
_WRAPPERS = {"tuple", "list", "dict", "set", "cell", "int", "str", "bytes", "float", ""}
"""Types of elements that say nothing: what they lead to does."""


def attribute(case: Case, rules: Sequence[Rule]) -> Case:
    """Apply rules in their order."""
    return reduce(lambda so_far, rule: rule(so_far), rules, case)


def growing_containers(case: Case) -> Case:
    """What leads to new objects keeps them: each container that gained is a fault."""
    return case.adding(_container(each, case.origin) for each in (case.graph.containers if case.graph else ()))


def shared_elements(case: Case) -> Case:
    """Objects that stand in two containers are one fault, named by the first: removing them from both is one repair.

    The bytes of the second are those of its slots and of objects that it alone holds. A container of weak references
    holds nothing, so that nothing is put down to it.
    """
    kept: list[Fault] = []
    for fault in case.faults:
        for index, holder in enumerate(kept):
            match holder.detail, fault.detail:
                case Container() as first, Container() as second if (
                    second.shared_with == first.path.name and not _holds_weakly(holder)
                ):
                    also = (*first.also, (second.path, second.many))
                    kept[index] = replace(holder.merged(fault, fault.bytes), detail=replace(first, also=also))
                    break
        else:
            kept.append(fault)
    return replace(case, faults=tuple(kept))


def filling_caches(case: Case) -> Case:
    """A container with a limit that is not full yet stops by itself: no cause where others explain half the growth."""
    unlimited = [fault for fault in case.faults if not _has_limit(fault)]
    enough = sum(fault.bytes for fault in unlimited) >= 0.5 * case.growth > 0
    return replace(case, faults=tuple(unlimited)) if enough else case


def pinned_objects(case: Case) -> Case:
    """Objects that live though no Python object leads to them are held by native code.

    Where they come as often as something is registered with `atexit`, this holds them.
    """
    groups = case.graph.pinned if case.graph else ()
    cycles = case.cycles or (None,) * len(groups)
    return case.adding(_pinned(each, cycle, case) for each, cycle in zip(groups, cycles, strict=True))


def taken_together(case: Case) -> Case:
    """Objects to which one call takes references are one fault, named by the first of the user's own types."""

    def belongs(fault: Fault, other: Fault) -> bool:
        match fault.detail, other.detail:
            case Pinned(taker=Taker() as first), Pinned(taker=Taker() as second):
                same = (first.function, first.stack[:1]) == (second.function, second.stack[:1])
                return same and ("." in other.type, other.bytes) > ("." in fault.type, fault.bytes)
        return False

    return _absorbed(case, belongs)


def one_cycle(case: Case) -> Case:
    """What instances of one C type pin by cycles is one fault, named by the shortest way to the instance."""

    def belongs(fault: Fault, other: Fault) -> bool:
        match fault.detail, other.detail:
            case Pinned(cycle=HiddenCycle() as first), Pinned(cycle=HiddenCycle() as second):
                shorter = (-len(second.path), other.bytes) > (-len(first.path), fault.bytes)
                return first.type == second.type and shorter
        return False

    return _absorbed(case, belongs)


def cycles_that_stay(case: Case) -> Case:
    """What the collector finds each time and cannot free is a fault of the type that cannot let go."""
    return case.adding(
        Fault(
            detail=Unclearable(RetainingPath(each.path)),
            count=each.per_iteration,
            bytes=each.bytes,
            type=each.type,
            births=each.sites,
        )
        for each in (case.graph.unclearable if case.graph else ())
    )


def lines_that_lead_there(case: Case) -> Case:
    """A fault happens on behalf of the lines that add, and of those where a tenth of its bytes or more is born."""
    return _each(case, lambda fault: replace(fault, lines=outside_library(_lines(fault), case.origin)))


def sites_of_births(case: Case) -> Case:
    """An allocation site belongs to the fault whose objects are born on just that stack."""
    return _claimed(case, lambda fault, site: any(birth.trace == site.trace for birth in fault.births))


def sites_cut_short(case: Case) -> Case:
    """Tools keep stacks of different depth: a site also belongs to a birth whose stack ends, or is ended, by it."""
    return _claimed(case, lambda fault, site: any(_cut_short(birth.trace, site.trace) for birth in fault.births))


def sites_of_the_same_native_code(case: Case) -> Case:
    """A site without any Python line goes by its native frames: those of a site that is claimed already."""
    return _claimed(
        case, lambda fault, site: not site.trace and any(site.native == other.native for other in fault.sites)
    )


def frozen_garbage(case: Case) -> Case:
    """Where the step calls `gc.freeze`, what Python code allocates and nobody holds is garbage that stays for ever."""
    lost = tuple(site for site in case.sites if not site.native)
    stacks = case.graph.freezing if case.graph else ()
    if case.graph is None or not stacks or not lost:
        return case
    lines = {place[:2] for place in stacks[0].stack} | {line for site in lost for line in site.trace}
    size = sum(site.bytes for site in lost)
    fault = Fault(
        detail=Frozen(), count=case.graph.frozen, bytes=size, adders=stacks, sites=lost, lines=frozenset(lines)
    )
    return replace(case.adding([fault]), sites=tuple(site for site in case.sites if site.native))


def pinned_by_elements(case: Case) -> Case:
    """Objects that only native code holds and that come with the elements of a container are held by these."""
    return _absorbed(case, lambda fault, other: isinstance(fault.detail, Pinned) and _hides(other, fault))


def parts_of_a_heavier_object(case: Case) -> Case:
    """What native code holds and the same line fills as an object that gets heavier is inside this object."""

    def belongs(fault: Fault, whole: Fault) -> bool:
        match fault.detail, whole.detail:
            case Container(path=RetainingPath(root="native code")), Container(shape="heavier"):
                adders = *fault.adders[:1], *whole.adders[:1]
                return len(adders) == 2 and adders[0].stack == adders[1].stack
        return False

    return _absorbed(case, belongs)


def blocks_beside_objects(case: Case) -> Case:
    """Objects count only themselves, sites every block: the larger of both, as far as the heap has grown so much."""
    spare, faults = case.unexplained, []
    for fault in case.faults:
        more = max(0.0, min(sum(site.bytes for site in fault.sites) - fault.bytes, spare))
        spare -= more
        faults.append(replace(fault, bytes=fault.bytes + more))
    return replace(case, faults=tuple(faults))


def no_more_than_grew(case: Case) -> Case:
    """The heap's growth is exact, what an object or a block takes is estimated: too much is lowered in proportion."""
    if not case.explained > case.growth > 0:
        return case
    part = case.growth / case.explained
    return _each(case, lambda fault: replace(fault, bytes=fault.bytes * part))


def allocations(case: Case) -> Case:
    """What nobody has claimed is a fault of its own, those with most bytes first, or a part of another.

    It is a part where elements of a container hide it; and where one of `RELATIVES` finds another fault, it is small
    beside this, most of the growth is explained, or it comes with this one's elements. A trifle is reported only where
    nothing else is.
    """
    for fault in _by_line(case.sites, case.origin):
        holder = next((each for each in case.faults if _hides(each, fault)), None)
        if holder is None:
            holder = next(filter(None, (find(case, fault) for find in RELATIVES)), None)
            if holder is not None and not _is_part(case, fault, holder):
                holder = None
        if holder is not None:
            case = case.replacing(holder, holder.merged(fault, max(0.0, min(fault.bytes, case.unexplained))))
        elif not case.faults or fault.bytes >= _NEGLIGIBLE * max(case.growth, case.explained):
            case = case.adding([fault])
    return replace(case, sites=())


def of_the_same_line(case: Case, allocation: Fault) -> Fault | None:
    """Another fault happens on behalf of one of the same lines, and not by another native function that it calls."""
    entries = _entries(allocation)

    def is_apart(fault: Fault) -> bool:
        return bool(
            isinstance(fault.detail, Allocation) and entries and _entries(fault) and not entries & _entries(fault)
        )

    return next((each for each in case.faults if each.lines & allocation.lines and not is_apart(each)), None)


def counted_twice(case: Case, allocation: Fault) -> Fault | None:
    """Blocks for which there is no room in the growth are those of what another fault holds.

    They are where they come from the same function; and where they come as often from lines that are not the user's,
    who got them from a free list of the interpreter when their first owner had given them up.
    """

    def counts_them(holder: Fault) -> bool:
        if _functions(holder.lines) & _functions(allocation.lines):
            return True
        if _is_users(allocation.lines, case.origin) or not isinstance(holder.detail, Container):
            return False
        return holder.count > 0 and _comes_with(allocation.count, holder.count)

    if not case.explained + allocation.bytes > _NO_ROOM * case.growth > 0:
        return None
    return next(filter(counts_them, case.faults), None)


def beside_all_that_grew(case: Case, allocation: Fault) -> Fault | None:
    """Where containers account for the whole growth, what Python code allocates beside it cannot have stayed."""
    if not case.is_explained(_FULLY_EXPLAINED) or _has_native_frames(allocation):
        return None
    return next((each for each in case.faults if isinstance(each.detail, Container)), None)


RELATIVES = (of_the_same_line, counted_twice, beside_all_that_grew)
"""How a fault is found that an allocation may be a part of; the first that finds one decides."""


def causes_alone(case: Case) -> Case:
    """A container of weak references, and what no line of the step led to, are not reported beside a cause.

    The first keeps nothing, the second is the interpreter's own or ours.
    """
    causes = [each for each in case.faults if not _holds_weakly(each) and (each.adders or each.births or each.sites)]
    return replace(case, faults=tuple(causes)) if causes else case


def resources_with_their_memory(case: Case) -> Case:
    """A resource explains the memory of its line that comes as often: one fault, with the path that holds it.

    A path of the user's own is worth more than one of the library's list of all threads or children. The memory of a
    container stays a fault beside a resource that is counted in bytes, for these are not the heap's.
    """
    resources = []
    for resource in case.resources:
        for fault in case.faults:
            detail = resource.detail
            if not isinstance(detail, Resource) or not fault.lines & resource.lines or not _goes_with(fault, resource):
                continue
            if isinstance(fault.detail, Container) and _is_better(fault.detail, detail):
                detail = replace(detail, path=fault.detail.path)
            if isinstance(fault.detail, Container) and not resource.on_heap:
                secondary = detail.secondary or fault.bytes > resource.bytes
                resource = replace(resource, detail=replace(detail, secondary=secondary))
                continue
            case = case.without(fault)
            resource = replace(resource.merged(fault, fault.bytes), detail=detail)
        resources.append(resource)
    return replace(case, faults=(*resources, *case.faults), resources=())


def bookkeeping_of_resources(case: Case) -> Case:
    """What comes as often as a resource, and on no line of the user's, is what the library keeps for it.

    So is what a thread that never ends holds while it waits: a path that begins in its frames is a part of it.
    """

    def belongs(fault: Fault, resource: Fault) -> bool:
        if not isinstance(resource.detail, Resource) or isinstance(fault.detail, Resource) or not resource.count:
            return False
        if isinstance(fault.detail, Container) and fault.detail.path.begins_in_a_thread:
            return resource.meter in ("threads", "py.threads")
        return not fault.lines and _comes_with(fault.count, resource.count)

    return _absorbed(case, belongs)


def by_weight(case: Case) -> Case:
    """Resources come first, containers that have a limit last, and what the user has a line in weighs four times."""

    def order(fault: Fault) -> tuple[bool, bool, float, int]:
        detail = fault.detail
        weight = 1.0 if isinstance(detail, Native) or _is_users(fault.lines, case.origin) else _WEIGHT_WITHOUT_USER_LINE
        return (
            not isinstance(detail, Resource) or detail.secondary,
            _has_limit(fault),
            -fault.bytes * weight,
            2 if isinstance(detail, Native | Allocation | Untracked) else 1 if isinstance(detail, Pinned) else 0,
        )

    return replace(case, faults=tuple(sorted(case.faults, key=order)))


def lines_that_feed_a_thread(case: Case) -> Case:
    """What is allocated on no line of Python's, in a thread of native code, goes to the line while which it comes.

    It is the line after which the heap's own ledger has grown by as much.
    """

    def fed(fault: Fault) -> Fault:
        if fault.lines or fault.adders or any(site.trace for site in fault.sites):
            return fault
        line = next((each for each in case.ledger if each.stack and _about(each.per_iteration, fault.bytes)), None)
        if line is None:
            return fault
        lines = outside_library((place[:2] for place in line.stack), case.origin)
        return replace(fault, adders=(Adder(line.stack, line.per_iteration),), lines=lines)

    return _each(case, fed, Allocation)


def lines_of_the_ledger(case: Case) -> Case:
    """A line after which the heap had grown allocates by a way that no tracker sees, where nothing else explains it.

    Lines of the user's are believed first: a test runner gives back on one line what it takes on another. The bytes go
    to the fault that has a line in common with it.
    """
    for arrival in sorted(case.ledger, key=lambda each: not _is_users(each.stack, case.origin)):
        noise = LEDGER_NOISE_BYTES if case.faults else 0
        if case.unexplained <= noise:
            break
        if arrival.per_iteration < max(0.2 * case.unexplained, noise) or not arrival.stack:
            continue
        lines = outside_library((place[:2] for place in arrival.stack), case.origin)
        relative = next((each for each in case.faults if each.lines & lines), None)
        if relative is None:
            adder, size = Adder(arrival.stack, arrival.per_iteration), min(arrival.per_iteration, case.unexplained)
            case = case.adding([Fault(detail=Untracked(), bytes=size, adders=(adder,), lines=lines)])
        elif relative.on_heap:
            more = min(max(0.0, arrival.per_iteration - relative.bytes), case.unexplained)
            case = case.replacing(relative, replace(relative, bytes=relative.bytes + more))
    return replace(case, ledger=())


def no_trifles(case: Case) -> Case:
    """A stray block is not reported beside what the heap's ledger has found."""
    least = _NEGLIGIBLE * case.explained
    return case.without(
        *(each for each in case.faults if isinstance(each.detail, Allocation | Untracked) and each.bytes < least)
    )


def lost_blocks(case: Case) -> Case:
    """A block that valgrind saw lost belongs to the fault with one of its native functions.

    Where nearly all is explained, it belongs to a fault whose native frames are not known; and what nothing else
    explains is a fault of its own. Without a growth of the heap only what is lost for certain is reported.
    """
    for loss in case.losses:
        size = loss.bytes + BLOCK_OVERHEAD_BYTES * loss.blocks
        new = Fault(detail=Native(), count=loss.blocks, bytes=size, losses=(loss,))
        if case.growth <= 0:
            case = case.adding([new] if loss.kind == "definitely lost" else [])
            continue
        relative = next((each for each in case.faults if _native_functions(each) & _named(loss)), None)
        if relative is None and case.unexplained < 0.1 * case.growth:
            relative = next((each for each in case.faults if _lacks_native_frames(each, loss)), None)
        if relative is not None:
            case = case.replacing(relative, replace(relative, losses=(*relative.losses, loss)))
        elif case.unexplained >= 0.5 * loss.bytes and case.unexplained >= _NEGLIGIBLE * case.growth:
            case = case.adding([new])
    return replace(case, losses=())


def entry_of_native_losses(case: Case) -> Case:
    """Valgrind knows no Python lines: what it alone found happens somewhere below the scenario's function."""
    if not case.entry:
        return case
    return _each(case, lambda fault: replace(fault, adders=(Adder(case.entry, fault.count),)), Native)


def rare_allocations(case: Case) -> Case:
    """Of blocks that came less than half as often as a stretch is sized for, the graph cannot say what holds them."""

    def judged(fault: Fault) -> Fault:
        rare = 0 < fault.count * case.iterations < EVENTS_PER_STRETCH / 2
        assert isinstance(fault.detail, Allocation)
        return replace(fault, detail=replace(fault.detail, rare=rare))

    return _each(case, judged, Allocation)


RULES: tuple[Rule, ...] = (
    growing_containers,
    shared_elements,
    filling_caches,
    pinned_objects,
    taken_together,
    one_cycle,
    cycles_that_stay,
    lines_that_lead_there,
    sites_of_births,
    sites_cut_short,
    sites_of_the_same_native_code,
    frozen_garbage,
    pinned_by_elements,
    parts_of_a_heavier_object,
    blocks_beside_objects,
    no_more_than_grew,
    allocations,
    no_more_than_grew,
    causes_alone,
    resources_with_their_memory,
    bookkeeping_of_resources,
    by_weight,
)
"""For the object graph, allocation sites and resources."""
LEDGER_RULES: tuple[Rule, ...] = (lines_that_feed_a_thread, lines_of_the_ledger, no_trifles, by_weight)
"""For the lines of the heap's own ledger, where much is unexplained."""
LOSS_RULES: tuple[Rule, ...] = (lost_blocks, by_weight, entry_of_native_losses, rare_allocations)
"""For valgrind's losses; they come last."""


def _container(found: GrowingContainer, origin: Origin) -> Fault:
    kind = max(found.elements, key=found.elements.__getitem__, default="")
    count = found.per_iteration if found.shape != "heavier" else 0.0
    if kind in _WRAPPERS:  # of what a plain tuple or the like leads to, the first type that is somebody's own
        kind = next((name for name, rate in found.types.items() if "." in name and rate >= 0.5 * count), kind)
    return Fault(
        detail=Container(
            RetainingPath.of(found.path), found.shape, found.many, found.opaque, found.limit, found.shared_with
        ),
        count=count,
        bytes=found.bytes,
        type=kind,
        adders=() if _added_elsewhere(found, origin) else _users_first(found.adders, origin),
        births=found.sites,
        heads=found.heads,
        examples=found.examples,
    )


def _added_elsewhere(found: GrowingContainer, origin: Origin) -> bool:
    """Whether the lines that were watched cannot be those that add.

    Another thread did it, which Python 3.11 cannot watch, and the elements are born on a stack of which the watched one
    knows nothing.
    """
    if not found.other_threads or not found.adders:
        return False
    first = _users_first(found.adders, origin)[0]
    watched = _functions(outside_library((place[:2] for place in first.stack), origin))
    born = _functions(outside_library((line for head in found.heads for line in head.trace), origin))
    return bool(born) and not watched & born


def _users_first(adders: Sequence[Adder], origin: Origin) -> tuple[Adder, ...]:
    """Of lines that add about as much, those that the user's code leads to: others may only take turns with them."""
    most = max((adder.rate for adder in adders), default=0.0)
    return tuple(sorted(adders, key=lambda each: each.rate < 0.5 * most or not _is_users(each.stack, origin)))


def _pinned(found: PinnedObjects, cycle: HiddenCycle | None, case: Case) -> Fault:
    registered = case.graph.at_exit if case.graph else 0.0
    at_exit = cycle is None and 0 < registered <= 1.1 * found.per_iteration <= 1.21 * registered
    taker = next(iter(found.takers), None)
    if at_exit or cycle or (taker and (not taker.stack or (found.base and (taker.made or not taker.function)))):
        taker = None  # it is known better: a class is also referred to by its instances, wherever these are made
    adders = (Adder(taker.stack, taker.rate),) if taker else ()
    return Fault(
        detail=Pinned(at_exit, cycle, taker, found.base),
        count=found.per_iteration,
        bytes=found.bytes,
        type=_owner(cycle) or found.type if cycle else found.type,
        adders=case.graph.registering if case.graph and at_exit else adders,
        births=found.sites,
        heads=found.heads,
        examples=found.examples,
    )


def _owner(cycle: HiddenCycle) -> str:
    """The type of the object in a cycle that has a name of its own, and is not the one at fault."""
    return next((node.type for node in cycle.path[:-1] if "." in node.type and " " not in node.type), "")


def _each(case: Case, change: Callable[[Fault], Fault], kind: type = object) -> Case:
    changed = (change(fault) if isinstance(fault.detail, kind) else fault for fault in case.faults)
    return replace(case, faults=tuple(changed))


def _claimed(case: Case, fits: Callable[[Fault, Site], bool]) -> Case:
    """Each site given to the first fault that it fits."""
    claims: dict[int, list[Site]] = {}
    rest = []
    for site in case.sites:
        owner = next((index for index, fault in enumerate(case.faults) if fits(fault, site)), None)
        claims.setdefault(owner, []).append(site) if owner is not None else rest.append(site)
    faults = (replace(each, sites=(*each.sites, *claims.get(index, ()))) for index, each in enumerate(case.faults))
    return replace(case, faults=tuple(faults), sites=tuple(rest))


def _absorbed(case: Case, belongs: Callable[[Fault, Fault], bool]) -> Case:
    """Each fault that belongs to another which is still there (`belongs(fault, other)`) made part of this one."""
    faults, index = list(case.faults), 0
    while index < len(faults):
        fault = faults[index]
        owner = next((i for i, each in enumerate(faults) if i != index and belongs(fault, each)), None)
        if owner is None:
            index += 1
        else:
            faults[owner] = faults[owner].merged(fault, fault.bytes)
            del faults[index]
    return replace(case, faults=tuple(faults))


def _by_line(sites: Iterable[Site], origin: Origin) -> list[Fault]:
    """One fault for each native function that an innermost line outside the standard library calls.

    What has no native frames belongs to most of its line. One type ties all that is in its cycles into one fault.
    """
    groups: dict[tuple[Line | Trace, str], list[Site]] = {}
    for site in sorted(sites, key=lambda site: (not site.native, -site.bytes)):
        line = next((line for line in site.trace if not origin.standard(line[0])), site.trace[:1])
        called = _entry(site) if site.native else next((name for at, name in groups if at == line), "")
        groups.setdefault(((), site.content.cycle) if site.content.cycle else (line, called), []).append(site)
    faults = [
        Fault(
            detail=Allocation(cycle=group[0].content.cycle),
            count=sum(site.blocks for site in group),
            bytes=sum(site.bytes for site in group),
            type=_content_of(group),
            sites=tuple(group),
            lines=outside_library(group[0].trace, origin),
        )
        for group in groups.values()
    ]
    return sorted(faults, key=lambda fault: -fault.bytes)


def _content_of(group: Sequence[Site]) -> str:
    """The one type of object in the blocks, where each object is one block."""
    types = {site.content.type for site in group}
    return types.pop() if len(types) == 1 else ""


def _hides(holder: Fault, fault: Fault) -> bool:
    """Whether elements of a container hold what nobody is known to hold.

    They can where they are of foreign C types, and do where it comes from the same function, as many times for each
    element. The weak references to an element are the interpreter's own.
    """
    if not isinstance(holder.detail, Container) or not holder.count:
        return False
    if not _is_weak(fault.type):
        counts = [site.blocks for site in fault.sites if 2 * site.bytes >= fault.bytes] or [fault.count]
        if not holder.detail.opaque or not _comes_with(max(counts), holder.count):
            return False
    return bool(_functions(holder.lines) & _functions(fault.lines))


def _is_part(case: Case, fault: Fault, whole: Fault) -> bool:
    small = fault.bytes <= _SMALL_BESIDE * whole.bytes
    return small or case.is_explained(_MOSTLY_EXPLAINED) or _of_elements(fault, whole)


def _of_elements(fault: Fault, holder: Fault) -> bool:
    """Whether Python code allocates it where the elements of a container are made or added, as many times for each."""
    if not isinstance(holder.detail, Container) or not holder.count or _has_native_frames(fault):
        return False
    innermost = {adder.stack[0][:2] for adder in holder.adders} | {b.trace[0] for b in holder.births if b.trace}
    return _comes_with(fault.count, holder.count) and {site.trace[0] for site in fault.sites} <= innermost


def _comes_with(count: float, elements: float) -> bool:
    times = round(count / elements)
    return 1 <= times <= _MOST_BLOCKS_PER_ELEMENT and abs(count / elements - times) <= 0.1


def _about(amount: float, other: float) -> bool:
    return 0.5 * other <= amount <= 2 * other


def _goes_with(fault: Fault, resource: Fault) -> bool:
    """Whether the memory comes as often as the resource does."""
    if isinstance(fault.detail, Allocation) or not resource.on_heap:
        return True
    return resource.count > 0 and 0.5 <= fault.count / resource.count <= 4


def _is_better(container: Container, resource: Resource) -> bool:
    known = resource.path.root if resource.path else None
    return known is None or (known == "standard library" and container.path.root != "standard library")


def _is_weak(name: str) -> bool:
    return name.rpartition(".")[2] in ("ReferenceType", "KeyedRef", "weakref", "WeakMethod")


def _has_limit(fault: Fault) -> bool:
    return isinstance(fault.detail, Container) and fault.detail.limit > 0


def _holds_weakly(fault: Fault) -> bool:
    return isinstance(fault.detail, Container) and _is_weak(fault.type)


def _lacks_native_frames(fault: Fault, loss: Loss) -> bool:
    if isinstance(fault.detail, Untracked):
        return True
    return bool(loss.frames) and isinstance(fault.detail, Allocation | Pinned) and not _has_native_frames(fault)


def _has_native_frames(fault: Fault) -> bool:
    return any(site.native for site in fault.sites)


def _native_functions(fault: Fault) -> set[str]:
    return {frame.function for site in fault.sites for frame in site.native}.union(*map(_named, fault.losses))


def _entries(fault: Fault) -> set[str]:
    """The native functions that Python code calls for what a fault allocates."""
    return {_entry(site) for site in fault.sites if site.native}


def _entry(site: Site) -> str:
    """The native function that Python code calls; of a library without symbols the library, for a call is an offset."""
    return site.native[-1].function.partition("+0x")[0]


def _named(loss: Loss) -> set[str]:
    return {frame.function for frame in loss.frames if frame.function != UNKNOWN}


def _cut_short(birth: Trace, site: Trace) -> bool:
    shorter = min(len(birth), len(site))
    return shorter > 0 and birth[:shorter] == site[:shorter]


def _lines(fault: Fault) -> Iterable[Line]:
    yield from (place[:2] for adder in fault.adders for place in adder.stack)
    yield from (line for birth in fault.births if birth.bytes * 10 >= fault.bytes for line in birth.trace)


def _functions(lines: Iterable[Line]) -> set[tuple[str, str]]:
    return {(file, qualified_name(file, line)) for file, line in lines}


def _is_users(places: Iterable[Line | Place], origin: Origin) -> bool:
    return any(origin.rank(place[0]) == 0 for place in places)

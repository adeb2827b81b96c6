"""Rules for what is known to be held: by containers, by native code, by cycles, by the interpreter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from leakcheck.agent.inquiry import Adder, GrowingContainer, PinnedObjects, Taker
from leakcheck.agent.origin import Origin
from leakcheck.diagnosis.cycles import HiddenCycle
from leakcheck.diagnosis.faults import (
    Case,
    Container,
    Drifting,
    Fault,
    Frozen,
    Garbage,
    Pinned,
    RetainingPath,
    Unclearable,
)
from leakcheck.diagnosis.frames import Line, outside_library
from leakcheck.diagnosis.rules.relations import (
    absorbed,
    changed,
    comes_with,
    functions,
    has_limit,
    hides,
    holds_weakly,
    is_users,
)

_WRAPPERS = {"tuple", "list", "dict", "set", "cell", "int", "str", "bytes", "float", ""}
"""Types of elements that say nothing: what they lead to does."""


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
                    second.shared_with == first.path.name and not holds_weakly(holder)
                ):
                    also = (*first.also, (second.path, second.many))
                    kept[index] = replace(holder.merged(fault, fault.bytes), detail=replace(first, also=also))
                    break
        else:
            kept.append(fault)
    return replace(case, faults=tuple(kept))


def filling_caches(case: Case) -> Case:
    """A container with a limit that is not full yet stops by itself: no cause where others explain half the growth."""
    unlimited = [fault for fault in case.faults if not has_limit(fault)]
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
            case Pinned(cycle=None, taker=Taker() as first), Pinned(cycle=None, taker=Taker() as second):
                same = (first.function, first.stack[:1]) == (second.function, second.stack[:1])
                return same and ("." in other.type, other.bytes) > ("." in fault.type, fault.bytes)
        return False

    return absorbed(case, belongs)


def one_cycle(case: Case) -> Case:
    """What instances of one C type pin by cycles is one fault, named by the shortest way to the instance."""

    def belongs(fault: Fault, other: Fault) -> bool:
        match fault.detail, other.detail:
            case Pinned(cycle=HiddenCycle() as first), Pinned(cycle=HiddenCycle() as second):
                shorter = (-len(second.path), other.bytes) > (-len(first.path), fault.bytes)
                return first.type == second.type and shorter
        return False

    return absorbed(case, belongs)


def inside_a_cycle(case: Case) -> Case:
    """What the type that closes a cycle has taken for itself is freed with the cycle or not at all."""

    def belongs(fault: Fault, other: Fault) -> bool:
        match fault.detail, other.detail:
            case Pinned(cycle=None, taker=Taker() as taker), Pinned(cycle=HiddenCycle() as cycle):
                return f"{taker.function}.".startswith(f"{cycle.type}.")
        return False

    return absorbed(case, belongs)


def cycles_that_stay(case: Case) -> Case:
    """What the collector finds each time and cannot free is a fault of the type that cannot let go."""
    return case.adding(
        Fault(
            detail=Unclearable(),
            count=each.per_iteration,
            bytes=each.bytes,
            type=each.type,
            births=each.sites,
        )
        for each in (case.graph.unclearable if case.graph else ())
    )


def drifting_references(case: Case) -> Case:
    """An object whose references drift is a fault of its own: it takes no memory that another could explain."""
    total = sum(abs(each.rate) for each in case.drifting)
    return case.adding(
        Fault(
            detail=Drifting(each.what, each.rate < 0, abs(each.rate) / total),
            count=abs(each.rate),
            type=each.what,
            adders=_users_first(each.adders, case.origin),
            lines=outside_library((place[:2] for adder in each.adders for place in adder.stack), case.origin),
        )
        for each in case.drifting
    )


def cyclic_garbage(case: Case) -> Case:
    """Garbage that is the growth is one fault: what closes the cycle is what has to be mended."""
    made = case.garbage
    if made is None:
        return case
    return case.adding(
        [
            Fault(
                detail=Garbage(made.way),
                count=made.objects,
                bytes=made.bytes,
                type=made.type,
                adders=(Adder(made.stack, made.objects),) if made.stack else (),
                lines=outside_library((place[:2] for place in made.stack), case.origin),
            )
        ]
    )


def lines_that_lead_there(case: Case) -> Case:
    """A fault happens on behalf of the lines that add, and those where its elements, or a tenth of its bytes, are born.

    An element may bring thousands of objects, so that no line alone has many of the bytes.
    """
    return changed(case, lambda fault: replace(fault, lines=outside_library(_lines(fault), case.origin)))


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
    return absorbed(case, lambda fault, other: isinstance(fault.detail, Pinned) and hides(other, fault))


def taken_by_elements(case: Case) -> Case:
    """What native code takes on a line where foreign elements of a container, or what these keep, are made is theirs.

    A class made in C has the argument types that it was made with in memory of its own, for one.
    """

    def belongs(fault: Fault, holder: Fault) -> bool:
        match fault.detail, holder.detail:
            case Container(path=RetainingPath(root="native code")) | Pinned(cycle=None, taker=Taker(made=False)), (
                Container(opaque=True, path=RetainingPath(root="program" | "standard library"))
            ) if fault.adders and holder.count:
                line = fault.adders[0].stack[:1]
                made = {birth.trace[:1] for birth in (*holder.births, *holder.heads)}
                return tuple(place[:2] for place in line) in made and comes_with(fault.adders[0].rate, holder.count)
        return False

    return absorbed(case, belongs)


def parts_of_a_heavier_object(case: Case) -> Case:
    """What native code holds and the same line fills as an object that gets heavier is inside this object."""

    def belongs(fault: Fault, whole: Fault) -> bool:
        match fault.detail, whole.detail:
            case Container(path=RetainingPath(root="native code")), Container(shape="heavier"):
                adders = *fault.adders[:1], *whole.adders[:1]
                return len(adders) == 2 and adders[0].stack == adders[1].stack
        return False

    return absorbed(case, belongs)


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

    Another thread did it, in a function that ran before it was watched, and the elements are born on a stack of which
    the watched one knows nothing.
    """
    if not found.other_threads or not found.adders:
        return False
    first = _users_first(found.adders, origin)[0]
    watched = functions(outside_library((place[:2] for place in first.stack), origin))
    born = functions(outside_library((line for head in found.heads for line in head.trace), origin))
    return bool(born) and not watched & born


def _users_first(adders: Sequence[Adder], origin: Origin) -> tuple[Adder, ...]:
    """Of lines that add about as much, those that the user's code leads to: others may only take turns with them."""
    most = max((adder.rate for adder in adders), default=0.0)
    return tuple(sorted(adders, key=lambda each: each.rate < 0.5 * most or not is_users(each.stack, origin)))


def _pinned(found: PinnedObjects, cycle: HiddenCycle | None, case: Case) -> Fault:
    registered = case.graph.at_exit if case.graph else 0.0
    at_exit = cycle is None and 0 < registered <= 1.1 * found.per_iteration <= 1.21 * registered
    taker = next(iter(found.takers), None)
    if at_exit or (taker and (not taker.stack or (found.base and (taker.made or not taker.function)))):
        taker = None  # it is known better: a class is also referred to by its instances, wherever these are made
    adders = (Adder(taker.stack, taker.rate),) if taker and not cycle else ()
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


def _lines(fault: Fault) -> Iterable[Line]:
    yield from (place[:2] for adder in fault.adders for place in adder.stack)
    yield from (line for birth in fault.births if birth.bytes * 10 >= fault.bytes for line in birth.trace)
    yield from (line for head in fault.heads[:1] for line in head.trace)

"""How faults, sites and lines belong together: what several rules ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from leakcheck import meters
from leakcheck.agent.inquiry import Taker
from leakcheck.agent.origin import Origin
from leakcheck.agent.protocol import Place
from leakcheck.diagnosis.cycles import HiddenCycle
from leakcheck.diagnosis.faults import (
    Allocation,
    Case,
    Container,
    Fault,
    Pinned,
    Resource,
)
from leakcheck.diagnosis.frames import UNKNOWN, Line, qualified_name
from leakcheck.diagnosis.memray import Site
from leakcheck.diagnosis.valgrind import Loss

MOST_BLOCKS_PER_ELEMENT = 16
"""Blocks that an element may bring: a decoder has a table or two, a state and a window. Of more, a fraction that is
left over says nothing."""
NEGLIGIBLE = 0.02
"""Part of the growth below which an allocation site is not reported beside other faults."""


def changed(case: Case, change: Callable[[Fault], Fault], kind: type = object) -> Case:
    """With a change made to each fault of a kind."""
    faults = (change(fault) if isinstance(fault.detail, kind) else fault for fault in case.faults)
    return replace(case, faults=tuple(faults))


def claimed(case: Case, fits: Callable[[Fault, Site], bool]) -> Case:
    """Each site given to the first fault that it fits."""
    claims: dict[int, list[Site]] = {}
    rest = []
    for site in case.sites:
        owner = next((index for index, fault in enumerate(case.faults) if fits(fault, site)), None)
        claims.setdefault(owner, []).append(site) if owner is not None else rest.append(site)
    faults = (replace(each, sites=(*each.sites, *claims.get(index, ()))) for index, each in enumerate(case.faults))
    return replace(case, faults=tuple(faults), sites=tuple(rest))


def absorbed(case: Case, belongs: Callable[[Fault, Fault], bool]) -> Case:
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


def takes_in(holder: Fault, allocation: Fault) -> bool:
    """Whether native code allocates on the line where the type that closes a cycle takes its reference.

    Or where a call takes one that it keeps, and as often: what it keeps the object in.
    """
    match holder.detail:
        case Pinned(cycle=cycle, taker=Taker() as taker) if cycle or (
            not taker.made and holder.count and comes_with(allocation.count, holder.count)
        ):
            line = taker.stack[0][:2]
            # What native code asks the interpreter's allocators for may come without native frames.
            return has_native_frames(allocation) and all(site.trace[:1] == (line,) for site in allocation.sites)
    return False


def hides(holder: Fault, fault: Fault) -> bool:
    """Whether elements of a container hold what nobody is known to hold.

    They can where they are of foreign C types, and do where it comes from the same function, as many times for each
    element. The weak references to an element are the interpreter's own.
    """
    if not isinstance(holder.detail, Container) or not holder.count:
        return False
    if not is_weak(fault.type):
        counts = [site.blocks for site in fault.sites if 2 * site.bytes >= fault.bytes] or [fault.count]
        if not holder.detail.opaque or not comes_with(max(counts), holder.count):
            return False
    return bool(functions(holder.lines) & functions(fault.lines))


def may_hold(holder: Fault, fault: Fault) -> bool:
    """Whether objects of types made in C, which are kept, may have memory that nobody is known to hold.

    Blocks come a whole number of times for each object; of pages no number is known.
    """
    match holder.detail:
        case Container(opaque=True, limit=0) | Pinned(cycle=HiddenCycle()) if holder.count:
            pass
        case _:
            return False
    match fault.detail:
        case Resource(meter=meter, path=None):
            return meters.of(meter, "").family in ("allocators", "pages")
        case Allocation(cycle=""):
            return comes_with(fault.count, holder.count)
    return False


def comes_with(count: float, elements: float) -> bool:
    """Whether something comes a whole number of times for each element."""
    times = round(count / elements)
    return 1 <= times <= MOST_BLOCKS_PER_ELEMENT and abs(count / elements - times) <= 0.1


def about(amount: float, other: float) -> bool:
    """Whether two amounts are nearly the same, as rough readings go."""
    return 0.5 * other <= amount <= 2 * other


def is_weak(name: str) -> bool:
    """Whether a type is one of weak references."""
    return name.rpartition(".")[2] in ("ReferenceType", "KeyedRef", "weakref", "WeakMethod")


def has_limit(fault: Fault) -> bool:
    """Whether it is a container that stops growing by itself."""
    return isinstance(fault.detail, Container) and fault.detail.limit > 0


def holds_weakly(fault: Fault) -> bool:
    """Whether it is a container of weak references."""
    return isinstance(fault.detail, Container) and is_weak(fault.type)


def has_native_frames(fault: Fault) -> bool:
    """Whether native code asked for any of it."""
    return any(site.native for site in fault.sites)


def native_functions(fault: Fault) -> set[str]:
    """The native functions on the stacks of a fault."""
    return {frame.function for site in fault.sites for frame in site.native}.union(*map(named, fault.losses))


def entries(fault: Fault) -> set[str]:
    """The native functions that Python code calls for what a fault allocates."""
    return {entry(site) for site in fault.sites if site.native}


def entry(site: Site) -> str:
    """The native function that Python code calls; of a library without symbols the library, for a call is an offset."""
    return site.native[-1].function.partition("+0x")[0]


def named(loss: Loss) -> set[str]:
    """The functions of a loss that have a name."""
    return {frame.function for frame in loss.frames if frame.function != UNKNOWN}


def functions(lines: Iterable[Line]) -> set[tuple[str, str]]:
    """File and qualified name of the functions that lines are in."""
    return {(file, qualified_name(file, line)) for file, line in lines}


def is_users(places: Iterable[Line | Place], origin: Origin) -> bool:
    """Whether any of the places is in the code of the user."""
    return any(origin.rank(place[0]) == 0 for place in places)

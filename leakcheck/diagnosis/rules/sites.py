"""Rules for allocation sites: whose they are, and what is a fault of its own that nobody claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from leakcheck.agent.inquiry import Trace
from leakcheck.agent.origin import Origin
from leakcheck.diagnosis.faults import (
    Allocation,
    Case,
    Container,
    Fault,
)
from leakcheck.diagnosis.frames import Line, outside_library
from leakcheck.diagnosis.memray import Site
from leakcheck.diagnosis.rules.relations import (
    NEGLIGIBLE,
    changed,
    claimed,
    comes_with,
    entries,
    entry,
    functions,
    has_native_frames,
    hides,
    is_users,
    takes_in,
)

_FULLY_EXPLAINED = 0.95
"""Part of the growth that leaves no room for more: what Python code allocates beside it is what it gave back to a free
list of the interpreter, and what is kept got from there."""
_MOSTLY_EXPLAINED = 0.8
"""Part of the growth above which an allocation beside a fault of the same line is taken for a part of it."""
_NO_ROOM = 1.1
"""Part of the growth that the faults may account for together: the rest is what the measurement may get wrong."""
_SMALL_BESIDE = 0.5
"""Part of a fault's bytes below which an allocation of the same line is taken for a part of it."""


def sites_of_births(case: Case) -> Case:
    """An allocation site belongs to the fault whose objects are born on just that stack."""
    return claimed(case, lambda fault, site: any(birth.trace == site.trace for birth in fault.births))


def sites_cut_short(case: Case) -> Case:
    """Tools keep stacks of different depth: a site also belongs to a birth whose stack ends, or is ended, by it."""
    return claimed(case, lambda fault, site: any(_cut_short(birth.trace, site.trace) for birth in fault.births))


def sites_of_the_same_native_code(case: Case) -> Case:
    """A site without any Python line goes by its native frames: those of a site that is claimed already."""
    return claimed(
        case, lambda fault, site: not site.trace and any(site.native == other.native for other in fault.sites)
    )


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
    return changed(case, lambda fault: replace(fault, bytes=fault.bytes * part))


def allocations(case: Case) -> Case:
    """What nobody has claimed is a fault of its own, those with most bytes first, or a part of another.

    It is a part where elements of a container hide it, or a cycle takes it in; and where one of `RELATIVES` finds
    another fault, it is small beside this, most of the growth is explained, or it comes with this one's elements. A
    trifle is reported only where nothing else is.
    """
    for fault in _by_line(case.sites, case.origin):
        holder = next((each for each in case.faults if hides(each, fault) or takes_in(each, fault)), None)
        if holder is None:
            holder = next(filter(None, (find(case, fault) for find in RELATIVES)), None)
            if holder is not None and not _is_part(case, fault, holder):
                holder = None
        if holder is not None:
            case = case.replacing(holder, holder.merged(fault, max(0.0, min(fault.bytes, case.unexplained))))
        elif not case.faults or fault.bytes >= NEGLIGIBLE * max(case.growth, case.explained):
            case = case.adding([fault])
    if any(isinstance(each.detail, Container) and each.detail.opaque for each in case.faults):
        case = changed(case, _beside_foreign, Allocation)
    return replace(case, sites=())


def of_the_same_line(case: Case, allocation: Fault) -> Fault | None:
    """Another fault happens on behalf of one of the same lines, and not by another native function that it calls."""
    called = entries(allocation)

    def is_apart(fault: Fault) -> bool:
        return bool(isinstance(fault.detail, Allocation) and called and entries(fault) and not called & entries(fault))

    return next((each for each in case.faults if each.lines & allocation.lines and not is_apart(each)), None)


def counted_twice(case: Case, allocation: Fault) -> Fault | None:
    """Blocks for which there is no room in the growth are those of what another fault holds.

    They are where they come from the same function; and where they come as often from lines that are not the user's,
    who got them from a free list of the interpreter when their first owner had given them up.
    """

    def counts_them(holder: Fault) -> bool:
        if functions(holder.lines) & functions(allocation.lines):
            return True
        if is_users(allocation.lines, case.origin) or not isinstance(holder.detail, Container):
            return False
        return holder.count > 0 and comes_with(allocation.count, holder.count)

    if not case.explained + allocation.bytes > _NO_ROOM * case.growth > 0:
        return None
    return next(filter(counts_them, case.faults), None)


def beside_all_that_grew(case: Case, allocation: Fault) -> Fault | None:
    """Where containers account for the whole growth, what Python code allocates beside it cannot have stayed."""
    if not case.is_explained(_FULLY_EXPLAINED) or has_native_frames(allocation):
        return None
    return next((each for each in case.faults if isinstance(each.detail, Container)), None)


RELATIVES = (of_the_same_line, counted_twice, beside_all_that_grew)
"""How a fault is found that an allocation may be a part of; the first that finds one decides."""


def _by_line(sites: Iterable[Site], origin: Origin) -> list[Fault]:
    """One fault for each native function that an innermost line outside the standard library calls.

    What has no native frames belongs to most of its line. One type ties all that is in its cycles into one fault.
    """
    groups: dict[tuple[Line | Trace, str], list[Site]] = {}
    for site in sorted(sites, key=lambda site: (not site.native, -site.bytes)):
        line = next((line for line in site.trace if not origin.standard(line[0])), site.trace[:1])
        called = entry(site) if site.native else next((name for at, name in groups if at == line), "")
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


def _beside_foreign(fault: Fault) -> Fault:
    assert isinstance(fault.detail, Allocation)
    return replace(fault, detail=replace(fault.detail, beside_foreign=True))


def _is_part(case: Case, fault: Fault, whole: Fault) -> bool:
    small = fault.bytes <= _SMALL_BESIDE * whole.bytes
    return small or case.is_explained(_MOSTLY_EXPLAINED) or _of_elements(fault, whole)


def _of_elements(fault: Fault, holder: Fault) -> bool:
    """Whether Python code allocates it where the elements of a container are made or added, as many times for each."""
    if not isinstance(holder.detail, Container) or not holder.count or has_native_frames(fault):
        return False
    innermost = {adder.stack[0][:2] for adder in holder.adders} | {b.trace[0] for b in holder.births if b.trace}
    return comes_with(fault.count, holder.count) and {site.trace[0] for site in fault.sites} <= innermost


def _cut_short(birth: Trace, site: Trace) -> bool:
    shorter = min(len(birth), len(site))
    return shorter > 0 and birth[:shorter] == site[:shorter]

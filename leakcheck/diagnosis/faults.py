"""Puts together what the means found: containers, objects that native code holds, and allocation sites become faults.

One fault is one cause. A site belongs to the container that leads to objects born there; what no container or pinned
object accounts for is a fault of its own, one for each line that calls into it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from leakcheck.agent import origin
from leakcheck.agent.probes import snapshot
from leakcheck.diagnosis.frames import qualified_name
from leakcheck.diagnosis.memray import NativeFrame, Site, Trace
from leakcheck.diagnosis.valgrind import Loss

Place = tuple[str, int, str]
_NOT_THE_USERS = 0.25
"""What the bytes of a fault count for, in the order of telling, to which no line of the user's leads."""
BESIDE_THE_HEAP = frozenset({"mapped.bytes", "disk.bytes", "shm"})
"""Meters of bytes that are not the heap's."""
_ALL = 0.95
"""Part of the growth that leaves no room for more: what Python code allocates beside it is what it gave back to a free
list of the interpreter, and what is kept got from there."""
_NEGLIGIBLE = 0.02
"""Part of the growth below which an allocation site is not told beside other faults."""
_MOST_TIMES = 16
"""Blocks that an element may bring: a decoder has a table or two, a state and a window. Of more, a fraction that is
left over says nothing."""
LEDGER_NOISE = 16
"""Bytes per iteration that the watching of the heap's ledger may get wrong."""


@dataclass
class Fault:
    """One cause while it is being put together."""

    kind: Literal["container", "pinned", "allocation", "resource", "frozen", "native"]
    count: float
    bytes: float
    type: str = ""
    path: list[tuple[str, str]] = field(default_factory=list)
    shape: str = "wider"
    many: str = "[*]"
    """What the elements of the container are called: those of a namespace have names of their own."""
    also: list[list[tuple[str, str]]] = field(default_factory=list)
    """Paths of other containers that hold the same objects."""
    adders: list[tuple[tuple[Place, ...], float]] = field(default_factory=list)
    births: list[tuple[Trace, float, float]] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    types: dict[str, float] = field(default_factory=dict)
    heads: list[tuple[Trace, float, float]] = field(default_factory=list)
    """Where the elements themselves are born, as opposed to what they lead to."""
    weak: bool = False
    opaque: bool = False
    """Among what is kept are objects of foreign C types, which may hold what the collector knows nothing of."""
    losses: list[Loss] = field(default_factory=list)
    """What valgrind says of the same memory."""
    untracked: bool = False
    """Known from the heap's ledger alone: an allocator that no tracker sees."""
    lesser: bool = False
    """A resource that comes with more memory of the heap, which is told first."""
    at_exit: bool = False
    """Registered with `atexit`."""
    limit: int = 0
    """How many elements the container may have; 0 where nothing limits it."""
    rare: bool = False
    """Too few came while the object graph was walked to say what holds them."""
    meter: str = "heap.bytes"
    share: float | None = None
    """The part of `meter`'s growth; worked out from the bytes where it is None."""
    lines: set[tuple[str, int]] = field(default_factory=set)
    """Lines outside the standard library on whose behalf it happens."""


def assemble(
    graph: dict[str, Any] | None, sites: Sequence[Site] | None, resources: Sequence[Fault], heap_growth: float
) -> list[Fault]:
    """All faults, those that explain most bytes first. `sites` are memray's; without it the graph's own stand in."""
    faults = _causes(_containers(graph["containers"]), heap_growth) if graph else []
    faults += [_pinned(each, graph["at_exit"]) for each in graph["pinned"]] if graph else []
    if sites is None:
        sites = [
            Site(tuple((file, line) for file, line in trace), (), (), count, size + 8 * count)
            for trace, count, size in (graph["sites"] if graph else [])
        ]
    for fault in faults:
        fault.lines = _lines(fault)
    rest = _without_owned(sites, faults)
    faults += _frozen(graph, rest) if graph else []
    faults = _absorbed(_absorbed(faults, _pinned_inside), _inner_part)
    _weigh(faults, heap_growth)
    explained = sum(fault.bytes for fault in faults)
    for fault in _allocations(rest):
        holder = next((each for each in faults if _hides(each, fault)), None)
        if holder is not None:
            explained += _take_over(holder, fault, heap_growth - explained)
            continue
        relative = next((each for each in faults if each.lines & fault.lines), None)
        if relative is None and explained + fault.bytes > 1.1 * heap_growth > 0:
            relative = next((each for each in faults if _counted_in(each, fault)), None)
        if relative is None and explained >= _ALL * heap_growth > 0 and not any(site.native for site in fault.sites):
            relative = next((each for each in faults if each.kind == "container"), None)
        if relative is not None and (
            fault.bytes <= 0.5 * relative.bytes or explained >= 0.8 * heap_growth > 0 or _of_elements(fault, relative)
        ):
            explained += _take_over(relative, fault, heap_growth - explained)
        elif not faults or fault.bytes >= _NEGLIGIBLE * max(heap_growth, explained):
            faults.append(fault)
            explained += fault.bytes
    strong = [fault for fault in faults if not fault.weak and _has_a_place(fault)] or faults
    return sorted(_with_resources(strong, resources), key=_order)


def _causes(containers: list[Fault], heap_growth: float) -> list[Fault]:
    """Without those that have a limit and are not full yet, where the others explain most of it."""
    unlimited = [each for each in containers if not each.limit]
    return unlimited if sum(each.bytes for each in unlimited) >= 0.5 * heap_growth > 0 else containers


def _take_over(owner: Fault, fault: Fault, spare: float) -> float:
    """Make one fault part of another; returns the bytes that it brings, which are not counted elsewhere."""
    more = max(0.0, min(fault.bytes, spare))
    owner.sites += fault.sites
    owner.bytes += more
    return more


def _absorbed(faults: list[Fault], belongs: Callable[[Fault, Fault], bool]) -> list[Fault]:
    """The faults, each that belongs to another (`belongs(fault, other)`) made part of this one."""
    rest = list(faults)
    for fault in faults:
        owner = next((each for each in rest if each is not fault and belongs(fault, each)), None)
        if owner is not None:
            rest = [each for each in rest if each is not fault]
            owner.births += fault.births
            _take_over(owner, fault, fault.bytes)
    return rest


def _pinned_inside(fault: Fault, holder: Fault) -> bool:
    """Objects that only native code holds, and which come with the elements of a container, are held by these."""
    return fault.kind == "pinned" and _hides(holder, fault)


def _inner_part(fault: Fault, whole: Fault) -> bool:
    """What native code holds and the same line fills as an object that gets heavier is a part of this object."""
    if whole.shape != "heavier" or not fault.path or not fault.path[0][0].endswith(snapshot.BY_NATIVE):
        return False
    return bool(fault.adders and whole.adders) and fault.adders[0][0] == whole.adders[0][0]


def _hides(holder: Fault, fault: Fault) -> bool:
    """Whether elements of a container hold what nobody is known to hold.

    They can where they are of foreign C types, and do where it comes from the same function, as many times for each
    element. The weak references to an element are the interpreter's own.
    """
    if holder.kind != "container" or not holder.count or not (holder.opaque or _is_weak(fault.type)):
        return False
    counts = [site.blocks for site in fault.sites if 2 * site.bytes >= fault.bytes] or [fault.count]
    often = _is_weak(fault.type) or _comes_with(max(counts), holder.count)
    return often and bool(_functions(holder) & _functions(fault))


def _counted_in(holder: Fault, fault: Fault) -> bool:
    """Whether blocks for which there is no room in the growth are those of what another fault holds.

    They are where they come from the same function; and where they come as often from lines that are not the user's,
    who got them from a free list of the interpreter when their first owner had given them up.
    """
    if _functions(holder) & _functions(fault):
        return True
    is_foreign = holder.kind == "container" and holder.count > 0 and not _is_users(fault.lines)
    return is_foreign and _comes_with(fault.count, holder.count)


def _of_elements(fault: Fault, holder: Fault) -> bool:
    """Whether Python code allocates it where the elements of a container are made or added, as many times for each."""
    if holder.kind != "container" or not holder.count or any(site.native for site in fault.sites):
        return False
    innermost = {stack[0][:2] for stack, _ in holder.adders} | {trace[0] for trace, _, _ in holder.births if trace}
    return _comes_with(fault.count, holder.count) and {site.trace[0] for site in fault.sites} <= innermost


def _comes_with(count: float, elements: float) -> bool:
    times = round(count / elements)
    return 1 <= times <= _MOST_TIMES and abs(count / elements - times) <= 0.1


def _is_weak(name: str) -> bool:
    return name.rpartition(".")[2] in ("ReferenceType", "KeyedRef", "weakref", "WeakMethod")


def _has_a_place(fault: Fault) -> bool:
    """Whether any line of the step had to do with it: what else grows is the interpreter's own, or ours."""
    return bool(fault.adders or fault.births or fault.sites)


def _functions(fault: Fault) -> set[tuple[str, str]]:
    return {(file, qualified_name(file, line)) for file, line in fault.lines}


def _frozen(graph: dict[str, Any], rest: list[Site]) -> list[Fault]:
    """What `gc.freeze` puts out of the collector's reach: the cycles among it stay for ever."""
    stacks = _stacks(graph["freezing"])
    lost = [site for site in rest if not site.native]
    if not stacks or not lost:
        return []
    fault = Fault(
        kind="frozen", count=graph["frozen"], bytes=sum(site.bytes for site in lost), adders=stacks, sites=lost
    )
    fault.lines = {(f, n) for f, n, _ in stacks[0][0]} | {place for site in lost for place in site.trace}
    rest[:] = [site for site in rest if site.native]
    return [fault]


def _weigh(faults: list[Fault], heap_growth: float) -> None:
    """Sites count every block, objects only themselves: the larger of both, as far as the heap has grown so much."""
    total = sum(fault.bytes for fault in faults)
    if total > heap_growth > 0:
        for fault in faults:
            fault.bytes *= heap_growth / total
    spare = heap_growth - total
    for fault in faults:
        by_sites = sum(site.bytes for site in fault.sites)
        more = max(0.0, min(by_sites - fault.bytes, spare))
        fault.bytes += more
        spare -= more


def _with_resources(faults: list[Fault], resources: Sequence[Fault]) -> list[Fault]:
    """A resource explains the memory of the same line: one fault, with the path that holds it."""
    rest = list(faults)
    for resource in resources:
        for fault in list(rest):
            if not fault.lines & resource.lines or not _goes_with(fault, resource):
                continue
            if not resource.path or (_is_librarys(resource.path) and fault.path and not _is_librarys(fault.path)):
                resource.path = fault.path
            if resource.meter in BESIDE_THE_HEAP and fault.kind == "container":
                resource.lesser |= fault.bytes > resource.bytes
                continue  # its bytes are not the heap's
            rest.remove(fault)
            resource.bytes += fault.bytes
            resource.births = resource.births or fault.births
            resource.sites += fault.sites
            resource.also += fault.also
    return [*resources, *rest]


def _is_librarys(path: list[tuple[str, str]]) -> bool:
    """Whether a path begins in a module of the standard library: it has its own lists of all threads and children."""
    return path[0][0].partition(".")[0] in sys.stdlib_module_names


def _goes_with(fault: Fault, resource: Fault) -> bool:
    """Whether the memory comes as often as the resource does."""
    if fault.kind == "allocation" or resource.meter in BESIDE_THE_HEAP:
        return True
    return resource.count > 0 and 0.5 <= fault.count / resource.count <= 4


def with_ledger(faults: list[Fault], stacks: list[dict[str, Any]], unexplained: float) -> list[Fault]:
    """Add the lines after which the heap's own ledger had grown: for allocators that no tracker sees."""
    faults = list(faults)
    for each in sorted(stacks, key=lambda each: not _is_users(each["stack"])):
        noise = LEDGER_NOISE if faults else 0
        if unexplained <= noise:
            break
        if each["count"] < max(0.2 * unexplained, noise) or not each["stack"]:
            continue
        stack = tuple((file, line, function) for file, line, function in each["stack"])
        fault = Fault(
            kind="allocation", count=0.0, bytes=min(each["count"], unexplained), adders=[(stack, each["count"])]
        )
        fault.lines = {(file, line) for file, line, _ in stack if not origin.standard(file)}
        fault.untracked = True
        relative = next((known for known in faults if known.lines & fault.lines), None)
        if relative is None:
            faults.append(fault)
            unexplained -= fault.bytes
        elif relative.meter not in BESIDE_THE_HEAP:
            more = min(max(0.0, each["count"] - relative.bytes), unexplained)
            relative.bytes += more
            unexplained -= more
    explained = sum(fault.bytes for fault in faults if fault.meter not in BESIDE_THE_HEAP)
    told = [fault for fault in faults if fault.kind != "allocation" or fault.bytes >= _NEGLIGIBLE * explained]
    return sorted(told, key=_order)


def _order(fault: Fault) -> tuple[bool, bool, float, int]:
    weight = 1.0 if fault.kind == "native" or _is_users(fault.lines) else _NOT_THE_USERS
    return (
        fault.kind != "resource" or fault.lesser,
        fault.limit > 0,
        -fault.bytes * weight,
        {"resource": 0, "container": 0, "frozen": 0, "pinned": 1, "native": 2, "allocation": 2}[fault.kind],
    )


def _containers(found: list[dict[str, Any]]) -> list[Fault]:
    faults: list[Fault] = []
    for each in found:
        fault = Fault(
            kind="container",
            count=each["count"] if each["shape"] != "heavier" else 0.0,
            bytes=each["bytes"],
            type=max(each["elements"], key=each["elements"].get, default=""),
            path=[(label, kind) for label, kind in each["path"]],
            shape=each["shape"],
            many=each["many"],
            opaque=each["opaque"],
            limit=each["limit"],
            adders=_users_first(_stacks(each["adders"])),
            births=[(tuple((f, n) for f, n in trace), count, size) for trace, count, size in each["sites"]],
            heads=[(tuple((f, n) for f, n in trace), count, size) for trace, count, size in each["heads"]],
            examples=each["examples"],
            types=each["types"],
        )
        fault.type = _telling_type(fault)
        if graph_is_blind(each, fault):
            fault.adders = []
        fault.weak = _is_weak(fault.type)
        owner = next((one for one in faults if not one.weak and _holds_the_same(each, one)), None)
        if owner is not None:
            owner.also.append([*fault.path, (fault.many, fault.type)])
            owner.bytes += fault.bytes  # of the objects that it alone holds, and of its slots
            owner.births += fault.births
        else:
            faults.append(fault)
    return faults


def _stacks(adders: list[Any]) -> list[tuple[tuple[Place, ...], float]]:
    return [(tuple((file, line, function) for file, line, function in stack), rate) for stack, rate in adders]


def _users_first(adders: list[tuple[tuple[Place, ...], float]]) -> list[tuple[tuple[Place, ...], float]]:
    """Of lines that add about as much, those that the user's code leads to: others may only take turns with them."""
    most = max((rate for _, rate in adders), default=0.0)
    return sorted(adders, key=lambda each: each[1] < 0.5 * most or not _is_users(each[0]))


def _is_users(stack: Iterable[tuple[Any, ...]]) -> bool:
    return any(origin.rank(place[0]) == 0 for place in stack)


def _holds_the_same(container: dict[str, Any], owner: Fault) -> bool:
    """Whether a container's elements are those that an earlier one has laid claim to."""
    return bool(container["shared_with"] == "".join(label for label, _ in owner.path))


def _pinned(each: dict[str, Any], at_exit: dict[str, Any]) -> Fault:
    by_atexit = 0 < at_exit["count"] <= 1.1 * each["count"] <= 1.21 * at_exit["count"]
    return Fault(
        kind="pinned",
        at_exit=by_atexit,
        adders=_stacks(at_exit["adders"]) if by_atexit else [],
        count=each["count"],
        bytes=each["bytes"],
        type=each["type"],
        births=[(tuple((f, n) for f, n in trace), count, size) for trace, count, size in each["sites"]],
        heads=[(tuple((f, n) for f, n in trace), count, size) for trace, count, size in each["heads"]],
        examples=each["examples"],
        types=each["types"],
    )


_WRAPPERS = {"tuple", "list", "dict", "set", "cell", "int", "str", "bytes", "float", ""}


def _telling_type(fault: Fault) -> str:
    """The element's type; of what a plain tuple or the like leads to, the first type that is somebody's own."""
    if fault.type not in _WRAPPERS:
        return fault.type
    for name, rate in fault.types.items():
        if "." in name and rate >= 0.5 * fault.count:
            return name
    return fault.type


def graph_is_blind(container: dict[str, Any], fault: Fault) -> bool:
    """Whether the lines that were watched cannot be those that add.

    Another thread did it, which Python 3.11 cannot watch, and the elements are born on a stack of which the watched one
    knows nothing.
    """
    if not container["other_threads"] or not fault.adders or not fault.heads:
        return False
    watched = {(file, qualified_name(file, line)) for file, line, _ in fault.adders[0][0] if not origin.standard(file)}
    born = {
        (file, qualified_name(file, line))
        for trace, _, _ in fault.heads
        for file, line in trace
        if not origin.standard(file)
    }
    return bool(born) and not watched & born


def _lines(fault: Fault) -> set[tuple[str, int]]:
    lines: set[tuple[str, int]] = set()
    for stack, _ in fault.adders:
        lines.update((file, line) for file, line, _ in stack if not origin.standard(file))
    for trace, _, size in fault.births:
        if size * 10 >= fault.bytes:
            lines.update(place for place in trace if not origin.standard(place[0]))
    return lines


def _without_owned(sites: Sequence[Site], faults: list[Fault]) -> list[Site]:
    """Give each site to the fault whose objects are born there; returns those that are nobody's.

    A stack that was cut short goes by its inner part, one without any Python line by its native frames.
    """
    rest = list(sites)
    for fits in (_same, _cut_short):
        rest = [site for site in rest if not _give(site, faults, lambda fault, site: _born(fault, site, fits))]  # noqa: B023
    return [site for site in rest if site.trace or not _give(site, faults, _native_alike)]


def _give(site: Site, faults: list[Fault], fits: Callable[[Fault, Site], bool]) -> bool:
    owner = next((fault for fault in faults if fits(fault, site)), None)
    if owner is not None:
        owner.sites.append(site)
    return owner is not None


def _born(fault: Fault, site: Site, fits: Callable[[Trace, Trace], bool]) -> bool:
    return any(fits(trace, site.trace) for trace, _, _ in fault.births)


def _native_alike(fault: Fault, site: Site) -> bool:
    return any(site.native == other.native for other in fault.sites)


def _same(birth: Trace, site: Trace) -> bool:
    return birth == site


def _cut_short(birth: Trace, site: Trace) -> bool:
    shorter = min(len(birth), len(site))
    return shorter > 0 and birth[:shorter] == site[:shorter]


def _allocations(sites: Sequence[Site]) -> list[Fault]:
    """One fault for each innermost line outside the standard library."""
    groups: dict[Any, list[Site]] = {}
    for site in sites:
        line = next((place for place in site.trace if not origin.standard(place[0])), site.trace[:1])
        groups.setdefault(line, []).append(site)
    faults = []
    for group in groups.values():
        fault = Fault(
            kind="allocation",
            count=sum(site.blocks for site in group),
            bytes=sum(site.bytes for site in group),
            sites=group,
        )
        fault.lines = {place for place in group[0].trace if not origin.standard(place[0])}
        faults.append(fault)
    return sorted(faults, key=lambda fault: -fault.bytes)


def with_losses(faults: list[Fault], losses: Sequence[Loss], heap_growth: float) -> list[Fault]:
    """Give each loss to the fault with the same native functions; what nothing else explains is a fault of its own."""
    faults = list(faults)
    unexplained = heap_growth - sum(fault.bytes for fault in faults if fault.meter not in BESIDE_THE_HEAP)
    for loss in losses:
        if heap_growth <= 0:
            if loss.kind == "definitely lost":
                faults.append(
                    Fault(kind="native", count=loss.blocks, bytes=loss.bytes + 8 * loss.blocks, losses=[loss])
                )
            continue
        relative = next((fault for fault in faults if _same_functions(fault, loss)), None)
        if relative is None and unexplained < 0.1 * heap_growth:
            relative = next((f for f in faults if f.untracked or (loss.frames and _blind(f))), None)
        if relative is not None:
            relative.losses.append(loss)
        elif unexplained >= 0.5 * loss.bytes and unexplained >= 0.02 * heap_growth:
            faults.append(_native_fault(loss))
            unexplained -= faults[-1].bytes
    return sorted(faults, key=_order)


def _native_fault(loss: Loss) -> Fault:
    return Fault(kind="native", count=loss.blocks, bytes=loss.bytes + 8 * loss.blocks, losses=[loss])


def _same_functions(fault: Fault, loss: Loss) -> bool:
    ours = {frame.function for site in fault.sites for frame in site.native}
    ours |= {frame.function for known in fault.losses for frame in known.frames if frame.function != "???"}
    return bool(ours & {frame.function for frame in loss.frames})


def _blind(fault: Fault) -> bool:
    """An allocation whose native frames are not known."""
    return fault.kind in ("allocation", "pinned") and not any(site.native for site in fault.sites)


def native_frames(fault: Fault, trace: Trace | None = None) -> tuple[NativeFrame, ...]:
    """The native frames of the site with most bytes that has any, of those with this trace."""
    sites = sorted(fault.sites, key=lambda site: -site.bytes)
    return next((site.native for site in sites if site.native and trace in (None, site.trace)), ())


def native_callers(fault: Fault, trace: Trace) -> tuple[NativeFrame, ...]:
    """The native frames that called the innermost function of `trace`, where nothing native is inside its line."""
    sites = [site for site in fault.sites if site.trace == trace and not site.native]
    return next((site.between for site in sites if site.between), ())

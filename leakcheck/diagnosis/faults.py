"""Puts together what the means found: containers, objects that native code holds, and allocation sites become faults.

One fault is one cause. A site belongs to the container that leads to objects born there; what no container or pinned
object accounts for is a fault of its own, one for each line that calls into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from leakcheck.diagnosis.survivors import NativeFrame, Site, Trace
from leakcheck.probes import places

Place = tuple[str, int, str]


@dataclass
class Fault:
    """One cause while it is being put together."""

    kind: Literal["container", "pinned", "allocation"]
    count: float
    bytes: float
    type: str = ""
    path: list[tuple[str, str]] = field(default_factory=list)
    shape: str = "wider"
    also: list[list[tuple[str, str]]] = field(default_factory=list)
    """Paths of other containers that hold the same objects."""
    adders: list[tuple[tuple[Place, ...], float]] = field(default_factory=list)
    births: list[tuple[Trace, float, float]] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    types: dict[str, float] = field(default_factory=dict)
    weak: bool = False
    lines: set[tuple[str, int]] = field(default_factory=set)
    """Lines outside the standard library on whose behalf it happens."""


def assemble(graph: dict[str, Any] | None, sites: Sequence[Site] | None, heap_growth: float) -> list[Fault]:
    """All faults, those that explain most bytes first. `sites` are memray's; without it the graph's own stand in."""
    faults = _containers(graph["containers"]) if graph else []
    faults += [_pinned(each) for each in graph["pinned"]] if graph else []
    if sites is None:
        sites = [
            Site(tuple((file, line) for file, line in trace), (), (), count, size + 8 * count)
            for trace, count, size in (graph["sites"] if graph else [])
        ]
    for fault in faults:
        fault.lines = _lines(fault)
    rest = [site for site in sites if not _given_to_owner(site, faults)]
    explained = sum(fault.bytes for fault in faults)
    loose = _allocations(rest)
    for fault in loose:
        relative = next((each for each in faults if each.lines & fault.lines), None)
        if relative is not None and (fault.bytes <= 0.5 * relative.bytes or explained >= 0.8 * heap_growth > 0):
            relative.sites += fault.sites
            if explained + fault.bytes <= 1.05 * heap_growth:
                relative.bytes += fault.bytes
                explained += fault.bytes
            continue
        if faults and fault.bytes < 0.02 * max(heap_growth, explained):
            continue
        faults.append(fault)
    strong = [fault for fault in faults if not fault.weak]
    return sorted(strong or faults, key=_order)


def _order(fault: Fault) -> tuple[float, int]:
    return (-fault.bytes, {"container": 0, "pinned": 1, "allocation": 2}[fault.kind])


def _containers(found: list[dict[str, Any]]) -> list[Fault]:
    faults: list[Fault] = []
    for each in found:
        fault = Fault(
            kind="container",
            count=each["count"],
            bytes=each["bytes"],
            type=max(each["elements"], key=each["elements"].get, default=""),
            path=[(label, kind) for label, kind in each["path"]],
            shape=each["shape"],
            adders=[(tuple((f, n, q) for f, n, q in stack), rate) for stack, rate in each["adders"]],
            births=[(tuple((f, n) for f, n in trace), count, size) for trace, count, size in each["sites"]],
            examples=each["examples"],
            types=each["types"],
        )
        fault.weak = fault.type.rpartition(".")[2] in ("ReferenceType", "KeyedRef", "weakref", "WeakMethod")
        owner = next((one for one in faults if not one.weak and _holds_the_same(each, one)), None)
        if owner is not None:
            owner.also.append(fault.path)
        else:
            faults.append(fault)
    return faults


def _holds_the_same(container: dict[str, Any], owner: Fault) -> bool:
    """Whether a container's elements are those that an earlier one has laid claim to."""
    return bool(container["shared_with"] == "".join(label for label, _ in owner.path))


def _pinned(each: dict[str, Any]) -> Fault:
    return Fault(
        kind="pinned",
        count=each["count"],
        bytes=each["bytes"],
        type=each["type"],
        births=[(tuple((f, n) for f, n in trace), count, size) for trace, count, size in each["sites"]],
        examples=each["examples"],
        types=each["types"],
    )


def _lines(fault: Fault) -> set[tuple[str, int]]:
    lines: set[tuple[str, int]] = set()
    for stack, _ in fault.adders:
        lines.update((file, line) for file, line, _ in stack if not places.standard(file))
    for trace, _, size in fault.births:
        if size * 10 >= fault.bytes:
            lines.update(place for place in trace if not places.standard(place[0]))
    return lines


def _given_to_owner(site: Site, faults: list[Fault]) -> bool:
    for fault in faults:
        if any(trace == site.trace for trace, _, _ in fault.births):
            fault.sites.append(site)
            return True
    return False


def _allocations(sites: Sequence[Site]) -> list[Fault]:
    """One fault for each innermost line outside the standard library."""
    groups: dict[Any, list[Site]] = {}
    for site in sites:
        line = next((place for place in site.trace if not places.standard(place[0])), site.trace[:1])
        groups.setdefault(line, []).append(site)
    faults = []
    for group in groups.values():
        fault = Fault(
            kind="allocation",
            count=sum(site.count for site in group),
            bytes=sum(site.bytes for site in group),
            sites=group,
        )
        fault.lines = {place for place in group[0].trace if not places.standard(place[0])}
        faults.append(fault)
    return sorted(faults, key=lambda fault: -fault.bytes)


def native_frames(fault: Fault) -> tuple[NativeFrame, ...]:
    """The native frames of the site with most bytes that has any."""
    return next((site.native for site in sorted(fault.sites, key=lambda site: -site.bytes) if site.native), ())

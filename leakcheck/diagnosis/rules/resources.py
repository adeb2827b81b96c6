"""Rules for resources: the memory that comes with them is a part of them."""

from __future__ import annotations

from dataclasses import replace

from leakcheck.diagnosis.faults import (
    Allocation,
    Case,
    Container,
    Fault,
    Resource,
)
from leakcheck.diagnosis.rules.relations import absorbed, comes_with


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
        return not fault.lines and comes_with(fault.count, resource.count)

    return absorbed(case, belongs)


def _goes_with(fault: Fault, resource: Fault) -> bool:
    """Whether the memory comes as often as the resource does."""
    if isinstance(fault.detail, Allocation) or not resource.on_heap:
        return True
    return resource.count > 0 and 0.5 <= fault.count / resource.count <= 4


def _is_better(container: Container, resource: Resource) -> bool:
    known = resource.path.root if resource.path else None
    return known is None or (known == "standard library" and container.path.root != "standard library")

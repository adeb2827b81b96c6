"""Faults, each one cause of a growth, and how much of the growth they account for.

A fault has what all kinds have in common, and a detail whose type is its kind. All records are frozen: a rule of the
attribution returns new ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from leakcheck import meters
from leakcheck.agent.inquiry import Adder, Arrival, Birth, DriftingObject, Graph, Node, Stack, Taker
from leakcheck.agent.origin import HERE, Origin
from leakcheck.agent.probes import snapshot
from leakcheck.agent.protocol import GarbageMade
from leakcheck.diagnosis.cycles import HiddenCycle
from leakcheck.diagnosis.frames import Line
from leakcheck.diagnosis.memray import Site
from leakcheck.diagnosis.valgrind import Loss

Shape = Literal["wider", "deeper", "heavier"]
"""How a container grows: it gains elements, a chain or tree gains links, or one object gets larger."""
Root = Literal["native code", "standard library", "program"]
"""Whose the first object of a retaining path is."""


class RetainingPath(NamedTuple):
    """How a root leads to what grows."""

    nodes: tuple[Node, ...]
    root: Root = "program"

    @property
    def name(self) -> str:
        """`hub.Hub.listeners`."""
        return "".join(node.label for node in self.nodes)

    @property
    def begins_in_a_thread(self) -> bool:
        """Whether its root is a function that another thread is in."""
        return bool(self.nodes) and self.nodes[0].label.startswith("<frame ")

    @classmethod
    def of(cls, nodes: tuple[Node, ...]) -> RetainingPath:
        """A path as the probe reports it, with whose its root is."""
        label = nodes[0].label if nodes else ""
        if label.endswith(snapshot.BY_NATIVE):
            return cls(nodes, "native code")
        library = label.partition(".")[0] in sys.stdlib_module_names
        return cls(nodes, "standard library" if library else "program")


@dataclass(frozen=True)
class Container:
    """Python objects lead to a container or object that only grows; `GrowingContainer` says what its fields mean."""

    path: RetainingPath
    shape: Shape = "wider"
    many: str = "[*]"
    opaque: bool = False
    limit: int = 0
    shared_with: str = ""
    also: tuple[tuple[RetainingPath, str], ...] = ()
    """Other containers that hold the same objects: their path, and what their elements are called."""


@dataclass(frozen=True)
class Pinned:
    """Native code alone holds the objects, or `atexit` does."""

    at_exit: bool = False
    cycle: HiddenCycle | None = None
    """The cycle that they are part of, where the collector cannot see it."""
    taker: Taker | None = None
    """The call that takes the references, where it was seen."""
    base: str = ""
    """Of classes of which native code holds references: the nearest base that is made in C."""


@dataclass(frozen=True)
class Unclearable:
    """Cycles that the collector finds and cannot free: no type in them can let go of what it refers to."""


@dataclass(frozen=True)
class Allocation:
    """Blocks stay that nobody is known to hold."""

    rare: bool = False
    """Too few came while the object graph was walked to say what holds them."""
    cycle: str = ""
    """The C type without support for the collector that ties them into cycles."""
    beside_foreign: bool = False
    """Whether a container keeps instances of foreign types beside them: what these hold is not known."""


@dataclass(frozen=True)
class Untracked:
    """Only the heap's own ledger shows it: an allocator that no tracker sees."""


@dataclass(frozen=True)
class Frozen:
    """`gc.freeze` put it out of the collector's reach."""


@dataclass(frozen=True)
class Native:
    """Only valgrind shows it."""


@dataclass(frozen=True)
class Resource:
    """Descriptors, threads, files and the like stay; the fault's bytes are those of the memory that comes with them."""

    meter: str
    share: float | None = None
    """The part of the meter's growth."""
    path: RetainingPath | None = None
    secondary: bool = False
    """It comes with more memory of the heap, which is reported first."""


@dataclass(frozen=True)
class Drifting:
    """Native code forgets references that it took to an object, or gives back what it never had; no memory is lost."""

    what: str
    """What the object is called."""
    too_few: bool
    share: float | None = None
    """The part of all references that drift."""


@dataclass(frozen=True)
class Garbage:
    """Cycles that nobody collects, or more of them than a budget is for."""

    way: str
    """By which attributes and elements an object leads back to itself."""


Detail = Container | Pinned | Unclearable | Allocation | Untracked | Frozen | Native | Resource | Drifting | Garbage


@dataclass(frozen=True, kw_only=True, eq=False)
class Fault:
    """One cause. Two faults are the same only where they are one object."""

    detail: Detail
    count: float = 0.0
    """Things per iteration."""
    bytes: float = 0.0
    """Bytes per iteration."""
    type: str = ""
    adders: tuple[Adder, ...] = ()
    """Lines that add, the one to name first."""
    births: tuple[Birth, ...] = ()
    heads: tuple[Birth, ...] = ()
    """Where the elements themselves are born, as opposed to what they lead to."""
    sites: tuple[Site, ...] = ()
    losses: tuple[Loss, ...] = ()
    """What valgrind says of the same memory."""
    examples: tuple[str, ...] = ()
    lines: frozenset[Line] = frozenset()
    """Lines outside the standard library on whose behalf it happens."""

    @property
    def meter(self) -> str:
        """The meter whose growth it explains."""
        if isinstance(self.detail, Drifting):
            return meters.REFERENCES
        if isinstance(self.detail, Garbage):
            return meters.GARBAGE
        return self.detail.meter if isinstance(self.detail, Resource) else meters.LEDGER

    @property
    def on_heap(self) -> bool:
        """Whether its bytes are the heap's."""
        return not isinstance(self.detail, Garbage) and not meters.is_beside_the_heap(self.meter)

    def merged(self, part: Fault, more: float) -> Fault:
        """With what belongs to another fault, which brings `more` bytes that are not counted elsewhere."""
        sites, births = (*self.sites, *part.sites), (*self.births, *part.births)
        return replace(self, sites=sites, births=births, bytes=self.bytes + more)

    def share(self, growth: float) -> float | None:
        """The part of its meter's growth, 0 to 1; None where that is not known."""
        if isinstance(self.detail, Resource | Drifting):
            return self.detail.share
        if isinstance(self.detail, Garbage):
            return 1.0
        if growth <= 0:
            return None
        return min(1.0, self.bytes / growth)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What the rules of the attribution hand on: the evidence, the faults so far, and the sites that are nobody's."""

    growth: float
    """Bytes per iteration by which the heap grows."""
    origin: Origin = HERE
    """Whose code is whose in the measured interpreter."""
    graph: Graph | None = None
    cycles: tuple[HiddenCycle | None, ...] = ()
    """Of each group of objects that native code holds, the cycle that the collector cannot see."""
    sites: tuple[Site, ...] = ()
    faults: tuple[Fault, ...] = ()
    resources: tuple[Fault, ...] = ()
    drifting: tuple[DriftingObject, ...] = ()
    """Objects whose references drift."""
    garbage: GarbageMade | None = None
    """Cyclic garbage that is the growth."""
    ledger: tuple[Arrival, ...] = ()
    """Lines after which the heap's own ledger had grown."""
    losses: tuple[Loss, ...] = ()
    entry: Stack = ()
    """The scenario's own function."""
    iterations: int = 0
    """Iterations in which the object graph was watched."""

    @property
    def explained(self) -> float:
        """Bytes of the heap per iteration that the faults account for."""
        return sum(fault.bytes for fault in self.faults if fault.on_heap)

    @property
    def unexplained(self) -> float:
        """Bytes of the heap per iteration that are left."""
        return self.growth - self.explained

    def is_explained(self, part: float) -> bool:
        """Whether the faults account for such a part of the heap's growth."""
        return self.explained >= part * self.growth > 0

    def explained_part(self, growing: Mapping[str, float]) -> float | None:
        """The explained part of the heap's growth, or where the heap does not grow, of the first of `growing`."""
        if self.growth > 0:
            return round(min(1.0, self.explained / self.growth), 4)
        for meter in growing:
            shares = [fault.share(self.growth) or 0.0 for fault in self.faults if fault.meter == meter]
            if shares:
                return round(min(1.0, sum(shares)), 4)
        return None

    def adding(self, faults: Iterable[Fault]) -> Case:
        """With more faults."""
        return replace(self, faults=(*self.faults, *faults))

    def replacing(self, old: Fault, new: Fault) -> Case:
        """With one fault in the place of another."""
        return replace(self, faults=tuple(new if fault is old else fault for fault in self.faults))

    def without(self, *gone: Fault) -> Case:
        """Without some faults."""
        return replace(self, faults=tuple(fault for fault in self.faults if not any(fault is each for each in gone)))

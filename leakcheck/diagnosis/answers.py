"""What the probes inside the measured process answer, read into records where it arrives.

Fields are named as on the wire, a field that no record here has is ignored, and numbers are per iteration unless they
say otherwise. Nothing else in the diagnosis handles the answers as dictionaries.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from leakcheck.agent.probes import snapshot
from leakcheck.diagnosis.frames import Stack, Trace
from leakcheck.diagnosis.plan import Plan
from leakcheck.errors import LeakcheckError
from leakcheck.records import Record

Shape = Literal["wider", "deeper", "heavier"]
"""How a container grows: it gains elements, a chain or tree gains links, or one object gets larger."""
Root = Literal["native code", "standard library", "program"]
"""Whose the first object of a retaining path is."""


class ToolMissing(LeakcheckError):  # noqa: N818 - not a mistake: the tool counts as skipped
    """A tool is not installed where it is needed; the message says how to get it."""


class Adder(NamedTuple):
    """A line, with its stack, after which there was more."""

    stack: Stack
    rate: float


class Birth(NamedTuple):
    """A stack on which objects or blocks are allocated that stay."""

    trace: Trace
    blocks: float
    bytes: float


class Node(NamedTuple):
    """One step of a retaining path: how it is reached from the one before, and what is there."""

    label: str
    type: str


class RetainingPath(NamedTuple):
    """How a root leads to what grows."""

    nodes: tuple[Node, ...]
    root: Root = "program"

    @property
    def name(self) -> str:
        """`hub.Hub.listeners`."""
        return "".join(node.label for node in self.nodes)


class _Group(Record, frozen=True, kw_only=True):
    """New objects of one holder."""

    count: float
    bytes: float
    types: dict[str, float]
    sites: tuple[Birth, ...]
    heads: tuple[Birth, ...]
    """Where the elements themselves are born, as opposed to what they lead to."""
    examples: tuple[str, ...]


class GrowingContainer(_Group, frozen=True, kw_only=True):
    """A container, or an object that gets larger."""

    path: tuple[Node, ...]
    shape: Shape
    many: str
    """What the elements are called: `[*]`, or `.*` where they have names of their own."""
    opaque: bool
    """Among what is kept are objects of foreign C types, which may hold what the collector knows nothing of."""
    limit: int
    """How many elements it may have; 0 where nothing limits it."""
    shared_with: str
    """Name of the container that holds most of the same objects and was looked at before."""
    elements: dict[str, float]
    """The elements by type."""
    adders: tuple[Adder, ...]
    other_threads: bool
    """Whether there were threads that cannot be watched."""

    @property
    def held(self) -> RetainingPath:
        """The path, with whose its root is."""
        label = self.path[0].label if self.path else ""
        if label.endswith(snapshot.BY_NATIVE):
            return RetainingPath(self.path, "native code")
        library = label.partition(".")[0] in sys.stdlib_module_names
        return RetainingPath(self.path, "standard library" if library else "program")


class PinnedObjects(_Group, frozen=True, kw_only=True):
    """Objects of one kind that native code alone holds."""

    type: str


class Registrations(Record, frozen=True, kw_only=True):
    """What is registered with `atexit`."""

    count: float
    adders: tuple[Adder, ...]


class Graph(Record, frozen=True, kw_only=True):
    """What the walks of the object graph found."""

    probe: ClassVar[str] = "leakcheck.agent.probes.containers"
    containers: tuple[GrowingContainer, ...]
    pinned: tuple[PinnedObjects, ...]
    sites: tuple[Birth, ...]
    frozen: float
    """Objects that `gc.freeze` put out of the collector's reach."""
    freezing: tuple[Adder, ...]
    at_exit: Registrations
    picture: str = ""
    """Why no picture of the back-references could be drawn."""


class Capture(Record, frozen=True, kw_only=True):
    """A file that memray wrote."""

    path: str
    iterations: int


class Captures(Record, frozen=True, kw_only=True):
    """Memray's captures of N and 2N iterations."""

    probe: ClassVar[str] = "leakcheck.agent.probes.memray"
    captures: tuple[Capture, ...] = ()
    missing: str = ""
    """Why there is no memray for that interpreter."""


class Thing(Record, frozen=True, kw_only=True):
    """One resource that stayed, as the system and the interpreter describe it."""

    kind: str
    text: str


class Arrival(Record, frozen=True, kw_only=True):
    """What came on one stack and stayed."""

    stack: Stack
    count: float
    things: tuple[Thing, ...] = ()


class KeptResource(Record, frozen=True, kw_only=True):
    """What stayed of one kind."""

    stacks: tuple[Arrival, ...]
    grown: tuple[str, ...] = ()
    """Names of files or mappings that got larger."""


class Resources(Record, frozen=True, kw_only=True):
    """What stayed, by meter."""

    probe: ClassVar[str] = "leakcheck.agent.probes.resources"
    kinds: dict[str, KeptResource]


class _Answer(Protocol):
    probe: ClassVar[str]


_A = TypeVar("_A", bound=_Answer)


def ask(plan: Plan, answer: type[_A], arguments: Mapping[str, object]) -> _A:
    """Open the scenario in a process of its own and ask the probe that gives such an answer."""
    with plan.start_worker(plan.job) as worker:
        worker.open(plan.options.time_s)
        return msgspec.convert(worker.probe(answer.probe, dict(arguments), plan.options.time_s), answer)

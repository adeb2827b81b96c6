"""The second part of the protocol: what the diagnosis asks of a measured process, and the answers.

Apart from the first part, so that a process that is only measured does not carry it. The same rules hold.
"""

from typing import Literal, NamedTuple

from leakcheck.agent.protocol import Place

Stack = tuple[Place, ...]
"""The innermost place first."""
Trace = tuple[tuple[str, int], ...]
"""Lines `(file, line)`, the innermost first."""


class Birth(NamedTuple):
    """A stack on which objects or blocks are allocated that stay."""

    trace: Trace
    blocks: float
    bytes: float


class Adder(NamedTuple):
    """A line that adds to what is watched."""

    stack: Stack
    rate: float
    """Additions per iteration."""
    function: str = ""
    """The C function that adds, where it was seen, as `module.name`."""


class Node(NamedTuple):
    """One step of a retaining path: how it is reached from the one before, and what is there."""

    label: str
    type: str


class Picture(NamedTuple):
    """Where the back-references of one of the newest objects are to be drawn."""

    file: str
    folder: str
    """Where objgraph may be imported from as a last resort."""


class FindContainers(NamedTuple):
    """Asks which containers grow, what is in them, where that was born, and which line adds it."""

    warm: int
    """Iterations before the first look."""
    iterations: int
    """Between two looks."""
    traced: int
    """At least so many under `tracemalloc`."""
    watch: int
    """At most so many under the trace function."""
    bytes: float
    """By which the heap grows with each iteration."""
    pause: float
    """Seconds after which has gone what the step keeps for a time only."""
    values: bool
    """Whether examples may show what the program keeps, and not types and lengths only."""
    picture: Picture | None
    seconds: float
    """After which no further container is watched: what has been found by then is told."""


class GrowingContainer(NamedTuple):
    """A node of the object graph that grows; numbers are per iteration."""

    bytes: float
    objects: float
    types: dict[str, float]
    sites: tuple[Birth, ...]
    """Where what it gained was born."""
    opaque: bool
    """Whether foreign C types are among what it gained, which may hold what the collector knows nothing of."""
    path: tuple[Node, ...]
    shape: Literal["wider", "deeper", "heavier"]
    many: str
    """What its elements are called: `[*]`, or `.*` in a namespace."""
    per_iteration: float
    """Additions, or bytes where it gets heavier."""
    shared_with: str
    """The container that holds the same objects, by its path; empty where none does."""
    elements: dict[str, float]
    heads: tuple[Birth, ...]
    """Where its elements themselves were born; not per iteration."""
    examples: tuple[str, ...]
    adders: tuple[Adder, ...]
    other_threads: bool
    """Whether there are threads that cannot be watched."""
    limit: int = 0
    """How many elements it may have; 0 for any number."""


class Suspect(NamedTuple):
    """An instance of a C type that may refer to an object without telling the collector."""

    address: int
    size: int
    """Bytes of the instance itself."""
    type: str
    lack: Literal["support", "traverse"]
    """What its type lacks: any support for the collector, or a visit to all that it refers to."""
    path: tuple[Node, ...]
    """How the object leads to it, the object itself first."""


class Pin(NamedTuple):
    """An object that only native code holds, and what it leads to that may lead back to it."""

    address: int
    suspects: tuple[Suspect, ...]


class Taker(NamedTuple):
    """A call, or a line, after which native code has more references to objects than before."""

    function: str
    """As `module.name`; empty where only the line is known."""
    stack: Stack
    """Where it is called."""
    rate: float
    """References per iteration."""
    made: bool
    """Whether the objects were made in that call."""


class PinnedObjects(NamedTuple):
    """Objects that only native code holds; numbers are per iteration."""

    bytes: float
    objects: float
    types: dict[str, float]
    sites: tuple[Birth, ...]
    opaque: bool
    type: str
    per_iteration: float
    heads: tuple[Birth, ...]
    examples: tuple[str, ...]
    pins: tuple[Pin, ...] = ()
    """Some of the newest."""
    takers: tuple[Taker, ...] = ()
    """Calls that took the references, most first."""
    base: str = ""
    """Of classes: the nearest base that is made in C."""


class Unclearable(NamedTuple):
    """Cycles that the collector finds again and again; numbers are per iteration."""

    type: str
    """The type without `tp_clear`."""
    per_iteration: float
    bytes: float
    sites: tuple[Birth, ...]


class Graph(NamedTuple):
    """Answers `FindContainers`."""

    containers: tuple[GrowingContainer, ...]
    pinned: tuple[PinnedObjects, ...]
    unclearable: tuple[Unclearable, ...]
    sites: tuple[Birth, ...]
    """Where blocks were allocated whose number grows."""
    frozen: float
    """Objects that `gc.freeze` puts out of the collector's reach, per iteration."""
    freezing: tuple[Adder, ...]
    at_exit: float
    """Functions that are registered with `atexit`, per iteration."""
    registering: tuple[Adder, ...]
    iterations: int
    phases: dict[str, float]
    """Processor seconds by phase."""
    no_picture: str = ""
    """Why the back-references could not be drawn."""
    unseen: str = ""
    """Why the object graph was not looked at; where blocks were allocated was, even so."""


class WatchReferences(NamedTuple):
    """Asks after which lines and calls an object has references that are never given back, or one too few."""

    warm: int
    iterations: int
    """Of the first of two stretches in which it is seen which objects these are."""
    watch: int
    """Under the trace function."""


class DriftingObject(NamedTuple):
    """One such object."""

    what: str
    rate: float
    """References per iteration; below 0 where there are too few."""
    adders: tuple[Adder, ...]
    """Lines that take them, or that give back what they have not taken."""


class DriftingObjects(NamedTuple):
    """Answers `WatchReferences`."""

    objects: tuple[DriftingObject, ...]


class WatchResources(NamedTuple):
    """Asks which things stay, and after which line each came."""

    warm: int
    kinds: dict[str, int]
    """Iterations to be watched, by meter."""
    values: bool
    """Whether names that the program's data give may be told: of files, threads, tasks, peers, commands."""


class Thing(NamedTuple):
    """One descriptor, thread, task, child or file."""

    kind: str
    text: str


class Arrival(NamedTuple):
    """What came after one line and stayed."""

    stack: Stack
    per_iteration: float
    things: tuple[Thing, ...] = ()
    function: str = ""
    """The C function of the line that brought it, where it was seen."""


class KeptResource(NamedTuple):
    """What stayed of one meter's things."""

    stacks: tuple[Arrival, ...]
    grown: tuple[str, ...] = ()
    """Mappings or files that became larger, by name."""


class Resources(NamedTuple):
    """Answers `WatchResources`."""

    kinds: dict[str, KeptResource]


class TrackSurvivors(NamedTuple):
    """Asks for two runs under memray's tracker, each into a file."""

    warm: int
    iterations: int
    at_least: int
    """Iterations without which what is rare does not come, however slow they are."""
    pause: float
    prefix: str
    """Of the files' paths."""
    memray: str
    """A folder to import memray from as a last resort."""
    cache_tag: str | None
    """Of the interpreter that this memray is for."""


class Capture(NamedTuple):
    """One run under the tracker."""

    path: str
    iterations: int
    seconds: float


class Captures(NamedTuple):
    """Answers `TrackSurvivors`."""

    captures: tuple[Capture, ...] = ()
    missing: str = ""
    """Why there is no memray for this interpreter."""

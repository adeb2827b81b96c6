"""The catalogue of meters: all that the tool knows of each, a row a meter, in the order of reading.

To add a meter, add a row here and, under the same name, its reader in `leakcheck/agent/meters/`. The judge, the
ceilings, the diagnosis, the gate and the reports look a meter up here; no other file holds a set of meter names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

Family = Literal["heap", "allocators", "pages", "children", "objects", "garbage", "system", "disk", "resident", "own"]
"""`heap`: exact ledgers of the allocator. `allocators`: the same of others beside it. `pages`: memory outside the heap,
in whole pages. `children`: the same of child processes. `objects`: what the collector knows. `garbage`: what waits for
it. `system`: things that the system or the interpreter counts. `disk`: files. `resident`: what an operator sees.
`own`: meters of a scenario."""


FAMILIES: Mapping[Family, str] = {
    "heap": "of heap",
    "allocators": "on other allocators' ledgers",
    "pages": "of other memory",
    "children": "of child processes' memory",
    "objects": "",
    "system": "",
    "disk": "",
}
"""What a sentence calls the memory of a family after a quantity of it; families that decide nothing have no word."""


class Thresholds(NamedTuple):
    """What is growth to a meter, in its unit."""

    floor: float
    """Change over a window that a flat series may show."""
    quantum: float
    """The smallest thing that can be lost."""
    notable: float
    """Growth that came after the first call and stopped is worth the word `bounded` from here on; less is warm-up."""
    touched: bool = False
    """Whether memory counts once it is touched: the pages of arenas that threads share are touched ever more rarely,
    and for two doublings of the calls that looks like a rough line."""


BYTES = Thresholds(floor=160.0, quantum=48.0, notable=4096.0)
"""Malloc rounds to 16 bytes, and a reading finds the heap in one of a few states that differ by some such chunks: of
200 readings of a no-op with a question before each, none differs by more than ten. An object of Python takes 32 to 64
bytes of malloc."""
COUNTS = Thresholds(floor=2.0, quantum=1.0, notable=8.0)
"""Descriptors, threads, tasks, children, files: exact, but one or two may be on their way in or out."""
OBJECTS = Thresholds(floor=8.0, quantum=1.0, notable=64.0)
"""Objects of the collector: a few temporary ones differ from reading to reading."""
BLOCKS = Thresholds(floor=4.0, quantum=1.0, notable=64.0)
"""Blocks of Python's own allocator: exact, less what a reading itself makes."""
PAGES = Thresholds(floor=64 * 1024.0, quantum=4096.0, notable=1024 * 1024.0, touched=True)
"""Pages are counted exactly and a step that does nothing moves none; a pool's threads come to touch some ten of their
stacks, and other allocators take 64 KiB at a time."""
CHILDREN = Thresholds(floor=256 * 1024.0, quantum=4096.0, notable=4 * 1024 * 1024.0, touched=True)
"""Pages of other processes, in which nobody collects garbage and hands memory back before a reading."""
RESIDENT = Thresholds(floor=4 * 1024 * 1024.0, quantum=4096.0, notable=16 * 1024 * 1024.0, touched=True)
"""Touched pages, malloc's among them: its own untouched memory moves this by megabytes."""
REFERENCE_COUNTS = Thresholds(floor=5.0, quantum=1.0, notable=64.0)
"""References that no object holds: some are on their way in or out."""
FILES = Thresholds(floor=0.0, quantum=1.0, notable=4096.0)
"""Bytes in files move only where the step writes."""


class Ceiling(NamedTuple):
    """How far a meter may grow before the measurement stops."""

    of: Literal["max_growth", "resources", "things"]
    """Multiples of the budget's `max_growth` or `resources`, or a number of things."""
    times: float


class Words(NamedTuple):
    """How a leak of a resource is reported."""

    one: str
    came: str
    never: str
    shown: Literal["example", "type", ""] = ""
    """What tells one from another: an example of it (a path), or its type (a class of threads)."""


class MeterSpec(NamedTuple):
    """One meter."""

    name: str
    unit: str
    """`B` for bytes, else the plural of what is counted; empty where a scenario's own meter has none."""
    family: Family
    thresholds: Thresholds
    decisive: bool = True
    """Whether growth of this meter makes a leak, or is evidence only."""
    ceiling: Ceiling | None = None
    diagnosed_up_to: float = float("inf")
    """How much of it one process of the diagnosis may take, in its unit: far below what the system refuses."""
    words: Words | None = None
    """Set for what the diagnosis watches line by line."""
    better: str = ""
    """The meter that counts the same things better, where both grow."""
    told_by: str = ""
    """The meter whose findings are this one's too, where they explain most of that: who maps memory also touches it."""
    caused_by: tuple[str, ...] = ()
    """Meters whose growth explains this one's: a thread has a stack, which is a mapping."""
    off_heap: bool = False
    """Whether its growth takes no memory of the heap, so that nothing need be looked for there."""
    piece: float = 1.0
    """How much of it one likely thing takes, in its unit: tells how rare a growth is."""
    headline: bool = False
    """Whether its sensitivity is among the first that are reported."""
    in_service: Literal["decisive", "evidence", ""] = ""
    """What its growth is to the monitor of a living process; empty where that does not read it."""
    occasional: bool = False
    """Whether it is there only where a scenario has what it counts, so that nothing is missing without it."""
    afterwards: bool = False
    """Whether it is read once the others are judged, by a look of its own, and not in each round."""
    screened: bool = False
    """Whether it is quick enough to be read around each of the few calls by which tests are screened."""
    of_all: bool = False
    """Whether it counts what all processes of the user have: another may make it grow."""


_OBJECT_BYTES = 64.0
"""Bytes of the smallest object that is likely to be lost."""
_FREE_BYTES = 256 * 1024.0
"""Bytes that a process has free when it has started, and takes before it asks for more."""
_PAGE_BYTES = 4096.0
"""Bytes of a page, the least that can be mapped."""

LEDGER = "heap.bytes"
"""The meter that can be read after each call, so that its troughs are known."""
BLOCKS_LEDGER = "py.blocks"
ALLOCATORS = "allocators.bytes"
FREE_IN_HEAP = "heap.free"
RESIDENT_HEAP = "heap.resident"
RESIDENT_SIZE = "rss"
LIVE_OBJECTS = "py.objects"
TASKS = "tasks"
CHILDREN_ALIVE = "children"
CHILDREN_BYTES = "children.bytes"
UNREAD_CHILDREN = "children.unread"
REFERENCES = "refs"
GARBAGE = "garbage.bytes"
"""Bytes of cyclic garbage per iteration, which wait for the collector: no leak, unless nobody collects them or a budget
is for less."""
CLIENT_BYTES = "client.bytes"
"""The ledger of the process that sends a service its requests: what it keeps itself is none of the service's."""
CYCLES = "py.cycles"
"""Objects of cyclic garbage per iteration, which the settling counts: advice, never a leak."""

CATALOGUE = (
    MeterSpec(
        LEDGER, "B", "heap", BYTES, ceiling=Ceiling("max_growth", 1), piece=_OBJECT_BYTES,
        headline=True, in_service="decisive", screened=True,
    ),
    MeterSpec(BLOCKS_LEDGER, "blocks", "heap", BLOCKS, headline=True, in_service="evidence"),
    MeterSpec(
        ALLOCATORS, "B", "allocators", BYTES, ceiling=Ceiling("max_growth", 1),
        words=Words("memory of another allocator", "taken", "never given back"), off_heap=True, piece=_OBJECT_BYTES,
        occasional=True,
    ),
    MeterSpec(
        "mapped.bytes", "B", "pages", PAGES,
        ceiling=Ceiling("things", 1 << 44),  # address space costs nothing until it is touched; there are 2 to the 47th
        diagnosed_up_to=1 << 30, words=Words("mapping", "mapped", "never unmapped"),
        better=ALLOCATORS, caused_by=("threads", "py.threads"), off_heap=True, piece=_PAGE_BYTES, screened=True,
    ),
    MeterSpec(
        "anon.bytes", "B", "pages", PAGES, ceiling=Ceiling("max_growth", 1),
        words=Words("memory outside the heap", "taken", "never given back"), better=ALLOCATORS,
        told_by="mapped.bytes", caused_by=("threads", "py.threads"), off_heap=True, piece=_PAGE_BYTES, screened=True,
    ),
    MeterSpec(
        "private.bytes", "B", "pages", RESIDENT, ceiling=Ceiling("max_growth", 1), piece=_OBJECT_BYTES,
        occasional=True,
    ),
    MeterSpec(
        "shm", "B", "pages", PAGES, ceiling=Ceiling("max_growth", 1),
        words=Words("shared memory", "taken", "never given back"), told_by="mapped.bytes", off_heap=True,
    ),
    # Linux allows a process 65,530 mappings by default (vm.max_map_count): a quarter of that.
    MeterSpec("mappings", "mappings", "system", COUNTS, decisive=False, ceiling=Ceiling("things", 16_000)),
    MeterSpec(FREE_IN_HEAP, "B", "resident", RESIDENT, decisive=False),
    MeterSpec(RESIDENT_HEAP, "B", "resident", RESIDENT, decisive=False),
    MeterSpec(RESIDENT_SIZE, "B", "resident", RESIDENT, decisive=False, in_service="decisive"),
    MeterSpec("peak", "B", "resident", RESIDENT, decisive=False),
    MeterSpec(LIVE_OBJECTS, "objects", "objects", OBJECTS, headline=True, in_service="evidence"),
    MeterSpec("uncollectable", "objects", "objects", COUNTS, in_service="decisive", screened=True),
    MeterSpec(
        "fds", "fds", "system", COUNTS, ceiling=Ceiling("resources", 1), diagnosed_up_to=4096,
        words=Words("file descriptor", "opened", "never closed", "example"), off_heap=True, headline=True,
        in_service="decisive", screened=True,
    ),
    MeterSpec(
        "threads", "threads", "system", COUNTS, ceiling=Ceiling("resources", 1), diagnosed_up_to=400,
        words=Words("thread", "started", "never ends", "type"), off_heap=True, headline=True,
        in_service="decisive", screened=True,
    ),
    MeterSpec(
        "py.threads", "threads", "system", COUNTS,
        words=Words("thread", "started", "never ends", "type"), better="threads", off_heap=True,
    ),
    MeterSpec(
        "timers", "timers", "system", COUNTS, ceiling=Ceiling("resources", 1), diagnosed_up_to=400,
        words=Words("POSIX timer", "created", "never deleted"), off_heap=True,
    ),
    MeterSpec(
        "watches", "watches", "system", COUNTS, ceiling=Ceiling("things", 8192), diagnosed_up_to=400,
        words=Words("watch of inotify or epoll", "added", "never removed"), off_heap=True,
    ),
    # A process may have 1024 keys, of which the interpreter takes some: half of that.
    MeterSpec(
        "pthread.keys", "keys", "system", COUNTS, ceiling=Ceiling("things", 512), diagnosed_up_to=100,
        words=Words("key of thread-specific data", "created", "never deleted"), off_heap=True,
    ),
    # Linux allows the whole system 4096 segments and 32,000 sets of semaphores by default.
    MeterSpec(
        "sysv.segments", "segments", "system", COUNTS, ceiling=Ceiling("things", 512), diagnosed_up_to=100,
        words=Words("segment of System V shared memory", "made", "never removed"), off_heap=True,
    ),
    MeterSpec(
        "sysv.sets", "sets", "system", COUNTS, ceiling=Ceiling("things", 512), diagnosed_up_to=100,
        words=Words("set of semaphores or message queue of System V", "made", "never removed"), off_heap=True,
        of_all=True,
    ),
    # A user may have 200 keys by default.
    MeterSpec(
        "keyring.keys", "keys", "system", COUNTS, ceiling=Ceiling("things", 100), diagnosed_up_to=20,
        words=Words("key in a keyring", "added", "never removed"), off_heap=True, of_all=True,
    ),
    MeterSpec(
        CHILDREN_ALIVE, "processes", "system", COUNTS, ceiling=Ceiling("resources", 1), diagnosed_up_to=400,
        words=Words("child process", "started", "never waited for", "example"), off_heap=True, screened=True,
    ),
    MeterSpec(
        CHILDREN_BYTES, "B", "children", CHILDREN, ceiling=Ceiling("max_growth", 1),
        words=Words("memory of a child process", "taken", "never given back"), caused_by=("children",), off_heap=True,
        piece=_FREE_BYTES,
    ),
    MeterSpec(UNREAD_CHILDREN, "processes", "children", COUNTS, decisive=False),
    MeterSpec(
        CLIENT_BYTES, "B", "own", BYTES, decisive=False, ceiling=Ceiling("max_growth", 1), occasional=True,
    ),
    MeterSpec(
        "disk.files", "files", "disk", COUNTS, words=Words("file", "written", "never removed", "example"),
        off_heap=True, screened=True,
    ),
    MeterSpec(
        "disk.bytes", "B", "disk", FILES, ceiling=Ceiling("max_growth", 1),
        words=Words("file", "written", "never removed"), better="disk.files", off_heap=True, piece=_OBJECT_BYTES,
    ),
    MeterSpec(
        TASKS, "tasks", "system", COUNTS, words=Words("task", "created", "never finishes", "type"), occasional=True,
        in_service="decisive",
    ),
    MeterSpec(GARBAGE, "B", "garbage", BYTES, decisive=False, off_heap=True, afterwards=True, occasional=True),
    MeterSpec(REFERENCES, "references", "objects", REFERENCE_COUNTS, off_heap=True, afterwards=True),
)  # fmt: skip
"""Exact ledgers first, so that no other meter's temporary objects are on them."""


def find(name: str) -> MeterSpec | None:
    """The row of a meter; None for a scenario's own."""
    return next((spec for spec in CATALOGUE if spec.name == name), None)


def of(name: str, unit: str, floor: float = 0.0) -> MeterSpec:
    """The row of a meter, one made for it where it is a scenario's own; with a floor, where it is read less exactly."""
    row = find(name) or MeterSpec(name, unit, "own", BYTES if unit == "B" else COUNTS)
    known = row.thresholds
    return row if floor <= known.floor else row._replace(thresholds=known._replace(floor=floor))


def of_family(*families: Family) -> list[str]:
    """The names of the meters of some families, in the order of reading."""
    return [spec.name for spec in CATALOGUE if spec.family in families]


def is_beside_the_heap(name: str) -> bool:
    """Whether a meter counts bytes that are not the heap's."""
    spec = find(name)
    return spec is not None and spec.unit == "B" and spec.family in ("allocators", "pages", "children", "disk")


def tells_more(unit: str, growth: float) -> tuple[bool, bool, float]:
    """Orders meters that grow: what the system counts tells more than bytes, bytes more than a number of objects."""
    return unit not in ("B", "objects"), unit == "B", growth


def watched(growing: Iterable[str]) -> list[str]:
    """The growing meters that the diagnosis watches line by line: resources, each thing once, and scenarios' own."""
    names = list(growing)
    found = []
    for name in names:
        spec = of(name, "")
        resource = spec.words is not None and spec.better not in names and not set(spec.caused_by) & set(names)
        if resource or spec.family == "own":
            found.append(name)
    return found

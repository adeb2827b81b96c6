"""The typed messages between the tool and the measured process, and their version.

A message is one line of JSON: a request is `[name, field, ...]`, an answer `[field, ...]`, or `{"failed": [...]}` where
the measured process raised. Records travel as arrays of their fields, in the order of definition. The first request is
`Hello`; whatever comes after it has exactly one answer. docs/protocol.md tells it to those who write for another
runtime.

The measured process imports this module: it uses the standard library only, and of that the cheap parts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

VERSION = 11
"""Goes up with every change of a record here."""

GcMode = Literal["collect", "auto", "off", "freeze"]
Place = tuple[str, int, str]
"""File, line, qualified name of a function."""


class Hello(NamedTuple):
    """The first message: which protocol the tool speaks. It has an answer only where the versions differ."""

    version: int


class Failed(NamedTuple):
    """An exception of the user's code, or of ours."""

    type: str
    message: str
    traceback: str
    errno: int | None
    during: str
    said: str
    """The message as far as it holds no value of the program, and where it was raised."""
    stack: str
    """The traceback without messages."""


NOT_THERE = "not there"
"""Type of a `Failed` whose target names something that does not exist: a mistake of typing, and none of the code."""
INTERNAL = "internal"
"""Type of a `Failed` that the tool's own code in the measured process has raised."""


class Roots(NamedTuple):
    """Where code lives in the measured interpreter: folders, each with a separator at its end."""

    own: tuple[str, ...]
    """The tool's part in the measured process, and trackers that it uses."""
    packages: tuple[str, ...]
    """Installed packages; the rest of the tool is one of them, wherever it lies."""
    library: tuple[str, ...]
    """The standard library."""


class List(NamedTuple):
    """Import a target and list the scenarios in it."""

    target: str


class Described(NamedTuple):
    """One scenario of a target."""

    name: str
    doc: str = ""
    line: int = 0
    file: str = ""
    marked: bool = True
    """Whether it carries `@scenario`, and is not the `main` of a script or a function that was named."""
    tags: list[str] = []  # noqa: RUF012 - defaults of a NamedTuple, never changed
    expect: Literal["clean", "leak"] = "clean"
    budget: dict[str, float] = {}  # noqa: RUF012
    time_budget: float | None = None
    max_iterations: int | None = None
    max_growth: int | str | None = None
    tools: list[str] | None = None
    timeouts: dict[str, float] | None = None
    native: bool = False
    legal: list[str] | None = None
    """Names of the exceptions by which the step is made to fail, see `Fault`; None where the run says it."""


class Listed(NamedTuple):
    """Answers `List`, in the order of definition."""

    scenarios: list[Described]


PointKind = Literal["call", "operation", "entry", "await", "task", "allocation", "instruction"]
"""`call`: a call that the user's code makes. `operation`: one of a file or socket, by whoever. `entry`: a function or
generator of the user's that is called back. `await`: where a coroutine waits. `task`: where a task that the step has
started waits. `allocation`: memory that the interpreter asks for in an instruction of Python code. `instruction`: such
an instruction, whatever it does."""
CANCELLATIONS: tuple[PointKind, ...] = ("await", "task")
"""Points at which nothing is raised."""


class Fault(NamedTuple):
    """A failure that strikes each call of the step, at one point."""

    kind: PointKind
    file: str
    function: str
    """Qualified name."""
    first_line: int
    """Of the function."""
    offset: int
    """Of the instruction in it, in bytes."""
    turn: int
    """At which time that a call of the step comes by, from 1 on; of an allocation, which of the instruction's."""
    exception: str
    """Name of a class: of a built-in one by itself, else `module:name`."""
    after: bool = False
    """Whether it strikes when what is called has returned, and not in its place."""
    turns: int = 1
    """Of an allocation: so many in a row fail, each in a call of its own."""


CALLS_BEFORE_FAULTS = 3
"""Plain calls before a step is made to fail: what is done once is done by then."""


class Open(NamedTuple):
    """Import the target, run the scenario's set-up, make the meters."""

    target: str
    name: str
    directory: str
    """The scenario's own, `ctx.tmp_path`."""
    directories: list[str]
    """Whose files are counted."""
    gc: GcMode
    meters: list[str]
    """To be read, in this order."""
    fault: Fault | None = None
    """What is injected into each call of the step."""
    asked: str = ""
    """The role of the process that answers questions, where that is another than the one that calls the step."""


PROGRAM = "program://"
"""How a target begins that is a program of another runtime, before its path: it is started itself, and speaks this
protocol."""
HOSTED = ("pytest_item://", "pytest_suite://", "unittest_test://")
"""Targets whose step exists only inside another runner: that imports them, and holds the conversation where it is."""


class Opened(NamedTuple):
    """Answers `Open`."""

    meters: list[tuple[str, str]]
    """Name and unit of what is read, in the order of the values of `Sampled`; of the tool's own, the
    catalogue knows the unit."""
    unavailable: dict[str, str] = {}  # noqa: RUF012 - defaults of a NamedTuple, never changed
    """Meters that cannot work here, with the reason."""
    python: str = ""
    """The interpreter's version."""
    descriptor_limit: int | None = None
    roots: Roots = Roots((), (), ())
    libraries: list[str] = []  # noqa: RUF012 - a NamedTuple's default, never changed
    """Files of the native libraries that are loaded."""
    service: bool = False
    """Whether the meters are those of a service, to which this process sends requests."""
    answers_probes: bool = False
    """Whether it answers what `PROBES` has; else it is asked for `Run` and `Close` only."""
    floors: dict[str, float] = {}  # noqa: RUF012
    """By meter, how far its readings may be apart though nothing grows, where that is more than the tool knows of."""


class Run(NamedTuple):
    """Run the step, settle, read. Numbers have 18 digits: messages of one length leave one size of hole in the heap."""

    iterations: str
    watch: str
    """How many of the last iterations have a reading of the heap after each."""
    whole: bool
    """Whether garbage is looked for among all objects, and not among young ones only."""

    @property
    def calls(self) -> int:
        """How often the step is called."""
        return int(self.iterations)

    @classmethod
    def of(cls, iterations: int, watch: int, whole: bool) -> "Run":
        """Of plain numbers."""
        return cls(f"{iterations:018}", f"{watch:018}", whole)


READING = ("iterations", "seconds", "spent", "cycles", "lowest")
"""The numbers of a reading before those of the meters."""


class Sampled(NamedTuple):
    """Answers `Run`."""

    numbers: str
    """`READING`, then a value a meter: doubles in the machine's order, in hexadecimal digits. Always of one length."""
    raised: Failed | None
    """The exception that ended the round, if one did."""


class Close(NamedTuple):
    """Run the scenario's tear-down."""


class Closed(NamedTuple):
    """Answers `Close`."""


class LimitedContainers(NamedTuple):
    """Asks which containers with a limit there are, and how full."""

    in_sight: bool
    """Leave out those that were put aside before the user's code."""


class LimitedContainer(NamedTuple):
    """A container with a limit."""

    kind: Literal["lru_cache", "deque"]
    name: str
    """`module.function` of an `lru_cache`."""
    identity: int
    size: int
    limit: int
    asked: int | None = None
    """How often an `lru_cache` was asked; None where that is not known."""


class LimitedContainersFound(NamedTuple):
    """Answers `LimitedContainers`."""

    containers: list[LimitedContainer]


class EmptyCaches(NamedTuple):
    """Empty all `lru_cache`s with a limit."""


class Emptied(NamedTuple):
    """Answers `EmptyCaches`."""

    caches: int


class Collect(NamedTuple):
    """Run the collector once, whatever the run's mode."""


class Collected(NamedTuple):
    """Answers `Collect`."""

    found: int
    """Unreachable objects."""


class ReadsClock(NamedTuple):
    """Asks whether the user's code reads a clock when the step runs, which it does `calls` times."""

    calls: int


class ClockRead(NamedTuple):
    """Answers `ReadsClock`."""

    reads: bool


class HolderSizes(NamedTuple):
    """Asks how much is in what could be a cache, a buffer or a pool."""


class Held(NamedTuple):
    """Answers `HolderSizes`."""

    complete: bool
    """False where not all can be seen, since the program has put objects aside itself, the collector is not ours to
    run, or there are too many. Then the rest says nothing."""
    things: int
    """How many things something refers to."""
    sizes: list[tuple[int, int]]
    """Identity and size of each container and buffer."""
    text: int
    """Length of all long texts."""
    keyed: list[int]
    """Which of the containers have keys, and so may be asked for one again."""


class KeysComeAgain(NamedTuple):
    """Asks what is put into the dicts and sets that grow when they are emptied. The step is run twice `calls` times."""

    calls: int


class KeysCame(NamedTuple):
    """Answers `KeysComeAgain`."""

    weight: float
    """Bytes by which those that grow do so in each call."""
    added: int
    """Keys that were put into the emptied ones."""
    again: int
    """Those of them that had been there, and were not among the first."""


class NewAreHeld(NamedTuple):
    """Asks whether anything old refers to what the step leaves, which is run `calls` times."""

    calls: int


class HeldByOld(NamedTuple):
    """Answers `NewAreHeld`; None where what is new is nothing that the collector knows, or not all can be seen."""

    held: bool | None


class LetTimePass(NamedTuple):
    """Runs the step while the clock that the user's code reads goes forward by so many seconds, in small pieces."""

    seconds: float
    calls: int


class TimePassed(NamedTuple):
    """Answers `LetTimePass`."""

    raised: bool
    """Whether the step raised; then less time has passed."""


class CountReferences(NamedTuple):
    """Asks whose reference count drifts while the step is run `iterations` times, and then twice as often."""

    iterations: int
    whole: bool
    """Whether what all objects hold is taken off, those too that were put aside before the user's code."""

    @property
    def calls(self) -> int:
        """How often the step is called at most, once more for what it returns."""
        return 3 * self.iterations + 1


class Drift(NamedTuple):
    """An object to which there are ever more, or ever fewer, references that no object holds."""

    identity: int
    what: str
    """Its name, where it has one, else that of its type."""
    changes: tuple[int, int]
    """References that came in the first and in the second stretch; below 0 for those that went."""
    left: int
    """References that there are now."""
    by_instances: bool = False
    """Whether it is a type, and they are those of its instances, which have not given them back at their end."""

    def rate(self, iterations: int) -> float:
        """References per iteration, over both stretches of so many."""
        return sum(self.changes) / (3 * iterations)


class ReferencesCounted(NamedTuple):
    """Answers `CountReferences`."""

    iterations: int
    """After which it was counted for the last time: a third of the most, where nothing had changed."""
    objects: int
    """Of the collector's, how many were looked at, and all that they refer to."""
    immortal: int
    """Of all these, how many have no count: the interpreter never frees them."""
    drifts: list[Drift]
    why_not: str = ""
    """Why nothing was counted; empty where it was."""
    raised: bool = False
    """Whether that is because the step raised."""


class MeasureGarbage(NamedTuple):
    """Asks how much cyclic garbage the step makes, and how much of it waits until the collector comes by itself."""

    iterations: int
    """At most so many."""
    bytes: float
    """Of garbage, at most."""
    seconds: float
    """At most, waiting for the collector."""

    @property
    def calls(self) -> int:
        """How often the step is called."""
        return self.iterations + 64


class GarbageMade(NamedTuple):
    """Answers `MeasureGarbage`."""

    objects: float
    """Per iteration."""
    bytes: float
    """Per iteration."""
    waiting: list[tuple[int, float]]
    """Iterations, and the bytes that waited then, each more than the one before."""
    collected: bool
    """Whether the collector came by itself before one of the limits was met."""
    type: str
    """Of an object that leads back to itself; empty where none was found."""
    way: str
    """By which attributes and elements it does."""
    stack: tuple[Place, ...]
    """Of the line after which it does, the innermost place first."""
    why_not: str
    """Why nothing was measured; empty where it was."""


class WhereTimeGoes(NamedTuple):
    """Asks on which line the step spends its time, which is run `calls` times."""

    calls: int


class TimeSpent(NamedTuple):
    """Answers `WhereTimeGoes`."""

    stack: tuple[Place, ...]
    """Of the line on which most is spent, the innermost place first; empty where none was seen."""
    share: float
    """Part of the time."""


class CountUnfinished(NamedTuple):
    """Asks what an async step leaves undone, which is run `calls` times."""

    calls: int


class UnfinishedWork(NamedTuple):
    """Work that was begun and is never done."""

    kind: Literal["task", "coroutine", "async generator"]
    name: str
    stack: tuple[Place, ...]
    """Where it was created, the innermost place first."""
    rate: float
    """Per iteration."""


class Unfinished(NamedTuple):
    """Answers `CountUnfinished`."""

    work: list[UnfinishedWork]


STRETCHES = 4
"""Stretches that are compared, after which it is asked what stays: three gains."""


class WhatStays(NamedTuple):
    """Asks what stays when the step is left alone for `pause` seconds after each of some equal stretches.

    For a minute or more nobody waits: see `LetTimePass`.
    """

    iterations: int
    pause: float

    @property
    def calls(self) -> int:
        """How often the step is called: as often again after each pause."""
        return 2 * STRETCHES * self.iterations


class Stayed(NamedTuple):
    """Answers `WhatStays`."""

    bytes: list[float]
    """Per iteration, a number a stretch; zeros where no container is larger by the same number after each."""


class WhoGrows(NamedTuple):
    """Asks in which processes of a program a meter has risen lately.

    Where others wait for the same requests, the one that grows most gets `calls` for itself.
    """

    meter: str
    calls: int


class Grower(NamedTuple):
    """Processes of one role."""

    role: str
    processes: int
    growth: list[float]
    """Per call of the step, of each of them."""
    ended: int = 0
    """How many others have ended."""
    went: float = 0.0
    """How far the heap had risen at most in one of those."""


class Growers(NamedTuple):
    """Answers `WhoGrows`."""

    roles: list[Grower]
    alone: float
    """Growth of the processes of its role, per call of the step; where others wait for requests at the same socket,
    of that process alone, per request while it answers all."""
    asked: str
    """The role of that process; empty where it is the one that calls the step."""


class Driven(NamedTuple):
    """What a process is told that has asked for calls of the step."""

    done: int
    """Less than were asked for where one had no answer."""
    seconds: float


PROBES: Mapping[str, str] = {
    question: f"leakcheck.agent.probes.{module}"
    for module, questions in {
        "limited": ("LimitedContainers", "EmptyCaches"),
        "holders": ("HolderSizes", "NewAreHeld", "Collect"),
        "keys": ("KeysComeAgain",),
        "expiring": ("ReadsClock", "WhatStays"),
        "ahead": ("LetTimePass",),
        "references": ("CountReferences",),
        "drifting": ("WatchReferences",),
        "garbage": ("MeasureGarbage",),
        "pace": ("WhereTimeGoes",),
        "unfinished": ("CountUnfinished",),
        "containers": ("FindContainers",),
        "resources": ("WatchResources",),
        "memray": ("TrackSurvivors",),
        "failing": ("FindPoints", "SetFault", "FindAllocations"),
    }.items()
    for question in questions
}
"""What can be asked of an opened scenario besides `Run` and `Close`: the name of the question's record, and the module
that has it and answers it by `async def answer(conversation, question)`."""

ASKED_WHILE_MEASURING = tuple(f"leakcheck.agent.probes.{module}" for module in ("limited", "holders", "expiring"))
"""Every process loads these before the user's code: loaded at the first question, they would be a step in the series
that is being judged."""


class MeasuredBefore(NamedTuple):
    """What a call that was measured before returns when its test is run again: the same as it did then."""

    verdict: str
    ok: bool
    reason: str
    iterations: int
    growth: dict[str, float]
    findings: tuple[Any, ...] = ()


class PytestRequest(NamedTuple):
    """The target of a measured pytest test: everything that finds it again as pytest did for the user."""

    nodeid: str
    path: str
    explicit: bool
    """Whether a call inside the test is measured, and not the test."""
    before: Sequence[MeasuredBefore]
    arguments: list[str]
    more_arguments: list[str]
    environment: dict[str, str]
    sys_path: list[str]
    plugin: str
    """The module of the plugin: it need not be installed in the measured interpreter."""


class SuiteRequest(NamedTuple):
    """The target of a process that screens tests of pytest: see `PytestRequest` for the fields."""

    arguments: list[str]
    more_arguments: list[str]
    environment: dict[str, str]
    sys_path: list[str]
    plugin: str
    meters: list[str]
    """Read around each call; the first is the ledger of the heap."""


class ScreenTest(NamedTuple):
    """Runs a test some times, and asks whether it leaves anything."""

    nodeid: str
    took_s: float
    """Seconds that it took the user."""


class TestScreened(NamedTuple):
    """Answers `ScreenTest`."""

    flat: bool
    """Whether it left nothing: then a loss of `masked` or more in each call would have shown."""
    calls: int
    """Over which it left nothing, or did not come to that."""
    growth: dict[str, float]
    """Per call, by meter that rose."""
    masked: dict[str, float]
    """By meter that was read."""
    seconds: float


class UnittestRequest(NamedTuple):
    """The target of a measured test of a `LeakTestCase`."""

    module: str
    file: str
    class_name: str
    method: str
    whole: bool
    """Whether the test itself is measured, and not a call inside it."""
    before: Sequence[MeasuredBefore]
    sys_path: list[str]

"""The records that every stage passes along, defined once; their JSON form is the schema `leakcheck/1`.

One direction: scenario -> job -> samples -> verdict -> findings -> result -> report. A stage takes a record and
returns a record; none is changed in place. Unknown fields of a newer minor version are ignored on reading.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

SCHEMA = "leakcheck/1"

Verdict = Literal["clean", "screened", "bounded", "leak", "inconclusive", "error", "skipped"]
VERDICTS: tuple[Verdict, ...] = ("clean", "screened", "bounded", "leak", "inconclusive", "error", "skipped")
"""`screened`: some calls of a test have left nothing; the judge was not asked, so it is not `clean`."""

FindingKind = Literal["allocation", "container", "native", "resource"]
Suspicion = Literal["innocent", "unknown", "guilty"]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of all records: immutable, typed, compared by value."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One reading of a meter: `[iterations so far, value]`."""

    iterations: int
    value: float


class Frame(Record, frozen=True, kw_only=True):
    """One line of a stack. Stacks run from the frame nearest to the fault outwards to the step's entry."""

    file: str
    line: Annotated[int, Meta(ge=0)]
    function: str
    native: bool = False
    source: str = ""
    """The text of the line, or empty where it is not at hand."""
    user: bool = False
    """True for code of the scenario's own project (neither the interpreter, nor installed packages, nor leakcheck)."""
    context: list[str] = []
    """Source lines around `line` for the report, the first at `context_start`."""
    context_start: int = 0


class PathNode(Record, frozen=True, kw_only=True):
    """One step of a retaining path, from a root (module, frame, thread, ...) to the growing container."""

    name: str
    """How it is reached from the node before: `hub`, `.listeners`, `['key']`, `[*]`."""
    type: str
    suspect: bool = False
    """True in the stretch in which the forgotten reference must be: the part a report underlines."""
    status: Suspicion = "unknown"
    why: str = ""
    """Why it is innocent or guilty, in a few words."""


class Finding(Record, frozen=True, kw_only=True):
    """One cause of growth."""

    kind: FindingKind
    fingerprint: str
    """Stable hash of the fault: the same after lines moved, on other machines and Pythons. The key of baselines."""
    title: str
    """The sentence that a person needs first."""
    bytes_per_iteration: float | None = None
    count_per_iteration: float | None = None
    meter: str = "heap.bytes"
    """The meter whose growth this finding explains."""
    share: float | None = None
    """The part of that meter's growth which this finding explains, 0 to 1."""
    stack: list[Frame] = []
    path: list[PathNode] = []
    type: str = ""
    """Type of what grows or stays, where known: `Listener`, `socket`, `thread`."""
    examples: list[str] = []
    """Short safe descriptions of some of the newest: elements, descriptors, threads, records."""
    hint: str = ""
    """What to do or install to learn more; empty where nothing is missing."""
    source: str = ""
    """Which means found it: `survivors`, `graph`, `valgrind`, `resources`."""
    known: str = ""
    """Why the team accepted this leak, where the gate found it in the baseline; empty otherwise."""


class Meter(Record, frozen=True, kw_only=True):
    """What one meter read and what the judge made of it."""

    name: str
    unit: str
    """`B` for bytes, else the plural of what is counted: `objects`, `fds`, `threads`."""
    verdict: Verdict
    growth: float = 0.0
    """Change per iteration once warm, in `unit` per iteration."""
    low: float = 0.0
    high: float = 0.0
    """Confidence interval of `growth` (99 %)."""
    detectable: float | None = None
    """The smallest growth per iteration that this series would have shown as a leak."""
    once_in: int | None = None
    """In how many calls at least one loss must come to show so: a loss is `detectable * once_in` or more."""
    model: str = ""
    """`constant`, `step`, `saturating`, `periodic`, `linear` or `noise`: which shape describes the series best."""
    reason: str = ""
    decisive: bool = True
    """False for evidence that never decides a verdict (rss, cyclic garbage)."""
    samples: list[Sample] = []


class ToolRun(Record, frozen=True, kw_only=True):
    """Whether a tool ran for a scenario, and if not, why: a skipped check never counts as clean."""

    name: str
    status: Literal["ok", "skipped", "error", "not needed"]
    reason: str = ""
    duration_s: float = 0.0


class Failure(Record, frozen=True, kw_only=True):
    """Why a job has no verdict: the exception or signal that ended it."""

    type: str
    """Exception type, `signal`, `exit`, `timeout`, `memory`; `node` where nodes of a cluster were lost."""
    message: str
    traceback: str = ""
    output: str = ""
    """The last lines that the child printed."""


class ScenarioResult(Record, frozen=True, kw_only=True):
    """What is known of one scenario after a run."""

    id: str
    """`path/to/file.py::function[parameters]`; stable between runs: the key of history, gate and merge."""
    verdict: Verdict
    expect: Literal["clean", "leak"] = "clean"
    ok: bool
    """Whether the verdict is what was expected."""
    reason: str
    """One sentence."""
    iterations: int = 0
    duration_s: float = 0.0
    phases: dict[str, float] = {}
    """Seconds of it by what was done: `start`, `rounds`, `challenges`, `tear-down`, and the tools of the diagnosis, of
    which some run side by side."""
    detectable: dict[str, float] = {}
    """The smallest growth per iteration that would have shown, by meter that did not go on growing."""
    once_in: dict[str, int] = {}
    """In how many calls at least one loss must come to show so, by meter."""
    meters: list[Meter] = []
    findings: list[Finding] = []
    explained: float | None = None
    """The part of the growth that the findings explain, 0 to 1; None where nothing grew."""
    advice: list[str] = []
    """Remarks that are not leaks: cyclic garbage per iteration, a cache that was named, a meter that is missing."""
    tools: list[ToolRun] = []
    failure: Failure | None = None
    tags: list[str] = []
    doc: str = ""
    file: str = ""
    line: int = 0
    command: str = ""
    """The exact command line that reproduces this result."""
    budget: dict[str, float] = {}
    origin: str = ""
    """The platform that this result is of, where results of several were merged; empty otherwise."""
    failing: str = ""
    """Where the step was made to fail for this result; empty where it was not."""
    node: str = ""
    """The node of a cluster that measured it, one of `RunResult.nodes`; empty on this machine."""
    confirmed: bool | None = None
    """Whether all other nodes that were to look for its leak have found one, which `advice` says first; None where none
    was asked."""
    interrupted: bool = False
    """Whether the run was interrupted while this scenario was measured or diagnosed: it is judged by what was read."""


POINT = "!"
"""What stands in an id between the scenario's own and the name of a point of failure."""
ALL_POINTS = f"{POINT}errors"
"""How the id of the result ends that is of all points of failure; that of one point ends with its name."""


def of_points(identifier: str) -> str:
    """The id of the result of all points, where the given one is of a point of failure; else empty."""
    scenario, mark, _ = identifier.rpartition(POINT)
    return f"{scenario}{ALL_POINTS}" if mark else ""


class ControlCheck(Record, frozen=True, kw_only=True):
    """One of the planted scenarios that prove on every run that the readings can be trusted."""

    name: str
    expected: Verdict
    verdict: Verdict
    ok: bool
    reason: str = ""


class Control(Record, frozen=True, kw_only=True):
    """The control of a run. A failed one means that no verdict of the run can be relied on (exit code 3)."""

    status: Literal["ok", "failed", "off"]
    reason: str = ""
    checks: list[ControlCheck] = []
    duration_s: float = 0.0


class Tool(Record, frozen=True, kw_only=True):
    """Who wrote a result file."""

    name: str = "elkyn-leakcheck"
    version: str


class Shard(Record, frozen=True, kw_only=True):
    """A part of a suite that was run by itself."""

    number: Annotated[int, Meta(ge=1)]
    """Which of them, from 1 on."""
    of: Annotated[int, Meta(ge=1)]
    plan: str
    """Hash of what is in which part: parts of one whole have the same."""
    commit: str = ""


class Node(Record, frozen=True, kw_only=True):
    """A node of a cluster that a run was distributed over."""

    name: str
    status: Literal["ok", "refused", "dropped", "lost"]
    """`refused`: it has another environment. `dropped`: its control failed, and its results count for nothing. `lost`:
    it went away before the end; what it had finished by then counts."""
    reason: str = ""
    cores: int = 0
    """Scenarios that it measured at a time."""
    scenarios: int = 0
    """Of which it has given a result."""
    environment: dict[str, Any] = {}
    """As that of a run."""
    control: Control = Control(status="off")


class RunResult(Record, frozen=True, kw_only=True):
    """A whole run: the content of `results.json`."""

    schema: str = SCHEMA
    tool: Tool
    environment: dict[str, Any]
    """`python`, `implementation`, `platform`, `machine`, `cpus`, `allocator`, `gc`, `memray`, `valgrind`, `libc`,
    and where known `commit`, `root` (the folder of the checkout), `repository` (its web address), `ci`: strings,
    numbers or None."""
    started: str
    """UTC, ISO 8601."""
    duration_s: float
    control: Control
    summary: dict[str, int]
    """Number of scenarios by verdict, and `unexpected`: those whose `ok` is false."""
    scenarios: list[ScenarioResult]
    interrupted: bool = False
    options: dict[str, Any] = {}
    """The options of the run that differ from their defaults."""
    shards: list[Shard] = []
    """The parts of the suite that these are the results of; empty where it was not divided."""
    nodes: list[Node] = []
    """The nodes of the cluster that measured; empty where this machine did."""


def summarize(scenarios: list[ScenarioResult]) -> dict[str, int]:
    """Count scenarios by verdict; `unexpected` counts those that are not as expected."""
    counts: dict[str, int] = dict.fromkeys(VERDICTS, 0)
    for scenario in scenarios:
        counts[scenario.verdict] += 1
    counts["unexpected"] = sum(not scenario.ok for scenario in scenarios)
    return counts


def encode(run: RunResult) -> bytes:
    """The bytes of `results.json`: indented JSON, keys in the order of the records."""
    return msgspec.json.format(msgspec.json.encode(run), indent=1)


def decode(text: bytes) -> RunResult:
    """Read `results.json`. Raises `msgspec.ValidationError` or `msgspec.DecodeError`, each naming the place."""
    return msgspec.json.decode(text, type=RunResult)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `results.json`."""
    schema = msgspec.json.schema(RunResult)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **schema}

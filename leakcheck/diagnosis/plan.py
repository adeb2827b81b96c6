"""What a diagnosis is given and gives back, and its plan: how many iterations each of its processes runs.

A stretch is long enough for several events of a rare leak, and takes no more time, memory or descriptors than it must.
"""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from leakcheck import meters
from leakcheck.agent.origin import HERE, Origin
from leakcheck.agent.protocol import GarbageMade, Roots
from leakcheck.errors import LeakcheckError
from leakcheck.execution.job import Job
from leakcheck.execution.worker import Worker
from leakcheck.meters import BLOCKS_LEDGER, LEDGER
from leakcheck.records import Finding, Record, ToolRun

ToolName = Literal["graph", "memray", "valgrind"]

EVENTS_PER_STRETCH = 12
"""Events of a rare leak that a stretch should have."""
RARE_EVENTS = 3
"""Events that a slow way of looking should see of what is rare."""
SMALLEST_LEAK_BYTES = 64
"""The smallest thing that is likely to be leaked: a growth that is smaller comes once in several iterations."""
_STRETCH_S = 0.06
"""How long one stretch of plain iterations may take; the traced ones are slower by a factor of about five."""
_FEWEST_ITERATIONS, _MOST_ITERATIONS = 23, 1009
"""Of a stretch whose leak is not rare: fewer are noise, more show nothing new."""
_STRETCH_BYTES = 256 << 20
"""What the six stretches of a process may leak together."""
_TRACED_ITERATIONS = 31
"""Iterations under tracemalloc, unless the growth is rarer than one in ten."""
_WATCHED_S = 2.0
"""Seconds that a stretch under a trace function may take."""
_CHEAP_S = 0.1
"""Seconds that it may take in any case."""
_WATCHED_SLOWDOWN = 60
"""The factor by which a trace function slows Python code down."""
_WATCHED_ITERATIONS = 20
"""Iterations under a trace function that watches a resource, and things that should come in them."""
_ELSEWHERE = 2
"""How many times its usual time the diagnosis of another process than the step's has: its means come one after the
other."""
_LATER_S = 1.0
"""Seconds of plain iterations that a second look may take to get as far as the measurement was."""
_LATER_BYTES = 64 << 20
"""What those iterations may leak."""
_VALGRIND_S = 2.0
"""Seconds that the iterations under valgrind may take."""
_VALGRIND_SLOWDOWN = 50
"""The factor by which valgrind slows a process down."""


class ToolMissing(LeakcheckError):  # noqa: N818 - not a mistake: the tool counts as skipped
    """A tool is not installed where it is needed; the message says how to get it."""


class GrowthFacts(Record, frozen=True, kw_only=True):
    """What the growth measurement found out, so that the diagnosis runs no longer than it must."""

    meters: dict[str, float]
    """Growth per iteration of each meter that grows."""
    iterations: int = 0
    """After how many the leak was clear; 0 where unknown."""
    seconds_per_iteration: float = 0.0
    warmup: int = 0
    """Iterations before the growth is steady."""
    apart: float = 0.0
    """Iterations between two events of a rare growth, at most; 0 where it is steady."""
    pause: float = 0.0
    """Seconds after which what the step keeps for a time only has gone; 0 where it keeps nothing so."""
    garbage: GarbageMade | None = None
    """The cyclic garbage that the step makes."""
    roots: Roots = HERE.roots
    """Where code lives in the measured interpreter."""
    service: bool = False
    """Whether a service is measured: two at a time could want the same port, or the same database."""
    asked: str = ""
    """The role of the process that grows, where that is another than the one that calls the step."""

    def of_part(self, part: float, asked: str) -> GrowthFacts:
        """The same of the processes of one role, which grow by a part of it."""
        grown = {name: rate * part for name, rate in self.meters.items()}
        return msgspec.structs.replace(self, meters=grown, asked=asked)

    @property
    def elsewhere(self) -> bool:
        """Whether another process than the one that calls the step is diagnosed."""
        return self.service or bool(self.asked)


class DiagnosisOptions(Record, frozen=True, kw_only=True):
    """What a diagnosis may do."""

    tools: frozenset[ToolName] = frozenset({"graph", "memray", "valgrind"})
    foreign: bool = False
    """Whether it is a program of another runtime, of which only valgrind can say something, where it is native."""
    valgrind: bool = False
    """Run valgrind even where nothing native seems to grow."""
    keep_captures: Path | None = None
    """Folder in which memray's captures stay; None throws them away."""
    suppressions: tuple[Path, ...] = ()
    """Files in valgrind's suppression syntax."""
    graph: Path | None = None
    """Folder for pictures of the back-references (needs objgraph and graphviz)."""


class Diagnosis(Record, frozen=True, kw_only=True):
    """The causes of a growth, and how complete they are."""

    findings: list[Finding] = msgspec.field(default_factory=list)
    """The best first."""
    tools: list[ToolRun] = msgspec.field(default_factory=list)
    explained: float | None = None
    """The part of the growth of the heap (of the first growing meter, where the heap does not grow) that the findings
    explain, 0 to 1."""
    pictures: list[Path] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)
    """What else a person should know: captures that were kept and how to open them, records that were suppressed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What all processes of a diagnosis share: the job, and how many iterations are worth it."""

    job: Job
    growth: GrowthFacts
    options: DiagnosisOptions
    start_worker: Callable[..., Worker]
    until: float
    """When the whole diagnosis has to end, in seconds of the monotonic clock."""
    seconds: float
    """Seconds that one iteration takes."""
    heap: float
    """Bytes per iteration by which the heap grows."""
    warm: int
    """Iterations before the first stretch."""
    count: int
    """Iterations of a stretch."""
    traced: int
    """Iterations under tracemalloc, at least."""
    watched: int
    """Iterations under a trace function, at most."""
    under_way: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()
    """Entered with the name of a tool for as long as it is at work."""

    @classmethod
    def of(cls, job: Job, growth: GrowthFacts, options: DiagnosisOptions, start_worker: Callable[..., Worker]) -> Plan:
        """The plan for a growth."""
        seconds, count = max(growth.seconds_per_iteration, 1e-6), _stretch(growth)
        heap = growth.meters.get(LEDGER, SMALLEST_LEAK_BYTES * growth.meters.get(BLOCKS_LEDGER, 0.0))
        rare = int(max(EVENTS_PER_STRETCH * SMALLEST_LEAK_BYTES / heap if heap > 0 else 0, RARE_EVENTS * growth.apart))
        warmup = int(min(growth.warmup, _affordable(seconds, heap)))
        return cls(
            # One ledger for Python's and native memory, whatever the growth was measured with.
            job=msgspec.structs.replace(job, allocator="malloc", asked=growth.asked),
            growth=growth,
            options=options,
            start_worker=start_worker,
            until=time.monotonic() + _time(job, growth),
            seconds=seconds,
            heap=heap,
            warm=max(warmup, min(11, max(2, int(1.0 / seconds)), max(2, count))),
            count=count,
            traced=min(count, next_prime(max(_TRACED_ITERATIONS, rare))),
            watched=max(3, min(count, int(_WATCHED_S / _WATCHED_SLOWDOWN / seconds))),
        )

    def worker(self, **how: Any) -> Worker:
        """A process of its own, which has the time that is left. Raises `ToolMissing` where there is none."""
        left, scenario = self.until - time.monotonic(), self.job.scenario
        if left <= 0:
            seconds, option = _time(self.job, self.growth), self.job.option("timeouts")
            raise ToolMissing(
                f"the {seconds:g} s of the diagnosis are used up; {option} diagnosis={4 * seconds:g} has more"
            )
        timeouts = {**scenario.timeouts, "diagnosis": left}
        job = msgspec.structs.replace(self.job, scenario=msgspec.structs.replace(scenario, timeouts=timeouts))
        return self.start_worker(job, **how)

    @property
    def origin(self) -> Origin:
        """Whose code is whose in the measured interpreter."""
        return Origin(self.growth.roots)

    @property
    def keeps_memory(self) -> bool:
        """Whether what grows takes memory of the heap."""
        return not all(meters.of(name, "").off_heap for name in self.growth.meters)

    @property
    def file_name(self) -> str:
        """The scenario's id, fit for the name of a file."""
        return re.sub(r"\W+", "-", self.job.scenario.id).strip("-")

    def later(self) -> Plan | None:
        """The same with so many iterations that what the measurement saw last is seen; None where it were no more."""
        affordable = min(_affordable(self.seconds, self.heap), _before_ceilings(self.growth))
        warm = int(min(self.growth.iterations / 2, affordable))
        count = next_prime(int(min(self.growth.iterations / 8, affordable / 4)))
        worth_it = warm > 2 * (self.warm + self.count) and count > self.count
        return replace(self, warm=warm, count=count) if worth_it else None

    def watched_for(self, kind: str) -> int:
        """Iterations under a trace function that should show several additions of a kind."""
        rate, spec = self.growth.meters.get(kind, 1.0), meters.of(kind, "")
        things = rate / spec.piece
        wanted = max(_WATCHED_ITERATIONS, _WATCHED_ITERATIONS / things if 0 < things < 1 else 0.0)
        if spec.unit == "B":  # a piece may be larger than the smallest, and come more rarely than readings tell
            wanted = max(wanted, _CHEAP_S / _WATCHED_SLOWDOWN / self.seconds)
        return max(3, min(int(wanted), int(_WATCHED_S / _WATCHED_SLOWDOWN / self.seconds * 4), 2000))

    def references(self) -> int:
        """Iterations of the first of two stretches in which the references to an object drift."""
        rare = EVENTS_PER_STRETCH / self.growth.meters.get(meters.REFERENCES, 1.0)
        return next_prime(int(max(_FEWEST_ITERATIONS, min(rare, _STRETCH_S / self.seconds))))

    def under_valgrind(self) -> int:
        """Iterations of each of the two stretches under valgrind."""
        affordable = max(5.0, _VALGRIND_S / _VALGRIND_SLOWDOWN / self.seconds)
        return next_prime(int(min(max(_FEWEST_ITERATIONS, self.count / 10), affordable)))


def next_prime(number: int) -> int:
    """The smallest prime that is not below `number`: no period of a step divides it."""
    candidate = max(2, number)
    while any(candidate % divisor == 0 for divisor in range(2, int(candidate**0.5) + 1)):
        candidate += 1
    return candidate


def _time(job: Job, growth: GrowthFacts) -> float:
    """Seconds that the whole diagnosis may take."""
    return job.timeout("diagnosis") * (_ELSEWHERE if growth.elsewhere else 1)


def _stretch(growth: GrowthFacts) -> int:
    """How many iterations one stretch has: enough events of a rare leak, and no more time or memory than it needs."""
    seconds = max(growth.seconds_per_iteration, 1e-6)
    heap = growth.meters.get(LEDGER, 0.0)
    wanted = min(_MOST_ITERATIONS, max(_FEWEST_ITERATIONS, _STRETCH_S / seconds))
    if 0 < heap < SMALLEST_LEAK_BYTES:
        wanted = max(wanted, EVENTS_PER_STRETCH * SMALLEST_LEAK_BYTES / heap)
    wanted = max(wanted, EVENTS_PER_STRETCH * growth.apart)
    if heap > 0:
        wanted = min(wanted, _STRETCH_BYTES / (6 * heap))
    return next_prime(int(min(wanted, _before_ceilings(growth), max(3.0, 2.0 / seconds))))


def _affordable(seconds: float, heap: float) -> float:
    """Plain iterations before a stretch that take little time and memory."""
    return min(_LATER_S / seconds, _LATER_BYTES / max(heap, 1e-6))


def _before_ceilings(growth: GrowthFacts) -> float:
    """Iterations of a stretch that stay far below what the system refuses."""
    growing = [(most, growth.meters.get(meter, 0.0)) for meter, most in _ceilings().items()]
    return min((most / (5 * rate) for most, rate in growing if rate > 0), default=float("inf"))


def _ceilings() -> dict[str, float]:
    """How many of each resource a process of the diagnosis may take: far below where the system refuses."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = soft / 2 if soft > 0 else 512
    most = {spec.name: spec.diagnosed_up_to for spec in meters.CATALOGUE if spec.diagnosed_up_to < float("inf")}
    return most | {"fds": min(descriptors, most["fds"])}

"""Runs the means of the diagnosis, each in a process of its own and side by side, and orders what they find.

The object graph and memray look at the same stretches, twice where the first look does not fit the measurement; beside
them resources are watched. Where much stays unexplained the heap's own ledger is watched, and then valgrind is asked.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args

import msgspec

from leakcheck import meters
from leakcheck.agent.inquiry import (
    Captures,
    DriftingObjects,
    FindContainers,
    Graph,
    Resources,
    Stack,
    TrackSurvivors,
    WatchReferences,
    WatchResources,
)
from leakcheck.diagnosis.attribution import LEDGER_RULES, LOSS_RULES, RULES, attribute
from leakcheck.diagnosis.capture_reader import CaptureReader
from leakcheck.diagnosis.cycles import HiddenCycle, hidden_cycles
from leakcheck.diagnosis.drawing import draw, picture_of
from leakcheck.diagnosis.faults import Allocation, Case, Untracked
from leakcheck.diagnosis.findings import findings_of
from leakcheck.diagnosis.memray import Site, sites_of_births
from leakcheck.diagnosis.plan import RARE_EVENTS, Diagnosis, DiagnosisOptions, GrowthFacts, Plan, ToolMissing, ToolName
from leakcheck.diagnosis.resources import faults_of
from leakcheck.diagnosis.rules.losses import LEDGER_NOISE_BYTES
from leakcheck.diagnosis.valgrind import Loss, run_valgrind
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Job
from leakcheck.execution.worker import INTERRUPT, Worker
from leakcheck.execution.workspace import Workspace
from leakcheck.records import ToolRun

_MOST_DISTANCE = 3.0
"""Factor by which the growth that was seen may differ from the one that was measured before there is a second look."""
_LOOK_SHARE = 0.6
"""Part of the time of the diagnosis after which the object graph watches no further container."""
_EXPLAINED_DISTANCE = 1.5
"""The same factor up to which the object graph alone explains the growth of another process than the step's."""
_RESIDUAL_FOR_LEDGER = 0.25
"""Part of the heap's growth that may stay unexplained before the heap's own ledger is watched line by line."""
_RESIDUAL_FOR_VALGRIND = 0.5
"""The same, before valgrind runs though nobody asked for it."""
_T = TypeVar("_T")


def diagnose(
    job: Job,
    growth: GrowthFacts,
    options: DiagnosisOptions,
    start_worker: Callable[..., Worker] = Worker,
    tell: Callable[[Sequence[str]], None] = lambda _: None,
) -> Diagnosis:
    """Find the causes of `growth`. Raises nothing for a tool that fails: its `ToolRun` says why.

    `tell` is called with the names of the tools that are at work, from their threads, whenever these change.
    """
    plan = replace(Plan.of(job, growth, options, start_worker), under_way=_UnderWay(tell))
    with Workspace() as temporary:
        side_by_side = 1 if growth.elsewhere else 3
        with ThreadPoolExecutor(side_by_side, thread_name_prefix="diagnosis") as pool:
            watching = pool.submit(_resources, plan, meters.watched(growth.meters))
            plan, seen, notes = _seen(plan, temporary, pool)
            resources, resources_tool = watching.result()
            drifting, references_tool = _references(plan)
        found = tuple(faults_of(resources, growth.meters, plan.origin)) if resources else ()
        case = Case(
            growth=plan.heap,
            origin=plan.origin,
            graph=seen.graph,
            cycles=seen.cycles,
            sites=seen.known_sites(),
            resources=found,
            drifting=drifting.objects if drifting else (),
            garbage=growth.garbage if meters.GARBAGE in growth.meters else None,
        )
        case = _with_ledger(plan, attribute(case, RULES))
        pictures, remarks = draw(plan, seen.graph, temporary)
        losses, valgrind_tool = _valgrind(plan, temporary, _valgrind_is_of_use(plan, case, seen.sites))
    lost, suppressed = losses or ([], 0)
    case = attribute(replace(case, losses=tuple(lost), entry=_entry(job), iterations=plan.count), LOSS_RULES)
    notes += remarks + ([f"valgrind: {suppressed} lost blocks were suppressed"] if suppressed else [])
    watched = [references_tool] if meters.REFERENCES in growth.meters else []
    tools = [*seen.tools, resources_tool, *watched, valgrind_tool]
    unseen = frozenset(tool.name for tool in tools if tool.status in ("error", "skipped")) | _not_asked_for(plan)
    return Diagnosis(
        findings=findings_of(case.faults, plan.heap, seen.means, plan.origin, values=job.values, unseen=unseen),
        tools=tools,
        explained=case.explained_part(growth.meters),
        pictures=pictures,
        notes=notes,
    )


class _UnderWay:
    """The tools that are at work, told whenever they change."""

    def __init__(self, tell: Callable[[Sequence[str]], None]) -> None:
        self._tell = tell
        self._names: list[str] = []
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._change(self._names.append, name)
        try:
            yield
        finally:
            self._change(self._names.remove, name)

    def _change(self, change: Callable[[str], None], name: str) -> None:
        with self._lock:
            change(name)
            self._tell(tuple(self._names))


class _Seen(NamedTuple):
    """What the object graph and memray say of the same stretches."""

    graph: Graph | None
    cycles: tuple[HiddenCycle | None, ...]
    """As in `Case`."""
    sites: Sequence[Site] | None
    tools: list[ToolRun]
    notes: list[str]

    @property
    def means(self) -> str:
        """The source of a finding."""
        if self.graph is None or self.graph.unseen:
            return "survivors"
        return "graph" if self.sites is None else "graph, survivors"

    def known_sites(self) -> tuple[Site, ...]:
        """Memray's sites; without them the births that the object graph knows stand in."""
        return tuple(sites_of_births(self.graph.sites if self.graph else ()) if self.sites is None else self.sites)

    def distance(self, heap: float) -> tuple[float, float]:
        """The factor by which the growth that they account for differs from the one that was measured.

        First by a holder, or by native code that asked for the memory: where it is large, the growth came after more
        iterations, or is one of several of which the others end (a leak behind a cache that fills). Then by any means.
        """
        if heap <= 0 or (self.graph and self.graph.frozen > 0):
            return 1.0, 1.0
        held = 0.0
        if self.graph:
            held = sum(each.bytes for each in self.graph.containers) + sum(each.bytes for each in self.graph.pinned)
        native = sum(site.bytes for site in self.sites or () if site.native)
        known = min(_factor(held, heap), _factor(native, heap))
        return known, min(known, _factor(sum(site.bytes for site in self.sites or ()), heap))


def _factor(amount: float, other: float) -> float:
    return max(amount / other, other / amount) if amount > 0 else float("inf")


def _seen(plan: Plan, captures: Path, pool: ThreadPoolExecutor) -> tuple[Plan, _Seen, list[str]]:
    """The look that fits the measurement better, with its plan, and the notes of all looks."""
    seen, later = _look(plan, captures, pool), plan.later()
    if later is None or seen.distance(plan.heap)[0] <= _MOST_DISTANCE:
        return plan, seen, [*seen.notes]
    again = _look(later, captures, pool)
    notes = [*seen.notes, *again.notes]
    return (later, again, notes) if again.distance(plan.heap) < seen.distance(plan.heap) else (plan, seen, notes)


def _look(plan: Plan, captures: Path, pool: ThreadPoolExecutor) -> _Seen:
    if plan.growth.elsewhere:
        return _look_elsewhere(plan, captures)
    graph_run, memray_run = pool.submit(_graph, plan, captures), pool.submit(_memray, plan, captures)
    (found, graph_tool), (survivors, memray_tool) = graph_run.result(), memray_run.result()
    graph, cycles = found or (None, ())
    sites, notes = survivors or (None, [])
    return _Seen(graph, cycles, sites, [graph_tool, memray_tool], notes)


def _look_elsewhere(plan: Plan, captures: Path) -> _Seen:
    """One after the other, and memray only where the object graph leaves something to be explained.

    To start a service or a pool takes its time, and objects of all requests share the interpreter's free lists: a block
    that one line has kept was often allocated by another.
    """
    found, graph_tool = _graph(plan, captures)
    graph, cycles = found or (None, ())
    seen = _Seen(graph, cycles, None, [graph_tool], [])
    if graph is not None and seen.distance(plan.heap)[0] <= _EXPLAINED_DISTANCE:
        not_needed = ToolRun(name="memray", status="not needed", reason="the object graph explains the growth")
        return seen._replace(tools=[graph_tool, not_needed])
    survivors, memray_tool = _memray(plan, captures)
    sites, notes = survivors or (None, [])
    return _Seen(graph, cycles, sites, [graph_tool, memray_tool], notes)


_Found = tuple[Graph, tuple[HiddenCycle | None, ...]]


def _graph(plan: Plan, temporary: Path) -> tuple[_Found | None, ToolRun]:
    question = FindContainers(
        warm=plan.warm,
        iterations=plan.count,
        traced=plan.traced,
        watch=plan.watched,
        bytes=plan.heap,
        pause=plan.growth.pause,
        values=plan.job.values,
        picture=picture_of(plan, temporary),
        seconds=_LOOK_SHARE * (plan.until - time.monotonic()),
    )

    def look() -> _Found:
        with plan.worker() as worker:
            worker.open()
            graph = worker.ask(question, Graph)
            cycles = () if plan.growth.elsewhere else hidden_cycles(graph.pinned, worker.pid)
            return graph, cycles

    found, run = _run(plan, "graph", _absent(plan, "graph", _needs_memory(plan)), look)
    if found is not None and found[0].unseen:
        return found, msgspec.structs.replace(run, status="skipped", reason=found[0].unseen)
    return found, run


def _memray(plan: Plan, captures: Path) -> tuple[tuple[list[Site], list[str]] | None, ToolRun]:
    def survivors() -> tuple[list[Site], list[str]]:
        try:
            import memray
        except ImportError:
            raise ToolMissing("memray is not installed here: python -m pip install memray") from None
        question = TrackSurvivors(
            warm=plan.warm,
            iterations=plan.count,
            at_least=min(plan.count, int(RARE_EVENTS * plan.growth.apart)),
            pause=plan.growth.pause,
            prefix=_capture_prefix(plan, captures),
            memray=str(Path(memray.__file__).parent.parent),
            cache_tag=sys.implementation.cache_tag,
        )
        with CaptureReader() as reader, plan.worker() as worker:
            opened = worker.open()
            answer = worker.ask(question, Captures)
            if answer.missing:
                raise ToolMissing(answer.missing)
            # The blocks of another process than the step's cannot be looked into.
            pid = 0 if plan.growth.elsewhere else worker.pid
            sites = reader.read(answer.captures, opened.roots).with_contents(pid)
        command = f"{Path(sys.executable).name} -m memray flamegraph --leaks"
        return sites, [
            f"memray capture of {each.iterations} iterations: {each.path}; as a flame graph: {command} {each.path}"
            for each in answer.captures
            if plan.options.keep_captures is not None
        ]

    return _run(plan, "memray", _absent(plan, "memray", _needs_memory(plan)), survivors)


def _resources(plan: Plan, kinds: list[str]) -> tuple[Resources | None, ToolRun]:
    question = WatchResources(plan.warm, {kind: plan.watched_for(kind) for kind in kinds}, plan.job.values)
    absent = None if kinds and "graph" in plan.options.tools else ToolRun(name="resources", status="not needed")
    return _run(plan, "resources", absent, lambda: _ask(plan, question, Resources))


def _references(plan: Plan) -> tuple[DriftingObjects | None, ToolRun]:
    drifts = meters.REFERENCES in plan.growth.meters
    absent = None if drifts else ToolRun(name="references", status="not needed")
    question = WatchReferences(plan.warm, plan.references(), plan.watched)
    return _run(plan, "references", absent, lambda: _ask(plan, question, DriftingObjects))


def _valgrind(plan: Plan, directory: Path, why_not: str) -> tuple[tuple[list[Loss], int] | None, ToolRun]:
    def losses() -> tuple[list[Loss], int]:
        return run_valgrind(plan.under_valgrind(), plan.options.suppressions, directory, plan.worker)

    return _run(plan, "valgrind", _absent(plan, "valgrind", why_not), losses)


def _ask(plan: Plan, question: NamedTuple, answer: type[_T]) -> _T:
    """Open the scenario in a process of its own and ask it."""
    with plan.worker() as worker:
        worker.open()
        return worker.ask(question, answer)


def _needs_memory(plan: Plan) -> str:
    return "" if plan.keeps_memory else "no memory grows"


def _with_ledger(plan: Plan, case: Case) -> Case:
    """The case, with the heap's own ledger watched line by line where much is unexplained."""
    trifle = bool(case.faults) and case.unexplained <= LEDGER_NOISE_BYTES
    explained = trifle or case.unexplained <= _RESIDUAL_FOR_LEDGER * plan.heap
    without_line = isinstance(case.faults[0].detail, Allocation) and not case.faults[0].lines if case.faults else False
    if explained and not without_line:
        return case
    watched, _ = _resources(plan, [meters.LEDGER])
    ledger = watched.kinds[meters.LEDGER].stacks if watched and meters.LEDGER in watched.kinds else ()
    return attribute(replace(case, ledger=ledger), LEDGER_RULES)


def _not_asked_for(plan: Plan) -> frozenset[str]:
    return frozenset(get_args(ToolName)) - plan.options.tools


def _absent(plan: Plan, name: ToolName, not_needed: str) -> ToolRun | None:
    """Why one of the means does not run; None where it does."""
    if name not in plan.options.tools:
        return ToolRun(name=name, status="not needed", reason="not among the tools that were asked for")
    return ToolRun(name=name, status="not needed", reason=not_needed) if not_needed else None


def _run(plan: Plan, name: str, absent: ToolRun | None, means: Callable[[], _T]) -> tuple[_T | None, ToolRun]:
    """What one of the means finds, and how it went; whatever keeps it from an answer is the reason that is reported."""
    if absent is not None:
        return None, absent
    if plan.options.foreign and not (name == "valgrind" and plan.options.valgrind):
        return None, ToolRun(name=name, status="skipped", reason="it does not know the program's runtime")
    began = time.monotonic()
    try:
        with plan.under_way(name):
            found = means()
    except ToolMissing as missing:
        return None, ToolRun(name=name, status="skipped", reason=str(missing))
    except WorkerFailed as failed:
        if failed.failure.type == INTERRUPT:
            return None, ToolRun(name=name, status="skipped", reason=failed.failure.message)
        reason = f"{failed.failure.type}: {failed.failure.message}"
        return None, ToolRun(name=name, status="error", reason=reason, duration_s=_since(began))
    except OSError as error:
        return None, ToolRun(name=name, status="error", reason=f"its capture cannot be read: {error}")
    return found, ToolRun(name=name, status="ok", duration_s=_since(began))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _valgrind_is_of_use(plan: Plan, case: Case, sites: Sequence[Site] | None) -> str:
    """Why valgrind need not run; empty where it should."""
    if plan.growth.elsewhere:
        return "it sees the process that calls the step, and not the others"
    if plan.options.valgrind:
        return ""
    if plan.heap <= 0:
        return "the heap does not grow"
    untracked = any(isinstance(fault.detail, Untracked) for fault in case.faults)
    if untracked or case.unexplained > _RESIDUAL_FOR_VALGRIND * plan.heap:
        return ""
    if sites is None and any(isinstance(fault.detail, Allocation) for fault in case.faults):
        return ""
    return "the growth is explained without it"


def _entry(job: Job) -> Stack:
    """The scenario's function, for what is known to happen somewhere below it."""
    scenario = job.scenario
    file = scenario.file or (scenario.target if scenario.target.endswith(".py") else "")
    return ((file, scenario.line, scenario.name),) if file else ()


def _capture_prefix(plan: Plan, temporary: Path) -> str:
    """Where memray writes: kept captures are named after the scenario, and replace those of an earlier run."""
    folder = plan.options.keep_captures
    if folder is None:
        return str(temporary / "survivors")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{plan.file_name}-*.bin"):
        old.unlink()
    return str(folder.resolve() / plan.file_name)

"""Runs the means of the diagnosis, each in a process of its own and side by side, and orders what they find."""

from __future__ import annotations

import copy
import importlib.util
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from leakcheck.agent.inquiry import (
    FindContainers,
    FoundContainers,
    Picture,
    Tracked,
    TrackSurvivors,
    WatchedResources,
    WatchResources,
)
from leakcheck.diagnosis.faults import BESIDE_THE_HEAP, LEDGER_NOISE, Fault, assemble, with_ledger, with_losses
from leakcheck.diagnosis.findings import finding_of
from leakcheck.diagnosis.memray import Site, read_sites
from leakcheck.diagnosis.records import Diagnosis, DiagnosisOptions, GrowthFacts
from leakcheck.diagnosis.resources import custom_of, faults_of, kinds_of
from leakcheck.diagnosis.valgrind import Loss, run_valgrind
from leakcheck.execution.job import Job
from leakcheck.execution.worker import Worker, WorkerFailed
from leakcheck.records import ToolRun

_STRETCH_S = 0.06
"""How long one stretch of plain iterations may take; the traced ones are slower by a factor of about five."""
_WITHOUT_MEMORY = frozenset({"fds", "threads", "py.threads", "children", "mapped.bytes", "disk.files", "disk.bytes"})
"""Meters whose growth takes no memory of the heap: descriptors and the like have lines of their own."""
_DOT = "backrefs.dot"
_LEAST, _MOST = 23, 1009
_EVENTS = 12
_SMALLEST = 64
"""Bytes of the smallest thing that is likely to be leaked: what tells how rare a small growth is."""
_MEMORY = 256 << 20
_TRACED = 31
"""Iterations under tracemalloc, unless the growth is rarer than one in ten."""
_WATCH_S = 2.0
_TRACE_SLOWDOWN = 60
_WATCHED = 20
_VALGRIND_S = 2.0
_VALGRIND_SLOWDOWN = 50
_ALIKE = 3.0
"""Factor by which what was seen may differ from what was measured."""
_LATER_S = 1.0
_LATER_MEMORY = 64 << 20
"""What a second look may take to get as far as the measurement was."""
_BLIND = 0.5
"""The same, before valgrind is asked of its own accord."""
_RESIDUAL = 0.25
"""Part of the heap's growth that may stay unexplained before the heap's own ledger is watched line by line."""


def diagnose(
    job: Job, growth: GrowthFacts, options: DiagnosisOptions, start_worker: Callable[..., Worker] = Worker
) -> Diagnosis:
    """Find the causes of `growth`. Raises nothing for a tool that fails: its `ToolRun` says why."""
    plan = Plan(job, growth, options, start_worker)
    captures = Path(tempfile.mkdtemp(prefix="leakcheck-captures-"))
    try:
        with ThreadPoolExecutor(3, thread_name_prefix="diagnosis") as pool:
            resources_run = pool.submit(_resources, plan, kinds_of(growth.meters) + custom_of(growth.meters))
            seen = _look(plan, captures, pool)
            later = plan.later()
            if later is not None and seen.distance(plan.heap)[0] > _ALIKE:
                again = _look(later, captures, pool)
                if again.distance(plan.heap) < seen.distance(plan.heap):
                    plan, seen = later, again
            found, resources_tool = resources_run.result()
        graph, sites, heap = seen.graph, seen.sites, plan.heap
        faults = assemble(graph, sites, faults_of(found, growth.meters), heap)
        unexplained = heap - _heap_bytes(faults)
        if unexplained > _RESIDUAL * heap and (unexplained > LEDGER_NOISE or not faults):
            ledger, _ = _resources(plan, ["heap.bytes"])
            faults = with_ledger(faults, ledger.get("heap.bytes", {}).get("stacks", []), unexplained)
        pictures = _draw(plan, graph, captures)
        losses, notes, valgrind_tool = _valgrind(plan, captures, _valgrind_is_of_use(plan, faults, sites))
        faults = with_losses(faults, losses, heap)
        _name_entry(plan, faults)
        for fault in faults:
            fault.rare = fault.kind == "allocation" and 0 < fault.count * plan.count < _EVENTS / 2
    finally:
        shutil.rmtree(captures, ignore_errors=True)
    means = "graph, survivors" if graph and sites is not None else "graph" if graph else "survivors"
    findings = [finding_of(fault, heap, "resources" if fault.kind == "resource" else means) for fault in faults]
    return Diagnosis(
        findings=findings,
        tools=[*seen.tools, resources_tool, valgrind_tool],
        explained=_explained(plan, faults),
        pictures=pictures,
        notes=[*plan.notes, *notes],
    )


def _graph_as_dict(found: FoundContainers) -> dict[str, Any]:
    d: dict[str, Any] = found._asdict()

    def one(each: Any) -> dict[str, Any]:
        e = each._asdict()
        e["count"] = e.pop("per_iteration")
        if "adders" in e:
            e["adders"] = [tuple(a) for a in e["adders"]]
        return e

    d["containers"] = [one(c) for c in found.containers]
    d["pinned"] = [one(c) for c in found.pinned]
    d["at_exit"] = {"count": found.at_exit, "adders": [tuple(a) for a in found.registering]}
    if found.no_picture:
        d["picture"] = found.no_picture
    return d


class Seen(NamedTuple):
    """What the object graph and memray say of the same stretches."""

    graph: dict[str, Any] | None
    sites: list[Site] | None
    tools: list[ToolRun]

    def distance(self, heap: float) -> tuple[float, float]:
        """The factor by which the growth that they account for differs from the one that was measured.

        First by a holder, or by native code that asked for the memory: where it is large, the growth came after more
        iterations, or is one of several of which the others end (a leak behind a cache that fills). Then by any means.
        """
        if heap <= 0 or (self.graph and self.graph["frozen"] > 0):
            return 1.0, 1.0
        held = [*self.graph["containers"], *self.graph["pinned"]] if self.graph else []
        amounts = (sum(each["bytes"] for each in held), sum(site.bytes for site in self.sites or () if site.native))
        known = min(_factor(amount, heap) for amount in amounts)
        return known, min(known, _factor(sum(site.bytes for site in self.sites or ()), heap))


def _factor(amount: float, other: float) -> float:
    return max(amount / other, other / amount) if amount > 0 else float("inf")


def _look(plan: Plan, captures: Path, pool: ThreadPoolExecutor) -> Seen:
    graph_run, memray_run = pool.submit(_graph, plan, captures), pool.submit(_memray, plan, captures)
    (graph, graph_tool), (sites, memray_tool) = graph_run.result(), memray_run.result()
    return Seen(graph, sites, [graph_tool, memray_tool])


def _name_entry(plan: Plan, faults: list[Fault]) -> None:
    """Valgrind knows no Python lines: what it alone found happens somewhere below the scenario's function."""
    scenario = plan.job.scenario
    file = scenario.file or (scenario.target if scenario.target.endswith(".py") else "")
    for fault in faults:
        if fault.kind == "native" and file:
            fault.adders = [(((file, scenario.line, scenario.name),), fault.count)]


def _heap_bytes(faults: list[Fault]) -> float:
    return sum(fault.bytes for fault in faults if fault.meter not in BESIDE_THE_HEAP)


def _explained(plan: Plan, faults: list[Fault]) -> float | None:
    if plan.heap > 0:
        return round(min(1.0, _heap_bytes(faults) / plan.heap), 4)
    for meter in plan.growth.meters:
        shares = [fault.share or 0.0 for fault in faults if fault.meter == meter]
        if shares:
            return round(min(1.0, sum(shares)), 4)
    return None


class Plan:
    """What all processes of a diagnosis share: the job, and how many iterations are worth it."""

    def __init__(
        self, job: Job, growth: GrowthFacts, options: DiagnosisOptions, start_worker: Callable[..., Worker]
    ) -> None:
        # One ledger for Python's and native memory, whatever the growth was measured with.
        self.job = msgspec.structs.replace(job, allocator="malloc")
        self.growth = growth
        self.options = options
        self.start_worker = start_worker
        self.notes: list[str] = []
        self.count = stretch(growth)
        self.heap = growth.meters.get("heap.bytes", _SMALLEST * growth.meters.get("py.blocks", 0.0))
        """Bytes per iteration by which the heap grows."""
        self.keeps_memory = not growth.meters.keys() <= _WITHOUT_MEMORY
        rare = int(_EVENTS * _SMALLEST / self.heap) if self.heap > 0 else 0
        self.traced = min(self.count, next_prime(max(_TRACED, rare)))
        self.watched = max(
            3, min(self.count, int(_WATCH_S / _TRACE_SLOWDOWN / max(growth.seconds_per_iteration, 1e-6)))
        )
        self.seconds = max(growth.seconds_per_iteration, 1e-6)
        warmup = int(min(growth.warmup, _LATER_S / self.seconds, _LATER_MEMORY / max(self.heap, 1e-6)))
        self.warm = max(warmup, min(11, max(2, int(1.0 / self.seconds)), max(2, self.count)))

    def later(self) -> Plan | None:
        """The same with so many iterations that what the measurement saw last is seen; None where it were no more."""
        affordable = min(_LATER_S / self.seconds, _LATER_MEMORY / max(self.heap, 1e-6), _before_ceilings(self.growth))
        later = copy.copy(self)
        later.warm = int(min(self.growth.iterations / 2, affordable))
        later.count = next_prime(int(min(self.growth.iterations / 8, affordable / 4)))
        return later if later.warm > 2 * (self.warm + self.count) and later.count > self.count else None

    def watched_for(self, kind: str) -> int:
        """Iterations under a trace function that should show several additions of a kind."""
        rate = self.growth.meters.get(kind, 1.0)
        things = rate / 4096 if kind == "mapped.bytes" else rate / _SMALLEST if kind.endswith(".bytes") else rate
        wanted = max(_WATCHED, _WATCHED / things if 0 < things < 1 else 0.0)
        return max(3, min(int(wanted), int(_WATCH_S / _TRACE_SLOWDOWN / self.seconds * 4), 2000))


def stretch(growth: GrowthFacts) -> int:
    """How many iterations one stretch has: enough events of a rare leak, and no more time or memory than it needs."""
    seconds = max(growth.seconds_per_iteration, 1e-6)
    heap = growth.meters.get("heap.bytes", 0.0)
    wanted = min(_MOST, max(_LEAST, _STRETCH_S / seconds))
    if 0 < heap < _SMALLEST:
        wanted = max(wanted, _EVENTS * _SMALLEST / heap)
    if heap > 0:
        wanted = min(wanted, _MEMORY / (6 * heap))
    wanted = min(wanted, _before_ceilings(growth), max(3.0, 2.0 / seconds))
    return next_prime(int(wanted))


def _before_ceilings(growth: GrowthFacts) -> float:
    """Iterations of a stretch that stay far below what the system refuses."""
    growing = [(most, growth.meters.get(meter, 0.0)) for meter, most in _ceilings().items()]
    return min((most / (5 * rate) for most, rate in growing if rate > 0), default=float("inf"))


def _ceilings() -> dict[str, float]:
    """How many of each resource a process of the diagnosis may take: far below where the system refuses."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = soft / 2 if soft > 0 else 512
    return {"fds": min(descriptors, 4096), "threads": 400, "children": 400, "mapped.bytes": 1 << 30}


def next_prime(number: int) -> int:
    """The smallest prime that is not below `number`: no period of a step divides it."""
    candidate = max(2, number)
    while any(candidate % divisor == 0 for divisor in range(2, int(candidate**0.5) + 1)):
        candidate += 1
    return candidate


def _graph(plan: Plan, temporary: Path) -> tuple[dict[str, Any] | None, ToolRun]:
    if "graph" not in plan.options.tools:
        return None, ToolRun(name="graph", status="skipped", reason="not among the tools that were asked for")
    if not plan.keeps_memory:
        return None, ToolRun(name="graph", status="not needed", reason="no memory grows")
    began = time.monotonic()
    try:
        with plan.start_worker(plan.job) as worker:
            worker.open(plan.options.time_s)
            question = FindContainers(
                plan.warm,
                plan.count,
                plan.traced,
                plan.watched,
                plan.heap,
                plan.growth.pause,
                _picture_arguments(plan, temporary),
            )
            answer = _graph_as_dict(worker.ask(question, FoundContainers, plan.options.time_s))
    except WorkerFailed as failed:
        return None, _failed("graph", failed, began)
    return answer, ToolRun(name="graph", status="ok", duration_s=round(time.monotonic() - began, 3))


def _memray(plan: Plan, captures: Path) -> tuple[list[Site] | None, ToolRun]:
    if "memray" not in plan.options.tools:
        return None, ToolRun(name="memray", status="skipped", reason="not among the tools that were asked for")
    if not plan.keeps_memory:
        return None, ToolRun(name="memray", status="not needed", reason="no memory grows")
    began = time.monotonic()
    try:
        import memray
    except ImportError:
        return None, ToolRun(
            name="memray", status="skipped", reason="memray is not installed here: python -m pip install memray"
        )
    folder = str(Path(memray.__file__).parent.parent)
    try:
        with plan.start_worker(plan.job) as worker:
            worker.open(plan.options.time_s)
            question = TrackSurvivors(
                plan.warm,
                plan.count,
                plan.growth.pause,
                _capture_prefix(plan, captures),
                folder,
                sys.implementation.cache_tag,
            )
            tracked = worker.ask(question, Tracked, plan.options.time_s)
            answer = {"captures": [capture._asdict() for capture in tracked.captures]} | (
                {"missing": tracked.missing} if tracked.missing else {}
            )
        if "missing" in answer:
            return None, ToolRun(name="memray", status="skipped", reason=answer["missing"])
        sites = read_sites(answer["captures"])
        if plan.options.keep_captures is not None:
            plan.notes += [
                f"memray capture of {capture['iterations']} iterations: {capture['path']}; as a flame graph: "
                f"{Path(sys.executable).name} -m memray flamegraph --leaks {capture['path']}"
                for capture in answer["captures"]
            ]
    except WorkerFailed as failed:
        return None, _failed("memray", failed, began)
    except OSError as error:
        return None, ToolRun(name="memray", status="error", reason=f"its capture cannot be read: {error}")
    return sites, ToolRun(name="memray", status="ok", duration_s=round(time.monotonic() - began, 3))


def _resources(plan: Plan, kinds: list[str]) -> tuple[dict[str, Any], ToolRun]:
    if not kinds or "graph" not in plan.options.tools:
        return {}, ToolRun(name="resources", status="not needed")
    began = time.monotonic()
    counts = {kind: plan.watched_for(kind) for kind in kinds}
    try:
        with plan.start_worker(plan.job) as worker:
            worker.open(plan.options.time_s)
            watched = worker.ask(WatchResources(plan.warm, counts), WatchedResources, plan.options.time_s)
            answer = {
                "kinds": {
                    k: {
                        "stacks": [
                            {"stack": e.stack, "count": e.per_iteration, "things": [t._asdict() for t in e.things]}
                            for e in v.stacks
                        ],
                        "grown": v.grown,
                    }
                    for k, v in watched.kinds.items()
                }
            }
    except WorkerFailed as failed:
        return {}, _failed("resources", failed, began)
    return answer["kinds"], ToolRun(name="resources", status="ok", duration_s=round(time.monotonic() - began, 3))


def _capture_prefix(plan: Plan, temporary: Path) -> str:
    """Where memray writes: kept captures are named after the scenario, and replace those of an earlier run."""
    folder = plan.options.keep_captures
    if folder is None:
        return str(temporary / "survivors")
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", plan.job.scenario.id).strip("-")
    for old in folder.glob(f"{name}-*.bin"):
        old.unlink()
    return str(folder.resolve() / name)


def _draw(plan: Plan, graph: dict[str, Any] | None, temporary: Path) -> list[Path]:
    """Turn the back-references into a picture; without graphviz its source is kept."""
    folder, source = plan.options.graph, temporary / _DOT
    if folder is None or graph is None:
        return []
    if graph.get("picture"):
        plan.notes.append(f"no picture of the back-references: {graph['picture']}")
        return []
    if not source.exists():
        plan.notes.append("no picture of the back-references: no Python object was found that stays")
        return []
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", plan.job.scenario.id).strip("-")
    program = shutil.which("dot")
    if program is None:
        kept = folder / f"{name}.dot"
        shutil.copyfile(source, kept)
        plan.notes.append(f"graphviz is not installed (apt install graphviz): the picture's source is {kept}")
        return [kept]
    picture = folder / f"{name}.svg"
    drawn = subprocess.run(
        [program, "-Tsvg", str(source), "-o", str(picture)], capture_output=True, text=True, timeout=60, check=False
    )
    if drawn.returncode:
        plan.notes.append(f"graphviz could not draw the back-references: {drawn.stderr.strip()}")
        return []
    plan.notes.append(f"picture of the back-references: {picture}")
    return [picture]


def _picture_arguments(plan: Plan, temporary: Path) -> Picture | None:
    if plan.options.graph is None:
        return None
    spec = importlib.util.find_spec("objgraph")
    return Picture(str(temporary / _DOT), str(Path(spec.origin or "").parent) if spec else "")


def _valgrind_is_of_use(plan: Plan, faults: list[Fault], sites: list[Site] | None) -> str:
    """Why valgrind need not run; empty where it should."""
    heap = plan.heap
    if plan.options.valgrind:
        return ""
    if heap <= 0:
        return "the heap does not grow"
    if any(fault.untracked for fault in faults) or heap - _heap_bytes(faults) > _BLIND * heap:
        return ""
    if sites is None and any(fault.kind == "allocation" for fault in faults):
        return ""
    return "the growth is explained without it"


def _valgrind(plan: Plan, directory: Path, why_not: str) -> tuple[list[Loss], list[str], ToolRun]:
    if "valgrind" not in plan.options.tools:
        return [], [], ToolRun(name="valgrind", status="skipped", reason="not among the tools that were asked for")
    if why_not:
        return [], [], ToolRun(name="valgrind", status="not needed", reason=why_not)
    began = time.monotonic()
    count = next_prime(
        int(min(max(_LEAST, plan.count / 10), max(5.0, _VALGRIND_S / _VALGRIND_SLOWDOWN / plan.seconds)))
    )
    try:
        losses, suppressed, tool = run_valgrind(
            plan.job,
            (count, 2 * count),
            plan.options.suppressions,
            directory,
            plan.options.valgrind_time_s,
            plan.start_worker,
        )
    except WorkerFailed as failed:
        return [], [], _failed("valgrind", failed, began)
    notes = [f"valgrind: {suppressed} loss records were suppressed"] if suppressed else []
    return losses, notes, tool


def _failed(name: str, failed: WorkerFailed, began: float) -> ToolRun:
    reason = f"{failed.failure.type}: {failed.failure.message}"
    return ToolRun(name=name, status="error", reason=reason, duration_s=round(time.monotonic() - began, 3))

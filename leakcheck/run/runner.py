"""A run: control, growth measurement of every scenario, diagnosis of what grows, one `RunResult`."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from leakcheck.agent.protocol import HOSTED, INTERNAL, PROGRAM, Growers, Opened
from leakcheck.agent.scenario import LEGAL
from leakcheck.execution.allocators import foreign
from leakcheck.execution.crew import Crew
from leakcheck.execution.failure import WorkerFailed, of_exception
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.execution.worker import INTERRUPT, Worker
from leakcheck.execution.workspace import clear_abandoned
from leakcheck.meters import ALLOCATORS, CATALOGUE, GARBAGE, LEDGER
from leakcheck.records import Control, Failure, RunResult, Sample, ScenarioResult, ToolRun
from leakcheck.run import provenance, roles
from leakcheck.run.account import Account
from leakcheck.run.control import BackgroundControl
from leakcheck.run.discovery import Broken
from leakcheck.series import apart
from leakcheck.shell import pasteable
from leakcheck.validation import unknown_meter
from leakcheck.verdict import result as verdicts
from leakcheck.verdict.fragmentation import fragmentation
from leakcheck.verdict.garbage import LEAST_OBJECTS
from leakcheck.verdict.reach import Reached, reach
from leakcheck.verdict.rounds import Progress

_INTERRUPTED = "the run was interrupted here: this is judged by what was read until then"

_KEPT_OUTPUT = 4000
"""Characters of what a process printed that are reported with an exception, the last."""
_NEARLY_FULL = 0.95
"""Part of a bounded growth after which the rest does not matter."""


class Plan(NamedTuple):
    """What to run, and how."""

    scenarios: Sequence[ScenarioInfo]
    broken: Sequence[Broken]
    template: Job
    tools: frozenset[str]
    """`auto`, or some of `growth memray valgrind`."""
    jobs: int = 1
    control: BackgroundControl | None = None
    """The control that is under way beside this run, if there is to be one."""
    loaded: Worker | None = None
    """A process that has imported the file of the first scenario already, to be used for it."""
    keep_captures: Path | None = None
    graph: Path | None = None
    """Folder for pictures of the back-references."""
    suppressions: Sequence[Path] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple's default, never changed
    errors: bool = False
    """Whether steps are made to fail too, but those that say otherwise."""

    @property
    def planned(self) -> list[str]:
        """The ids of all that will have a result, in order."""
        return [*(each.id for each in self.broken), *(each.id for each in self.scenarios)]


class View(Protocol):
    """What the runner reports while it runs; called from one thread at a time."""

    def start(self, scenario_id: str) -> None:
        """The measurement of a scenario begins."""

    def progress(self, scenario_id: str, meter: str, samples: list[Sample], seconds_left: float) -> None:
        """A round was read; the step may run for so long at most."""

    def diagnosing(self, scenario_id: str, tools: Sequence[str]) -> None:
        """A scenario leaks, and these tools look for the place now."""

    def failing(self, scenario_id: str, tried: int, failures: int) -> None:
        """A scenario leaks nothing as it is, and its step fails now: so many failures of so many have been tried."""

    def failed(self, scenario_id: str, whole: Failure) -> None:
        """A scenario came to no verdict; `whole` has values of the program, which its result may not have."""

    def finish(self, result: ScenarioResult) -> None:
        """A scenario has its result."""

    def control(self, control: Control) -> None:
        """The control is done."""


_NOT_FAILED = "not looked at: calls of the step that fail (--errors is for Python)"


class _Ended(NamedTuple):
    """How the measurement of one scenario ended."""

    opened: Opened
    reached: Reached
    failure: Failure | None
    """What the step raised, or what became of the process."""
    unclosed: Failure | None
    """Why the tear-down failed."""
    phases: dict[str, float]
    """Seconds by what was done."""
    growers: Growers | None = None
    """The processes of the program, where they are several."""


class Runner:
    """Runs a plan once. `run` returns also when it was interrupted, with what was finished until then."""

    def __init__(self, plan: Plan, view: View, keep: Callable[[RunResult], None] = lambda _: None) -> None:
        """`keep` gets what is finished so far, now and then, as of a run that was interrupted: in case it is killed."""
        self._keep = keep
        self._plan = plan
        self._view = view
        self._viewing = threading.Lock()
        self._crew = Crew()
        self._loaded = plan.loaded

    def run(self) -> RunResult:
        """Never raises for what a scenario does; `KeyboardInterrupt` ends it early."""
        plan = self._plan
        account = Account(plan.planned, plan.options, self._keep)
        self._view_broken(account)
        control = Control(
            status="off", reason="switched off by --no-control" if plan.control is None else "interrupted"
        )
        interrupted = False
        with ThreadPoolExecutor(max_workers=plan.jobs + 2) as pool:
            futures: dict[Future[Any], ScenarioInfo | None] = {}
            environment = pool.submit(provenance.environment, plan.template)

            def so_far() -> RunResult:
                return account.result(environment.result(), control, interrupted=interrupted)

            pool.submit(clear_abandoned)
            try:
                if plan.control is not None:
                    futures[plan.control.result] = None
                waiting = list(plan.scenarios)
                busy = 0
                while waiting or futures:
                    while waiting and busy < plan.jobs:
                        info = waiting.pop(0)
                        futures[pool.submit(self.examine, info)] = info
                        busy += 1
                    done, _ = wait(futures, return_when=FIRST_COMPLETED)
                    for future in done:
                        if futures[future] is None:
                            control = future.result()
                            with self._viewing:
                                self._view.control(control)
                        else:
                            busy -= 1
                            self._finish(account, future.result())
                        del futures[future]
                    if waiting or futures:
                        account.keep_now_and_then(so_far)
            except KeyboardInterrupt:
                interrupted = True
                self.interrupt()
                if plan.control is not None:
                    plan.control.stop()
        for future, in_flight in futures.items():  # none but where it was interrupted; the pool has waited for them
            if in_flight is not None and in_flight.id not in account:
                self._finish(account, future.result())
        return so_far()

    def interrupt(self) -> None:
        """Call off whatever is examined, from any thread: it is judged by what was read until then."""
        self._crew.interrupt()

    def _start(self, job: Job, **options: Any) -> Worker:
        """A worker that is known here, so that an interrupt ends it."""
        loaded = None if options else self._take_loaded(job)
        return self._crew.start(job, **options) if loaded is None else self._crew.join(loaded)

    def _take_loaded(self, job: Job) -> Worker | None:
        """The process that has imported the scenario's file already, once."""
        loaded, self._loaded = self._loaded, None
        if loaded is None or loaded.job.scenario.target != job.scenario.target:
            return None
        loaded.job = job
        return loaded

    def _view_broken(self, account: Account) -> None:
        for broken in self._plan.broken:
            self._view.failed(broken.id, broken.whole)
            self._finish(account, [broken_result(self._plan.template, broken)])

    def _finish(self, account: Account, found: list[ScenarioResult]) -> None:
        account.take(found)
        with self._viewing:
            for result in found:
                self._view.finish(result)

    def examine(self, info: ScenarioInfo) -> list[ScenarioResult]:
        """All that is done to one scenario, here or on another machine: its result, and those of its points of failure.

        Never raises for what the scenario does. Blocks; several may be examined at a time, each in a thread.
        """
        budget = Budget(
            time_s=self._plan.template.budget.time_s if info.time_budget is None else info.time_budget,
            max_iterations=info.max_iterations or self._plan.template.budget.max_iterations,
            max_growth=info.max_growth or self._plan.template.budget.max_growth,
            in_a_runner=info.target.startswith(HOSTED) and info.name != "call",  # that is measured by itself
        )
        job = msgspec.structs.replace(self._plan.template, scenario=info, budget=budget)
        result = self._result(job)
        legal = info.legal if info.legal is not None else LEGAL if self._plan.errors else ()
        if (
            not legal
            or info.target.startswith(PROGRAM)
            or result.verdict not in ("clean", "bounded")
            or info.expect == "leak"
        ):
            return [result]
        return [result, *self._errors(job, legal)]

    def _errors(self, job: Job, legal: Sequence[str]) -> list[ScenarioResult]:
        """What comes of a step that is clean by itself where it fails."""
        from leakcheck.run import failing

        def tell(tried: int, failures: int) -> None:
            with self._viewing:
                self._view.failing(job.scenario.id, tried, failures)

        began = time.perf_counter()
        try:
            seen = failing.screened(job, legal, self._crew.start, tell)
            found = failing.results(job, seen, self._result, lambda: time.perf_counter() - began)
        except WorkerFailed as failed:
            of_all = msgspec.structs.replace(job.scenario, id=failing.of_all_points(job))
            found = [verdicts.failed(msgspec.structs.replace(job, scenario=of_all), failed.failure, failing="a point")]
        words = command(job.scenario, {**self._plan.options, "errors": True})
        return [msgspec.structs.replace(result, command=words) for result in found]

    def _result(self, job: Job) -> ScenarioResult:
        info = job.scenario
        began = time.perf_counter()
        try:
            result = self._measured(job)
        except WorkerFailed as failed:
            result = verdicts.failed(job, self._told(info, failed))
        except Exception as error:  # noqa: BLE001 - an error of ours in one scenario must not take the others with it
            failure = Failure(type=INTERNAL, message=repr(error), traceback=traceback.format_exc())
            result = verdicts.failed(job, failure)
        interrupted = self._crew.interrupted
        return msgspec.structs.replace(
            result,
            advice=[*result.advice, _INTERRUPTED] if interrupted else result.advice,
            duration_s=time.perf_counter() - began,
            command=command(info, self._plan.options),
            interrupted=interrupted,
        )

    def _told(self, info: ScenarioInfo, failed: WorkerFailed) -> Failure:
        """The failure for the results; the view may show more of it."""
        with self._viewing:
            self._view.failed(info.id, failed.whole)
        return failed.failure

    def _measured(self, job: Job) -> ScenarioResult:
        with self._viewing:
            self._view.start(job.scenario.id)
        began = time.perf_counter()
        ended = self._reached(job)
        broken = ended.reached.measured.broken
        if broken is not None and ended.reached.measured.unanswered and broken.type != INTERRUPT:
            ended = self._reached(job, unasked=broken.message)  # the step would have gone on
        reached, failure, unclosed = ended.reached, ended.failure, ended.unclosed
        advice = [f"the tear-down failed ({unclosed.type}: {unclosed.message})"] if unclosed else []
        wrong = failure or unclosed
        if wrong is not None and (reached.failed is not None or not reached.leaking):
            return verdicts.failed(
                job,
                wrong,
                meters=verdicts.meters(reached),
                iterations=reached.measured.iterations,
                advice=advice if failure else [],
            )
        growth_run = ToolRun(name="growth", status="ok", duration_s=time.perf_counter() - began)
        sparse = None if reached.leaking else fragmentation(reached.measured.samples)
        advice += [sparse.advice] if sparse else []
        advice = [
            *reached.advice,
            *advice,
            *_advice(reached, ended.opened, job),
            *([_NOT_FAILED] if self._plan.errors and not ended.opened.answers_probes else ()),
            *roles.advice(ended.growers, reached.leaking, service=ended.opened.service),
            *roles.client(reached),
        ]
        result = verdicts.judged(job, reached, advice=advice, tools=[growth_run], failure=failure, phases=ended.phases)
        return self._diagnosed(job, ended, result)

    def _reached(self, job: Job, unasked: str = "") -> _Ended:
        """Open the scenario, come to a verdict on its meters, and tear it down."""
        info = job.scenario
        began = time.perf_counter()
        with self._start(job) as worker:
            opened = worker.open()
            _look_at_budget(info.budget, opened)
            started = time.perf_counter()
            watch = self._watcher(info, job.budget)
            reached = reach(worker, opened, job.budget, gc=job.gc, accepted=info.budget, unasked=unasked, watch=watch)
            decided = time.perf_counter()
            failure = self._of_step(job, reached, worker) or reached.measured.broken
            growers = roles.growers(worker, reached, opened) if failure is None else None
            unclosed = None if worker.gone else self._torn_down(worker)
            phases = {
                "start": started - began,
                "rounds": decided - started - reached.questions_s,
                "challenges": reached.questions_s,
                "tear-down": time.perf_counter() - decided,
            }
            return _Ended(opened, reached, failure, unclosed, phases, growers)

    def _of_step(self, job: Job, reached: Reached, worker: Worker) -> Failure | None:
        """What the step raised, as the failure of its scenario."""
        if reached.failed is None:
            return None
        after = f" (iteration {reached.measured.iterations + 1:,})"
        printed = worker.output[-_KEPT_OUTPUT:]
        return self._told(job.scenario, of_exception(reached.failed, printed, values=job.values, after=after))

    def _torn_down(self, worker: Worker) -> Failure | None:
        """Why the tear-down failed, if it did; one that is cut short by an interrupt has not."""
        try:
            worker.close()
        except WorkerFailed as failed:
            return None if self._crew.interrupted else failed.failure
        return None

    def _diagnosed(self, job: Job, ended: _Ended, result: ScenarioResult) -> ScenarioResult:
        """Ask why, where something grows (or where valgrind was asked for)."""
        reached = ended.reached
        tools = self._plan.tools if job.scenario.tools is None else frozenset(job.scenario.tools)
        auto = "auto" in tools
        leaking, measured = reached.leaking, reached.measured
        wants_valgrind = "valgrind" in tools or (auto and job.scenario.native and bool(leaking))
        if not (leaking and (auto or "memray" in tools)) and not wants_valgrind:
            return result
        from leakcheck.diagnosis.investigation import diagnose
        from leakcheck.diagnosis.plan import DiagnosisOptions, GrowthFacts

        def tell(tools: Sequence[str]) -> None:
            with self._viewing:
                self._view.diagnosing(job.scenario.id, tools)

        facts = GrowthFacts(
            meters=leaking,
            iterations=measured.iterations,
            warmup=_warmup(reached),
            apart=max((apart(measured.samples[name], rate) for name, rate in leaking.items()), default=0.0),
            seconds_per_iteration=measured.per_iteration,
            pause=reached.pause_s,
            roots=reached.roots,
            garbage=reached.garbage,
            service=ended.opened.service,
        )
        options = DiagnosisOptions(
            tools=_diagnosis_tools(tools, bool(leaking)),
            foreign=not ended.opened.answers_probes,
            valgrind=wants_valgrind,
            keep_captures=self._plan.keep_captures,
            suppressions=tuple(self._plan.suppressions),
            graph=self._plan.graph,
        )
        places = roles.places(ended.growers, leaking, service=ended.opened.service)
        found = [diagnose(job, facts.of_part(place.part, place.asked), options, self._start, tell) for place in places]
        verdict, ok, reason = result.verdict, result.ok, result.reason
        findings = [
            finding
            for place, diagnosis in zip(places, found, strict=True)
            for finding in roles.named(diagnosis.findings, place)
        ]
        ran = [tool for diagnosis in found for tool in diagnosis.tools]
        if findings:
            reason = findings[0].title
            if not leaking:
                # What valgrind alone sees: blocks lost for good whose number grows with the iterations.
                verdict, ok = "leak", verdicts.as_expected("leak", job.scenario.expect)
        return msgspec.structs.replace(
            result,
            verdict=verdict,
            ok=ok,
            reason=reason,
            findings=findings,
            explained=roles.explained(places, [diagnosis.explained for diagnosis in found]),
            advice=[*result.advice, *(note for diagnosis in found for note in diagnosis.notes)],
            tools=[*result.tools, *ran],
            phases=result.phases | {tool.name: tool.duration_s for tool in ran if tool.duration_s},
        )

    def _watcher(self, info: ScenarioInfo, budget: Budget) -> Callable[..., None]:
        def watch(progress: Progress, samples: Any, judgements: Any) -> None:
            name = next((each for each, judgement in judgements.items() if judgement.suspicious), LEDGER)
            series = samples.get(name) or next(iter(samples.values()))
            left = max(0.0, budget.time_s - progress.step_seconds)
            with self._viewing:
                self._view.progress(info.id, name, list(series), left)

        return watch


def _look_at_budget(budget: Mapping[str, float], opened: Opened) -> None:
    """A budget for a meter that there is not accepts nothing, and would look as if it did."""
    known = {name for name, _ in opened.meters} | opened.unavailable.keys()
    known |= {spec.name for spec in CATALOGUE if spec.afterwards}
    for name in budget:
        if name not in known:
            raise WorkerFailed(Failure(type="start", message=unknown_meter(name, known)))


def _diagnosis_tools(tools: frozenset[str], leaking: bool) -> frozenset[Any]:
    """The object graph and memray explain growth; valgrind is for what they cannot see, or where it was asked for."""
    chosen = {"valgrind"} if tools & {"auto", "valgrind"} else set()
    if leaking and tools & {"auto", "memray"}:
        chosen |= {"graph", "memray"}
    return frozenset(chosen)


def command(info: ScenarioInfo, options: dict[str, Any]) -> str:
    """The command line that reproduces one scenario's result."""
    words = [*(info.command or ["elkyn-leakcheck", "run", info.id])]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}"] if value is True else [f"--{name.replace('_', '-')}", str(value)]
    return pasteable(words)


def _warmup(reached: Reached) -> int:
    """Iterations after which what is bounded was full, nearly: containers that are made until then look like causes."""
    filled = 0
    for name, judgement in reached.judgements.items():
        if judgement.verdict == "bounded":
            series = reached.measured.samples[name]
            nearly = series[0].value + _NEARLY_FULL * (series[-1].value - series[0].value)
            filled = max(filled, next(each.iterations for each in series if each.value >= nearly))
    return filled


def _advice(reached: Reached, opened: Opened, job: Job) -> list[str]:
    remarks, measured = [], reached.measured
    if reached.garbage is not None and GARBAGE not in reached.leaking:
        remarks.append(f"no leak, but {reached.judgements[GARBAGE].reason}")
    elif reached.garbage is None and measured.cycles_per_iteration >= LEAST_OBJECTS and job.gc == "collect":
        remarks.append(
            f"makes {measured.cycles_per_iteration:.2f} objects of cyclic garbage per iteration: no leak, but work for "
            "the collector"
        )
    if not opened.answers_probes:
        remarks.append(f"looked at: {', '.join(name for name, _ in opened.meters)}; nothing else of this program")
    if job.allocator == "malloc" and LEDGER in opened.unavailable:
        remarks.append(f"{LEDGER} is not measured: {opened.unavailable[LEDGER]}")
    if names := foreign(opened.libraries):
        ledger = (
            ", and where it keeps a ledger, to the byte (allocators.bytes)" if ALLOCATORS in measured.samples else ""
        )
        remarks.append(
            f"another allocator than the C library's is loaded: {', '.join(names)}; what is lost in its memory shows "
            f"in whole pages (anon.bytes){ledger}"
        )
    return remarks


def broken_result(template: Job, broken: Broken) -> ScenarioResult:
    """The result of a file that cannot be imported."""
    info = ScenarioInfo(id=broken.id, target=broken.file, name="", file=broken.file)
    result = verdicts.failed(msgspec.structs.replace(template, scenario=info), broken.failure)
    return msgspec.structs.replace(result, reason=f"cannot be imported: {broken.failure.message}")

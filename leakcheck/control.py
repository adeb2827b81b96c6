"""The control: proof, on every run, that this machine's readings can be trusted now."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from leakcheck import control_scenarios
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.execution.local import Worker, WorkerFailed
from leakcheck.growth import Measurement, MeterInfo, measure
from leakcheck.model import Control, ControlCheck, Verdict

_EXPECTED: dict[str, Verdict] = {
    "one_small_object_per_100_iterations": "leak",
    "native_block_per_iteration": "leak",
    "no_op": "clean",
}


def run_control(template: Job, start: Callable[[Job], Worker] = Worker) -> Control:
    """Measure the planted scenarios under the conditions of the run."""
    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=2) as pool:
        checks = list(pool.map(lambda name: _check(name, _EXPECTED[name], template, start), _EXPECTED))
    wrong = [check for check in checks if not check.ok]
    return Control(
        status="failed" if wrong else "ok",
        reason="; ".join(f"{check.name} came out as {check.verdict}: {check.reason}" for check in wrong),
        checks=checks,
        duration_s=time.perf_counter() - began,
    )


def _check(name: str, expected: Verdict, template: Job, start: Callable[[Job], Worker]) -> ControlCheck:
    info = ScenarioInfo(id=f"control::{name}", target=str(Path(control_scenarios.__file__)), name=name)
    job = msgspec.structs.replace(template, scenario=info, budget=Budget(time_s=5.0), gc="collect")
    try:
        with start(job) as worker:
            opened = worker.open()
            measured = measure(worker, [MeterInfo(*meter) for meter in opened["meters"]], job.budget)
    except WorkerFailed as failed:
        return ControlCheck(name=name, expected=expected, verdict="error", ok=False, reason=str(failed))
    verdict, reason = _verdict(measured)
    return ControlCheck(name=name, expected=expected, verdict=verdict, ok=verdict == expected, reason=reason)


def _verdict(measured: Measurement) -> tuple[Verdict, str]:
    """The scenario's verdict by its ledger: the allocator's meters, for these scenarios touch nothing else."""
    ledger = ("heap.bytes", "py.blocks") if "py.blocks" in measured.judgements else ("heap.bytes",)
    judgements = [measured.judgements[name] for name in ledger if name in measured.judgements]
    if not judgements:
        return "skipped", "no exact meter of memory works here"
    for judgement in judgements:
        if judgement.verdict == "leak":
            return "leak", judgement.reason
    if measured.leaking:
        name = measured.leaking[0]
        return "leak", f"{name} {measured.judgements[name].reason}"
    undecided = [judgement for judgement in judgements if judgement.verdict != "clean"]
    return ("inconclusive", undecided[0].reason) if undecided else ("clean", judgements[0].reason)

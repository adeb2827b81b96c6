"""The control: proof, on every run, that this machine's readings can be trusted now."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import msgspec

from leakcheck import meters
from leakcheck.agent.protocol import Opened
from leakcheck.execution.crew import Crew
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.execution.worker import Worker
from leakcheck.records import Control, ControlCheck, Verdict
from leakcheck.run import control_scenarios
from leakcheck.verdict.reach import Reached, reach

_PLANTED: dict[str, tuple[Verdict, int]] = {
    "no_op": ("clean", 16_384),
    "one_small_object_per_100_iterations": ("leak", 65_536),
    "native_block_per_iteration": ("leak", 16_384),
}
"""What each is, and its iterations.

It takes less to trust a reading than to tell a leak from any cache. The rare leak needs 655 objects: a list of 164
makes steps so coarse that with a hundred bytes of noise at the wrong place its last two doublings seem to fade.
"""


_UNASKED = "the control asks only whether readings show what was planted"


def run_control(template: Job, start: Callable[[Job], Worker] = Worker) -> Control:
    """Measure the planted scenarios under the conditions of the run, one after the other in one process."""
    began = time.perf_counter()
    target = str(Path(control_scenarios.__file__))
    info = ScenarioInfo(id="control", target=target, name="")
    checks: list[ControlCheck] = []
    try:
        with start(msgspec.structs.replace(template, scenario=info, gc="collect")) as worker:
            for name, (expected, iterations) in _PLANTED.items():
                budget = Budget(time_s=5.0, max_iterations=iterations)
                worker.job = msgspec.structs.replace(worker.job, scenario=msgspec.structs.replace(info, name=name))
                opened = worker.open()
                verdict, reason = _by_the_ledger(reach(worker, opened, budget, unasked=_UNASKED), opened)
                worker.close()  # raises where the measurement was cut short
                checks.append(
                    ControlCheck(name=name, expected=expected, verdict=verdict, ok=verdict == expected, reason=reason)
                )
    except WorkerFailed as failed:
        for name, (expected, _) in list(_PLANTED.items())[len(checks) :]:
            check = ControlCheck(name=name, expected=expected, verdict="error", ok=False, reason=str(failed))
            checks.append(check)
    wrong = [check for check in checks if not check.ok]
    return Control(
        status="failed" if wrong else "ok",
        reason="; ".join(f"{check.name} came out as {check.verdict}: {check.reason}" for check in wrong),
        checks=checks,
        duration_s=time.perf_counter() - began,
    )


class BackgroundControl:
    """The control under way, in a process of its own: it needs to know nothing of what will be measured."""

    def __init__(self, template: Job) -> None:
        self._crew = Crew()
        self._pool = ThreadPoolExecutor(max_workers=1)
        self.result: Future[Control] = self._pool.submit(run_control, template, self._crew.start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it; its result says then that it was not finished. Idempotent."""
        self._crew.interrupt()
        self._pool.shutdown()


def _by_the_ledger(reached: Reached, opened: Opened) -> tuple[Verdict, str]:
    """The scenario's verdict by the allocator's meters, for these scenarios touch nothing else."""
    names = [name for name in meters.of_family("heap") if name in reached.judgements]
    if not names:
        why = "; ".join(opened.unavailable[name] for name in meters.of_family("heap") if name in opened.unavailable)
        return "skipped", f"no exact meter of memory works here: {why}"
    if reached.leaking:
        name = next((name for name in names if name in reached.leaking), next(iter(reached.leaking)))
        return "leak", f"{name} {reached.judgements[name].reason}"
    judgements = [reached.judgements[name] for name in names]
    undecided = [judgement for judgement in judgements if judgement.verdict != "clean"]
    return ("inconclusive", undecided[0].reason) if undecided else ("clean", judgements[0].reason)

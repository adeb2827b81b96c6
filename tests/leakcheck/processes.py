"""Jobs and measurements of real processes, for the tests that need them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripted import Unsuspecting

from leakcheck import meters
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.execution.worker import Worker
from leakcheck.records import ScenarioResult
from leakcheck.run.runner import Plan, Runner
from leakcheck.verdict.measure import Measurement, measure


def job_of(folder: Path, source: str, name: str = "case", **options) -> Job:
    """The scenario `name` of a source that need not import `scenario` itself."""
    file = folder / "scenarios_under_test.py"
    file.write_text("from leakcheck import scenario\n" + textwrap.dedent(source))
    info = ScenarioInfo(id=f"{file.name}::{name}", target=str(file), name=name)
    return Job(scenario=info, cwd=folder, **options)


def measured(job: Job, time_s: float = 10.0) -> Measurement:
    """What the rounds show, before any challenge."""
    with Worker(job) as worker:
        opened = worker.open()
        specs = [meters.of(name, unit) for name, unit in opened.meters]
        result = measure(worker, specs, Budget(time_s=time_s), Unsuspecting())
        if result.raised is None:
            worker.close()
        return result


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether something comes true in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def state_of(pid: int) -> str:
    """The letter by which the kernel tells what a process does; `gone` where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def is_running(pid: int) -> bool:
    """Whether a process is there, and no zombie that nobody has waited for."""
    return state_of(pid) not in ("gone", "Z", "X")


class _Unseen:
    def start(self, *_):
        """Nobody looks at the run."""

    progress = diagnosing = failing = failed = finish = control = start


def run(job: Job, *tools: str) -> ScenarioResult:
    """What a whole run says of the scenario, with the tools that are named besides its growth."""
    plan = Plan(scenarios=[job.scenario], broken=[], template=job, tools=frozenset(tools or {"growth"}))
    (result,) = Runner(plan, _Unseen()).run().scenarios
    return result


@contextmanager
def busy_processors() -> Iterator[None]:
    """A loop on each of them, as long as the block runs."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()

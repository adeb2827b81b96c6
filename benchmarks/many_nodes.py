"""What the distribution of a run costs: scheduler and workers are real, and an examination is a sleep of a second.

Each worker is a process; it loads this module, by which it answers as a node does but for the measurement. What is left
is what the engine, the dispatcher and the results take.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
from distributed import Client

from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.records import Control, ScenarioResult
from leakcheck.remote import bundle, likeness, node
from leakcheck.remote.dispatch import Dispatch
from leakcheck.remote.requests import Admit, Admitted, Examine, Prove, Work, decode, encode, encode_results
from leakcheck.remote.running import connect
from leakcheck.run.runner import Plan

RESULT = "LEAKCHECK_BENCHMARK_RESULT"
"""Environment variable of the workers: the file with the result that each scenario has."""


def takes_s(number: int) -> float:
    """Seconds of one scenario: one in the mean, half of one at the least."""
    return random.Random(number).uniform(0.5, 1.5)


def answer(content: bytes, tell: Callable[[bytes], None]) -> bytes:
    """What a node answers that measures nothing."""
    request = decode(content, Admit | Prove | Examine)
    if isinstance(request, Admit):
        return encode(Admitted(environment={"python": "3"}))
    if isinstance(request, Prove):
        return encode(Control(status="ok"))
    name = decode(request.work, Work).job.scenario.id
    time.sleep(takes_s(int(name)))
    result = msgspec.json.decode(Path(os.environ[RESULT]).read_bytes(), type=ScenarioResult)
    return encode_results([msgspec.structs.replace(result, id=name)])


def dask_setup(worker: object) -> None:
    """Dask calls it in a worker that has loaded this module."""
    node.answer = answer


class _Unseen:
    def start(self, *_: object) -> None:
        """Nobody looks."""

    start_at = nodes = message = progress = diagnosing = failing = failed = finish = control = start


def run(scenarios: int, workers: int) -> None:
    """One run, and what it took beside the sleeping."""
    from leakcheck import checking

    typical = checking.check(sum, [1]).record
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        (place / "result.json").write_bytes(msgspec.json.encode(typical))
        environment = os.environ | {RESULT: str(place / "result.json")}
        dask = [sys.executable, "-m", "dask"]
        words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        where = place / "scheduler.json"
        words += ["--scheduler-file", str(where)]
        started = [subprocess.Popen([*dask, *words], env=environment, stderr=subprocess.DEVNULL)]
        try:
            while not where.exists():
                assert started[0].poll() is None, "the scheduler has ended"
                time.sleep(0.1)
            address = msgspec.json.decode(where.read_bytes())["address"]
            options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--preload", "benchmarks.many_nodes"]
            for _ in range(workers):
                command = [*dask, "worker", address, *options, "--local-directory", made]
                started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
            _measured(address, scenarios, workers, started[0].pid)
        finally:
            for process in started:
                process.kill()
                process.wait()


def _measured(address: str, scenarios: int, workers: int, scheduler: int) -> None:
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=600)
    infos = [ScenarioInfo(id=str(number), target="sleep", name="sleep") for number in range(scenarios)]
    job = Job(scenario=ScenarioInfo(id="", target="", name=""), cwd=Path.cwd())
    plan = Plan(scenarios=infos, broken=[], template=job, tools=frozenset({"auto"}))
    sources = bundle.Bundle(str(Path.cwd()), "none", b"")
    with connect(f"dask://{address}", "benchmark") as engine:
        dispatch = Dispatch(plan, engine, _Unseen(), sources, likeness.here(), name="benchmark")
        before, began = _processor(scheduler), time.perf_counter()
        result = dispatch.run()
        took, after = time.perf_counter() - began, _processor(scheduler)
    assert [each.id for each in result.scenarios] == [str(number) for number in range(scenarios)]
    slept = sum(map(takes_s, range(scenarios)))
    here, there = ((one - other) / scenarios * 1e3 for one, other in zip(after, before, strict=True))
    print(
        f"nodes: {scenarios} scenarios of {slept / scenarios:.2f} s on {workers} workers in {took:.0f} s, "
        f"{took / (slept / workers):.2f} times the ideal {slept / workers:.0f} s: {1 - slept / (took * workers):.1%} "
        f"idle; processor for each: {here:.1f} ms here, {there:.1f} ms in the scheduler"
    )


def _processor(scheduler: int) -> tuple[float, float]:
    """Seconds of processor of this process, and of the scheduler."""
    return time.process_time(), sum(psutil.Process(scheduler).cpu_times()[:2])

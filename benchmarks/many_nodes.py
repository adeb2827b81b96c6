"""What the distribution of a run costs: scheduler and workers are real, and an examination is a sleep of a second.

Workers answer as a node does but for the measurement. What is left is what the engine, the dispatcher and the results
take. On machines of their own they would have a processor each; here some share a process, or there were none left.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import psutil
from distributed import Client, Worker

from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.records import Control, ScenarioResult
from leakcheck.remote import bundle, likeness, node
from leakcheck.remote.dispatch import Dispatch
from leakcheck.remote.engine import Cluster
from leakcheck.remote.requests import Admit, Admitted, Examine, Prove, Work, decode, encode, encode_results
from leakcheck.remote.running import connect
from leakcheck.run.runner import Plan

RESULT = "LEAKCHECK_BENCHMARK_RESULT"
"""Environment variable of the workers: the file with the result that each scenario has."""


_IN_A_PROCESS = 16
"""Workers."""


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


async def work(address: str, count: str) -> None:
    """So many workers in one process, until they are killed."""
    node.answer = answer
    async with AsyncExitStack() as stack:
        for _ in range(int(count)):
            await stack.enter_async_context(Worker(address, nthreads=1, dashboard=False, memory_limit=0))
        await asyncio.Event().wait()


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
        profile = {
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"
        }  # it looks at each worker a hundred times a second
        environment = os.environ | profile | {RESULT: str(place / "result.json")}
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
            for before in range(0, workers, _IN_A_PROCESS):
                count = str(min(_IN_A_PROCESS, workers - before))
                command = [sys.executable, "-m", "benchmarks.many_nodes", address, count]
                started.append(subprocess.Popen(command, cwd=Path.cwd(), env=environment, stderr=subprocess.DEVNULL))
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
    cluster = Cluster(f"dask://{address}")
    with connect(cluster.address, "benchmark") as engine:
        dispatch = Dispatch(plan, engine, _Unseen(), sources, likeness.here(), name="benchmark", cluster=cluster)
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


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))

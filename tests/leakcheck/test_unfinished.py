"""Work that is begun and never done: what the interpreter frees unfinished, and what waits for what nobody can set."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from diagnosing import diagnosed
from processes import job_of, run

from leakcheck.execution.job import Budget
from leakcheck.records import ScenarioResult

HEAD = """
    import asyncio, queue, threading
    kept, shared = [], []
    async def worker():
        await asyncio.get_running_loop().create_future()
    async def fetch():
        await asyncio.sleep(0)
    async def rows():
        for number in range(10):
            yield number
"""


def measured(folder: Path, source: str) -> ScenarioResult:
    """A short measurement: it is not the memory that is looked at."""
    return run(msgspec.structs.replace(job_of(folder, source), budget=Budget(time_s=1.0)))


UNDONE = {
    "a task without a reference": (
        "asyncio.create_task(worker())\n        await asyncio.sleep(0)",
        "1 task per iteration is destroyed while pending: worker, created at scenarios_under_test.py:15 in case",
    ),
    "a coroutine that is called only": (
        "fetch()",
        "1 coroutine per iteration is never awaited: fetch, created at scenarios_under_test.py:15 in case",
    ),
    "an async loop that is left": (
        "async for number in rows(): break",
        "1 async generator per iteration is left before its end, and closed by the collector: rows, created at "
        "scenarios_under_test.py:15 in case",
    ),
}
DONE = {
    "awaited": "await fetch()",
    "gathered": "await asyncio.gather(fetch(), fetch())",
    "to the end": "async for number in rows(): pass",
    "cancelled": "task = asyncio.create_task(worker()); await asyncio.sleep(0); task.cancel()\n"
    "        await asyncio.gather(task, return_exceptions=True)",
    "closed": "generator = rows(); await generator.__anext__(); await generator.aclose()",
}


@pytest.mark.parametrize(("body", "told"), UNDONE.values(), ids=UNDONE)
def test_what_is_freed_unfinished_is_told_with_the_line_that_creates_it(tmp_path: Path, body: str, told: str) -> None:
    result = measured(tmp_path, f"""{HEAD}
    @scenario
    async def case():
        {body}
    """)  # fmt: skip
    assert told in result.advice


@pytest.mark.parametrize("body", DONE.values(), ids=DONE)
def test_what_is_finished_is_not_told(tmp_path: Path, body: str) -> None:
    result = measured(tmp_path, f"""{HEAD}
    @scenario
    async def case():
        {body}
    """)  # fmt: skip
    assert not any("per iteration is" in advice for advice in result.advice), result.advice


WAITING = {
    "a future of its own": ("worker()", "kept", "Future"),
    "an event of its own": ("asyncio.Event().wait()", "kept", "Event.wait"),
    "an empty queue of its own": ("asyncio.Queue().get()", "kept", "Queue.get"),
    "an event that the program has": ("events[0].wait()", "kept", ""),
    "a time that will come": ("asyncio.sleep(3600)", "kept", ""),
    "a queue that another has": ("channel().get()", "kept", ""),
    "a task that waits for ever": ("outer()", "kept", "Task"),
    "a task that sleeps": ("sleeper()", "kept", ""),
}


@pytest.mark.parametrize(("coroutine", "holder", "awaited"), WAITING.values(), ids=WAITING)
def test_a_task_waits_for_ever_where_nothing_leads_to_what_it_waits_for(
    tmp_path: Path, coroutine: str, holder: str, awaited: str
) -> None:
    job = job_of(tmp_path, f"""{HEAD}
    events, queues = [], []
    async def outer():
        await asyncio.create_task(worker())
    async def sleeper():
        await asyncio.create_task(asyncio.sleep(3600))
    def channel():
        queues.append(asyncio.Queue())
        return queues[-1]
    @scenario
    async def case():
        events or events.append(asyncio.Event())
        {holder}.append(asyncio.create_task({coroutine}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    """)  # fmt: skip
    found = diagnosed(Path(job.scenario.target), "case")
    examples = [example for finding in found.findings if finding.meter == "tasks" for example in finding.examples]
    assert examples
    told = [example for example in examples if "waits for ever" in example]
    assert bool(told) == bool(awaited), examples
    assert not awaited or any(f"nothing that can still run leads to its {awaited}" in example for example in told)


@pytest.mark.parametrize(
    ("target", "awaited"),
    [
        ("threading.Event().wait", "Event.wait"),
        pytest.param("queue.Queue().get", "Queue.get", marks=pytest.mark.slow),
        ("event.wait", ""),
    ],
)
def test_a_thread_waits_for_ever_where_nothing_leads_to_what_it_waits_for(
    tmp_path: Path, target: str, awaited: str
) -> None:
    job = job_of(tmp_path, f"""{HEAD}
    event = threading.Event()
    @scenario
    def case():
        threading.Thread(target={target}, daemon=True).start()
    """)  # fmt: skip
    found = diagnosed(Path(job.scenario.target), "case")
    examples = [example for finding in found.findings for example in finding.examples]
    told = [example for example in examples if "waits for ever" in example]
    assert bool(told) == bool(awaited), examples
    assert not awaited or f"nothing that can still run leads to its {awaited}" in told[0]

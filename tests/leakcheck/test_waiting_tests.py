"""`pytest --leakcheck-tasks`: what tests leave waiting for ever, and what only looks like it."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest
from pytest_suites import run

HEAD = """
import asyncio, queue, threading
from concurrent.futures import ThreadPoolExecutor
import pytest

kept = []

async def worker():
    await asyncio.get_running_loop().create_future()

def take():
    queue.Queue().get()

@pytest.fixture
def server():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    yield
    stop.set()
    thread.join()

@pytest.fixture(scope="module")
def shared():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    yield
    stop.set()
    thread.join()
"""
ASYNC_LOST = {
    "a queue that has gone": ("asyncio.create_task(asyncio.Queue().get())", "task Queue.get,", "Queue.get"),
    "a future of its own": ("asyncio.create_task(worker())", "task worker at test_case.py:", "Future"),
    "several": ("[asyncio.create_task(worker()) for _ in range(2)]", "task worker at", "Future (2 times)"),
}
ASYNC_INNOCENT = {
    "one that is held can be cancelled": "kept.append(asyncio.create_task(worker()))",
    "one that sleeps": "asyncio.create_task(asyncio.sleep(3600))",
    "one with a time limit": "asyncio.create_task(asyncio.wait_for(worker(), 3600))",
    "one that is done": "await asyncio.create_task(asyncio.sleep(0))",
    "one whose queue is held": "kept.append(asyncio.Queue()); asyncio.create_task(kept[-1].get())",
    "one in an executor": "await asyncio.to_thread(int)",
}
THREADS = {
    "a queue of its own": ("", "threading.Thread(target=take, daemon=True).start()", "Queue.get"),
    "an event of its own": ("", "threading.Thread(target=threading.Event().wait, daemon=True).start()", "Event.wait"),
    "with a time limit": ("", "threading.Thread(target=threading.Event().wait, args=(30,), daemon=True).start()", ""),
    "an executor that is kept": ("", "kept.append(ThreadPoolExecutor(1)); kept[-1].submit(int).result()", ""),
    "an executor that is forgotten": ("", "ThreadPoolExecutor(1).submit(int).result()", ""),
    "a fixture's, which ends it": ("server", "pass", ""),
    "a fixture's of wider scope": ("shared", "pass", ""),
}


def outcome(tmp_path: Path, test: str, *options: str) -> str:
    (tmp_path / "test_case.py").write_text(HEAD + dedent(test))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    done = run(tmp_path, "-q", "--leakcheck-tasks", *options)
    assert done.returncode == (1 if "leaves " in done.stdout else 0), done.stdout + done.stderr
    return done.stdout


def async_test(mark: str, body: str) -> str:
    return f"""
@pytest.mark.{mark}
async def test_case():
{indent(body, "    ")}
    await asyncio.sleep(0)
"""


@pytest.mark.parametrize("mark", ["asyncio", "anyio"])
@pytest.mark.parametrize(("body", "who", "awaited"), ASYNC_LOST.values(), ids=ASYNC_LOST)
def test_a_task_that_nobody_will_wake_fails_its_test(
    tmp_path: Path, mark: str, body: str, who: str, awaited: str
) -> None:
    out = outcome(tmp_path, async_test(mark, body), "-k", "not trio")
    assert f"leaves {who}" in out
    assert f"waits for ever: nothing that can still run leads to its {awaited}\n" in out


@pytest.mark.parametrize("body", ASYNC_INNOCENT.values(), ids=ASYNC_INNOCENT)
def test_a_task_that_can_go_on_does_not(tmp_path: Path, body: str) -> None:
    assert "1 passed" in outcome(tmp_path, async_test("asyncio", body))


@pytest.mark.parametrize(("fixture", "body", "awaited"), THREADS.values(), ids=THREADS)
def test_a_thread_that_nobody_will_wake_fails_its_test_and_no_other(
    tmp_path: Path, fixture: str, body: str, awaited: str
) -> None:
    out = outcome(tmp_path, f"""
def test_case({fixture}):
    {body}

def test_another():
    pass
""")  # fmt: skip
    assert ("leaves thread" in out) == bool(awaited), out
    assert ("2 passed" if not awaited else "2 passed, 1 error") in out
    if awaited:
        assert f"nothing that can still run leads to its {awaited}" in out
        assert "ERROR test_case.py::test_case" in out


def test_without_the_option_nobody_looks(tmp_path: Path) -> None:
    (tmp_path / "test_case.py").write_text(HEAD + async_test("anyio", "asyncio.create_task(worker())"))
    assert run(tmp_path, "-q", "-k", "not trio").returncode == 0


def test_it_goes_with_workers_of_xdist(tmp_path: Path) -> None:
    out = outcome(tmp_path, async_test("asyncio", "asyncio.create_task(worker())"), "-n", "1")
    assert "leaves task worker" in out

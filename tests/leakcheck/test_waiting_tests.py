"""`pytest --leakcheck-tasks`: what tests leave waiting for ever, and what only looks like it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from textwrap import dedent, indent

import pytest
from lxml import etree
from pytest_suites import run

from leakcheck.pytest_plugin.waiting import _has_been_freed

HEAD = """
import asyncio, queue, threading
from concurrent.futures import ThreadPoolExecutor
import pytest

kept = []

async def worker():
    await asyncio.get_running_loop().create_future()

def take():
    queue.Queue().get()

def serve():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    yield
    stop.set()
    thread.join()

server = pytest.fixture(serve, name="server")
shared = pytest.fixture(serve, scope="module", name="shared")
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


MARKS = ("asyncio", "anyio")


def async_test(name: str, mark: str, body: str) -> str:
    return f"""
@pytest.mark.{mark}
async def test_{name}():
{indent(body, "    ")}
    await asyncio.sleep(0)
"""


def name_of(*words: str) -> str:
    return "_".join(words).replace(" ", "_").replace(",", "").replace("'", "")


def leaves(folder: Path, tests: str, *options: str) -> dict[str, str]:
    """What each of the tests is told to leave, by its name; empty where it passes. One run for all of them."""
    (folder / "test_case.py").write_text(HEAD + dedent(tests))
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    done = run(folder, "-q", "--junitxml", "out.xml", "-k", "not trio", *options)
    told: dict[str, str] = {}
    for case in etree.parse(folder / "out.xml").iter("testcase"):
        name = case.attrib["name"].partition("[")[0]
        told[name] = told.get(name, "") + "".join(each.text or "" for each in case)
    assert done.returncode == (1 if any(told.values()) else 0), done.stdout + done.stderr
    return told


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    tests = [
        async_test(name_of(mark, which), mark, body)
        for mark in MARKS
        for which, body in {**{which: case[0] for which, case in ASYNC_LOST.items()}, **ASYNC_INNOCENT}.items()
    ]
    tests += [
        f"def test_{name_of(which)}({fixture}):\n    {body}\ndef test_after_{name_of(which)}():\n    pass\n"
        for which, (fixture, body, _) in THREADS.items()
    ]
    return leaves(tmp_path_factory.mktemp("waiting"), "\n".join(tests), "--leakcheck-tasks")


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("which", ASYNC_LOST)
def test_a_task_that_nobody_will_wake_fails_its_test(told: dict[str, str], mark: str, which: str) -> None:
    _, who, awaited = ASYNC_LOST[which]
    said = told[f"test_{name_of(mark, which)}"]
    assert said.startswith(f"leaves {who}")
    assert f"waits for ever: nothing that can still run leads to its {awaited}" in said


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("which", ASYNC_INNOCENT)
def test_a_task_that_can_go_on_does_not(told: dict[str, str], mark: str, which: str) -> None:
    assert told[f"test_{name_of(mark, which)}"] == ""


@pytest.mark.parametrize("which", THREADS)
def test_a_thread_that_nobody_will_wake_fails_its_test_and_no_other(told: dict[str, str], which: str) -> None:
    awaited = THREADS[which][2]
    said = told[f"test_{name_of(which)}"]
    assert ("leaves thread" in said) == bool(awaited), said
    assert awaited in said
    assert told[f"test_after_{name_of(which)}"] == ""


def test_without_the_option_nobody_looks(tmp_path: Path) -> None:
    test = async_test("lost", "anyio", "asyncio.create_task(worker())")
    assert leaves(tmp_path, test) == {"test_lost": ""}


def test_it_goes_with_workers_of_xdist(tmp_path: Path) -> None:
    test = async_test("lost", "asyncio", "asyncio.create_task(worker())")
    assert "leaves task worker" in leaves(tmp_path, test, "--leakcheck-tasks", "-n", "1")["test_lost"]


def test_a_task_that_the_collector_has_closed_has_been_freed() -> None:
    async def waits() -> tuple[bool, ...]:
        task = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0)
        alive = _has_been_freed(task)
        task.get_coro().close()  # as its finalizer does
        closed = _has_been_freed(task)
        task.cancel()
        await asyncio.wait([task])
        return alive, closed, _has_been_freed(task), _has_been_freed(None)

    assert asyncio.run(waits()) == (False, True, False, True)

"""Steps that leak where a call in them fails, and steps that do not, though something stays for a while."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from processes import job_of

from leakcheck.agent.faults import shortage
from leakcheck.agent.scenario import LEGAL
from leakcheck.checking import Unseen
from leakcheck.execution.job import Job
from leakcheck.execution.worker import Worker
from leakcheck.run import failing, failing_process
from leakcheck.run.points import SHORTAGE
from leakcheck.run.runner import Plan, Runner

CASES = """
import asyncio, collections, ctypes, functools, gc, os, sys, threading, weakref

class Connection:
    def __init__(self): self.buffer = bytearray(500)
    def query(self): return str(self)

class Pool:
    def __init__(self): self.out, self.free = [], [Connection()]
    def get(self):
        connection = self.free.pop() if self.free else Connection()
        self.out.append(connection)
        return connection
    def put(self, connection):
        self.out.remove(connection)
        self.free.append(connection)

pool, kept, lock, waiting = Pool(), [], threading.Lock(), []

@scenario
def forgets_to_give_back():
    connection = pool.get()
    connection.query()
    pool.put(connection)

@scenario
def gives_back():
    connection = pool.get()
    try:
        connection.query()
    finally:
        pool.put(connection)

@scenario
def gives_back_either_way():
    connection = pool.get()
    try:
        connection.query()
    except BaseException:
        pool.put(connection)
        raise
    else:
        pool.put(connection)

@scenario
def hides_the_failure():
    kept.append(bytearray(300))
    try:
        str(1)
        kept.pop()
    except OSError:
        pass

@scenario
def opens_and_closes():
    descriptor = os.open("/dev/null", os.O_RDONLY)
    str(descriptor)
    os.close(descriptor)

take, give = ctypes.pythonapi.Py_IncRef, ctypes.pythonapi.Py_DecRef
take.argtypes = give.argtypes = [ctypes.py_object]

@scenario
def takes_a_reference():
    take(pool)
    str(1)
    give(pool)

def by_size(item): return -item

@scenario
def calls_back():
    kept.append(bytearray(300))
    sorted([1, 2, 3], key=by_size)
    kept.pop()

@scenario
def locks():
    lock.acquire()
    str(1)
    lock.release()

@scenario
async def waits():
    waiting.append(Connection())
    await asyncio.sleep(0)
    waiting.pop()

@scenario
async def waits_and_gives_back():
    connection = pool.get()
    try:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
    finally:
        await asyncio.sleep(0)
        pool.put(connection)

async def asks():
    connection = pool.get()
    await asyncio.sleep(0)
    pool.put(connection)

@scenario
async def has_a_task_that_forgets():
    async with asyncio.TaskGroup() as group:
        group.create_task(asks())

async def brings(messages):
    await asyncio.sleep(0)
    messages.put_nowait(1)

@scenario
async def waits_for_its_task():
    messages = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        group.create_task(brings(messages))
        await messages.get()

@scenario
async def leaves_a_task():
    task = asyncio.ensure_future(asyncio.sleep(3600))
    await asyncio.sleep(0)
    task.cancel()

made, parsed, counter = None, {}, iter(range(10**9))
alive = weakref.WeakSet()
history = collections.deque(maxlen=20)

@functools.lru_cache(maxsize=64)
def memoised(number): return bytearray(number % 100)

@functools.singledispatch
def dispatched(value): return str(value)

text = "x" * 100

@scenario
def puts_together():
    kept.append(bytearray(300))
    longer = text + "y"
    kept.pop()

class Lost(Exception): pass

@scenario
def innocent():
    global made
    number = next(counter)
    names = [sys.intern(f"name{number % 7}")]
    if made is None:
        made = Connection()
    connection = Connection()
    alive.add(connection)
    memoised(number)
    dispatched(number)
    isinstance({}, collections.abc.Mapping)
    parsed[number % 20] = [str(number)]
    for attempt in range(3):
        try:
            connection.query()
            break
        except OSError as error:
            history.append(repr(error))

@scenario(errors=Lost)
def loses_at_its_own_exception_only():
    kept.append(bytearray(300))
    try:
        str(1)
    except Lost:
        raise
    except BaseException:
        kept.pop()
        raise
    kept.pop()
"""


@pytest.fixture
def job(tmp_path) -> Job:
    return job_of(tmp_path, CASES)


def suspects(job: Job, name: str, legal=("OSError",)) -> set[str]:
    """The points of a case after whose failure something stays; those that nothing was found out about fail."""
    info = msgspec.structs.replace(job.scenario, name=name, id=name)
    seen = failing.screened(msgspec.structs.replace(job, scenario=info), legal, Worker, lambda *_: None)
    assert seen.tried
    assert not seen.untried
    assert not seen.unrepeatable
    return {each.failing.name for each in seen.suspects}


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("forgets_to_give_back", {"forgets_to_give_back:connection.query", "Connection.query:str"}),
        ("hides_the_failure", {"hides_the_failure:str"}),
        ("opens_and_closes", {"opens_and_closes:str"}),
        ("takes_a_reference", {"takes_a_reference:str"}),
        ("calls_back", {"calls_back:sorted", "by_size:by_size"}),
        ("waits", {"waits:asyncio.sleep", "cancelled waits:asyncio.sleep"}),
        ("has_a_task_that_forgets", {"asks:asyncio.sleep", "cancelled task asks:asyncio.sleep"}),
        ("leaves_a_task", {"leaves_a_task:asyncio.sleep", "cancelled leaves_a_task:asyncio.sleep"}),
    ],
)
def test_the_points_are_found_after_which_something_stays(job, name, points):
    assert suspects(job, name) == points


@pytest.mark.skipif(bool(shortage.why_not()), reason="this interpreter lets no allocation fail")
def test_allocations_are_found_after_which_something_stays(job):
    assert suspects(job, "puts_together", ("MemoryError",)) == {"short of memory puts_together:"}


def test_a_step_that_hangs_afterwards_is_a_suspect(job, monkeypatch):
    monkeypatch.setattr(failing_process, "_HANGS_S", 0.5)
    assert suspects(job, "locks") == {"locks:str"}


@pytest.mark.parametrize("name", ["gives_back", "gives_back_either_way", "waits_and_gives_back", "innocent"])
def test_what_cleans_up_or_stays_for_a_while_is_none(job, name):
    assert suspects(job, name) == set()


@pytest.mark.slow
def test_innocents_stay_so_on_a_busy_machine(job):
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        # Not where memory is short: the interpreter itself loses a frame then, in `functools.singledispatch` of 3.11.
        assert suspects(job, "innocent", [each for each in LEGAL if each != SHORTAGE]) == set()
        assert suspects(job, "waits_and_gives_back") == set()
        assert suspects(job, "waits") == {"waits:asyncio.sleep", "cancelled waits:asyncio.sleep"}
    finally:
        for each in busy:
            each.kill()
            each.wait()


def test_a_run_judges_what_is_found_and_names_the_point(job):
    names = ["loses_at_its_own_exception_only", "gives_back"]
    with Worker(job) as worker:
        legal = {each.name: each.legal for each in worker.list_scenarios()}
    scenarios = [msgspec.structs.replace(job.scenario, name=name, id=name, legal=legal[name]) for name in names]
    plan = Plan(scenarios=scenarios, broken=[], template=job, tools=frozenset({"auto"}), errors=True)
    leaking, point, clean, all_points = (
        each for each in Runner(plan, Unseen()).run().scenarios if each.id != f"{names[0]}!errors"
    )
    assert [each.verdict for each in (leaking, point, clean, all_points)] == ["clean", "leak", "clean", "screened"]
    assert point.id == f"{names[0]}!{names[0]}:str"
    assert point.reason.startswith("when Lost is raised at scenarios_under_test.py:")
    assert point.findings[0].title == point.reason
    assert "kept[*], never removed" in point.reason
    assert not point.ok
    assert all_points.reason.endswith("none leaves anything behind")

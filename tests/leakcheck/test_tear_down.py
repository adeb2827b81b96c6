"""A tear-down runs whatever its step does, in every way of running: what a scenario has made is not left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

import leakcheck
from leakcheck.agent.inquiry import FindContainers, Graph
from leakcheck.agent.session import _MOST_CANCELLED
from leakcheck.checking import measured
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.execution.worker import Worker, WorkerFailed

RAISES = {
    "an exception": "raise ValueError('no')",
    "the end of the interpreter": "raise SystemExit(3)",
    "an interrupt of its own": "raise KeyboardInterrupt",
    "nothing, where it should": "pass",
}
SCENARIOS = {
    "a generator": """
        @scenario({options})
        def case():
            note("set up")
            try:
                def step():
                    {step}
                yield step
                note("after the yield")
            finally:
                note("finally")
    """,
    "an async generator": """
        @scenario({options})
        async def case():
            note("set up")
            try:
                async def step():
                    {step}
                yield step
                note("after the yield")
            finally:
                note("finally")
    """,
}


@pytest.fixture
def notes(tmp_path):
    """What the scenarios under test have noted, in order."""
    file = tmp_path / "notes"

    def read() -> list[str]:
        return file.read_text().splitlines() if file.exists() else []

    read.source = f"def note(text):\n    with open({str(file)!r}, 'a') as file:\n        file.write(text + '\\n')\n"
    return read


@pytest.fixture
def job(tmp_path, notes):
    def make(source: str, **options) -> Job:
        file = tmp_path / "case_under_test.py"
        file.write_text(f"from leakcheck import scenario\n{notes.source}{textwrap.dedent(source)}")
        info = ScenarioInfo(id="case_under_test.py::case", target=str(file), name="case")
        return Job(scenario=info, cwd=tmp_path, **options)

    return make


@pytest.mark.parametrize("raised", RAISES)
@pytest.mark.parametrize("kind", SCENARIOS)
def test_a_scenario_is_torn_down_where_its_step_raises(job, notes, kind, raised):
    options = "raises=ValueError" if RAISES[raised] == "pass" else ""
    record = measured(job(SCENARIOS[kind].format(step=RAISES[raised], options=options))).record
    assert record.verdict == "error"
    assert "(iteration 1)" in record.reason
    assert notes() == ["set up", "after the yield", "finally"]


def test_what_a_tear_down_raises_after_the_step_did_is_told_beside_it(job):
    source = """
        @scenario
        def case():
            def step():
                raise ValueError("no")
            yield step
            raise RuntimeError("cannot clean up")
    """
    record = measured(job(source)).record
    assert record.reason.startswith("raised ValueError: at case_under_test.py:")
    assert [each.partition(": ")[0] for each in record.advice] == ["the tear-down failed (RuntimeError"]


def test_a_leak_whose_tear_down_fails_is_a_leak(job):
    source = """
        kept = []
        @scenario
        def case():
            yield lambda: kept.append(bytearray(100))
            raise RuntimeError("cannot clean up")
    """
    record = measured(job(source), frozenset({"growth"})).record
    assert record.verdict == "leak"
    assert any(each.startswith("the tear-down failed (RuntimeError: at ") for each in record.advice)


@pytest.mark.parametrize(("left", "cancelled"), [(10, ["cancelled"] * 10), (_MOST_CANCELLED + 10, [])])
def test_tasks_that_are_left_are_cancelled_unless_they_are_a_great_many(job, notes, left, cancelled):
    source = f"""
        import asyncio
        kept = []
        async def wait():
            try:
                await asyncio.Event().wait()
            finally:
                note("cancelled")
        @scenario
        async def case():
            kept[:] = [asyncio.ensure_future(wait()) for _ in range({left})]
            yield lambda: None
            note("torn down")
    """
    record = measured(job(source, budget=Budget(max_iterations=100)), frozenset({"growth"})).record
    assert record.verdict != "error"
    assert notes() == ["torn down", *cancelled]


def test_a_clean_scenario_whose_tear_down_fails_is_an_error_with_its_readings(job):
    source = """
        @scenario
        def case():
            yield lambda: None
            raise RuntimeError("cannot clean up")
    """
    record = measured(job(source, budget=Budget(max_iterations=100))).record
    assert (record.verdict, record.failure.type) == ("error", "RuntimeError")
    assert record.meters


@pytest.mark.parametrize(("code", "verdict"), [(0, "clean"), (3, "error")])
def test_a_tear_down_may_end_the_process_if_it_ends_well(job, code, verdict):
    """As some plugins of test runners do, when all is done."""
    source = f"""
        import os
        @scenario
        def case():
            yield lambda: None
            os._exit({code})
    """
    assert measured(job(source)).record.verdict == verdict


@pytest.mark.parametrize("yielded", ["3", "step"])
def test_a_scenario_that_yields_no_step_of_its_kind_is_torn_down(job, notes, yielded):
    source = f"""
        async def step():
            pass
        @scenario
        def case():
            try:
                yield {yielded}
            finally:
                note("finally")
    """
    assert measured(job(source)).record.failure.type == "NoStepError"
    assert notes() == ["finally"]


def test_a_process_of_the_diagnosis_tears_down_what_it_has_opened(job, notes):
    source = SCENARIOS["a generator"].format(step="pass", options="")
    with Worker(job(source)) as worker:
        worker.open()
        worker.ask(FindContainers(2, 5, 5, 5, 100.0, 0.0, values=False, picture=None, seconds=60.0), Graph)
    assert notes() == ["set up", "after the yield", "finally"]


def test_a_step_that_raises_under_the_diagnosis_is_torn_down(job, notes):
    source = SCENARIOS["a generator"].format(step="raise ValueError('no')", options="")
    with Worker(job(source)) as worker:
        worker.open()
        with pytest.raises(WorkerFailed):
            worker.ask(FindContainers(2, 5, 5, 5, 100.0, 0.0, values=False, picture=None, seconds=60.0), Graph)
    assert notes()[-1] == "finally"


def test_check_tears_down_what_a_function_has_open(tmp_path):
    held = tmp_path / "held"

    def step():
        held.touch()
        try:
            raise ValueError("no")
        finally:
            held.unlink()

    assert leakcheck.check(step).verdict == "error"
    assert not held.exists()


PYTEST = """
import pytest
{note}
@pytest.fixture(scope="session")
def server():
    note("server starts")
    yield
    note("server ends")

@pytest.fixture
def client(server):
    note("client opens")
    yield
    note("client closes")

calls = 0

def test_call(client, leakcheck):
    def step():
        {step}
    leakcheck(step)

@pytest.mark.leakcheck
def test_whole(client):
    global calls
    calls += 1
    if calls > 1:
        raise ValueError("not twice")
"""
UNITTEST = """
import unittest
from leakcheck.unittest import LeakTestCase
{note}

class TestHub(LeakTestCase):
    @classmethod
    def setUpClass(cls):
        note("class set up")
        cls.addClassCleanup(note, "class cleaned up")

    def setUp(self):
        note("set up")
        self.addCleanup(note, "cleaned up")

    def tearDown(self):
        note("torn down")

    def test_call(self):
        def step():
            {step}
        self.assertDoesNotLeak(step)
"""


def run(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment)


@pytest.mark.parametrize("step", ["raise ValueError('no')", "pass"])
def test_the_fixtures_of_a_test_that_measures_a_call_are_torn_down(tmp_path, notes, step):
    (tmp_path / "test_it.py").write_text(PYTEST.format(note=notes.source, step=step))
    done = run(tmp_path, "pytest", "-p", "no:cacheprovider", "test_it.py::test_call")
    assert done.returncode == (step != "pass"), done.stdout
    once = ["server starts", "client opens", "client closes", "server ends"]
    # The measured process lives within the user's test: it has its own server and client.
    assert notes() == [*once[:2], *once, *once[2:]]


def test_the_fixtures_of_a_test_that_is_repeated_are_torn_down(tmp_path, notes):
    (tmp_path / "test_it.py").write_text(PYTEST.format(note=notes.source, step="pass"))
    done = run(tmp_path, "pytest", "-p", "no:cacheprovider", "--leakcheck", "test_it.py::test_whole")
    assert "not twice" in done.stdout
    for opened, closed in (("server starts", "server ends"), ("client opens", "client closes")):
        assert notes().count(opened) == notes().count(closed) > 1


@pytest.mark.parametrize("step", ["raise ValueError('no')", "pass"])
def test_a_test_case_that_measures_a_call_is_torn_down(tmp_path, notes, step):
    (tmp_path / "test_it.py").write_text(UNITTEST.format(note=notes.source, step=step))
    done = run(tmp_path, "unittest", "test_it")
    assert done.returncode == (step != "pass"), done.stderr
    once = ["class set up", "set up", "torn down", "cleaned up", "class cleaned up"]
    assert notes() == [*once[:2], *once, *once[2:]]

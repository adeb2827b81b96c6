"""The processes that are started before the tool knows what it will run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from leakcheck.execution import head_start
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.local import Worker, WorkerFailed

SCENARIO = """
from leakcheck import scenario
@scenario
def case():
    pass
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A scenario file in the current folder; whatever is started is ended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    path = tmp_path / "cases.py"
    path.write_text(SCENARIO)
    yield path
    head_start.end()


def started():
    return list(head_start._waiting)


def job_for(file, target=None):
    info = ScenarioInfo(id="case", target=str(target or file), name="case")
    return Job(scenario=info, python=sys.executable, cwd=file.parent)


def test_a_run_starts_a_process_for_its_file_and_one_for_the_control(file):
    head_start.begin(["run", "cases.py::case", "--tools", "growth"])
    assert [child.listing for child in started()] == [str(file), None]


@pytest.mark.parametrize(
    ("arguments", "listings"),
    [
        (["run", "cases.py", "--no-control"], ["cases.py"]),
        (["run", "cases.py", "cases.py"], [None, None]),
        (["run", "nowhere.py"], [None, None]),
        (["snippet", "pass"], [None, None]),
        (["run", "cases.py", "--help"], []),
        (["run", "cases.py", "--python", "/bin/rm"], []),
        (["run", "cases.py", "--python=nowhere/python"], []),
        (["list", "cases.py"], []),
        ([], []),
    ],
)
def test_it_starts_what_the_command_line_is_likely_to_need(file, arguments, listings):
    head_start.begin(arguments)
    assert [child.listing for child in started()] == [each and str(file.with_name(each)) for each in listings]


def test_a_worker_takes_the_process_that_has_its_file_and_gets_its_answer(file):
    head_start.begin(["run", "cases.py"])
    mine, other = started()
    with Worker(job_for(file)) as worker:
        assert worker.pid == mine.process.pid
        assert [each["name"] for each in worker.list_scenarios()] == ["case"]
        assert worker.list_scenarios()  # asked again, it is answered again
    assert started() == [other]


def test_a_worker_that_opens_at_once_is_not_given_the_list_for_an_answer(file):
    head_start.begin(["run", "cases.py"])
    with Worker(job_for(file)) as worker:
        assert "meters" in worker.open()
        assert worker.run(3).iterations == 3


def test_a_worker_for_another_file_does_not_get_the_process_that_has_imported_this_one(file):
    (another := file.with_name("another.py")).write_text(SCENARIO)
    head_start.begin(["run", "cases.py"])
    mine, other = started()
    with Worker(job_for(file, another)) as worker:
        assert worker.pid == other.process.pid
    with Worker(job_for(file, another)) as worker:
        assert worker.pid not in (mine.process.pid, other.process.pid)


@pytest.mark.parametrize("change", [{"allocator": "pymalloc"}, {"cwd": "/"}])
def test_a_worker_of_another_kind_is_started_anew(file, change):
    head_start.begin(["run", "cases.py"])
    pids = [child.process.pid for child in started()]
    job = Job(**{"scenario": job_for(file).scenario, "python": sys.executable, "cwd": file.parent} | change)
    with Worker(job) as worker:
        assert worker.pid not in pids
    assert len(started()) == 2


def test_an_import_that_fails_is_told_as_if_it_had_been_asked_for_now(file):
    file.write_text("raise ValueError('not today')")
    head_start.begin(["run", "cases.py"])
    with Worker(job_for(file)) as worker, pytest.raises(WorkerFailed, match="not today"):
        worker.list_scenarios()


def test_what_nobody_takes_is_ended_and_leaves_no_folder(file):
    head_start.begin(["run", "cases.py"])
    processes = [child.process for child in started()]
    assert all(process.poll() is None for process in processes)
    head_start.end()
    assert all(process.returncode is not None for process in processes)
    assert os.listdir(file.parent) == ["cases.py"]


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["--python", "python-of-nowhere"], ["-k", "nothing"]])
def test_a_command_that_comes_to_nothing_leaves_nothing(file, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "leakcheck", "run", "cases.py", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode in (4, 5)
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(file.parent)) == ["cases.py"]

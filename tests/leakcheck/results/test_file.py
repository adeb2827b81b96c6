"""Result files: written whole or not at all, read with an error that says what is wrong."""

from __future__ import annotations

import json
import math
import os
import threading

import pytest
import sample_run
from hypothesis import given
from hypothesis import strategies as st

from leakcheck import results
from leakcheck.errors import UsageError
from leakcheck.records import Sample
from leakcheck.report.folder import new_run_directory, point_latest, write_run
from leakcheck.results import atomic, history


def small_run(**more):
    return sample_run.run([sample_run.scenario("a.py::one")], **more)


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = sample_run.run()
    paths = write_run(run, tmp_path / "run")
    assert sorted(path.name for path in paths) == [
        "index.html",
        "junit.xml",
        "leaks.sarif",
        "results.json",
        "summary.md",
    ]
    assert results.read(tmp_path / "run") == results.read(tmp_path / "run" / "results.json") == run


def test_only_the_formats_that_are_asked_for_are_written(tmp_path):
    write_run(small_run(), tmp_path, formats=["junit"])
    assert [path.name for path in tmp_path.iterdir()] == ["junit.xml"]


def test_a_scenarios_nan_and_broken_text_do_not_cost_the_run(tmp_path):
    broken = sample_run.replace(
        sample_run.meter("mine", "things"),
        samples=[Sample(1, 1.0), Sample(2, math.nan), Sample(3, math.inf)],
        growth=math.nan,
        reason="half \ud800 a pair",
    )
    run = sample_run.run([sample_run.scenario("a.py::one", meters=[broken], doc="\udcff")])
    write_run(run, tmp_path)
    meter = results.read(tmp_path).scenarios[0].meters[0]
    assert meter.samples == [Sample(1, 1.0)]
    assert meter.growth == 0.0
    assert meter.reason == "half ? a pair"


@given(st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_any_environment_can_be_stored(value):
    run = small_run(environment={"python": "3.11", "odd": value})
    json.loads(results.encode(run))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b'{"schema": "leakcheck/1", "tool": {"na', "ends in the middle"),
        (b"<html></html>", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[1, 2]", "is not a result file of elkyn-leakcheck"),
        (b'{"version": "2.1.0", "runs": []}', "is not a result file of elkyn-leakcheck"),
        (b'{"schema": "leakcheck/2"}', "newer elkyn-leakcheck"),
        (b'{"schema": "coverage/7"}', "has the schema 'coverage/7'"),
        (b'{"schema": "leakcheck/1"}', "is damaged: Object missing required field"),
    ],
)
def test_a_file_that_is_no_result_is_named_with_its_fault(tmp_path, content, says):
    file = tmp_path / "results.json"
    file.write_bytes(content)
    with pytest.raises(results.ResultFileError) as caught:
        results.read(file)
    assert says in str(caught.value)
    assert str(file) in str(caught.value)


def test_every_truncation_of_a_real_file_is_an_error(tmp_path):
    content = results.encode(small_run())
    file = tmp_path / "results.json"
    for length in range(0, len(content) - 2, 97):
        file.write_bytes(content[:length])
        with pytest.raises(results.ResultFileError):
            results.read(file)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "results.json"
    with file.open("wb") as stream:
        stream.truncate(800 << 20)
    with pytest.raises(results.ResultFileError, match="has 800 MB, more than the 256 MB"):
        results.read(file)


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        results.read(tmp_path / "nowhere.json")
    with pytest.raises(UsageError, match=r"results\.json does not exist"):
        results.read(tmp_path)


def test_a_field_of_a_newer_minor_version_is_passed_over(tmp_path):
    data = json.loads(results.encode(small_run()))
    data["scenarios"][0]["colour"] = "blue"
    (tmp_path / "results.json").write_text(json.dumps(data))
    assert results.read(tmp_path) == small_run()


def test_run_directories_are_never_shared(tmp_path):
    made = {new_run_directory(tmp_path) for _ in range(20)}
    assert len(made) == 20


def test_latest_points_to_the_newest_and_moves_with_the_tree(tmp_path):
    base = tmp_path / "reports"
    for _ in range(2):
        run_directory = new_run_directory(base)
        point_latest(base, run_directory)
    assert (base / "latest").resolve() == run_directory.resolve()
    assert not os.path.isabs(os.readlink(base / "latest"))


def test_a_full_disk_leaves_the_old_files_untouched(tmp_path, monkeypatch):
    write_run(small_run(started="2026-01-01T00:00:00Z"), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(atomic.WriteError, match="No space left on device"):
        write_run(small_run(started="2026-01-02T00:00:00Z"), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(atomic.WriteError, match="file"):
        write_run(small_run(), tmp_path / "file" / "run")


def test_two_runs_that_write_one_directory_never_leave_a_silent_mixture(tmp_path):
    runs = [small_run(started=f"2026-01-0{day}T00:00:00Z") for day in (1, 2)]
    for _ in range(25):
        failures: list[Exception] = []
        gate = threading.Barrier(2)

        def write(run, failures=failures, gate=gate):
            gate.wait()
            try:
                write_run(run, tmp_path, formats=["json", "markdown", "junit"])
            except atomic.WriteError as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(run,)) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        left = results.read(tmp_path).started[:19]
        mixed = left not in (tmp_path / "junit.xml").read_text()
        assert not mixed or failures
        assert not list(tmp_path.glob(".*")), "no temporary file stays"


def test_the_run_joins_the_history_after_it_was_written(tmp_path):
    file = tmp_path / history.FILE_NAME
    for day in (1, 2, 3):
        write_run(small_run(started=f"2026-01-0{day}T00:00:00Z"), tmp_path / "run", history=file)
    assert [one.started[8:10] for one in history.read(file)] == ["01", "02", "03"]
    assert "Last 3 runs" in (tmp_path / "run" / "index.html").read_text()

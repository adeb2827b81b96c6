"""History: one line a run, and nothing in it can stop a report."""

from __future__ import annotations

import sample_run

from leakcheck.report.folder import point_latest, write_run
from leakcheck.results import history


def test_a_line_is_appended_per_run_and_read_oldest_first(tmp_path):
    file = tmp_path / "deep" / "history.jsonl"
    for day in (3, 1, 2):
        history.append(file, sample_run.run(started=f"2026-01-0{day}T00:00:00Z"))
    entries = history.read(file)
    assert [one.started[:10] for one in entries] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    past = entries[0].scenarios["scenarios/subscriptions.py::subscribe_twice"]
    assert (past.verdict, past.ok, past.meter, past.growth) == ("leak", False, "heap.bytes", 432.0)


def test_lines_that_cannot_be_read_are_passed_over(tmp_path):
    file = tmp_path / "history.jsonl"
    history.append(file, sample_run.run())
    with file.open("ab") as stream:
        stream.write(b'{"started": "2026-0\n\xff\xfe\n[]\n')
    history.append(file, sample_run.run(started="2027-01-01T00:00:00Z"))
    assert len(history.read(file)) == 2


def test_only_the_end_of_a_long_history_is_read(tmp_path):
    file = tmp_path / "history.jsonl"
    for number in range(50):
        history.append(file, sample_run.run([], started=f"2026-01-01T00:00:{number:02}Z"))
    assert [one.started[17:19] for one in history.read(file, keep=3)] == ["47", "48", "49"]


def test_no_history_is_an_empty_history(tmp_path):
    assert history.read(tmp_path / "none.jsonl") == []


def test_folders_of_runs_are_a_history_too(tmp_path):
    for day in (1, 2):
        write_run(sample_run.run(started=f"2026-01-0{day}T00:00:00Z"), tmp_path / f"2026010{day}", formats=["json"])
    point_latest(tmp_path, tmp_path / "20260102")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text("{")
    assert [one.started[:10] for one in history.read(tmp_path)] == ["2026-01-01", "2026-01-02"]

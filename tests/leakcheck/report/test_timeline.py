"""The timeline: what each run says of a finding, and in words from when to when it was there."""

from __future__ import annotations

import sample_run

from leakcheck.report import timeline
from leakcheck.results import history

NAME = "a.py::one"


def run(day, *scenarios):
    return history.entry(sample_run.run(scenarios, started=f"2026-11-{day:02}T10:00:00Z"))


def leak(*findings, name=NAME, **more):
    return sample_run.leaking(name, findings or [sample_run.LISTENER], **more)


CLEAN = sample_run.scenario(NAME)
UNDECIDED = sample_run.scenario(NAME, "inconclusive")


def told(*days):
    """States and sentence of the only finding of runs, a list of scenarios each."""
    (row,) = timeline.rows([run(day, *scenarios) for day, scenarios in enumerate(days, start=1)])
    return row.states, row.sentence


def test_from_first_seen_to_gone():
    assert told([CLEAN], [leak()], [leak()], [CLEAN], [CLEAN]) == (
        "01100",
        "first seen 2026-11-02, in 2 of 5 runs, gone since 2026-11-04",
    )
    assert told([leak()], [leak()]) == ("11", "there in all 2 runs")
    assert told([CLEAN], [leak()]) == ("01", "first seen 2026-11-02, in 1 of 2 runs, in this one too")


def test_what_was_not_decided_is_not_gone():
    assert told([leak()], [UNDECIDED]) == (
        "1?",
        "there in the first of these runs, in 1 of 2 runs, last seen 2026-11-01 and not measured since",
    )
    assert told([leak()], [sample_run.scenario("b.py::other")])[0] == "1?", "nor what was not run"
    both = [leak(), leak(name="b.py::two")]
    assert told(both, [CLEAN, leak(name="b.py::two")])[0] == "11", "a leak is there while one scenario has it"
    assert told(both, [CLEAN, sample_run.scenario("b.py::two", "error")])[0] == "1?"
    assert told(both, [CLEAN])[0] == "10", "a scenario that was taken out cannot say"


def test_another_leak_of_the_same_scenario_is_another_row():
    rows = timeline.rows([run(1, leak(sample_run.BUFFER)), run(2, leak(sample_run.HEADER)), run(3, CLEAN)])
    assert [(row.states, row.title) for row in rows] == [
        ("010", sample_run.HEADER.title),
        ("100", sample_run.BUFFER.title),
    ]
    found = timeline.rows([run(1, leak(sample_run.BUFFER)), run(2, leak(sample_run.HEADER))])
    assert [row.is_there for row in found] == [True, False], "what is there now comes first"


def test_a_leak_without_a_place_is_followed_by_what_grew():
    assert told([sample_run.leaking(NAME, [])], [CLEAN])[0] == "10"


def test_one_run_has_no_timeline_and_planted_leaks_have_none():
    assert timeline.rows([run(1, leak())]) == []
    assert timeline.rows([run(day, leak(expect="leak", ok=True)) for day in (1, 2)]) == []


def test_what_the_team_knows_is_followed_too():
    known = sample_run.replace(sample_run.LISTENER, known="waits for libfoo 2.1")
    assert told([leak()], [leak(known)])[0] == "11"


def test_lines_of_an_earlier_version_say_nothing_of_findings():
    before = run(1, leak())
    old = sample_run.replace(
        before,
        titles={},
        scenarios={name: sample_run.replace(past, findings=[]) for name, past in before.scenarios.items()},
    )
    (row,) = timeline.rows([old, run(2, leak())])
    assert row.states == "?1"
    assert row.sentence == "first seen 2026-11-02, in 1 of 2 runs, in this one too"

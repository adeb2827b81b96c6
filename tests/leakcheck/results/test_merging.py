"""Merging results: shards, re-runs, platforms; a repetition never hides a leak."""

from __future__ import annotations

import itertools

import pytest
import sample_run

from leakcheck.errors import UsageError
from leakcheck.records import Control
from leakcheck.results import merge

LINUX = sample_run.run().environment


def one(verdict, started="2026-01-01T00:00:00Z", name="a.py::one", environment=LINUX, **more):
    return sample_run.run(
        [sample_run.scenario(name, verdict, reason=f"was {verdict}", **more)], started=started, environment=environment
    )


def test_shards_stand_side_by_side():
    merged = merge([one("clean", name="a.py::one"), one("leak", name="b.py::two")])
    assert {scenario.id for scenario in merged.scenarios} == {"a.py::one", "b.py::two"}
    assert merged.summary["leak"] == merged.summary["clean"] == merged.summary["unexpected"] == 1


def test_one_result_stays_as_it_is():
    run = sample_run.run()
    assert merge([run]) is run


def test_nothing_to_merge_is_a_usage_error():
    with pytest.raises(UsageError):
        merge([])


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("leak", "clean", "leak"),
        ("clean", "leak", "leak"),
        ("error", "clean", "clean"),
        ("inconclusive", "leak", "leak"),
        ("skipped", "bounded", "bounded"),
        ("clean", "error", "clean"),
        ("bounded", "clean", "bounded"),
    ],
)
def test_a_repetition_keeps_the_worst_decided_verdict_and_says_so(first, second, kept):
    merged = merge([one(first, "2026-01-01T00:00:00Z"), one(second, "2026-01-02T00:00:00Z")])
    (scenario,) = merged.scenarios
    assert scenario.verdict == kept
    other = second if kept == first else first
    assert any(f"another run of this scenario was {other}" in advice for advice in scenario.advice)


def test_a_planted_leak_that_was_missed_once_stays_missed():
    found = one("leak", "2026-01-02T00:00:00Z", expect="leak", ok=True)
    missed = one("clean", "2026-01-01T00:00:00Z", expect="leak", ok=False)
    assert merge([missed, found]).summary["unexpected"] == 1


def test_platforms_are_kept_apart():
    merged = merge([one("clean"), one("leak", environment={**LINUX, "python": "3.13.0"})])
    assert [scenario.verdict for scenario in merged.scenarios] == ["clean", "leak"]
    assert "3.13.0" in merged.scenarios[1].origin
    assert merged.environment["python"] == "3.11.7 | 3.13.0"


def test_the_order_of_the_results_does_not_matter():
    runs = [
        one("leak", "2026-01-01T00:00:00Z"),
        one("clean", "2026-01-02T00:00:00Z"),
        one("error", "2026-01-02T00:00:00Z"),
        one("clean", "2026-01-03T00:00:00Z", name="b.py::two"),
    ]
    assert all(merge(order) == merge(runs) for order in itertools.permutations(runs))


def test_a_failed_control_or_an_interruption_of_one_is_that_of_all():
    failed = sample_run.run(control=Control(status="failed", reason="the no-op grew"))
    merged = merge([sample_run.run(), failed, sample_run.run(interrupted=True)])
    assert merged.control.status == "failed"
    assert merged.interrupted

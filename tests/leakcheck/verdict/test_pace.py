"""Calls that get slower with their number are told, with the line, and are no leak by themselves."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from processes import job_of, run

from leakcheck.execution.job import Budget, Job
from leakcheck.records import Sample
from leakcheck.verdict.pace import slower


def series(cost: float, more: float) -> list[Sample]:
    """The time that calls had taken after 1, 2, 4, ... of them, where each takes `more` than the one before."""
    return [Sample(calls, cost * calls + more * calls * calls / 2) for calls in (0, *(2**power for power in range(11)))]


@pytest.mark.parametrize(
    ("cost", "more", "times"), [(1e-5, 0.0, 1.0), (1e-5, 1e-9, 1.0), (1e-6, 1e-6, 2.0), (1e-4, 1e-6, 1.7)]
)
def test_calls_get_slower_where_what_comes_with_their_number_is_much_of_them(cost, more, times):
    assert slower(series(cost, more)) == pytest.approx(times, abs=0.1)


def test_few_calls_say_nothing():
    assert slower(series(1e-6, 1e-6)[:4]) == 1.0


def short(job: Job) -> Job:
    return msgspec.structs.replace(job, budget=Budget(time_s=1.0, max_iterations=4000))


def told(folder: Path, source: str) -> tuple[str, list[str]]:
    result = run(short(job_of(folder, source)))
    return result.verdict, [each for each in result.advice if "slower" in each]


def test_the_line_is_named_on_which_the_time_is_spent(tmp_path):
    verdict, advice = told(tmp_path, """
    import itertools
    numbers = itertools.count()
    registry = list(range(400_000))
    def walked(number):
        return sum(registry[:number * 50])
    @scenario
    def case():
        walked(next(numbers))
    """)  # fmt: skip
    assert verdict != "leak"
    (text,) = advice
    assert text.startswith("calls get slower with their number, ")
    assert "of their time is spent at scenarios_under_test.py:7 in walked" in text


def test_calls_that_take_as_long_as_ever_are_not_told(tmp_path):
    _, advice = told(tmp_path, """
    @scenario
    def case():
        sum(range(500))
    """)  # fmt: skip
    assert advice == []

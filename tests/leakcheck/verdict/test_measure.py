"""A process that is gone before its verdict: what was read is judged, and a question changes no verdict."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import scripted
from scripted import ScriptedProcess, Unsuspecting

from leakcheck import meters
from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import Opened
from leakcheck.execution.job import Budget
from leakcheck.execution.worker import Round, WorkerFailed
from leakcheck.meters import LEDGER
from leakcheck.records import Failure
from leakcheck.verdict.measure import Measurement, measure
from leakcheck.verdict.reach import reach

OPENED = Opened(
    meters=[(LEDGER, "B")], unavailable={}, python="3.11", descriptor_limit=None, roots=HERE.roots, answers_probes=True
)


class Ending(ScriptedProcess):
    """Is gone after so many calls."""

    def __init__(self, formula: scripted.Formula, *, calls: int, seconds_per_step: float, failure: str) -> None:
        super().__init__(formula, seconds_per_step=seconds_per_step, jitter=False, seed=1)
        self._calls, self._failure = calls, failure

    def run(self, count: int, /, *, watch: int = 0, whole: bool = True) -> Round:
        if self._iterations + count > self._calls:
            raise WorkerFailed(Failure(type=self._failure, message="it is gone"))
        return super().run(count, watch=watch, whole=whole)


class Silent(ScriptedProcess):
    """Answers no question: the first is its end."""

    gone = False

    def __init__(self, formula: scripted.Formula) -> None:
        super().__init__(formula, seconds_per_step=1e-6, jitter=False, seed=1)

    def run(self, count: int, /, *, watch: int = 0, whole: bool = True) -> Round:
        if self.gone:
            raise WorkerFailed(Failure(type="signal", message="it is gone"))
        return super().run(count, watch=watch, whole=whole)

    def ask(self, question: NamedTuple, answer: Any) -> Any:
        self.gone = True
        raise WorkerFailed(Failure(type="timeout", message="the look at the process did not come back"))


def ended(formula: scripted.Formula, calls: int, seconds_per_step: float, failure: str = "timeout") -> Measurement:
    process = Ending(formula, calls=calls, seconds_per_step=seconds_per_step, failure=failure)
    return measure(process, [meters.of(LEDGER, "B")], Budget(), Unsuspecting())


def test_a_leak_that_was_clear_when_the_process_hung_is_one():
    measured = ended(scripted.steady(1000), calls=60, seconds_per_step=0.1)
    assert measured.leaking == [LEDGER]
    assert measured.broken.type == "timeout"
    assert measured.iterations <= 60


@pytest.mark.parametrize("failure", ["timeout", "signal", "interrupt"])
def test_a_line_that_is_too_short_to_be_believed_is_kept_and_not_accused(failure):
    measured = ended(scripted.steady(1000), calls=3000, seconds_per_step=1e-6, failure=failure)
    assert measured.leaking == []
    assert measured.broken.type == failure
    assert measured.samples[LEDGER][-1].iterations > 1000


def test_a_process_that_took_all_memory_in_a_straight_line_leaks():
    measured = ended(scripted.steady(1_000_000), calls=500, seconds_per_step=1e-5, failure="memory")
    assert measured.leaking == [LEDGER]


def test_a_process_that_is_gone_before_it_was_read_is_a_failure():
    with pytest.raises(WorkerFailed, match="it is gone"):
        ended(scripted.steady(64), calls=-1, seconds_per_step=1e-6)


def test_a_question_that_ends_the_process_is_told_from_a_step_that_does():
    process = Silent(scripted.steady(1000))
    measured = reach(process, OPENED, Budget()).measured
    assert measured.unanswered
    assert measured.broken.type == "timeout"
    assert measured.samples[LEDGER], "what was read is kept"


@pytest.mark.parametrize(
    ("formula", "verdict"),
    [(scripted.steady(1000), "leak"), (scripted.fills(500, 1000), "bounded")],
    ids=["a leak", "a cache"],
)
def test_a_process_that_is_asked_nothing_comes_to_the_same_verdict(formula, verdict):
    reached = reach(Silent(formula), OPENED, Budget(), unasked="the look at the process did not come back")
    assert reached.judgements[LEDGER].verdict == verdict
    assert reached.measured.broken is None
    assert [each.startswith("not looked at: ") for each in reached.advice] == [True] * (verdict == "leak")

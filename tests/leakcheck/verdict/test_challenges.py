"""Each challenge on a scripted process: when it acquits, when it finds less, and when it keeps silent."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from scripted_process import Scripted, suspicion

from leakcheck import meters
from leakcheck.agent.protocol import (
    ClockRead,
    Collect,
    Collected,
    Emptied,
    EmptyCaches,
    KeysCame,
    KeysComeAgain,
    LetTimePass,
    LimitedContainer,
    LimitedContainers,
    LimitedContainersFound,
    ReadsClock,
    Stayed,
    TimePassed,
    WhatStays,
)
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.worker import Round
from leakcheck.meters import LEDGER
from leakcheck.records import Failure, Sample
from leakcheck.verdict import challenges
from leakcheck.verdict.challenges import Acquitted, Leaks, Ruling, challenge
from leakcheck.verdict.residue import Residue

GROWN = 64.0 * 10_000
"""Bytes by which the suspicion's meter has grown."""
LRU = LimitedContainer("lru_cache", "app.parse", 1, 700, 1000)
DEQUE = LimitedContainer("deque", "", 2, 700, 1000)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(challenges.time, "sleep", lambda _: None)


class TestNeighbours:
    SETS = "sysv.sets"

    def suspected(self, process: Scripted):
        found = suspicion(process, iterations=1000, growth=1.0)
        series, judged = found.measured.samples[LEDGER], found.judgements[LEDGER]
        measured = found.measured._replace(meters=[meters.of(self.SETS, "")], samples={self.SETS: series}, seconds=10.0)
        return found._replace(measured=measured, judgements={self.SETS: judged})

    def test_what_grows_as_fast_without_the_step_is_made_by_another(self):
        process = Scripted([1000.0, 1100.0])
        ruling = challenges.neighbours(self.suspected(process), process)
        assert ruling is not None
        assert ruling.answers[self.SETS].verdict == "inconclusive"

    def test_what_stands_still_without_the_step_is_the_steps(self):
        process = Scripted([1000.0, 1001.0])
        assert challenges.neighbours(self.suspected(process), process) is None

    def test_what_only_this_process_can_have_is_not_waited_for(self):
        process = Scripted([GROWN])
        assert challenges.neighbours(suspicion(process), process) is None
        assert process.iterations == 0


class TestGarbage:
    def test_growth_that_the_collector_takes_away_is_no_leak(self):
        process = Scripted([GROWN, 0.1 * GROWN], {Collect: Collected(20_000)})
        ruling = challenges.garbage(suspicion(process, gc="off"), process)
        assert ruling is not None
        assert isinstance(ruling.answers[LEDGER], Acquitted)
        assert ruling.advice == ["2.00 objects of cyclic garbage per iteration"]

    def test_growth_that_stays_after_a_collection_is_left_alone(self):
        process = Scripted([GROWN, 0.9 * GROWN], {Collect: Collected(20_000)})
        assert challenges.garbage(suspicion(process, gc="off"), process) is None

    def test_where_each_reading_collects_nobody_is_asked(self):
        process = Scripted([GROWN])
        assert challenges.garbage(suspicion(process, gc="collect"), process) is None
        assert process.asked == []


class TestExpiry:
    def test_a_step_that_reads_no_clock_is_not_waited_for(self):
        process = Scripted([GROWN], {ReadsClock: ClockRead(False)})
        assert challenges.expiry(suspicion(process), process) is None
        assert process.iterations == 0

    def test_what_goes_by_itself_and_leaves_nothing_is_no_leak(self):
        levels = [GROWN, GROWN, 1000.0]  # all of it has gone after the first pause
        process = Scripted(levels, {ReadsClock: ClockRead(True), WhatStays: Stayed([0.0, 0.0, 0.0])})
        ruling = challenges.expiry(suspicion(process), process)
        assert ruling is not None
        assert isinstance(ruling.answers[LEDGER], Acquitted)
        assert ruling.pause_s > 0

    def test_what_goes_in_cycles_is_seen_by_the_last_look(self):
        class InCycles(Scripted):
            def run(self, count, /, *, watch=0, whole=True):
                done = super().run(count, watch=watch, whole=whole)
                return done._replace(values=[1000.0]) if whole and self.iterations else done

        process = InCycles([GROWN], {ReadsClock: ClockRead(True), WhatStays: Stayed([0.0, 0.0, 0.0])})
        ruling = challenges.expiry(suspicion(process), process)
        assert ruling is not None
        assert isinstance(ruling.answers[LEDGER], Acquitted)

    def test_what_stays_of_equal_stretches_is_the_leak(self):
        levels = [GROWN, GROWN, 1000.0]
        process = Scripted(levels, {ReadsClock: ClockRead(True), WhatStays: Stayed([8.0, 9.0, 8.5])})
        ruling = challenges.expiry(suspicion(process), process)
        assert ruling is not None
        assert ruling.answers[LEDGER] == Leaks(
            Residue(8.5, 8.0, 9.0), "that much stays when what is kept for a time has gone"
        )

    def test_a_step_that_raises_when_time_passes_is_left_alone(self):
        process = Scripted([GROWN], {ReadsClock: ClockRead(True), LetTimePass: TimePassed(True)})
        assert challenges.expiry(suspicion(process), process) is None

    def test_what_lives_for_longer_goes_when_the_clock_is_put_forward(self):
        process = Ahead(left=0.0)
        ruling = challenges.expiry(suspicion(process), process)
        assert ruling is not None
        assert isinstance(ruling.answers[LEDGER], Acquitted)

    def test_what_stays_with_the_clock_ahead_is_the_leak_beside_it(self):
        process = Ahead(left=16.0)
        ruling = challenges.expiry(suspicion(process), process)
        assert ruling is not None
        assert ruling.answers[LEDGER] == Leaks(
            Residue(16.0, 16.0, 16.0), "that much stays when what is kept for a time has gone"
        )


class Buckets(Scripted):
    """Grows by a bucket a second, of which a hundred stay; each call keeps `left` bytes for good."""

    def __init__(self, left: float) -> None:
        super().__init__([0.0], {ReadsClock: ClockRead(True)})
        self.calls, self.buckets, self.left = 10_000, 25, left

    def run(self, count: int, timeout: float = 0.0, watch: int = 0, whole: bool = True) -> Round:
        self.calls += count
        return Round(self.calls, 0.0, 0.0, 0, [25_600.0 * self.buckets + self.left * self.calls], None, None)

    def ask(self, question: NamedTuple, answer: type) -> Any:
        if isinstance(question, LetTimePass):
            self.calls += question.calls
            self.buckets = 100 if question.seconds else self.buckets
            return TimePassed(False)
        return super().ask(question, answer)


class WithASecondsWorth(Buckets):
    """The same, and what was made without time passing is there until it does: a second is long on a busy machine."""

    made = 0

    def run(self, count: int, timeout: float = 0.0, watch: int = 0, whole: bool = True) -> Round:
        self.made += count
        done = super().run(count, timeout, watch, whole)
        return done._replace(values=[done.values[0] + 330.0 * self.made])

    def ask(self, question: NamedTuple, answer: type) -> Any:
        if isinstance(question, LetTimePass) and question.seconds:
            self.made = 0
        return super().ask(question, answer)


class Uneven(Buckets):
    """The same, and each hour brings three times as much as the one before."""

    def ask(self, question: NamedTuple, answer: type) -> Any:
        if isinstance(question, LetTimePass) and question.seconds:
            self.left *= 3
        return super().ask(question, answer)


class Ahead(Scripted):
    """Each call keeps 64 bytes until the clock is an hour ahead, and `left` of them for good."""

    def __init__(self, left: float) -> None:
        super().__init__([0.0], {ReadsClock: ClockRead(True), WhatStays: Stayed([left, left, left])})
        self.kept, self.gone = 10_000, 0
        self.left = left

    def run(self, count: int, timeout: float = 0.0, watch: int = 0, whole: bool = True) -> Round:
        self.kept += count
        value = 64.0 * self.kept + self.left * self.gone
        return Round(self.kept + self.gone, 0.0, 0.0, 0, [value], None, None)

    def ask(self, question: NamedTuple, answer: type) -> Any:
        if isinstance(question, LetTimePass):
            if question.seconds:
                self.kept, self.gone = 0, self.gone + self.kept + question.calls
            return TimePassed(False)
        return super().ask(question, answer)


class TestFillingByTheClock:
    def test_what_stops_when_time_has_passed_is_no_leak(self):
        process = Buckets(left=0.0)
        ruling = challenges.expiry(suspicion(process), process)
        assert ruling is not None
        assert "fills with the time" in ruling.answers[LEDGER].reason

    @pytest.mark.parametrize("left", [50.0, 10.0])
    def test_what_goes_on_with_the_calls_is_the_leak_beside_it(self, left):
        """However small a part of the growth: the rest may be a second's worth on a machine that is busy."""
        process = Buckets(left=left)
        ruling = challenges.expiry(suspicion(process), process)
        assert ruling is not None
        assert ruling.answers[LEDGER] == Leaks(
            Residue(left, left, left), "that much is added when its clock is put forward"
        )

    def test_what_was_made_before_the_hour_does_not_hide_what_it_adds(self):
        process = WithASecondsWorth(left=50.0)
        ruling = challenges.expiry(suspicion(process), process)
        assert ruling is not None
        assert ruling.answers[LEDGER].rate == Residue(50.0, 50.0, 50.0)

    def test_what_neither_stops_nor_goes_on_evenly_is_left_alone(self):
        process = Uneven(left=50.0)
        assert challenges.expiry(suspicion(process), process) is None


class TestHidden:
    def falling(self, process: Scripted) -> Any:
        fall = [Sample(1000 * n, 5e6 - 400.0 * 1000 * n) for n in range(11)]
        return suspicion(process, "clean", samples=fall)

    def test_containers_that_grow_while_the_heap_falls_are_a_leak(self):
        process = Scripted([0.0], {WhatStays: Stayed([60.0, 64.0, 62.0])})
        ruling = challenges.hidden(self.falling(process), process)
        assert ruling is not None
        assert ruling.answers[LEDGER].rate == Residue(62.0, 60.0, 64.0)
        judged = challenge(self.falling(process), process, [challenges.hidden])
        assert judged.judgements[LEDGER].verdict == "leak"

    def test_a_heap_that_falls_and_nothing_grows_is_clean(self):
        process = Scripted([0.0], {WhatStays: Stayed([0.0, 0.0, 0.0])})
        assert challenges.hidden(self.falling(process), process) is None

    def test_nobody_is_asked_where_the_heap_stands(self):
        process = Scripted([0.0])
        still = suspicion(process, "clean", samples=[Sample(1000 * n, 5e6) for n in range(11)])
        assert challenges.hidden(still, process) is None
        assert process.asked == []


class TestRecurringKeys:
    def test_keys_that_come_again_are_those_of_a_cache(self):
        process = Scripted([GROWN], {KeysComeAgain: KeysCame(60.0, 900, 120)})
        ruling = challenges.recurring_keys(suspicion(process), process)
        assert ruling is not None
        answer = ruling.answers[LEDGER]
        assert isinstance(answer, Acquitted)
        assert answer.verdict == "inconclusive"

    @pytest.mark.parametrize(
        "came",
        [KeysCame(60.0, 900, 0), KeysCame(60.0, 900, 3), KeysCame(60.0, 9000, 100), KeysCame(5.0, 900, 120)],
        ids=["none", "fixed ones", "few", "of what is no part of the growth"],
    )
    def test_a_registry_is_no_cache(self, came):
        process = Scripted([GROWN], {KeysComeAgain: came})
        assert challenges.recurring_keys(suspicion(process), process) is None


class TestFillingCaches:
    def test_growth_that_goes_with_the_cache_is_no_leak(self):
        process = Scripted([GROWN, 0.0], {EmptyCaches: Emptied(1)})
        held = suspicion(process, filling=[LRU], full_at=20_000)
        ruling = challenges.filling_caches(held, process)
        assert ruling is not None
        assert ruling.answers[LEDGER] == Acquitted(
            "fills lru_cache(maxsize=1,000) of app.parse, and goes back when that is emptied"
        )

    def test_what_stays_of_it_is_a_leak_beside_the_cache(self):
        stretches = [GROWN, 0.0]
        for level in (25_000.0, 50_000.0, 75_000.0):
            stretches += [level + 100_000, level]
        process = Scripted(stretches, {EmptyCaches: Emptied(1)})
        ruling = challenges.filling_caches(suspicion(process, filling=[LRU], full_at=20_000), process)
        assert ruling is not None
        assert ruling.answers[LEDGER] == Leaks(
            Residue(10.0, 10.0, 10.0), "that much stays when caches have been emptied"
        )

    def test_a_queue_that_is_not_full_cannot_be_decided(self):
        process = Scripted([GROWN, GROWN], {EmptyCaches: Emptied(0)})
        ruling = challenges.filling_caches(suspicion(process, filling=[DEQUE], full_at=20_000), process)
        assert ruling is not None
        answer = ruling.answers[LEDGER]
        assert isinstance(answer, Acquitted)
        assert answer.verdict == "inconclusive"

    def test_a_cache_that_has_had_its_time_explains_nothing(self):
        process = Scripted([GROWN])
        assert challenges.filling_caches(suspicion(process, filling=[LRU], full_at=5_000), process) is None


FULL = {LimitedContainers: LimitedContainersFound([LRU._replace(size=1000)]), EmptyCaches: Emptied(1)}


class TestFullCaches:
    def test_undecided_growth_that_goes_with_a_full_cache_is_its(self):
        process = Scripted([GROWN, 0.0], FULL)
        ruling = challenges.full_caches(suspicion(process, "inconclusive"), process)
        assert ruling is not None
        assert isinstance(ruling.answers[LEDGER], Acquitted)

    def test_growth_that_came_lately_and_stays_is_left_alone(self):
        process = Scripted([GROWN, 0.9 * GROWN], FULL)
        assert challenges.full_caches(suspicion(process, "inconclusive"), process) is None

    def test_without_a_full_cache_nothing_is_emptied(self):
        process = Scripted([GROWN], {LimitedContainers: LimitedContainersFound([LRU])})
        assert challenges.full_caches(suspicion(process, "inconclusive"), process) is None
        assert [type(question) for question in process.asked] == [LimitedContainers]


class TestNamesOfCaches:
    def test_a_bounded_growth_is_given_the_names_of_full_caches(self):
        process = Scripted([0.0], {LimitedContainers: LimitedContainersFound([LRU._replace(size=1000)])})
        ruling = challenges.names_of_caches(suspicion(process, "bounded"), process)
        assert ruling == Ruling({}, ["lru_cache(maxsize=1,000) of app.parse is full"])

    def test_what_the_step_does_not_ask_was_full_before(self):
        asked = LRU._replace(name="app.asked", size=1000)
        counts = iter([5, 21])

        def answer():
            return LimitedContainersFound([LRU._replace(size=1000, asked=5), asked._replace(asked=next(counts))])

        process = Scripted([0.0], {LimitedContainers: answer})
        ruling = challenges.names_of_caches(suspicion(process, "bounded"), process)
        assert ruling == Ruling({}, ["lru_cache(maxsize=1,000) of app.asked is full"])

    def test_a_leak_is_given_none(self):
        process = Scripted([0.0])
        assert challenges.names_of_caches(suspicion(process, "leak", filling=[LRU]), process) is None


def test_each_challenge_sees_what_those_before_have_left():
    process = Scripted([0.0])
    seen = []

    def acquits(held, _):
        seen.append(held.leaking)
        return Ruling({LEDGER: Acquitted("it was garbage")}, ["garbage"], pause_s=1.0)

    def looks(held, _):
        seen.append(held.leaking)

    left = challenge(suspicion(process), process, [acquits, looks])
    assert seen == [[LEDGER], []]
    assert left.judgements[LEDGER].verdict == "bounded"
    assert left.judgements[LEDGER].reason == "it was garbage"
    assert left.advice == ["garbage"]
    assert left.pause_s == 0.0  # nothing is left that a diagnosis would have to wait for


def test_a_meter_that_no_challenge_names_stays_as_it_was():
    process = Scripted([0.0])
    held = suspicion(process)
    assert challenge(held, process, [lambda *_: None]).judgements == held.judgements


def test_a_growth_that_fell_in_its_last_reading_is_not_waited_for():
    samples = [Sample(0, 100.0), Sample(10_000, 50.0)]
    process = Scripted([50.0], {ReadsClock: ClockRead(True)})
    assert challenges.expiry(suspicion(process, samples=samples), process) is None


class Crashing(Scripted):
    def ask(self, question, answer):
        self.asked.append(question)
        raise WorkerFailed(Failure(type="signal", message="the process was ended by SIGSEGV"))


@pytest.mark.parametrize("verdict", ["leak", "bounded", "inconclusive"])
def test_a_challenge_that_has_no_answer_leaves_the_verdict_and_is_told(verdict):
    process = Crashing([GROWN])
    left = challenge(suspicion(process, verdict), process)
    assert left.judgements[LEDGER].verdict == verdict
    (advice,) = left.advice
    assert advice.startswith("not looked at: ")
    assert "SIGSEGV" in advice
    assert len(process.asked) == 1, "who has crashed is asked no more"

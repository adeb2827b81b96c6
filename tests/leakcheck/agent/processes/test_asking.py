"""What is asked of the processes of a program together: that time passes in those that grow."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from typing import Any

from leakcheck.agent.processes.agents import LEDGER, Gone, History, Role
from leakcheck.agent.processes.asking import Asking
from leakcheck.agent.protocol import TimePassed
from leakcheck.agent.step import StepRaisedError

HOUR = 3600.0


class Process:
    """One that has grown by so many bytes, and ends when its clock has been put forward so often."""

    def __init__(self, pid: int, role: str, grown: float, lives: int = 1 << 30) -> None:
        self.pid, self.role, self.lives = pid, Role(role, 1), lives
        self.history = History([LEDGER])
        for calls, value in ((1, 0.0), (2, 0.0), (4, 0.0), (8, grown)):
            self.history.note(calls, array("d", [value]))
        self.ahead = 0.0

    def send(self, question: Sequence[Any]) -> None:
        name, seconds, calls = question
        assert (name, calls) == ("LetTimePass", 0)
        self.lives -= 1
        if self.lives < 0:
            raise Gone
        self.ahead += seconds

    def receive(self, within_s: int) -> list[Any]:
        return [False]


class Processes:
    def __init__(self, *all_of_them: Process) -> None:
        self.by_pid = {each.pid: each for each in all_of_them}

    def __iter__(self) -> Any:
        return iter([*self.by_pid.values()])

    def look(self) -> None:
        pass

    def forget(self, process: Process) -> None:
        del self.by_pid[process.pid]


class Step:
    """Raises at that call, where there is one."""

    iterations = 8

    def __init__(self, raises_at: int = 0, start_s: float = 0.0) -> None:
        self.calls, self.raises_at, self.start_s = 0, raises_at, start_s

    async def run(self, count: int, /) -> float:
        self.calls += count
        if self.raises_at and self.calls >= self.raises_at:
            raise StepRaisedError(self.calls)
        return 0.0


def let_time_pass(step: Step, *processes: Process, calls: int = 100) -> TimePassed:
    asking = Asking(step, Processes(*processes))  # type: ignore[arg-type]
    return TimePassed(*asyncio.run(asking.ask("LetTimePass", [HOUR, calls])))


def test_time_passes_in_all_that_grow_and_in_no_other() -> None:
    master, one, other, still = (
        Process(1, "main process", 100.0),
        Process(2, "worker", 9_000.0),
        Process(3, "child process", 5_000.0),
        Process(4, "worker", 0.0),
    )
    step = Step()
    assert not let_time_pass(step, master, one, other, still).raised
    assert step.calls == 100
    assert [round(each.ahead) for each in (master, one, other, still)] == [0, 3600, 3600, 3600]


def test_a_process_that_ends_meanwhile_is_no_answer() -> None:
    assert let_time_pass(Step(), Process(2, "worker", 9_000.0, lives=50), Process(3, "worker", 9_000.0)).raised
    assert let_time_pass(Step(), Process(2, "worker", 9_000.0, lives=100)).raised  # after the last piece


def test_a_step_that_raises_meanwhile_is_no_answer() -> None:
    assert let_time_pass(Step(raises_at=40), Process(2, "worker", 9_000.0)).raised


def test_few_calls_are_few_pieces() -> None:
    process = Process(2, "worker", 9_000.0, lives=4)
    assert not let_time_pass(Step(), process, calls=3).raised
    assert process.ahead == HOUR


def test_a_client_that_is_slow_to_start_is_started_a_few_times_only() -> None:
    """It puts its clock forward once for each start, and once more to put it back."""
    process, step = Process(2, "worker", 9_000.0, lives=6), Step(start_s=1.0)
    assert not let_time_pass(step, process).raised
    assert (process.ahead, step.calls) == (HOUR, 100)

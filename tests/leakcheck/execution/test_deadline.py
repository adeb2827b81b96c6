"""A deadline in a process's own time: a busy machine does not use it up, and a process that hangs does."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from leakcheck.execution.deadline import Deadline, waited
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker


class Machine:
    """A clock, and the seconds that each thread of the one process has waited for a processor."""

    def __init__(self) -> None:
        self.time = 100.0
        self.waits = {1: 7.0}

    def pass_on(self, seconds: float, *, waiting: float = 0.0, thread: int = 1) -> None:
        self.time += seconds
        self.waits[thread] = self.waits.get(thread, 0.0) + waiting

    def deadline(self, limit: float) -> Deadline:
        deadline = Deadline(limit, 1, lambda: self.time, lambda _: dict(self.waits))
        assert not deadline.passed()
        return deadline


def test_a_process_that_hangs_has_had_its_time_at_the_limit():
    machine = Machine()
    deadline = machine.deadline(30.0)
    machine.pass_on(29.9)
    assert not deadline.passed()
    machine.pass_on(0.2)
    assert deadline.passed()


def test_what_a_thread_has_waited_for_a_processor_does_not_count():
    machine = Machine()
    deadline = machine.deadline(30.0)
    machine.pass_on(100.0, waiting=75.0)
    assert not deadline.passed()
    machine.pass_on(10.0, waiting=1.0)
    assert deadline.passed()


def test_nor_does_it_where_the_step_waits_for_such_a_thread():
    machine = Machine()
    deadline = machine.deadline(30.0)
    machine.pass_on(100.0, waiting=75.0, thread=2)
    assert not deadline.passed()


def test_a_process_that_is_never_let_is_not_waited_for_without_an_end():
    machine = Machine()
    deadline = machine.deadline(30.0)
    machine.pass_on(299.0, waiting=299.0)
    assert not deadline.passed()
    machine.pass_on(2.0, waiting=2.0)
    assert deadline.passed()


def test_the_system_says_what_each_thread_has_waited_and_nothing_of_a_process_that_is_gone():
    assert os.getpid() in waited(os.getpid())
    assert waited(2**22 + 1) == {}


COMPUTES = """
import time
from leakcheck import scenario

@scenario
def case():
    until = time.process_time() + 0.8
    while time.process_time() < until:
        pass
"""


def test_a_step_that_others_keep_from_the_processor_does_not_hang(tmp_path):
    """It computes for 0.8 s, of the second that it may take, and three more want each processor meanwhile."""
    (tmp_path / "case.py").write_text(COMPUTES)
    info = ScenarioInfo(id="case", target=str(tmp_path / "case.py"), name="case")
    busy = [sys.executable, "-c", "while True: pass"]
    # A session is a group for the scheduler: each gets as much of a processor as the worker does.
    others = [subprocess.Popen(busy, start_new_session=True) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        with Worker(Job(scenario=info, cwd=tmp_path, timeouts={"call": 1.0})) as worker:
            worker.open()
            began = time.monotonic()
            assert worker.run(1).iterations == 1
            assert time.monotonic() - began > 1.0, "a deadline by the clock on the wall would have passed"
    finally:
        for each in others:
            each.kill()
            each.wait()

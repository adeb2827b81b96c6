"""The worker's clock: between the time that the thread ran and the time that passed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from leakcheck.agent.clock import own_clock, without_waiting


def _waited() -> float:
    """Seconds that this thread was ready to run and was not let."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def test_it_counts_what_the_thread_ran_and_no_more_than_what_passed():
    clock = own_clock()
    began, ran, wall = clock(), time.thread_time(), time.perf_counter()
    sum(range(3_000_000))
    elapsed, ran, wall = clock() - began, time.thread_time() - ran, time.perf_counter() - wall
    assert ran * 0.9 <= elapsed <= wall * 1.1


def test_it_counts_sleeping_which_is_the_steps_own():
    """But for what the thread waited for a processor meanwhile: a sleep goes on while it waits to begin it."""
    clock, waited = own_clock(), _waited()
    began = clock()
    time.sleep(0.05)
    assert clock() - began >= 0.049 - (_waited() - waited)


def test_a_wait_that_comes_between_its_two_readings_does_not_turn_it_back():
    """The thread is put off for a fifth of a second now and then, at each place where it can be."""
    for place in range(6):
        passed, waits, calls = 0.0, 0.0, 0

        def let_others() -> None:
            nonlocal passed, waits, calls
            calls, passed = calls + 1, passed + 0.000_001
            if calls % 7 == place:  # noqa: B023 - called within this turn only
                passed, waits = passed + 0.2, waits + 0.2

        def now() -> float:
            let_others()
            return passed  # noqa: B023

        def waited() -> float:
            let_others()
            return waits  # noqa: B023

        clock = without_waiting(now, waited)
        read = [clock() for _ in range(200)]
        assert read == sorted(read)
        assert read[-1] - read[0] < 0.01, "of the fifths of a second none is the thread's own"


def test_it_never_falls_while_others_want_the_processor():
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        clock, before, worst = own_clock(), 0.0, 0.0
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            read = clock()
            worst, before = min(worst, read - before), read
    finally:
        for each in others:
            each.kill()
            each.wait()
    assert worst == 0.0

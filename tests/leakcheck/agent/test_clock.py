"""The worker's clock: between the time that the thread ran and the time that passed."""

from __future__ import annotations

import time

from leakcheck.agent.clock import own_clock


def test_it_counts_what_the_thread_ran_and_no_more_than_what_passed():
    clock = own_clock()
    began, ran, wall = clock(), time.thread_time(), time.perf_counter()
    sum(range(3_000_000))
    elapsed, ran, wall = clock() - began, time.thread_time() - ran, time.perf_counter() - wall
    assert ran * 0.9 <= elapsed <= wall * 1.1


def test_it_counts_sleeping_which_is_the_steps_own():
    clock = own_clock()
    began = clock()
    time.sleep(0.05)
    assert clock() - began >= 0.049

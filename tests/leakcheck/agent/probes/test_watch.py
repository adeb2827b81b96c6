"""A stretch that is watched line by line has as many iterations as there is time for, and names the line that adds."""

import asyncio
import queue
import threading

import pytest

from leakcheck.agent.probes.watch import MOST_S, Ledger, in_time


class Slow:
    """A driver whose step takes so many seconds, and a little longer each time."""

    def __init__(self, seconds):
        self.seconds, self.now, self.calls = seconds, 0.0, 0

    def clock(self):
        return self.now

    async def run(self, count):
        for _ in range(count):
            self.calls += 1
            self.now += self.seconds * (1 + self.calls / 100)


def test_a_quick_step_runs_as_often_as_was_asked_for():
    driver = Slow(0.001)
    assert asyncio.run(in_time(driver, 20)) == 20 == driver.calls


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0])
def test_a_slow_step_runs_until_the_time_is_nearly_over(seconds):
    driver = Slow(seconds)
    done = asyncio.run(in_time(driver, 2000))
    assert done == driver.calls
    assert MOST_S / 2 < driver.now <= 1.5 * MOST_S


def test_it_runs_at_least_once():
    assert asyncio.run(in_time(Slow(100.0), 20)) == 1


def test_what_a_function_makes_for_itself_is_put_down_to_no_line():
    taken = [0]

    class Held:
        def __init__(self, count):
            self.count = count
            taken[0] += count

        def __del__(self):
            taken[0] -= self.count

    def uses_three():
        first = Held(3)
        second = Held(2)
        return first.count + second.count

    def keeps_one():
        taken[0] += 1

    def step():
        uses_three()
        keeps_one()

    with Ledger(lambda: taken[0]) as ledger:
        for _ in range(5):
            step()
    added = [(stack[0][2].rpartition(".")[2], amount) for stack, amount in ledger.sums() if stack and amount > 0]
    assert added == [("keeps_one", 5)]


def test_the_line_is_named_in_a_thread_that_was_there_before():
    asked, answered, kept = queue.SimpleQueue(), queue.SimpleQueue(), []

    def keeps():
        kept.append(1)

    def serve():
        while asked.get():
            keeps()
            answered.put(1)

    def step():
        asked.put(1)
        answered.get()

    thread = threading.Thread(target=serve)
    thread.start()
    with Ledger(lambda: len(kept)) as ledger:
        for _ in range(5):
            step()
    step()
    asked.put(0)
    thread.join()
    added = [(stack[0][2].rpartition(".")[2], amount) for stack, amount in ledger.sums() if stack and amount > 0]
    assert added == [("keeps", 5)]

"""Before a reading: what is collected, what is left alone, and that the two kinds of reading agree."""

from __future__ import annotations

import asyncio
import textwrap
from itertools import pairwise

import pytest

from leakcheck.agent.scenario import Context
from leakcheck.agent.settle import Settler
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker
from leakcheck.meters import BYTES

THRESHOLD = """
    import gc
    gc.set_threshold(600, 9, 7)
    @scenario
    def case(ctx):
        ctx.meter("old", lambda: gc.get_threshold()[2])
        yield lambda: None
"""
YOUNG_CYCLES = """
    @scenario
    def case():
        ring = []
        ring.append(ring)
"""
FREED = """
    def case_step():
        made = [[float(n), {n: n}, (n, n)] for n in range(50)]
        del made
    @scenario
    def case():
        yield case_step
"""
KEPT = """
    kept = []
    @scenario
    def case():
        kept.append([len(kept)])
"""


@pytest.fixture
def opened(tmp_path):
    """A function that opens a scenario and returns what runs it: iterations and `whole` in, the round out."""
    workers = []

    def make(source: str, gc: str = "collect"):
        file = tmp_path / "scenarios_under_test.py"
        file.write_text("from leakcheck import scenario\n" + textwrap.dedent(source))
        info = ScenarioInfo(id="case", target=str(file), name="case")
        workers.append(worker := Worker(Job(scenario=info, cwd=tmp_path, gc=gc)))
        names = [name for name, _ in worker.open().meters]

        def run(count: int, whole: bool):
            done = worker.run(count, whole=whole)
            return done, dict(zip(names, done.values, strict=True))

        return run

    yield make
    for worker in workers:
        worker.stop()


def test_old_objects_are_not_walked_between_the_ends_of_doublings_and_the_programs_setting_comes_back(opened):
    run = opened(THRESHOLD)
    seen = [run(1, whole)[1]["old"] for whole in (True, False, False, True, False, True)]
    assert seen == [7, 2**31 - 1, 2**31 - 1, 7, 2**31 - 1, 7]


@pytest.mark.parametrize("mode", ["auto", "off", "freeze"])
def test_a_collector_that_is_not_ours_to_steer_is_left_as_it_is(opened, mode):
    run = opened(THRESHOLD, mode)
    assert {run(1, whole)[1]["old"] for whole in (True, False, True, False)} == {7}


def test_young_garbage_is_found_in_either_reading(opened):
    run = opened(YOUNG_CYCLES)
    run(10, True)
    assert [run(100, whole)[0].cycles for whole in (True, False, False, True)] == [100, 100, 100, 100]


def test_what_the_interpreter_keeps_of_freed_objects_is_in_neither_reading(opened):
    run = opened(FREED)
    run(100, True)
    run(100, False)
    seen = [run(100, whole)[1] for whole in (True, False, False, True, False, True)]
    assert len({each["py.objects"] for each in seen}) == 1
    heap = [each["heap.bytes"] for each in seen]
    assert max(heap) - min(heap) < BYTES.quantum  # malloc rounds


def test_both_readings_count_the_same_objects(opened):
    run = opened(KEPT)
    run(1000, True)
    seen = [run(1000, whole)[1]["py.objects"] for whole in (True, False, False, True, False, True)]
    assert [later - earlier for earlier, later in pairwise(seen)] == [1000] * 5


class Ending:
    """Counts of things of which one ends every so many seconds of a clock that only sleeping moves."""

    def __init__(self, things: int, every_s: float, for_ever: int = 0) -> None:
        self.things, self.every_s, self.for_ever, self.passed = things, every_s, for_ever, 0.0

    def __call__(self) -> list[int]:
        return [self.for_ever + max(0, self.things - int(self.passed / self.every_s))]

    def now(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


def waited(ending: Ending) -> list[int]:
    """What is left after a settling to which there was nothing at first."""
    settler = Settler(Context(""), "collect", ending, in_loop=False)
    settler._lowest = [0]
    asyncio.run(settler._wait_for_resources(ending.now, ending.sleep))
    return ending()


def test_what_ends_one_after_the_other_is_waited_for_as_long_as_it_does():
    assert waited(Ending(things=20, every_s=0.06)) == [0]


def test_what_does_not_end_is_not_waited_for():
    slow = Ending(things=20, every_s=5.0)
    assert waited(slow) == [20]
    assert slow.passed < 0.2
    some = Ending(things=5, every_s=0.01, for_ever=3)
    assert waited(some) == [3]
    assert some.passed < 0.3

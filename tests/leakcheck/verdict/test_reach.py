"""Whole verdicts of real processes, a kind a test: what meters, judge and challenges make of it together."""

from __future__ import annotations

import textwrap

import pytest

from leakcheck.execution.job import Allocator, Budget, Job, ScenarioInfo
from leakcheck.execution.worker import Worker
from leakcheck.verdict import result
from leakcheck.verdict.reach import reach

HEAD = """
import itertools, mmap, random, time
from leakcheck import scenario
numbers = itertools.count(1)
kept, cache = [], {}
"""


@pytest.fixture
def verdict(tmp_path):
    def run(source: str, budget: Budget = Budget(), allocator: Allocator = "malloc") -> tuple[str, str]:  # noqa: B008
        file = tmp_path / "scenarios_under_test.py"
        file.write_text(HEAD + textwrap.dedent(source))
        job = Job(scenario=ScenarioInfo(id="case", target=str(file), name="case"), cwd=tmp_path, allocator=allocator)
        with Worker(job) as worker:
            judged = result.judged(job, reach(worker, worker.open(), budget))
        return judged.verdict, judged.reason

    return run


def test_containers_that_grow_beside_a_backlog_that_shrinks_are_a_leak(verdict):
    found, reason = verdict("""
        backlog = [bytes(500) for _ in range(400_000)]
        @scenario
        def case():
            if backlog:
                backlog.pop()
            kept.append({"n": next(numbers)})
    """)
    assert found == "leak"
    assert "while other things are worked off" in reason


@pytest.mark.slow
def test_keys_in_order_are_waited_for_as_long_as_there_is_budget(verdict):
    found, _ = verdict("""
        @scenario
        def case():
            sum(range(700))
            cache.setdefault(next(numbers) % 90_000, bytes(50))
    """)
    assert found == "bounded"


def test_a_cache_that_fills_by_frequency_is_not_accused(verdict):
    found, reason = verdict("""
        at_random = random.Random(1)
        @scenario
        def case():
            time.sleep(0.004)
            key = int(at_random.paretovariate(0.4))
            if key not in cache:
                cache[key] = bytes(300)
    """)
    assert found in ("bounded", "inconclusive"), reason


def test_a_registry_by_number_is_a_leak(verdict):
    found, reason = verdict("""
        @scenario
        def case():
            time.sleep(0.001)
            cache[next(numbers)] = bytes(50)
    """, Budget(time_s=4.0))  # fmt: skip
    assert found == "leak", reason


@pytest.mark.parametrize("lives_s", [5, pytest.param(600, marks=pytest.mark.slow)])
def test_entries_that_live_for_longer_than_the_measurement_are_not_accused(verdict, lives_s):
    found, reason = verdict(f"""
        @scenario
        def case():
            now, n = time.monotonic(), next(numbers)
            kept.append((now, bytes(100)))
            if n % 200 == 0:
                while kept and kept[0][0] < now - {lives_s}:
                    del kept[:1000]
    """)
    assert found in ("bounded", "clean"), reason


def test_a_leak_beside_entries_that_live_for_long_is_found(verdict):
    found, reason = verdict("""
        lost = []
        @scenario
        def case():
            now, n = time.monotonic(), next(numbers)
            kept.append((now, bytes(500)))
            lost.append(bytes(30))
            if n % 200 == 0:
                while kept and kept[0][0] < now - 600:
                    del kept[:1000]
    """)
    assert found == "leak", reason


def test_what_is_loaded_late_and_large_hides_no_leak(verdict):
    found, reason = verdict("""
        model = None
        @scenario
        def case():
            global model
            if model is None:
                model = bytearray(1100 << 20)
            kept.append(bytearray(100))
    """)
    assert found == "leak", reason


@pytest.mark.parametrize("which", ["once", "each call"])
def test_reserved_address_space_takes_no_room_but_leaks_where_each_call_reserves_more(verdict, which):
    condition = "not kept" if which == "once" else "True"
    found, reason = verdict(f"""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # without a reserve of swap
        @scenario
        def case():
            if {condition}:
                kept.append(mmap.mmap(-1, 8 << 30, flags=flags))
    """)
    assert found == ("clean" if which == "once" else "leak"), reason


def test_a_clean_verdict_says_how_much_and_how_often_by_family(verdict):
    found, reason = verdict("""
        @scenario
        def case():
            sum(range(50))
    """)
    assert found == "clean"
    assert reason.startswith("does not grow; would have shown, once in ")
    assert "48 B of heap" in reason
    assert "of other memory" in reason
    assert "1 resources" not in reason


def test_where_python_has_an_allocator_of_its_own_both_ledgers_are_claimed(verdict):
    """As in a free-threaded build: malloc's has what is native, the other has Python's objects."""
    found, reason = verdict(
        """
        @scenario
        def case():
            sum(range(50))
        """,
        allocator="pymalloc",
    )
    assert found == "clean"
    assert "48 B of heap, 1 block of heap, " in reason


def test_slower_calls_are_said_to_be_a_sign_and_counted_in_the_advice(verdict):
    found, reason = verdict("""
        @scenario
        def case():
            time.sleep(next(numbers) * 1e-4)
            if next(numbers) % 40 == 0:
                kept.append(bytearray(20_000 * (len(kept) % 3 == 0)))
    """, Budget(time_s=1.0))  # fmt: skip
    assert found == "inconclusive", reason
    assert "calls get slower" in reason

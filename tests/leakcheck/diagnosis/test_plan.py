"""How many iterations a diagnosis runs: enough events of the leak, and no more time or memory than they take."""

from __future__ import annotations

import pytest

from leakcheck.diagnosis.plan import EVENTS_PER_STRETCH, SMALLEST_LEAK_BYTES, DiagnosisOptions, GrowthFacts, Plan
from leakcheck.diagnosis.plan import next_prime as prime
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker

JOB = Job(scenario=ScenarioInfo(id="app.py::on[1 KiB]", target="app.py", name="on"), allocator="pymalloc")


def plan(seconds: float = 1e-5, iterations: int = 0, apart: float = 0.0, **meters: float) -> Plan:
    growth = GrowthFacts(
        meters={name.replace("_", "."): rate for name, rate in meters.items()},
        seconds_per_iteration=seconds,
        iterations=iterations,
        apart=apart,
    )
    return Plan.of(JOB, growth, DiagnosisOptions(), Worker)


@pytest.mark.parametrize(("number", "expected"), [(0, 2), (2, 2), (8, 11), (1008, 1009)])
def test_a_stretch_has_a_prime_number_of_iterations(number: int, expected: int) -> None:
    assert prime(number) == expected


def test_a_rare_leak_gets_a_stretch_with_several_of_its_events() -> None:
    rare = plan(heap_bytes=0.5)
    assert rare.count * 0.5 >= EVENTS_PER_STRETCH * SMALLEST_LEAK_BYTES
    assert rare.traced == rare.count
    assert plan(heap_bytes=500.0).count == 1009
    large = plan(heap_bytes=2000.0, apart=500.0)
    assert large.count >= EVENTS_PER_STRETCH * 500
    assert large.traced >= 3 * 500


def test_a_slow_step_a_large_leak_and_scarce_descriptors_make_the_stretch_short() -> None:
    assert plan(seconds=0.5, heap_bytes=500.0).count == 5
    assert plan(heap_bytes=1 << 20).count == 43
    assert plan(threads=1.0).count == 83


def test_a_second_look_goes_on_to_where_the_measurement_was() -> None:
    first = plan(heap_bytes=100.0, iterations=65536)
    later = first.later()
    assert later is not None
    assert (later.warm, later.traced) == (32768, first.traced)
    assert later.count > first.count
    assert plan(heap_bytes=100.0, iterations=4096).later() is None, "it would see no more"


def test_a_resource_is_watched_until_several_have_come() -> None:
    assert plan(fds=1.0).watched_for("fds") == 20
    assert plan(fds=0.1).watched_for("fds") == 200
    assert plan(seconds=1e-4, mapped_bytes=1024.0).watched_for("mapped.bytes") == 80, "a page in four iterations"
    assert plan(seconds=1e-6, mapped_bytes=40960.0).watched_for("mapped.bytes") > 1000, "pieces may be rare and large"
    assert plan(seconds=1e-6, fds=1.0).watched_for("fds") == 20


def test_one_ledger_counts_pythons_memory_and_native_memory() -> None:
    assert plan(heap_bytes=100.0).job.allocator == "malloc"
    assert plan(heap_bytes=100.0).file_name == "app-py-on-1-KiB"
    assert plan(py_blocks=2.0).heap == 2 * SMALLEST_LEAK_BYTES
    assert not plan(fds=1.0).keeps_memory

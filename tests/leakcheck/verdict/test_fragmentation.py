"""What is in use has stopped growing and the free memory between it has grown: that has a name, and figures."""

from __future__ import annotations

from functools import partial

import pytest
from processes import job_of, run

from leakcheck.records import Sample
from leakcheck.verdict.fragmentation import fragmentation, of_living

MIB = float(1 << 20)


def samples(in_use, free, resident):
    series = {"heap.bytes": in_use, "heap.free": free, "heap.resident": resident}
    return {name: [Sample(at, value * MIB) for at, value in enumerate(values)] for name, values in series.items()}


def test_free_memory_in_pages_of_which_something_is_in_use_is_fragmentation():
    found = fragmentation(samples(in_use=[4, 4], free=[0, 20], resident=[4, 10]))
    assert found is not None
    assert (found.in_use, found.held, found.returned) == (4 * MIB, 6 * MIB, 14 * MIB)
    assert found.short == "the heap is fragmented: 6.0 MiB free in the pages of 4.0 MiB in use"


@pytest.mark.parametrize(
    "of",
    [
        {"in_use": [4, 9], "free": [0, 0], "resident": [4, 9]},
        {"in_use": [4, 4], "free": [0, 20], "resident": [4, 4]},
        {"in_use": [100, 100], "free": [0, 9], "resident": [100, 109]},
        {"in_use": [1, 1], "free": [0, 0.9], "resident": [1, 1.9]},
    ],
    ids=["it is in use", "it went back", "little of it", "little"],
)
def test_a_heap_that_is_no_sparser_than_most_is_not_called_fragmented(of):
    assert fragmentation(samples(**of)) is None


def test_where_the_heaps_pages_cannot_be_told_nothing_is_said():
    assert fragmentation({"heap.bytes": [Sample(0, 0.0)]}) is None


def test_a_run_says_so_and_what_can_be_done(tmp_path):
    source = """
        kept, passing = [], []
        @scenario
        def case():
            if len(kept) < 3000:
                passing.append(bytearray(8000))
                kept.append(bytearray(100))
            else:
                passing.clear()
    """
    result = run(partial(job_of, tmp_path)(source))
    assert result.verdict == "bounded"
    assert "the heap is fragmented: " in result.reason
    assert any(note.startswith("fragmentation, and no leak") for note in result.advice)


@pytest.mark.parametrize(
    ("in_use", "free", "grown"),
    [(20, 4, 0), (0.2, 0.5, 0), (20, 60, 30)],
    ids=["no sparser than most", "less than a heap has free anyhow", "what is in use grows"],
)
def test_a_living_process_whose_free_memory_is_not_why_it_grows(in_use, free, grown):
    assert of_living(in_use * MIB, free * MIB, grown * MIB, 40 * MIB) == ""


def test_a_living_process_has_the_name_and_the_figures_too():
    assert of_living(20 * MIB, 60 * MIB, 1 * MIB, 40 * MIB).startswith(
        "fragmentation, and no leak: what is in use does not grow with the process; of the heap, 20.0 MiB are in use, "
        "and 60.0 MiB are free between. Make what lives long before"
    )

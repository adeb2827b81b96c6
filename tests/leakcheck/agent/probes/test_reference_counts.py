"""Readings of reference counts against the model of a dict for each reading."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from leakcheck.agent.probes.reference_counts import Counts, changes, no_counts

IMMORTAL = 1 << 30
readings = st.dictionaries(st.integers(0, 30), st.one_of(st.integers(0, 9), st.just(IMMORTAL)))
orders = st.randoms(use_true_random=False)


def counts(reading: dict[int, int], order) -> Counts:
    """In some order, and some objects twice."""
    entries = [*reading.items(), *list(reading.items())[::3]]
    order.shuffle(entries)
    return Counts(array("Q", [key for key, _ in entries]), array("q", [count for _, count in entries]))


@given(readings, readings, orders)
def test_what_changed_is_told_and_nothing_else(before, after, order):
    expected = {
        key: count - before[key]
        for key, count in after.items()
        if key in before and count != before[key] and count != IMMORTAL
    }
    assert changes(counts(before, order), counts(after, order)) == expected


def test_a_reference_that_is_kept_is_told_and_one_that_came_and_went_is_not():
    kept, passing = [object()], [object()]
    before = no_counts()
    before.add([*kept, *passing])
    holder = [kept[0]]
    del [passing[0]][0]
    after = no_counts()
    after.add([*kept, *passing])
    assert changes(before, after) == {id(holder[0]): 1}

"""Histories keep to their memory and lose no trough."""

from __future__ import annotations

import tracemalloc

from leakcheck.monitor.history import SIZES, History

DAY = 86400


def test_memory_stays_the_same_whatever_the_uptime():
    history = History(60, DAY)
    tracemalloc.start()
    try:
        for minute in range(20_000):
            history.add(60.0 * minute, 1.0)
        early = tracemalloc.get_traced_memory()[0]
        for minute in range(20_000, 700_000, 7):
            history.add(60.0 * minute, 1.0)
        late = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert late - early < 2000


def test_a_history_takes_less_than_forty_kilobytes():
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        history = History(60, DAY)
        for minute in range(50_000):
            history.add(60.0 * minute, 1.0)
        assert tracemalloc.get_traced_memory()[0] - before < 40_000
    finally:
        tracemalloc.stop()


def test_bins_are_in_the_order_of_time_and_reach_back_for_weeks():
    history = History(60, DAY)
    for minute in range(40 * 1440):
        history.add(60.0 * minute, float(minute))
    bins = history.bins()
    assert [each.at for each in bins] == sorted(each.at for each in bins)
    assert len(bins) <= sum(SIZES) + len(SIZES)
    assert bins[-1].low == 40 * 1440 - 1
    assert bins[0].at < 5 * DAY


def test_a_trough_survives_thinning():
    history = History(60, DAY)
    for minute in range(20 * 1440):
        history.add(60.0 * minute, 5.0 if minute == 3000 else 100.0)
    assert min(each.low for each in history.bins()) == 5.0


def test_a_reading_from_a_clock_that_went_back_is_dropped():
    history = History(60, DAY)
    history.add(100.0, 1.0)
    history.add(50.0, 2.0)
    history.add(100.0, 3.0)
    assert [(each.at, each.low) for each in history.bins()] == [(100.0, 1.0)]


def test_bins_since_a_time_leave_out_what_was_before():
    history = History(1)
    for second in range(500):
        history.add(float(second), 0.0)
    assert min(each.at for each in history.bins(since=400.0)) >= 400.0

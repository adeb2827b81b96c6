"""The work of a process as a clock."""

from __future__ import annotations

import pytest

from leakcheck.monitor.history import Bin
from leakcheck.monitor.work import by_work

HOUR = 3600.0


def used(rate: dict[int, float], hours: int) -> list[Bin]:
    """Processor time by the hour; `rate` gives the cores that are busy in each hour of the day."""
    bins, total = [], 0.0
    for hour in range(hours + 1):
        bins.append(Bin(hour * HOUR, total, total))
        total += rate.get(hour % 24, 0.0) * HOUR
    return bins


def day(low: float, high: float) -> dict[int, float]:
    return {hour: high if 8 <= hour < 16 else low for hour in range(24)}


def test_it_stands_still_by_night_and_takes_as_long_as_the_time_in_all():
    times = [hour * HOUR for hour in (0, 4, 8, 12, 16, 20, 24, 48, 72)]
    found = by_work(times, used(day(0.1, 1.1), 80), HOUR)
    assert found is not None
    assert [seconds / HOUR for seconds in found] == pytest.approx([0, 0, 0, 12, 24, 24, 24, 48, 72])


def test_between_two_readings_work_is_even():
    found = by_work([0.0, 9.25 * HOUR, 48 * HOUR], used(day(0.0, 1.0), 50), HOUR)
    assert found is not None
    assert found[1] / HOUR == pytest.approx(3 * 1.25)


def test_a_job_of_an_hour_or_two_is_no_load():
    times = [hour * HOUR for hour in range(0, 73, 3)]
    alone = by_work(times, used(day(0.1, 1.1), 80), HOUR)
    beside = by_work(times, used({**day(0.1, 1.1), 2: 3.0, 3: 3.0, 12: 4.0}, 80), HOUR)
    assert beside == pytest.approx(alone)


@pytest.mark.parametrize("rate", [day(1.0, 1.0), day(1.0, 1.1), {}], ids=["even", "hardly uneven", "none"])
def test_an_even_load_is_no_clock(rate):
    assert by_work([0.0, 24 * HOUR, 72 * HOUR], used(rate, 80), HOUR) is None


def test_work_that_is_not_known_over_all_of_the_time_is_no_clock():
    times = [0.0, 24 * HOUR, 72 * HOUR]
    known = used(day(0.1, 1.0), 80)
    assert by_work(times, known[10:], HOUR) is None
    assert by_work(times, known[:60], HOUR) is None
    assert by_work(times, [], HOUR) is None
    assert by_work([], known, HOUR) is None
    assert by_work([HOUR, HOUR], known, HOUR) is None

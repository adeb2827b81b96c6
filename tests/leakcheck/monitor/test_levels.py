"""The levels of periods, and the line through them."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from leakcheck.monitor.history import Bin
from leakcheck.monitor.levels import (
    PASSAGE,
    Level,
    cut_at_steps,
    fit_line,
    median,
    periods_of,
    without_transitions,
)
from leakcheck.monitor.regression import Point

DAY, HOUR = 86400.0, 3600.0


def hourly(value, days, *, skip=lambda day: False):
    every = [(hour * HOUR, value(hour / 24)) for hour in range(days * 24)]
    return [Bin(at, held, held) for at, held in every if not skip(at / DAY)]


def of(bins, days, starts=(0.0,)):
    return periods_of(bins, days * DAY, DAY, 0.25 * DAY, starts)


def levels(values, *, run=lambda position: 0):
    return [Level(position, value, run(position), position + 0.5) for position, value in enumerate(values)]


def busy(day):
    return max(0.0, math.sin(2 * math.pi * day))


def test_the_load_is_not_in_the_levels_and_growth_is():
    found = of(hourly(lambda day: 100 + 50 * busy(day) + 2 * day, 10), 10).levels
    gains = [later.value - earlier.value for earlier, later in pairwise(found)]
    assert len(found) == 10
    assert gains == pytest.approx([2] * 9, abs=0.3)


def test_quiet_hours_leave_out_those_of_the_load():
    hours = {point.group for point in of(hourly(lambda day: 100 + 50 * busy(day), 8), 8).hours}
    assert len(hours) == 12
    assert all(busy(0.999 - hour / 24) < 0.3 for hour in hours)


def test_hours_that_differ_from_day_to_day_are_left_out():
    rng = random.Random(1)

    def value(day):
        return 100 + rng.gauss(0, 0.1) + 100 * busy(day) + (rng.uniform(-30, 0) if 0.8 < day % 1 < 0.9 else 0)

    assert len({point.group for point in of(hourly(value, 8), 8).hours}) < 12


def test_a_day_with_a_restart_belongs_to_the_run_after_it():
    found = of(hourly(lambda day: 100.0, 8), 8, (0.0, 4.3 * DAY))
    assert [each.run for each in found.levels] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [each.position for each in found.newest_run] == [4, 5, 6, 7]
    assert found.uptime == pytest.approx(3.7)


def test_what_was_read_just_after_a_start_is_left_out():
    found = of(hourly(lambda day: 100.0 if day > 0.2 else 10.0, 5), 5)
    assert all(each.value == 100 for each in found.levels)


def test_days_that_were_not_read_have_no_level():
    found = of(hourly(lambda day: 100.0, 8, skip=lambda day: 2.9 < day < 5.1), 8)
    assert [each.position for each in found.levels] == [0, 1, 2, 5, 6, 7]


def test_nothing_that_can_be_read_has_no_levels():
    bins = hourly(lambda day: 1.0, 1)
    assert periods_of(bins, DAY, DAY, 2 * DAY, (0.0,)).levels == []


def test_days_of_which_one_bin_is_left_come_before_the_others():
    old = [Bin(day * DAY + 1, 100.0 + day, 100.0 + day) for day in range(6)]
    found = of([*old, *[Bin(each.at + 6 * DAY, 107.0, 107.0) for each in hourly(lambda day: 0, 5)]], 11)
    assert [each.value for each in found.earlier] == [101, 102, 103, 104, 105]  # the first day holds a start
    assert [each.position for each in found.earlier] == [-5, -4, -3, -2, -1]
    assert found.levels[0].position == 0


def passage(steps):
    rng = random.Random(1)
    heights = [0.0] * 20 + [100.0 * (step + 1) / steps for step in range(steps)] + [100.0] * 20
    return [Point(at / 24, at / 24, height + rng.gauss(0, 0.1), at) for at, height in enumerate(heights)]


def test_hours_on_the_way_to_another_level_are_left_out():
    hours = passage(4)
    kept = without_transitions(hours)
    assert len(hours) - len(kept) == 3
    assert all(abs(each.value) < 1 or abs(each.value - 100) < 1 for each in kept)


def test_what_goes_on_for_longer_is_growth():
    assert len(without_transitions(passage(PASSAGE + 3))) == len(passage(PASSAGE + 3))
    assert without_transitions([]) == []


def test_a_series_is_cut_where_it_jumps_and_stays():
    cut = cut_at_steps(levels([0, 1, 2, 3, 54, 55, 56, 57, 58]))
    assert [each.run for each in cut] == [0, 0, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "values",
    [[0, 50, 100], [0, 1, 2, 3, 4, 5], [0, 9, 11, 25, 26, 45, 44, 60], [3] * 9],
    ids=["short", "line", "every day", "flat"],
)
def test_growth_is_not_cut(values):
    assert cut_at_steps(levels(values)) == levels(values)


def test_a_restart_is_no_jump():
    series = levels([0, 1, 2, 3, 4, 0, 1, 2, 3, 4], run=lambda position: position // 5)
    assert cut_at_steps(series) == series


def test_the_slope_is_that_of_most_pairs_whatever_one_level_does():
    fit = fit_line(levels([0, 2, 4, 6, 500, 10, 12, 14, 16, 18]))
    assert fit.slope == 2
    assert fit.low <= 2 <= fit.high
    assert fit.z > 2


def test_levels_of_different_runs_are_not_compared():
    fit = fit_line(levels([0, 2, 4, 6, 8, 0, 2, 4, 6, 8], run=lambda position: position // 5))
    assert (fit.slope, fit.low, fit.high) == (2, 2, 2)
    assert fit.rms == 0


def test_halves_show_growth_that_fades():
    fit = fit_line(levels([100 * (1 - math.exp(-day / 3)) for day in range(12)]))
    assert fit.newer < 0.3 * fit.older
    assert fit.last < fit.slope


def test_noise_has_no_order():
    rng = random.Random(4)
    assert fit_line(levels([rng.gauss(0, 1) for _ in range(30)])).z < 2


def test_one_known_half_is_no_line():
    assert fit_line(levels([1.0, 2.0])) is None
    assert fit_line([Level(0, 1.0, 0, 0.5), Level(9, 2.0, 1, 0.5), Level(10, 3.0, 1, 1.5)]) is None


def test_median():
    assert median([1, 2, 9]) == 2
    assert median([1, 2, 4, 9]) == 3

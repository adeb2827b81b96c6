"""The trend judge on scripted months: each shape that a service shows, with and without a leak beneath it."""

from __future__ import annotations

import inspect
import math
import random
import sys
from collections.abc import Callable

import pytest

from leakcheck.monitor import trend as looks
from leakcheck.monitor.history import Bin, History
from leakcheck.monitor.trend import BYTES, COUNTS, HOUR, LOOKS, Case, Rules, Trend, judge

DAY = 24 * HOUR
MB = 1e6
LIMIT = 2e9


def trend_of(
    value: Callable[[float], float],
    days: float,
    *,
    noise: float = 0.5 * MB,
    limit: float | None = LIMIT,
    rules: Rules = BYTES,
    starts: tuple[float, ...] = (0.0,),
    gaps: tuple[tuple[float, float], ...] = (),
) -> Trend:
    """`value` of the time in days, read every ten minutes."""
    rng = random.Random(1)
    history = History(600, rules.period)
    at = 0.0
    while at < days * DAY:
        if not any(begin <= at / DAY < end for begin, end in gaps):
            history.add(at, value(at / DAY) + abs(rng.gauss(0, noise)))
        at += 600
    return judge(history.bins(), at, limit, rules, starts)


def load(day: float) -> float:
    return 80 * MB * max(0.0, math.sin(2 * math.pi * day))


def test_a_flat_service_is_steady():
    assert trend_of(lambda day: 300 * MB, 20).verdict == "steady"


def test_a_daily_rhythm_is_steady():
    assert trend_of(lambda day: 300 * MB + load(day), 20).verdict == "steady"


def test_a_leak_under_a_daily_rhythm_is_seen_with_its_rate():
    trend = trend_of(lambda day: 300 * MB + load(day) + 3 * MB * day, 20)
    assert trend.verdict == "leak"
    assert trend.low <= 3 * MB / 24 <= trend.high
    assert trend.rate == pytest.approx(3 * MB / 24, rel=0.1)


def test_a_large_leak_is_reported_long_before_two_weeks_are_over():
    trend = trend_of(lambda day: 300 * MB + load(day) + 40 * MB * day, 4.2)
    assert trend.verdict == "leak"


DAYS_OF_THE_LOAD = (1.0, 1.4, 0.5, 1.3, 0.6, 1.2, 0.9, 1.1)


def worked(day: float) -> float:
    """The load's work up to a day, in mean days: some days are busier than others, and the nights are still."""
    whole, part = divmod(day, 1.0)
    today = DAYS_OF_THE_LOAD[int(whole) % 8] * (1 - math.cos(2 * math.pi * min(part, 0.5))) / 2
    return whole // 8 * 8 + sum(DAYS_OF_THE_LOAD[: int(whole) % 8]) + today


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_leak_that_follows_the_load_is_seen_sooner_by_the_work_that_was_done(seed):
    def day_of_report(*, knows_work: bool) -> float:
        rng = random.Random(seed)
        history, work = History(600, DAY), History(600, DAY)
        for tenth in range(8 * 144):
            at = 600.0 * tenth
            fragments = 8 * MB * math.log1p(at / HOUR)
            history.add(at, 300 * MB + fragments + 30 * MB * worked(at / DAY) + abs(rng.gauss(0, 0.5 * MB)))
            work.add(at, 0.1 * at + 20_000 * worked(at / DAY))
            used = work.bins() if knows_work else ()
            if tenth % 6 == 5 and judge(history.bins(), at, LIMIT, work=used).verdict == "leak":
                return at / DAY
        return math.inf

    late, soon = day_of_report(knows_work=False), day_of_report(knows_work=True)
    assert soon < late


def test_a_cache_that_the_load_fills_is_no_leak():
    history, work = History(600, DAY), History(600, DAY)
    for tenth in range(15 * 144):
        at = 600.0 * tenth
        filled = 1 - math.exp(-worked(at / DAY) / 1.5)
        history.add(at, 300 * MB + load(at / DAY) + 130 * MB * filled + abs(random.Random(tenth).gauss(0, MB)))
        work.add(at, 0.1 * at + 20_000 * worked(at / DAY))
        if tenth % 12 == 11:
            assert judge(history.bins(), at, LIMIT, work=work.bins()).verdict != "leak"


def test_two_bins_of_one_remembered_day_count_once():
    """After a gap an hour may be as far from its neighbours as the days before it are from theirs."""
    places = [*range(30), 29.6, *(30.25 + hour / 24 for hour in range(354))]
    bins = [Bin(day * DAY, low := 300 * MB + 0.4 * MB * day, low) for day in places]
    assert judge(bins, 45 * DAY, LIMIT).verdict in ("steady", "rising")


def test_a_leak_that_begins_later_is_seen():
    assert trend_of(lambda day: 300 * MB + load(day) + 5 * MB * max(0, day - 10), 30).verdict == "leak"


def test_a_deploy_step_is_no_leak():
    assert trend_of(lambda day: 300 * MB + load(day) + (60 * MB if day > 12.3 else 0), 25).verdict != "leak"


def test_a_leak_is_seen_across_a_deploy_step():
    step = 60 * MB
    assert trend_of(lambda day: 300 * MB + 3 * MB * day + (step if day > 12.3 else 0), 25).verdict == "leak"


@pytest.mark.parametrize("days", [2.0, 4.0, 6.0, 15.0, 28.0])
def test_a_cache_that_fills_is_no_leak(days):
    assert trend_of(lambda day: 300 * MB + 120 * MB * (1 - math.exp(-day / 1.5)), days).verdict != "leak"


@pytest.mark.parametrize("days", [5.0, 15.0, 28.0])
def test_fragmentation_that_goes_on_ever_more_slowly_is_no_leak(days):
    assert trend_of(lambda day: 300 * MB + 5 * MB * math.log1p(24 * day), days).verdict != "leak"


def test_a_service_that_is_started_every_few_days_is_compared_with_itself():
    def warm_up(day: float) -> float:
        return 60 * MB * (1 - math.exp(-(day % 7) * 24))

    assert (
        trend_of(lambda day: 200 * MB + warm_up(day), 28, starts=(0.0, 7 * DAY, 14 * DAY, 21 * DAY)).verdict != "leak"
    )


def test_a_leak_is_seen_across_restarts_that_take_it_back():
    trend = trend_of(lambda day: 200 * MB + 6 * MB * (day % 10), 30, starts=(0.0, 10 * DAY, 20 * DAY))
    assert trend.verdict == "leak"
    assert trend.rate == pytest.approx(6 * MB / 24, rel=0.15)


def test_a_leak_beside_a_cache_that_fills_is_reported_before_a_tenth_of_the_limit_is_lost():
    assert trend_of(lambda day: 300 * MB + 30 * MB * day + 150 * MB * (1 - math.exp(-day)), 6.5).verdict == "leak"


def test_a_cache_and_fragmentation_and_a_step_together_are_no_leak():
    def innocent(day: float) -> float:
        return 164 * MB * (1 - math.exp(-day / 0.9)) + 5.8 * MB * math.log1p(24 * day) + (56 * MB if day > 3.3 else 0)

    for days in (5.0, 7.8, 15.0):
        assert trend_of(lambda day: 300 * MB + innocent(day), days, noise=1.1 * MB).verdict != "leak"


def test_two_deploys_within_days_are_no_leak():
    def steps(day: float) -> float:
        return (39 * MB if day > 19.3 else 0) + (53 * MB if day > 21.7 else 0)

    for days in (23.0, 24.2, 26.0):
        assert trend_of(lambda day: 300 * MB + steps(day), days).verdict != "leak"


def test_a_small_leak_is_seen_across_a_restart_and_deploy_steps():
    def value(day: float) -> float:
        return 4.4 * MB * (day if day < 10.6 else day - 10.6) + (50 * MB if day > 16.1 else 0)

    assert trend_of(lambda day: 200 * MB + value(day), 25, starts=(0.0, 10.6 * DAY)).verdict == "leak"


def test_a_very_small_leak_is_seen_over_months_of_restarts_though_no_month_shows_it():
    starts = tuple(9.3 * DAY * number for number in range(11))

    def value(day: float) -> float:
        return 200 * MB + 5 * MB * math.log1p(24 * (day % 9.3)) + 40 * MB * (day > 21.5)

    def trend(leak: float, days: float) -> Trend:
        return trend_of(lambda day: value(day) + leak * (day % 9.3), days, noise=6 * MB, starts=starts)

    assert trend(1.2 * MB, 30).verdict != "leak"
    assert trend(1.2 * MB, 100).verdict == "leak"
    assert trend(0, 100).verdict != "leak"


def test_the_nearer_a_tenth_of_the_limit_is_the_sooner_a_leak_is_reported():
    fast, slow = (trend_of(lambda day, rate=rate: 300 * MB + rate * MB * day, 4.6) for rate in (45, 30))
    assert fast.verdict == slow.verdict == "leak"
    assert 0 < fast.hold < slow.hold


def test_gaps_in_the_readings_change_nothing():
    gaps = ((3.0, 3.6), (8.2, 9.4), (15.0, 15.3))
    assert trend_of(lambda day: 300 * MB + load(day) + 4 * MB * day, 24, gaps=gaps).verdict == "leak"
    assert trend_of(lambda day: 300 * MB + load(day), 24, gaps=gaps).verdict == "steady"


def test_growth_within_hours_is_reported_before_it_ends_the_process():
    trend = trend_of(lambda day: 300 * MB + (800 * MB * (day - 5) * 4 if day > 5 else load(day)), 5.2)
    assert trend.verdict == "leak"
    left = trend.hours_left(LIMIT)
    assert left is not None
    assert left[1] <= left[0] <= left[2]
    assert 0 < left[0] < 24


def test_the_first_morning_is_no_leak():
    assert trend_of(lambda day: 200 * MB + 250 * MB * min(1.0, day * 3), 0.4).verdict != "leak"


def test_without_a_limit_only_patience_decides():
    assert trend_of(lambda day: 300 * MB + 40 * MB * day, 5, limit=None).verdict != "leak"
    assert trend_of(lambda day: 300 * MB + 40 * MB * day, 16, limit=None).verdict == "leak"


def test_descriptors_that_are_lost_one_an_hour_are_reported_before_they_run_out():
    trend = trend_of(lambda day: 40 + int(24 * day), 5, noise=0, limit=1024, rules=COUNTS)
    assert trend.verdict == "leak"


def test_a_soak_without_rhythm_is_judged_within_minutes():
    rules = BYTES._replace(period=0, patience=600)
    bins = [Bin(float(at), 100e6 + 0.5e6 * max(0, at - 100), 0) for at in range(260)]
    assert judge(bins, 260, 500e6, rules).verdict == "leak"
    flat = [Bin(float(at), 100e6 + 1e5 * (at % 3), 0) for at in range(260)]
    assert judge(flat, 260, 500e6, rules).verdict == "steady"


def test_few_readings_are_no_ground_for_a_word():
    assert judge([], 0.0, LIMIT).verdict == "warming"
    assert judge([Bin(1.0, 1.0, 1.0)], 2.0, LIMIT).verdict == "warming"


def test_hours_left_have_no_end_where_growth_may_as_well_stop():
    trend = Trend("leak", 10.0, -1.0, 20.0, 3600.0, 100.0, "")
    assert trend.hours_left(200.0) == (10.0, 5.0, math.inf)
    assert trend.hours_left(None) is None


def case_of(
    value: Callable[[float], float],
    days: float,
    *,
    limit: float | None = LIMIT,
    starts: tuple[float, ...] = (0.0,),
    rules: Rules = BYTES,
) -> Case:
    """`value` of the time in days, read every ten minutes, as the looks see it."""
    rng = random.Random(1)
    history = History(600, rules.period)
    for tenth in range(int(days * 144)):
        history.add(600.0 * tenth, value(tenth / 144) + abs(rng.gauss(0, 0.5 * MB)))
    return Case(history.bins(), days * DAY, limit, rules, starts, ())


def test_every_look_is_drawn_and_tested_by_its_name():
    for look in LOOKS:
        assert "+---" in inspect.getdoc(look)
        assert hasattr(sys.modules[__name__], f"test_{look.__name__}")


def test_too_few_readings():
    assert looks.too_few_readings(case_of(lambda day: 300 * MB, 0.05)).verdict == "warming"
    assert looks.too_few_readings(case_of(lambda day: 300 * MB, 0.1)) is None
    restarted = case_of(lambda day: 300 * MB, 5, starts=(0.0, 4.99 * DAY))
    assert looks.too_few_readings(restarted).verdict == "warming"


def test_no_movement():
    assert looks.no_movement(case_of(lambda day: 300 * MB, 5)).verdict == "steady"
    assert looks.no_movement(case_of(lambda day: 300 * MB + 2 * MB * day, 5)) is None


def test_within_hours():
    def value(day: float) -> float:
        return 300 * MB + 2500 * MB * max(0.0, day - 5)

    assert looks.within_hours(case_of(value, 5.4)).verdict == "leak"
    assert looks.within_hours(case_of(value, 5.4, limit=None)) is None
    assert looks.within_hours(case_of(lambda day: 300 * MB + 20 * MB * day, 5)) is None


def test_within_days():
    assert looks.within_days(case_of(lambda day: 300 * MB + load(day) + 40 * MB * day, 4.2)).verdict == "leak"
    assert looks.within_days(case_of(lambda day: 300 * MB + load(day) + 4 * MB * day, 4.2)) is None  # it can wait
    assert looks.within_days(case_of(lambda day: 300 * MB + 40 * MB * day, 4.2, limit=None)) is None


def test_within_a_month():
    trend = looks.within_a_month(case_of(lambda day: 300 * MB + 3 * MB * day, 20))
    assert trend.verdict == "leak"
    assert trend.window == pytest.approx(20 * DAY)
    assert looks.within_a_month(case_of(lambda day: 300 * MB + 3 * MB * day, 10)) is None  # patience is not over


def test_within_all_that_is_remembered():
    starts = tuple(9.3 * DAY * number for number in range(11))

    def value(day: float) -> float:
        return 200 * MB + 1.5 * MB * (day % 9.3)

    trend = looks.within_all_that_is_remembered(case_of(value, 100, starts=starts))
    assert trend.verdict == "leak"
    assert trend.window > 90 * DAY
    assert looks.within_all_that_is_remembered(case_of(value, 30, starts=starts[:4])) is None  # nothing older


def test_without_evidence():
    def verdict(value: Callable[[float], float]) -> str:
        return looks.without_evidence(case_of(value, 12)).verdict

    assert verdict(lambda day: 300 * MB) == "steady"
    assert verdict(lambda day: 300 * MB + 3 * MB * day) == "rising"
    assert verdict(lambda day: 300 * MB + 100 * MB * (1 - math.exp(-day / 1.5))) == "bounded"


def test_too_few_periods():
    assert looks.too_few_periods(case_of(lambda day: 300 * MB, 2)).verdict == "warming"
    filling = case_of(lambda day: 300 * MB + 400 * MB * (1 - math.exp(-day)), 2)
    assert looks.too_few_periods(filling).verdict in ("bounded", "rising")


def test_the_first_look_that_has_something_to_say_decides():
    case = case_of(lambda day: 300 * MB + 3 * MB * day, 20)
    said = [look.__name__ for look in LOOKS if look(case) is not None]
    assert said == ["within_a_month", "without_evidence", "too_few_periods"]
    assert trend_of(lambda day: 300 * MB + 3 * MB * day, 20) == looks.within_a_month(case)

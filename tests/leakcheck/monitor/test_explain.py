"""What a line adds to everything innocent: pure series, with and without it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from leakcheck.monitor.explain import Line, Point, line_beside

DAYS = 25
SURE = 12.0


def line_in(
    value: Callable[[float], float],
    *,
    noise: float = 0.5,
    restarts: tuple[int, ...] = (),
    steps: int = 2,
    largest: float = math.inf,
    seed: int = 1,
) -> Line | None:
    """Looks for a line in one value a day, of the uptime and the day."""
    rng = random.Random(seed)
    points = []
    for day in range(DAYS):
        start = max((at for at in restarts if at <= day), default=0)
        uptime = day - start + 0.5
        points.append(Point(float(day), uptime, value(uptime) + rng.gauss(0, noise), start))

    def filling(*speeds: float) -> list[list[float]]:
        return [[1 - math.exp(-point.uptime / speed) for point in points] for speed in speeds]

    curves = [*filling(0.5, 1.0, 2.0, 4.0), [math.log(point.uptime) for point in points]]
    return line_beside(points, days(points), curves, filling(0.7, 1.4, 2.8), steps, SURE, largest)


def days(points: list[Point]) -> list[float]:
    return [point.time for point in points]


def needed(line: Line | None) -> bool:
    return line is not None and line.evidence >= SURE


def test_a_line_is_needed_and_its_slope_is_found():
    line = line_in(lambda up: 2 * up)
    assert line is not None
    assert line.evidence > SURE
    assert abs(line.slope - 2) < 4 * line.error


@pytest.mark.parametrize(
    "innocent",
    [
        lambda up: 0.0,
        lambda up: 100 * (1 - math.exp(-up / 2)),
        lambda up: 100 * (1 - math.exp(-up / 3)) + 50 * (1 - math.exp(-up / 0.7)),
        lambda up: 6 * math.log(up),
        lambda up: 6 * math.log(up) + 80 * (1 - math.exp(-up / 4)),
        lambda up: 40 * (up > 9),
        lambda up: 6 * math.log(up) + 8 * (up > 12),
        lambda up: 10 * (up > 6) + 15 * (up > 17),
    ],
    ids=["flat", "cache", "caches", "fragments", "fragments and cache", "step", "fragments and step", "steps"],
)
def test_what_is_innocent_needs_no_line_and_seldom_hides_one(innocent):
    found = [needed(line_in(innocent, seed=seed)) for seed in range(20)]
    assert sum(found) <= 1
    # Two caches of unknown speeds can look like a cache and a line: then the line is seen later, not always now.
    assert sum(needed(line_in(lambda up: innocent(up) + 3 * up, seed=seed)) for seed in range(20)) >= 14


def test_restarts_take_the_line_back_and_do_not_hide_it():
    line = line_in(lambda up: 2 * up + 30 * (1 - math.exp(-up)), restarts=(8, 16))
    assert line is not None
    assert line.slope == pytest.approx(2, abs=0.3)
    assert not needed(line_in(lambda up: 30 * (1 - math.exp(-up)), restarts=(8, 16)))


def test_noise_that_drifts_counts_for_fewer_points():
    rng = random.Random(3)
    drift, drifts = 0.0, {}
    for day in range(DAYS):
        drift = 0.8 * drift + rng.gauss(0, 1)
        drifts[day + 0.5] = drift
    assert not needed(line_in(lambda up: drifts[up], noise=0.0))


def test_a_line_is_one_against_its_clock():
    rng = random.Random(4)
    points = [Point(day / 4, day / 4 + 0.5, 30.0 * (day // 4) + rng.gauss(0, 1), 0) for day in range(40)]
    by_time, by_work = (
        line_beside(points, clock, [], [], 2, 0.0) for clock in (days(points), [float(day // 4) for day in range(40)])
    )
    assert by_work is not None
    assert by_work.slope == pytest.approx(30, rel=0.02)
    assert by_time is None or by_work.evidence > by_time.evidence + 20


def test_few_points_are_no_ground_for_a_word():
    points = [Point(float(day), day + 0.5, 2.0 * day, 0) for day in range(5)]
    assert line_beside(points, days(points), [], [], 1, SURE) is None
    assert line_beside([], [], [], [], 1, SURE) is None


def test_a_cache_larger_than_any_is_a_worse_explanation_than_a_line():
    points = [Point(float(day), day + 0.5, 40.0 * day + random.Random(day).gauss(0, 4), 0) for day in range(10)]
    cache = [1 - math.exp(-point.uptime / 6) for point in points]
    plausible, implausible = (
        line_beside(points, days(points), [cache], [], 0, 0.0, largest) for largest in (math.inf, 200.0)
    )
    assert plausible is not None
    assert implausible is not None
    assert implausible.evidence > plausible.evidence + 10

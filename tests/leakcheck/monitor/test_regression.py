"""Least squares with a level for each group."""

from __future__ import annotations

import random

import pytest

from leakcheck.monitor.regression import Point, System


def points(values, groups=None):
    return [
        Point(float(at), at + 0.5, value, group)
        for at, (value, group) in enumerate(zip(values, groups or [0] * len(values), strict=True))
    ]


def test_sizes_are_found_beside_the_levels_of_the_groups():
    line = [float(at) for at in range(12)]
    step = [float(at >= 7) for at in range(12)]
    groups = [at % 3 for at in range(12)]
    system = System(points([2 * a - 5 * b + 100 * g for a, b, g in zip(line, step, groups, strict=True)], groups))
    columns = [*system.add([line, step])]
    rest, sizes = system.fit(columns)
    assert sizes == pytest.approx([2, -5])
    assert rest == pytest.approx(0, abs=1e-6)
    assert list(system.residuals(columns)) == pytest.approx([0] * 12, abs=1e-9)
    assert system.free == 9


def test_dependent_columns_have_no_sizes():
    system = System(points([1.0, 2.0, 4.0, 3.0]))
    columns = [*system.add([[0, 1, 2, 3], [5, 7, 9, 11], [1, 1, 1, 1]])]
    assert system.fit(columns[:1]) is not None
    assert system.fit(columns[:2]) is None
    assert system.fit(columns[2:]) is None  # the level of the group is in already
    assert [one for one, *_ in system.extend(columns[:1], columns[1:])] == []


def test_extending_is_fitting_with_one_more():
    rng = random.Random(1)
    system = System(points([rng.gauss(0, 1) for _ in range(20)], [at // 10 for at in range(20)]))
    columns = [*system.add([rng.gauss(0, 1) for _ in range(20)] for _ in range(6))]
    for one, rest, sizes in system.extend(columns[:3], columns[3:]):
        expected_rest, expected = system.fit([*columns[:3], one])
        assert rest == pytest.approx(expected_rest)
        assert sizes == pytest.approx(expected)


def test_a_step_is_found_at_the_place_where_it_takes_most():
    rng = random.Random(2)
    line = [float(at) for at in range(30)]
    system = System(points([3 * at + 8 * (at >= 11) + rng.gauss(0, 0.1) for at in line]))
    columns = [*system.add([line])]
    assert system.steps(columns, system.residuals(columns))[0] == 11
    gains = []
    for place in range(1, 30):
        (added,) = system.add([[float(at >= place) for at in range(30)]])
        gains.append((next(rest for _, rest, _ in system.extend(columns, [added])), place))
    best = [place for _, place in sorted(gains)][:5]
    assert system.steps(columns, system.residuals(columns))[:5] == best


def test_a_forgotten_column_is_gone_and_a_kept_one_takes_its_place():
    system = System(points([1.0, 3.0, 2.0, 5.0, 4.0]))
    system.add([[0, 1, 2, 3, 4], [0, 1, 0, 1, 0], [0, 0, 1, 1, 1]])
    expected = system.fit([0, 2])
    system.forget(1, kept=2)
    assert len(system.columns) == 2
    assert system.fit([0, 1]) == expected
    system.forget(1)
    assert len(system.columns) == 1


def test_columns_that_share_much_leave_little_of_each_other():
    system = System(points([1.0, 3.0, 2.0, 5.0, 4.0, 6.0]))
    system.add([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5.1], [1, -1, 1, 1, -1, 1]])
    assert system.unshared([0, 1]) < 0.01 * system.unshared([0, 2])
    assert system.unshared([0]) == system.product(0, 0)


def test_groups_are_uneven_when_a_column_cannot_make_up_for_their_levels():
    rising = [float(at) for at in range(12)]
    level, falling = System(points(rising, [at // 3 for at in range(12)])), System(points(rising, [0, 1, 2] * 4))
    for system in (level, falling):
        system.add([rising])
    assert level.unevenness([]) > 10
    assert level.unevenness([0]) == pytest.approx(0, abs=1e-9)
    assert falling.unevenness([0]) == pytest.approx(0, abs=1e-9)

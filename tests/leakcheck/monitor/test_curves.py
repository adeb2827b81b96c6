"""The curves of an explanation: a test of each shape, their prices and neighbours."""

from __future__ import annotations

import inspect
import math
import sys
from itertools import pairwise

import pytest

from leakcheck.monitor.curves import (
    CURVE_PRICE,
    FILL_TIMES,
    SHAPES,
    STEP_PRICE,
    Curve,
    cache,
    caches,
    fragmentation,
    leak,
    step,
)

TIMES = [0.5, 1.0, 2.0, 4.0, 100.0]


def test_every_shape_is_drawn_and_tested_by_its_name():
    for shape in SHAPES:
        assert "+---" in inspect.getdoc(shape)
        assert hasattr(sys.modules[__name__], f"test_{shape.__name__}")


def test_cache():
    assert cache(TIMES, 1.0, 2.0) == pytest.approx([0, 0, 1 - math.exp(-0.5), 1 - math.exp(-1.5), 1])


def test_fragmentation():
    values = Curve(fragmentation, TIMES).values()
    gains = [later - earlier for earlier, later in pairwise(values)]
    assert gains[:3] == pytest.approx([gains[0]] * 3)  # as much with each doubling of the uptime
    assert min(Curve(fragmentation, [0.1, 400.0]).values()) > 1


def test_step():
    assert Curve(step, range(5), 2).values() == [0, 0, 1, 1, 1]


def test_leak():
    assert Curve(leak, TIMES).values() == TIMES


def test_a_cache_has_neighbours_that_are_quicker_and_slower_earlier_and_later():
    filling = Curve(cache, [0.0, 1.0, 2.0, 3.0], 1.0, 2.0)
    bent = list(filling.bent(0.1))
    assert {(each.begin, round(each.speed, 3)) for each in bent} == {(0.8, 2.0), (1.2, 2.0), (1.0, 2.2), (1.0, 1.818)}
    assert all(each.times is filling.times for each in bent)
    first = Curve(cache, filling.times, 0.0, 4.0)
    assert {(each.begin, round(each.speed, 3)) for each in first.bent(0.1)} == {(0.0, 4.0), (0.4, 4.0), (0.0, 3.636)}


@pytest.mark.parametrize("shape", [fragmentation, step, leak])
def test_other_shapes_have_no_neighbours(shape):
    assert list(Curve(shape, TIMES).bent(0.1)) == []


def price(shape, size, end=0.5, largest=100.0):
    return Curve(shape, TIMES).price(size, end, largest)


def test_what_only_ever_grows_cannot_have_a_size_below_nothing():
    assert price(cache, -1.0) == price(fragmentation, -1.0, end=1.5) == math.inf
    assert price(step, -1.0) == STEP_PRICE
    assert price(leak, -1.0) == 0


def test_a_cache_is_dearer_the_more_it_exceeds_the_largest_and_the_farther_it_is_from_its_end():
    assert price(cache, 90.0) == CURVE_PRICE
    assert CURVE_PRICE < price(cache, 110.0) < price(cache, 200.0)
    assert price(cache, 200.0, end=0.99) < price(cache, 200.0, end=0.8) < price(fragmentation, 200.0, end=1.5)
    assert price(cache, 1e9, largest=math.inf) == CURVE_PRICE


def test_coarse_and_finer_caches_are_all_of_them_and_none_is_both():
    begins = [0.0, 1.0, 2.0]
    coarse, finer = (list(caches(TIMES, begins, coarse=which)) for which in (True, False))
    found = {(each.begin, each.speed) for each in coarse + finer}
    assert len(coarse) == 8
    assert found == {(begin, speed) for begin in begins for speed in FILL_TIMES}
    assert len(found) == len(coarse) + len(finer)

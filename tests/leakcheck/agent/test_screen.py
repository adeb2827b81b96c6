"""What a few calls say: a scripted step, whose readings are a formula of its calls."""

from __future__ import annotations

import itertools
from array import array

import pytest

from leakcheck.agent.screen import GRAIN, Meters, screen


def screened(*series, took_s=0.0001, emptied=None, slow=lambda n: 0):
    """Screen a step after whose n-th call each meter reads `series[i](n)`; `emptied`: the heap without caches."""
    calls = itertools.count()
    state = {"calls": -1, "time": 0.0, "heap": series[0]}

    def step():
        state["calls"] = next(calls)
        state["time"] += took_s

    def read(into: array[float], at: int) -> None:
        for index, value in enumerate([state["heap"], *series[1:]]):
            into[at + index] = value(state["calls"])

    def read_slow(into: array[float], at: int) -> None:
        into[at] = slow(state["calls"])

    def find_caches():
        state["heap"] = emptied or series[0]
        return lambda: None

    return screen(step, Meters(len(series), read, 1, read_slow, read_slow), find_caches, now=lambda: state["time"])


def test_what_leaves_nothing_needs_a_few_calls():
    seen = screened(lambda n: 1000)
    assert (seen.flat, seen.calls, seen.masked) == (True, 5, [GRAIN, 0])


def test_a_slow_step_is_called_once_more_where_that_left_nothing():
    seen = screened(lambda n: 1000, took_s=3)
    assert (seen.flat, seen.calls) == (True, 1)


def test_what_is_done_once_falls_to_zero():
    assert screened(lambda n: 5000 * min(n, 3)).flat


@pytest.mark.parametrize("lost", [16, 100, 10_000])
@pytest.mark.parametrize("took_s", [0.00003, 0.01, 2])
def test_a_loss_in_every_call_is_for_the_judge(lost, took_s):
    seen = screened(lambda n: lost * n, took_s=took_s)
    assert not seen.flat
    assert seen.growth[0] == pytest.approx(lost, rel=0.3)


@pytest.mark.parametrize("lost", [100, 1000])
def test_a_loss_below_what_goes_up_and_down_is_for_the_judge(lost):
    assert not screened(lambda n: lost * n + (560 if n % 3 else 0)).flat


def test_what_comes_back_again_and_again_is_flat_and_says_what_it_may_have_hidden():
    seen = screened(lambda n: 560 if n % 2 else 0)
    assert seen.flat
    assert GRAIN < seen.masked[0] <= 64 + GRAIN


def test_what_moves_by_more_than_would_be_seen_is_for_the_judge():
    assert not screened(lambda n: 10_000_000 * (n % 7)).flat


def test_a_thing_of_the_system_in_every_call_is_for_the_judge():
    seen = screened(lambda n: 0, lambda n: n)
    assert not seen.flat
    assert seen.growth == [0, pytest.approx(1, rel=0.1), 0]


def test_a_cache_with_a_limit_that_fills_is_no_suspect_once_it_is_emptied():
    assert not screened(lambda n: 200 * n).flat
    assert screened(lambda n: 200 * n, emptied=lambda n: 0).flat


def test_pages_that_are_touched_once_are_no_suspects_and_those_of_every_call_are():
    once = screened(lambda n: 0, slow=lambda n: 4096 * min(n, 3))
    assert once.flat
    each = screened(lambda n: 0, slow=lambda n: 4096 * n)
    assert not each.flat
    assert each.growth == [0, pytest.approx(4096, rel=0.1)]

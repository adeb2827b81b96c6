"""The planted leaks that no meter of bytes sees, and their innocents: see `benchmarks/beyond_bytes`."""

from __future__ import annotations

import pytest

from benchmarks.beyond_bytes.__main__ import is_right, said
from benchmarks.beyond_bytes.families import Family, families

BY_NAME = {each.name: each for each in families()}
QUICK = ("runners", "waiting")
"""Suites that run once, in a second or two; of the others each case is a measurement."""


def told_right(family: Family) -> None:
    wrong = {case.name: text for case, text in said(family).items() if not is_right(case, text)}
    assert wrong == {}


@pytest.mark.parametrize("name", QUICK)
def test_tests_that_leave_something_waiting_are_told_from_those_that_do_not(name: str) -> None:
    told_right(BY_NAME[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - set(QUICK)))
def test_each_leak_is_found_and_no_innocent_accused(name: str) -> None:
    told_right(BY_NAME[name])

"""One spelling of a number, wherever it stands."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakcheck import units


@pytest.mark.parametrize(
    ("value", "unit", "spelled"),
    [
        (0, "B", "0 B"),
        (432, "B", "432 B"),
        (0.15, "B", "0.15 B"),
        (64.04, "B", "64 B"),
        (1023, "B", "1,023 B"),
        (1024, "B", "1.0 KiB"),
        (8 * 2**20, "B", "8.0 MiB"),
        (8_392_704, "B", "8.0 MiB"),
        (-2048, "B", "-2.0 KiB"),
        (1, "objects", "1 object"),
        (1.0004, "objects", "1 object"),
        (0.15, "blocks", "0.15 blocks"),
        (2, "fds", "2 fds"),
        (1, "processes", "1 process"),
        (1, "watches", "1 watch"),
        (1234.5, "objects", "1,234 objects"),
        (0.00012, "fds", "1.2e-04 fds"),
        (1.5, "", "1.5"),
        (math.inf, "B", "?"),
        (math.nan, "B", "?"),
        (1331.2, "B", "1.3 KiB"),
        (-5 * 2**30, "B", "-5.0 GiB"),
        (0.05, "B", "0.05 B"),
        (0.00037, "fds", "3.7e-04 fds"),
        (2**50, "B", "1,024.0 TiB"),
        (1e30, "", "1,000,000,000,000,000,019,884,624,838,656"),
    ],
)
def test_a_quantity_has_one_spelling(value, unit, spelled):
    assert units.quantity(value, unit) == spelled


@given(st.floats(0.01, 2**45))
def test_no_size_is_spelled_in_a_thousand_of_a_smaller_unit(value):
    number, _, unit = units.size(value).partition(" ")
    assert float(number.replace(",", "")) < 1024 or unit == "TiB"


@given(st.floats(-1e12, 1e12, allow_nan=False))
def test_a_spelled_number_is_the_number_to_three_digits(value):
    spelled = float(units.plain(value).replace(",", ""))
    assert spelled == pytest.approx(value, rel=0.006, abs=5e-5)


def test_the_smallest_growth_that_is_noticed_is_one_in_so_many():
    assert units.noticed(0.001, 1000, "fds") == "1 fd once in 1,000 calls"
    assert units.noticed(48.0, 1, "B") == "48 B in each call"


@pytest.mark.parametrize(
    ("value", "noun", "text"),
    [
        (1, "file descriptor", "1 file descriptor"),
        (2, "key in a keyring", "2 keys in a keyring"),
        (0.5, "child process", "0.5 child processes"),
        (3, "watch of inotify or epoll", "3 watches of inotify or epoll"),
    ],
)
def test_a_number_of_a_noun(value, noun, text):
    assert units.number(value, noun) == text


def test_of_what_is_rare_it_is_told_in_how_many_iterations_there_is_one():
    assert units.recurrence(0.5) == (1.0, "per iteration")
    times, often = units.recurrence(1 / 5076)
    assert units.quantity(times / 5076, "files") == "1 file"
    assert often == "in 5,100 iterations"

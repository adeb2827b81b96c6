"""Text, numbers and curves as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakcheck import units
from leakcheck.records import Sample
from leakcheck.report import text
from leakcheck.report.sparkline import sparkline


@given(st.text())
def test_nothing_hidden_is_left_in_a_line(value):
    shown = text.line(value)
    assert not set(shown) & {chr(code) for code in (*range(32), 127, *range(0x200B, 0x2010), *range(0x202A, 0x202F))}
    shown.encode()


def test_hidden_characters_are_named():
    assert text.line("a\u202eb\x1b[2J") == "a[U+202E]b[U+001B][2J"
    assert text.block("one\ttwo\nthree\x00") == "one\ttwo\nthree[U+0000]"


def test_ordinary_writing_stays_as_it_is():
    for value in ("Zoë — naïve", "日本語のテスト", "שלום", "مرحبا", "👍", "a  b".replace("  ", " ")):
        assert text.line(value) == value


def test_long_texts_are_cut_with_a_word():
    assert text.line("x" * 1000, 10) == "xxxxxxxxxx… (990 more characters)"
    cut = text.block("a" * 50_000 + "END", 1000)
    assert "49,003 characters left out" in cut
    assert cut.endswith("END")
    assert len(text.line("y" * 10_000_000)) < 500


@given(st.text(), st.integers(3, 100))
def test_a_name_cut_in_its_middle_fits(value, limit):
    assert len(text.middle(value, limit)) <= limit


def test_source_keeps_its_indentation():
    assert text.source("\t    x = 1\n") == "        x = 1"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.6, "60 s"), (200, "3 min 20 s"), (8000, "2 h 13 min")]
)
def test_durations_read_well(value, shown):
    assert units.seconds(value) == shown


def test_sensitivity_reads_as_one_in_so_many():
    assert units.noticed(1 / 2731, 2731, "fds") == "1 fd once in 2,731 calls"
    assert units.noticed(40.0, None, "B") == "40 B in each call"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=40))
def test_a_sparkline_has_a_character_per_reading(values):
    curve = sparkline([Sample(n, value) for n, value in enumerate(values)])
    assert len(curve) == min(16, len(values))
    if values:
        newest = values[-16:]
        assert curve[newest.index(max(newest))] == max(curve)


def test_noise_that_does_not_matter_is_flat():
    assert set(sparkline([Sample(n, n % 2) for n in range(9)], least=4096)) == {"▁"}

"""Commands that can be pasted."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakcheck.report.text import BLOCK, line
from leakcheck.shell import pasteable, words_of


def in_bash(command: str) -> list[str]:
    """The words that bash makes of a command."""
    script = f"set -- {command}\nprintf '%s\\0' \"$@\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    return [word.decode("utf-8", "surrogateescape") for word in done.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize(
    "word",
    [
        "", "plain", "it's", "$HOME `x` \\ *", "for x in y:\n    z(x)\n", "a  b", " a ", "tab\there", "caf\u00e9",
        "hidden \u202e here", "\x07", "\udcff",
    ],
)  # fmt: skip
def test_a_word_comes_out_as_it_went_in_though_it_is_shown_on_one_line(word: str) -> None:
    shown = line(pasteable(["run", word, "end"]), BLOCK)
    assert "\n" not in shown
    assert in_bash(shown) == ["run", word, "end"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])), min_size=1))
def test_any_words_come_out_as_they_went_in(words: list[str]) -> None:
    shown = line(pasteable(words), BLOCK)
    assert in_bash(shown) == words
    assert words_of(shown) == words


def test_what_needs_no_escape_is_shown_as_it_is() -> None:
    assert pasteable(["elkyn-leakcheck", "run", "a b.py::caf\u00e9"]) == "elkyn-leakcheck run 'a b.py::caf\u00e9'"

"""The picture of a terminal in the README shows what the command prints today, and nothing of its machine."""

from __future__ import annotations

import html
import re
from pathlib import Path

import make_screenshots as screenshots
import pytest

DOCS = Path(__file__).parents[2] / "docs"


def words(svg: str) -> str:
    """The text of a picture without what differs from run to run: numbers and fingerprints."""
    text = html.unescape(" ".join(re.findall(r"<text [^>]*>([^<]*)</text>", svg)))
    return " ".join(re.sub(r"[\d.,-]*\d", "0", re.sub(r"#[0-9a-f]{16}", "#", text)).split())


def test_a_picture_keeps_the_words_and_colours_of_the_terminal():
    svg = screenshots.draw("\x1b[1;31m✗ leak\x1b[0m leaks.py::handle_request 13 s\n")
    assert "$ elkyn-leakcheck run leaks.py ✗ leak leaks.py::handle_request 0 s" in words(svg)
    assert re.findall(r"url\((?!#)|@font-face|<image", svg) == [], "a picture loads nothing"


@pytest.mark.slow
def test_the_picture_shows_what_the_command_prints_today(tmp_path):
    kept = (DOCS / "images" / "run.svg").read_text("utf-8")
    assert "leaks 0 method Request.answer" in words(kept)
    assert words(screenshots.draw(screenshots.record(tmp_path))) == words(kept)


def test_the_pictures_are_small_and_tell_no_path():
    run, report = DOCS / "images" / "run.svg", DOCS / "images" / "report.png"
    assert run.stat().st_size < 60_000
    assert report.stat().st_size < 200_000
    assert report.read_bytes().startswith(b"\x89PNG")
    assert re.findall(r"/(?:home|root|tmp|work|usr)/", run.read_text("utf-8")) == []

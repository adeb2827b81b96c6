"""The ten messages of `messages.md`: each command says today what the page says that it says, and no more what it said.

A row of the table is a command, what it printed before, and what it prints now, with the exit codes in parentheses.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "messages.md"
_CELL = re.compile(r"(?P<lines>`.*`) \((?P<code>\d)\)")
_LINE = re.compile(r"(?P<fence>`+)(?P<text>.*?) ?(?P=fence)")
_FILE = re.compile(r"<!-- file: (?P<name>\S+) -->\n```python\n(?P<text>.*?)```", re.DOTALL)


class Said(NamedTuple):
    lines: list[str]
    code: int


class Row(NamedTuple):
    command: str
    before: Said
    now: Said


def said(cell):
    told = _CELL.fullmatch(cell)
    assert told is not None, cell
    lines = [_LINE.fullmatch(line) for line in told["lines"].split("<br>")]
    assert all(lines), cell
    return Said([line["text"] for line in lines], int(told["code"]))


def rows():
    cells = [line.strip("| ").split(" | ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    return [Row(command.strip("`"), said(before), said(now)) for command, before, now in cells]


def loose(text):
    """Without its numbers: lines of the standard library, calls of a sweep, ports."""
    return re.sub(r"\d[\d,]*", "0", text)


def pattern(lines):
    """The lines of a cell as they are printed: `...` are lines that are left out, `/…/` is the way to a file."""
    parts = [
        r"(?:.*\n)*?" if line == "..." else rf" *{re.escape(loose(line))}\n".replace("/…/", r"/\S*?/") for line in lines
    ]
    return re.compile(f"^{''.join(parts)}", re.MULTILINE)


def run(command, folder):
    words = [sys.executable, "-m", "leakcheck", *shlex.split(command)[1:]]
    done = subprocess.run(
        words, cwd=folder, text=True, timeout=240, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1", "CI": "true", "COLUMNS": "200"},
    )  # fmt: skip
    return done.stdout, done.returncode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("newcomer")
    for file in _FILE.finditer(PAGE.read_text("utf-8")):
        (place / file["name"]).write_text(file["text"], "utf-8")
    (place / "package.json").write_text('{"name": "shop"}')
    (place / "photo.py").write_text("x = 1\0")
    assert run("elkyn-leakcheck run shop.py --report reports --no-control", place)[1] == 0
    return place


def test_there_are_ten():
    assert len(rows()) == 10


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.command.removeprefix("elkyn-leakcheck "))
def test_a_command_says_what_the_page_says_and_no_more_what_it_said(row, folder):
    output, code = run(row.command, folder)
    assert code == row.now.code, output
    assert pattern(row.now.lines).search(loose(output)), output
    assert not pattern(row.before.lines).search(loose(output)), output

"""Records the tutorial: its files are written and its commands run in a pseudo-terminal of 80 columns and 24 lines.

The recording, `images/first-minutes.cast`, is in asciinema's format (docs.asciinema.org/manual/asciicast/v2), and
`asciinema play` shows it. The picture that moves, `images/first-minutes.svg`, is drawn from it by npm's svg-term.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pseudo_terminal import output

DOCS = Path(__file__).resolve().parent
CAST = DOCS / "images" / "first-minutes.cast"
ROWS, COLUMNS = 24, 80
_KEY_S = 0.03
"""Seconds between two letters that are typed: faster than a person, slow enough to follow."""
_READING_S = 2.0
"""Seconds in which a result is read, before the next command."""
_LONGEST_WAIT_S = 1.0
"""Seconds that a pause of a command takes at most: nobody watches a program start."""
_SVG_TERM = "svg-term-cli@2.1.1"


class Shown(NamedTuple):
    """Characters that appear `after` seconds behind what was there before."""

    after: float
    text: str


def main() -> None:
    """Write the recording and, where npx is there, the picture."""
    with tempfile.TemporaryDirectory(prefix="recording-") as folder:
        CAST.write_text(cast(record((DOCS / "tutorial.md").read_text("utf-8"), Path(folder))), "utf-8")
    if shutil.which("npx") is None:
        sys.exit("the recording is made, the picture is not: npx is missing (apt install npm)")
    picture = CAST.with_suffix(".svg")
    subprocess.run(
        ["npx", "--yes", _SVG_TERM, "--in", str(CAST), "--out", str(picture), "--no-cursor", "--padding", "12"],
        check=True,
    )


def record(page: str, folder: Path) -> Iterator[Shown]:
    """What a terminal shows while somebody does in `folder` what `page` says, from its first word to the last."""
    steps = re.finditer(
        r"<!-- file: (?P<file>\S+) -->\n```\w*\n(?P<content>.*?)```|<!-- run[^>]*-->\n```console\n(?P<console>.*?)```",
        page,
        re.DOTALL,
    )
    for step in steps:
        if step["file"]:
            (folder / step["file"]).write_text(step["content"], "utf-8")
            yield from _typed(f"cat {step['file']}")
            yield Shown(0, step["content"].replace("\n", "\r\n"))
            yield Shown(_READING_S, "")
            continue
        for command in re.findall(r"^\$ (.*)$", step["console"], re.MULTILINE):
            yield from _typed(command)
            yield from _run(command, folder)
            yield Shown(_READING_S, "")


def cast(shown: Iterator[Shown]) -> str:
    """The recording as a file of asciinema's."""
    at = 0.0
    rows = [json.dumps({"version": 2, "width": COLUMNS, "height": ROWS, "title": "A leak found and mended"})]
    for each in shown:
        at += each.after
        rows.append(json.dumps([round(at, 3), "o", each.text]))
    return "\n".join([*rows, ""])


def _typed(command: str) -> Iterator[Shown]:
    yield Shown(0, "\x1b[1;32m$\x1b[0m ")
    yield from (Shown(_KEY_S, letter) for letter in command)
    yield Shown(_KEY_S, "\r\n")


def _run(command: str, folder: Path) -> Iterator[Shown]:
    before = time.monotonic()
    for piece in output(["sh", "-c", command], folder, ROWS, COLUMNS):
        now = time.monotonic()
        text = piece.decode(errors="replace").replace(str(folder), ".").replace(sys.prefix, "~/shop/.venv")
        yield Shown(min(now - before, _LONGEST_WAIT_S), text)
        before = now


if __name__ == "__main__":
    main()

"""The recording of the tutorial is one of the tutorial as it is today, and tells nothing of its machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import make_recording as recording

DOCS = Path(__file__).parents[2] / "docs"

PAGE = """
<!-- file: greeting.txt -->
```text
hello
```

<!-- run: exit 1 -->
```console
$ cat greeting.txt; tput cols; tput lines; pwd; false
...
```
"""


def told(cast: str) -> str:
    """All that a recording shows, one after the other, without colours."""
    text = "".join(json.loads(row)[2] for row in cast.splitlines()[1:])
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).replace("\r\n", "\n")


def test_files_are_shown_and_commands_are_run_in_a_small_terminal(tmp_path):
    cast = recording.cast(recording.record(PAGE, tmp_path))
    header, *rows = map(json.loads, cast.splitlines())
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert told(cast).split("\n") == [
        "$ cat greeting.txt", "hello",
        "$ cat greeting.txt; tput cols; tput lines; pwd; false", "hello", "80", "24", ".", "",
    ]  # fmt: skip
    times = [row[0] for row in rows]
    assert times == sorted(times)


def test_the_recording_is_of_the_tutorial_as_it_is():
    text = told(recording.CAST.read_text("utf-8"))
    page = (DOCS / "tutorial.md").read_text("utf-8")
    console = "".join(re.findall(r"<!-- run[^>]*-->\n```console\n(.*?)```", page, re.DOTALL))
    commands = re.findall(r"^\$ (.*)$", console, re.MULTILINE)
    assert re.findall(r"^\$ (?!cat )(.*)$", text, re.MULTILINE) == commands
    for content in re.findall(r"<!-- file: \S+ -->\n```\w*\n(.*?)```", page, re.DOTALL):
        assert content in text
    assert text.index("leaks 1 method Request.cancelled") < text.index("The scenario is as expected.")
    assert re.findall(r"/(?:home|root|tmp|work)/", text) == []

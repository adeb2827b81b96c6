"""The forms of a report, by name: each a function of a run and the runs before it, in a module of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from importlib import import_module

from leakcheck.records import RunResult
from leakcheck.results.history import Entry

FILES = {
    "json": "results.json",
    "html": "index.html",
    "junit": "junit.xml",
    "markdown": "summary.md",
    "sarif": "leaks.sarif",
    "github": "annotations.txt",
    "brief": "brief.json",
    "gitlab": "gl-code-quality-report.json",
}
"""File name of each form."""


def render(form: str, run: RunResult, past: Sequence[Entry] = ()) -> str:
    """The text of `run` in one of the forms of `FILES`; `past` are the runs before, oldest first."""
    if form == "json":
        from leakcheck import results

        return results.encode(run).decode()
    text: str = import_module(f"leakcheck.report.{form}").render(run, past)
    return text


def in_ascii(form: str, text: str) -> str:
    """The same document in ASCII, each other character written as the form writes it: for a terminal without them."""
    if FILES[form].endswith((".json", ".sarif")):
        return re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match[0])[1:-1], text)
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def prepare(forms: Iterable[str]) -> None:
    """Import and load what `render` needs for these forms, while there is nothing else to do."""
    for form in forms:
        if form != "json":
            module = import_module(f"leakcheck.report.{form}")
            getattr(module, "prepare", lambda: None)()

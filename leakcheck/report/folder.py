"""The folder of a run: made under a name of its own, its reports written all or none, pointed to as the latest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from leakcheck.records import RunResult
from leakcheck.report import FILES, render
from leakcheck.results import atomic
from leakcheck.results import history as runs_before
from leakcheck.results.file import FILE_NAME, as_read, parts

LATEST = "latest"
FORMATS = ("json", "html", "junit", "markdown", "sarif")


def new_run_directory(base: Path) -> Path:
    """Make `base/<run id>`, named after the time (UTC); two runs that start together get two directories."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for attempt in count(1):
        directory = base / (stamp if attempt == 1 else f"{stamp}-{attempt}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        return directory
    raise AssertionError


def point_latest(base: Path, run_directory: Path) -> None:
    """Let `base/latest` point to `run_directory`."""
    atomic.link(base / LATEST, run_directory)


def write_so_far(directory: Path, run: RunResult) -> None:
    """Write the results of a run that goes on; those of its end take their place, and say so if they cannot."""
    with suppress(atomic.WriteError):
        atomic.write(directory / FILE_NAME, parts(run))


def write_run(
    run: RunResult,
    directory: Path,
    formats: Sequence[str] = FORMATS,
    history: Path | None = None,
) -> list[Path]:
    """Write the reports of `run` into `directory` in the given formats; returns the paths.

    `history` names the history file: its runs are drawn as the trend, then `run` is appended to it. Raises
    `atomic.WriteError`; no file is ever half-written, and `results.json` takes its name last.
    """
    run = as_read(run)  # what a later `report` would read, so that both draw the same
    past = runs_before.read(history) if history else []
    files: dict[str, atomic.Content] = {
        FILES[name]: render(name, run, past).encode() for name in formats if name != "json"
    }
    if "json" in formats:
        files[FILE_NAME] = parts(run)
    paths = atomic.write_together(directory, files)
    if history:
        runs_before.append(history, run)
    return paths

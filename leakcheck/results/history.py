"""What earlier runs said: one line per run in a history file, or the `results.json` files of a directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from leakcheck.records import Record, RunResult, ScenarioResult, Verdict
from leakcheck.results import atomic
from leakcheck.results.problems import Problem, all_leaks
from leakcheck.results.sensitivity import bluntness

FILE_NAME = "history.jsonl"
KEEP = 30
"""Runs that a report draws."""
_TITLE = 300
"""Characters of a finding's sentence that are kept: it is read where the finding itself is gone."""
_LOOKED_AT = 500
"""Runs in which it is looked how long a scenario took: where a suite is divided, each part is one."""
_READ_BYTES = 4 << 20
"""Bytes at the end of a history file that are looked at: a line of a hundred scenarios has about 10 KB."""


class Past(Record, frozen=True, kw_only=True):
    """What one earlier run said of one scenario."""

    verdict: Verdict
    ok: bool = True
    growth: float | None = None
    """Growth per iteration of the meter that decided, in its unit."""
    meter: str = ""
    duration_s: float = 0.0
    findings: list[str] = msgspec.field(default_factory=list)
    """Fingerprints of what leaks there; none where the leak was planted."""
    bluntness: dict[str, float] | None = None
    """As `results.sensitivity` tells it, in three digits; None in a line of a version that did not."""


class Entry(Record, frozen=True, kw_only=True):
    """One run in the history."""

    started: str
    commit: str = ""
    python: str = ""
    duration_s: float = 0.0
    control: str = "ok"
    summary: dict[str, int] = msgspec.field(default_factory=dict)
    scenarios: dict[str, Past] = msgspec.field(default_factory=dict)
    titles: dict[str, str] = msgspec.field(default_factory=dict)
    """The sentence of each finding, by its fingerprint."""


def entry(run: RunResult) -> Entry:
    """The line that stands for `run`."""
    return Entry(
        started=run.started,
        commit=str(run.environment.get("commit") or ""),
        python=str(run.environment.get("python") or ""),
        duration_s=run.duration_s,
        control=run.control.status,
        summary=run.summary,
        scenarios={scenario.id: _past(scenario) for scenario in run.scenarios},
        titles={
            problem.fingerprint: problem.message[:_TITLE]
            for scenario in run.scenarios
            for problem in _unplanted(scenario)
        },
    )


def append(path: Path, run: RunResult) -> None:
    """Add `run` to the history file `path`."""
    atomic.append_line(path, msgspec.json.encode(entry(run)))


def read(path: Path, keep: int = KEEP) -> list[Entry]:
    """The newest `keep` runs, oldest first, of a history file or of a directory with the folders of runs.

    History is an ornament of a report and never decides anything: a missing file is an empty history, and a
    line that cannot be read (cut by a full disk, of another tool) is passed over.
    """
    entries = _of_directory(path, keep) if path.is_dir() else _of_file(path)
    return sorted(entries, key=lambda one: one.started)[-keep:]


def durations(path: Path) -> dict[str, float]:
    """Seconds that each scenario took when it was last measured, by id."""
    return {
        name: past.duration_s
        for one in read(path, _LOOKED_AT)
        for name, past in one.scenarios.items()
        if past.duration_s
    }


def _of_file(path: Path) -> Iterable[Entry]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _READ_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines[1:] if size > _READ_BYTES else lines:
        try:
            yield msgspec.json.decode(line, type=Entry)
        except msgspec.MsgspecError:
            continue


def _of_directory(path: Path, keep: int) -> Iterable[Entry]:
    from leakcheck.results.file import ResultFileError
    from leakcheck.results.file import read as read_result

    found = [file for file in path.glob("*/results.json") if not file.parent.is_symlink()]
    for file in sorted(found, key=lambda one: one.parent.name)[-keep:]:
        try:
            yield entry(read_result(file))
        except ResultFileError:
            continue


def _past(scenario: ScenarioResult) -> Past:
    decided = [meter for meter in scenario.meters if meter.decisive and meter.verdict == scenario.verdict]
    worst = max(decided, key=lambda meter: meter.growth, default=None)
    return Past(
        verdict=scenario.verdict,
        ok=scenario.ok,
        growth=worst.growth if worst is not None else None,
        meter=worst.name if worst is not None else "",
        duration_s=scenario.duration_s,
        findings=[problem.fingerprint for problem in _unplanted(scenario)],
        bluntness={name: float(f"{times:.3g}") for name, times in bluntness(scenario).items()},
    )


def _unplanted(scenario: ScenarioResult) -> Iterable[Problem]:
    """What leaks in a scenario that was to be clean, known or not."""
    return all_leaks(scenario) if scenario.verdict == "leak" and scenario.expect != "leak" else ()

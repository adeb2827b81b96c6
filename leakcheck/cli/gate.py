"""`elkyn-leakcheck gate`: hold results against the baseline and the budgets; one exit code for CI."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from leakcheck import results
from leakcheck.cli.command import Command
from leakcheck.cli.options import folder
from leakcheck.errors import UsageError
from leakcheck.gate import baseline as accepted
from leakcheck.gate import budgets as rules
from leakcheck.gate import gate
from leakcheck.records import RunResult
from leakcheck.report.folder import write_run
from leakcheck.results import atomic

DEFAULT_BASELINE = Path("ci/baseline.json")


@click.command("gate", cls=Command)
@click.argument("paths", nargs=-1, required=True, metavar="RESULTS...", type=click.Path(path_type=Path))
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help=f"What the team has accepted.  [default: {DEFAULT_BASELINE}, if it is there; else nothing is accepted]",
)
@click.option(
    "--budgets",
    type=click.Path(path_type=Path),
    help="TOML file with [[budget]] tables.  [default: ci/budgets.toml or pyproject.toml, if they have some]",
)
@click.option("--partial", is_flag=True, help="Only a part of the suite was run: do not miss the other scenarios.")
@click.option("--strict", is_flag=True, help="What could not be judged is red (exit 1 in place of 6).")
@click.option(
    "--report",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write gate.json, gate.md and the reports of the run as the gate sees it into this directory.",
)
@click.option(
    "--annotations",
    type=click.Choice(["auto", "github", "none"]),
    default="auto",
    show_default=True,
    help="Print workflow commands that GitHub turns into annotations; auto: inside GitHub Actions.",
)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def command(
    paths: tuple[Path, ...],
    baseline: Path | None,
    budgets: Path | None,
    partial: bool,
    strict: bool,
    directory: Path | None,
    annotations: str,
    color: str,
) -> None:
    """Fail when memory behaviour got worse than what the team has accepted.

    Names new, known, worse, fixed and expired leaks, broken budgets, vanished scenarios and lost sensitivity.

    Exit code: 0 green, 1 red, 3 the control failed, 4 wrong usage or files, 5 nothing was run, 6 nothing is red
    but something could not be judged.

    \b
    Example:
      elkyn-leakcheck run scenarios/ --report out || true
      elkyn-leakcheck gate out --baseline ci/baseline.json --report out/gate
    """
    run = results.merge([results.read(path) for path in paths])
    if directory is not None:
        _look_at(directory, paths)
    known = _baseline(baseline)
    if partial:
        known = gate.only(known, run)
    today = datetime.now(UTC).date()
    judged = gate.judge(run, known, _budgets(budgets), today, strict=strict)
    seen = gate.applied(run, judged, known)

    from leakcheck.report import gate as words
    from leakcheck.report.terminal import make_console

    words.show(judged, make_console(color))
    if annotations == "github" or (annotations == "auto" and os.environ.get("GITHUB_ACTIONS") == "true"):
        from leakcheck.report.github import of_gate

        sys.stdout.write(of_gate(judged))
    if directory is not None:
        _write(judged, seen, directory)
    click.get_current_context().exit(judged.exit_code)


def _baseline(file: Path | None) -> accepted.Baseline:
    if file is not None:
        return accepted.read(file)
    return accepted.read(DEFAULT_BASELINE) if DEFAULT_BASELINE.exists() else accepted.Baseline()


def _budgets(file: Path | None) -> list[rules.Budget]:
    found = file or rules.find(Path())
    return rules.read(found) if found else []


def _look_at(directory: Path, paths: tuple[Path, ...]) -> None:
    """Whether the gate may write there; said before it says anything else."""
    if directory.resolve() in {(path if path.is_dir() else path.parent).resolve() for path in paths}:
        raise UsageError(
            f"--report {directory} holds the files of the run itself; give the gate a directory of its own"
        )
    folder("--report", directory)


def _write(judged: gate.Gate, seen: RunResult, directory: Path) -> None:
    from leakcheck.report import gate as words

    verdict = {"exit_code": judged.exit_code, "lines": judged.lines}
    atomic.write_together(
        directory,
        {
            "gate.json": msgspec.json.format(msgspec.json.encode(verdict), indent=1),
            "gate.md": words.to_markdown(judged, seen).encode(),
        },
    )
    write_run(seen, directory)

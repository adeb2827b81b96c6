"""`elkyn-leakcheck sweep`: leaks that are looked for without a scenario."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from leakcheck.cli import main
from leakcheck.cli import options as shared
from leakcheck.cli.command import EXIT_CODES, Command
from leakcheck.cli.terminal import echo
from leakcheck.errors import NothingCollectedError, UsageError
from leakcheck.execution.workspace import Workspace
from leakcheck.sweep import console, sweeping
from leakcheck.sweep.ages import Range
from leakcheck.sweep.inside.messages import NO_SEEDS
from leakcheck.sweep.seen import Seen
from leakcheck.versions import sandbox


def _seeds(value: str) -> str:
    """What was given, as an absolute path where it is one. Raises `UsageError`."""
    if value in ("", NO_SEEDS):
        return value
    if not os.path.exists(value):
        raise UsageError(f"--seeds {value} does not exist; give a file of recipes, a file or folder of tests, or none")
    return os.path.abspath(value)


@click.command("sweep", cls=Command, epilog=EXIT_CODES)
@click.argument("targets", nargs=-1, required=True, metavar="PACKAGE|MODULE|EXTENSION.so...")
@click.option(
    "--python",
    metavar="PATH",
    callback=shared.interpreter,
    help="Sweep in this interpreter; it needs nothing of ours installed.",
)
@click.option(
    "--version", metavar="X", help="Sweep this version of the package, in an environment of its own from pip's index."
)
@click.option(
    "--versions",
    metavar="A..B",
    help="Sweep version B of the package, and say of each find since which version from A on it leaks.",
)
@click.option(
    "--seeds",
    metavar="PATH|none",
    callback=lambda context, parameter, value: _seeds(value or ""),  # noqa: ARG005 - as click calls it
    help="Recipes, functions marked @recipe(MyType); or tests, whose calls are made too. "
    "none: leave the calls in docstrings aside.",
)
@click.option("--include", multiple=True, metavar="PATTERN", help="Only targets whose name matches: 'package.Type.*'.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="No targets whose name matches.")
@click.option("--errors-only", is_flag=True, help="Only calls with a wrong argument.")
@click.option(
    "--time-per-target",
    type=shared.SECONDS,
    default=5.0,
    show_default=True,
    metavar="S",
    help="Seconds for each target, less those that others had the processor; a quarter for one in Python.",
)
@click.option("--jobs", type=shared.Count(), default=os.cpu_count() or 1, metavar="N", help="Processes at a time.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Folder for the files; sweep/PACKAGE by default.", metavar="DIR"
)
@click.option("--resume", is_flag=True, help="Go on with a sweep that was interrupted.")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An earlier sweep.json: only a leak that it does not have is exit code 1.",
)
@click.option(
    "--since",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An earlier sweep.json: leave out targets whose code is what it was there.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be called, and what is refused and why.")
@click.option("--no-control", is_flag=True, help="Leave out the planted leaks that prove the sweep.")
@click.option("-q", "--quiet", is_flag=True, help="Only the summary.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def command(
    targets: tuple[str, ...],
    python: str | None,
    version: str | None,
    versions: str | None,
    seeds: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    errors_only: bool,
    time_per_target: float,
    jobs: int,
    report: Path | None,
    resume: bool,
    baseline: Path | None,
    since: Path | None,
    dry_run: bool,
    no_control: bool,
    quiet: bool,
    color: str,
) -> int:
    """Look for leaks without a scenario: find what can be called, call it in many ways, and judge what grows.

    \b
    elkyn-leakcheck sweep mypackage
    elkyn-leakcheck sweep build/fast.so --seeds recipes.py
    elkyn-leakcheck sweep zstandard --versions 0.20.0..0.25.0

    What is called runs isolated: it can change no file, reach no network and signal no process. What is found lies
    in sweep/PACKAGE as scenarios for `run`, each with the draft of a bug report.
    """
    if (version or versions) and (python is not None or len(targets) != 1 or (version and versions)):
        raise UsageError(
            "--version or --versions goes with one package, and makes the interpreter that --python would name"
        )
    asked = Range(targets[0], versions) if versions else None
    known = sweeping.accepted(baseline) if baseline is not None else frozenset[str]()
    folder = report or default_folder(targets[0])
    with _interpreter(python, targets[0], asked.versions[-1] if asked else version) as chosen:
        options = sweeping.Options(
            targets=[os.path.abspath(each) if _is_path(each) else each for each in targets],
            python=chosen,
            folder=folder.resolve(),
            include=list(include),
            exclude=list(exclude),
            seconds=time_per_target,
            jobs=jobs,
            errors_only=errors_only,
            seeds=seeds,
            resume=resume,
            control=not no_control,
            since=since,
            versions=asked,
        )
        if dry_run:
            return _show(sweeping.look(options))
        shared.folder("--report", folder)
        view = console.SweepView(quiet=quiet, color=color)
        with view:
            swept = sweeping.run(options, view, known)
    console.summary(swept, folder, view, quiet=quiet)
    if not swept.targets:
        raise NothingCollectedError(f"there is nothing to call in {' '.join(targets)}")
    if swept.failures:
        target, traceback = swept.failures[0]
        echo(f"elkyn-leakcheck: an error in the tool itself, at {target}; please report it:\n{traceback}", err=True)
        return main.EXIT_INTERNAL
    if swept.interrupted:
        return main.EXIT_INTERRUPTED
    return main.EXIT_LEAK if any(not find.known for find in swept.finds) else main.EXIT_OK


def _is_path(target: str) -> bool:
    """Whether a file or folder is meant, and no module: `fast.so`, `parser.py`, `src/parser`."""
    return os.path.isfile(target) or (os.path.exists(target) and os.sep in target)


def default_folder(target: str) -> Path:
    """Where the files of a sweep go: `sweep/PACKAGE`, and for a file its name without what follows the first dot."""
    return Path("sweep") / re.sub(r"[^\w.-]+", "_", Path(target).name.partition(".")[0])


@contextmanager
def _interpreter(python: str | None, package: str, version: str | None) -> Iterator[str]:
    """The interpreter to sweep in: the one that was named, this one, or one of its own with a version of a package."""
    if version is None:
        yield os.path.abspath(shutil.which(python) or python) if python else sys.executable
        return
    with Workspace() as place:
        made = sandbox.environment(place / "environment")
        sandbox.install(made, [f"{package}=={version}"])
        yield str(made)


def _show(seen: Seen) -> int:
    for name in seen.targets:
        echo(name)
    for name, why in seen.refused:
        echo(f"{name}: not called, for it {why}")
    return main.EXIT_OK if seen.targets else main.EXIT_NOTHING

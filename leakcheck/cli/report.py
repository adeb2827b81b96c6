"""`elkyn-leakcheck report`: make any report again from result files, several of them merged into one."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from leakcheck import results
from leakcheck.cli.command import Command
from leakcheck.cli.options import folder
from leakcheck.errors import UsageError
from leakcheck.records import RunResult
from leakcheck.report import FILES, in_ascii, render
from leakcheck.report.folder import FORMATS
from leakcheck.results import atomic, history


@click.command("report", cls=Command)
@click.argument("paths", nargs=-1, required=True, metavar="RESULTS...", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "forms",
    multiple=True,
    type=click.Choice(["text", *FILES]),
    help="Form to make; may be given several times.  [default: text; with --output DIR all files of a run]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write, or directory where several forms are made.  [default: standard output]",
)
@click.option(
    "--history",
    "past",
    type=click.Path(path_type=Path),
    help="History file, or directory with the folders of runs, for the trend.",
)
@click.option("-v", "--verbose", count=True, help="With the text form: show every meter and finding.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def command(
    paths: tuple[Path, ...],
    forms: tuple[str, ...],
    output: Path | None,
    past: Path | None,
    verbose: int,
    color: str,
) -> None:
    """Make reports from results.json files or directories of runs.

    Several results (shards, re-runs, platforms) are merged into one.

    \b
    Example:
      elkyn-leakcheck report reports/latest --format html -o report.html
      elkyn-leakcheck report shard-1/ shard-2/ -o merged/
    """
    run = results.merge([results.read(path) for path in paths])
    forms = tuple(dict.fromkeys(forms)) or (FORMATS if output else ("text",))
    if forms == ("text",) and not output:
        _print(run, verbose, color)
        return
    if "text" in forms:
        raise UsageError("--format text goes to the terminal alone; leave it out, or the other forms and --output")
    if output is None and len(forms) > 1:
        raise UsageError("several forms need a directory: add --output DIR")
    if output is not None:
        folder("--output", output.parent)
    before = history.read(past) if past else []
    made = {form: render(form, run, before) for form in forms}
    if output is None:
        ((form, text),) = made.items()
        sys.stdout.write(text if (sys.stdout.encoding or "utf-8").lower().startswith("utf") else in_ascii(form, text))
    elif len(made) == 1 and not output.is_dir() and output.suffix:
        atomic.write(output, next(iter(made.values())).encode())
    else:
        atomic.write_together(output, {FILES[form]: text.encode() for form, text in made.items()})


def _print(run: RunResult, verbose: int, color: str) -> None:
    from leakcheck.report.run_view import RunView

    view = RunView(len(run.scenarios), verbose=verbose, color=color)
    view.control(run.control)
    for scenario in run.scenarios:
        view.finish(scenario)
    view.summary(run, None)

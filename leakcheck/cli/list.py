"""`elkyn-leakcheck list`: which scenarios would run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from leakcheck.cli.command import Command
from leakcheck.cli.options import interpreter
from leakcheck.cli.terminal import echo
from leakcheck.errors import NothingCollectedError
from leakcheck.execution.job import Job, ScenarioInfo


@click.command("list", cls=Command)
@click.argument("targets", nargs=-1, required=True, metavar="PATH|MODULE:FUNCTION...", type=click.Path())
@click.option("-k", "keyword", metavar="EXPR", help="Only scenarios whose id matches: 'push and not large'.")
@click.option("-m", "mark", metavar="TAG", help="Only scenarios with these tags: 'events and not slow'.")
@click.option("--python", metavar="PATH", callback=interpreter, help="List what this interpreter finds.")
def command(targets: tuple[str, ...], keyword: str | None, mark: str | None, python: str | None) -> int:
    """Show the scenarios that would run, one a line: id, tags, what it is about.

    \b
    elkyn-leakcheck list scenarios/ -m events

    Exit code: 0 all could be listed, 1 a file cannot be imported, 4 wrong usage, 5 nothing collected.
    """
    from leakcheck.run.discovery import collect, select

    select((), keyword, mark)
    template = Job(scenario=ScenarioInfo(id="", target="", name=""), python=python or sys.executable, cwd=Path.cwd())
    collected = collect(targets, template)
    chosen = select(collected.scenarios, keyword, mark)
    for info in chosen:
        marks = [*info.tags, *(["expects a leak"] if info.expect == "leak" else [])]
        suffix = f"  [{', '.join(marks)}]" if marks else ""
        echo(f"{info.id}{suffix}{'  ' + info.doc if info.doc else ''}")
    for broken in collected.broken:
        echo(f"{broken.id}: cannot be imported: {broken.failure.message}", err=True)
    if not chosen and not collected.broken:
        raise NothingCollectedError(f"no scenario in {' '.join(targets)}")
    return 1 if collected.broken else 0

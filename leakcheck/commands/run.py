"""`elkyn-leakcheck run`: scenarios in, verdicts and reports out."""

from __future__ import annotations

from typing import Any

import click

from leakcheck.commands import options as shared
from leakcheck.errors import NothingCollectedError


@click.command("run")
@click.argument("targets", nargs=-1, required=True, metavar="PATH|MODULE:FUNCTION...")
@click.option("-k", "keyword", metavar="EXPR", help="Only scenarios whose id matches: 'push and not large'.")
@click.option("-m", "mark", metavar="TAG", help="Only scenarios with these tags: 'events and not slow'.")
@shared.measuring
def command(targets: tuple[str, ...], keyword: str | None, mark: str | None, **options: Any) -> int:
    """Run scenarios and say of each: leak or not, where, and who holds it.

    \b
    elkyn-leakcheck run scenarios/
    elkyn-leakcheck run scenarios/events.py::subscribe_unsubscribe --time-budget 30
    elkyn-leakcheck run mypackage.parser:parse_all
    """
    from leakcheck.commands.measuring import run_and_report
    from leakcheck.discovery import collect, select

    template = shared.template(options)
    collected = collect(targets, template)
    chosen = select(collected.scenarios, keyword, mark)
    if not chosen and not collected.broken:
        raise NothingCollectedError(
            f"no scenario in {' '.join(targets)}"
            + (f" matches the selection ({len(collected.scenarios)} are there)" if collected.scenarios else "")
            + "; a scenario is a function marked with @scenario (from leakcheck import scenario)"
        )
    return run_and_report(chosen, collected.broken, template, options)

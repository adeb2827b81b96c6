"""`elkyn-leakcheck run`: scenarios in, verdicts and reports out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import click

from leakcheck.cli import options as shared
from leakcheck.cli.command import EXIT_CODES, Command
from leakcheck.errors import NothingCollectedError, UsageError


@click.command("run", cls=Command, epilog=EXIT_CODES)
@click.argument("targets", nargs=-1, required=True, metavar="PATH|MODULE:FUNCTION...", type=click.Path())
@click.option("-k", "keyword", metavar="EXPR", help="Only scenarios whose id matches: 'push and not large'.")
@click.option("-m", "mark", metavar="TAG", help="Only scenarios with these tags: 'events and not slow'.")
@click.option("--shard", metavar="K/N", help="Run the K-th of N parts, which take about as long by the history.")
@click.option("--durations", type=click.IntRange(1), metavar="N", help="Show where the time of the N slowest went.")
@click.option("--on", metavar="ADDRESS", help="Run on the nodes of a cluster, dask://host:8786 (pip's extra: dask).")
@click.option("--confirm", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="With --on: a leak is looked for by so many nodes.")  # fmt: skip
@shared.measuring
def command(
    targets: tuple[str, ...],
    keyword: str | None,
    mark: str | None,
    shard: str | None,
    durations: int | None,
    on: str | None,
    confirm: int,
    **options: Any,
) -> int:
    """Run scenarios and say of each: leak or not, where, and who holds it.

    \b
    elkyn-leakcheck run scenarios/
    elkyn-leakcheck run scenarios/ --shard 2/8
    elkyn-leakcheck run scenarios/ --on dask://scheduler:8786
    elkyn-leakcheck run scenarios/events.py::subscribe_unsubscribe --time-budget 30
    elkyn-leakcheck run mypackage.parser:parse_all
    """
    from leakcheck.cli.start import begin
    from leakcheck.run import shards
    from leakcheck.run.discovery import collect, select

    select((), keyword, mark)  # a mistake in it is said before anything is started
    part = None if shard is None else shards.parse(shard)
    _check_cluster(on, confirm, options)
    template = shared.template(options)
    with ExitStack() as stack:
        begun = stack.enter_context(begin(template, control=on is None and not options["no_control"]))
        collected = collect(targets, template, keep=on is None)
        if collected.loaded is not None:
            stack.callback(collected.loaded.stop)
        if collected.broken:
            shared.check_interpreter(template.python)
        chosen = select(collected.scenarios, keyword, mark)
        if chosen or collected.broken:
            from leakcheck.cli.finish import run_and_report

            chosen_of = collected._replace(scenarios=chosen)
            return run_and_report(chosen_of, template, options, begun, durations, part, on, confirm)
        there = len(collected.scenarios)
        raise NothingCollectedError(
            f"no scenario in {' '.join(targets)} matches the selection ({there} are there)"
            if there
            else f"no scenario in {' '.join(targets)}; what can be run: a function marked with @scenario (from "
            "leakcheck import scenario), any function as package.module:function, and a script with a main()"
        )


def _check_cluster(on: str | None, confirm: int, options: Mapping[str, Any]) -> None:
    """What goes with a cluster, and what does not. Raises `UsageError`."""
    if on is None:
        if confirm > 1:
            raise UsageError("--confirm goes with --on: it asks other nodes")
        return
    for name in ("graph", "keep_captures"):
        if options[name]:
            option = name.replace("_", "-")
            raise UsageError(
                f"--{option} does not go with --on: its files would stay on the nodes; leave out one of both"
            )

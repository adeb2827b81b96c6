"""`elkyn-leakcheck run`: scenarios in, verdicts and reports out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from leakcheck.agent.protocol import PROGRAM
from leakcheck.cli import options as shared
from leakcheck.cli.command import EXIT_CODES, Command
from leakcheck.errors import NothingCollectedError, UsageError
from leakcheck.remote.engine import Cluster, place_of

_MOST_NAMED = 5
"""Scenarios that are named where none was selected."""


@click.command("run", cls=Command, epilog=EXIT_CODES)
@click.argument("targets", nargs=-1, required=True, metavar="PATH|MODULE:FUNCTION...", type=click.Path())
@click.option("-k", "keyword", metavar="EXPR", help="Only scenarios whose id matches: 'push and not large'.")
@click.option("-m", "mark", metavar="TAG", help="Only scenarios with these tags: 'events and not slow'.")
@click.option("--shard", metavar="K/N", help="Run the K-th of N parts, which take about as long by the history.")
@click.option("--durations", type=shared.Count(), metavar="N", help="Show where the time of the N slowest went.")
@click.option("--on", metavar="ADDRESS", help="Run on the nodes of a cluster, dask://host:8786 (pip's extra: dask).")
@click.option(
    "--confirm",
    type=shared.Count(),
    default=1,
    show_default=True,
    metavar="N",
    help="With --on: a leak is looked for by so many nodes.",
)
@click.option("--lock", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="With --on: each node makes its environment from this lock, with uv.")  # fmt: skip
@shared.measuring
def command(
    targets: tuple[str, ...],
    keyword: str | None,
    mark: str | None,
    shard: str | None,
    durations: int | None,
    on: str | None,
    confirm: int,
    lock: Path | None,
    **options: Any,
) -> int:
    """Run scenarios and say of each: leak or not, where, and who holds it.

    \b
    elkyn-leakcheck run scenarios/
    elkyn-leakcheck run scenarios/ --shard 2/8
    elkyn-leakcheck run scenarios/ --on dask://scheduler:8786
    elkyn-leakcheck run scenarios/events.py::subscribe_unsubscribe --time-budget 30
    elkyn-leakcheck run mypackage.parser:parse_all
    elkyn-leakcheck run ./program
    """
    from leakcheck.cli.start import begin
    from leakcheck.run import shards
    from leakcheck.run.discovery import collect, select

    select((), keyword, mark)  # a mistake in it is said before anything is started
    part = None if shard is None else shards.parse(shard)
    cluster = _cluster(on, confirm, lock, options)
    template = shared.template(options)
    with ExitStack() as stack:
        begun = stack.enter_context(begin(template, control=cluster is None and not options["no_control"]))
        collected = collect(targets, template, keep=cluster is None)
        if collected.loaded is not None:
            stack.callback(collected.loaded.stop)
        if collected.broken:
            shared.check_interpreter(template.python)
        if cluster is not None and any(each.target.startswith(PROGRAM) for each in collected.scenarios):
            raise UsageError("--on: a program is measured on this machine, for it may not run on another")
        chosen = select(collected.scenarios, keyword, mark)
        if chosen or collected.broken:
            from leakcheck.cli.finish import run_and_report

            chosen_of = collected._replace(scenarios=chosen)
            return run_and_report(chosen_of, template, options, begun, durations, part, cluster)
        raise NothingCollectedError(_nothing(targets, [each.id for each in collected.scenarios]))


def _nothing(targets: Sequence[str], there: Sequence[str]) -> str:
    """Why nothing is run, and what could be; `there` are the scenarios that were not selected."""
    from leakcheck.run.discovery import is_of_tests

    where = " ".join(targets)
    if there:
        more = f" and {len(there) - _MOST_NAMED} more" if len(there) > _MOST_NAMED else ""
        return f"no scenario in {where} matches the selection; it has: {', '.join(there[:_MOST_NAMED])}{more}"
    if tests := [target for target in targets if is_of_tests(Path(target))]:
        return f"no scenario in {where}; for the tests that are there: pytest --leakcheck {' '.join(tests)}"
    return (
        f"no scenario in {where}; what can be run: a function marked with @scenario (from leakcheck import scenario), "
        "any function as package.module:function, and a script with a main()"
    )


def _cluster(on: str | None, confirm: int, lock: Path | None, options: Mapping[str, Any]) -> Cluster | None:
    """Where the run takes place; None on this machine. Raises `UsageError` for what does not go together."""
    if on is None:
        for option, is_given in (("--confirm", confirm > 1), ("--lock", lock is not None)):
            if is_given:
                raise UsageError(f"{option} is for the nodes of a cluster: --on names one, or leave it out")
        return None
    place_of(on)  # a mistake in it is said before anything is started
    for name in ("graph", "keep_captures"):
        if options[name]:
            option = name.replace("_", "-")
            raise UsageError(
                f"--{option} does not go with --on: its files would stay on the nodes; leave out one of both"
            )
    if lock is not None and options["python"]:
        raise UsageError("--lock makes the interpreter that --python would name; leave out one of both")
    return Cluster(on, confirm, options["python"] or "", lock, control=not options["no_control"])

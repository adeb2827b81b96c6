"""What `run` and `snippet` share once the scenarios are known: show, run, write, say the exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from leakcheck import validation
from leakcheck.agent.protocol import INTERNAL
from leakcheck.cli import main
from leakcheck.cli import options as shared
from leakcheck.cli.terminal import echo
from leakcheck.execution.environment import left_out
from leakcheck.execution.job import Job
from leakcheck.records import RunResult
from leakcheck.remote.engine import Cluster
from leakcheck.report.durations import slowest
from leakcheck.report.folder import new_run_directory, point_latest, write_run, write_so_far
from leakcheck.report.run_view import RunView
from leakcheck.results import history
from leakcheck.run import shards
from leakcheck.run.control import BackgroundControl
from leakcheck.run.discovery import Collected
from leakcheck.run.runner import Plan, Runner


def run_and_report(
    collected: Collected,
    template: Job,
    options: Mapping[str, Any],
    begun: BackgroundControl | None,
    durations: int | None = None,
    part: tuple[int, int] | None = None,
    cluster: Cluster | None = None,
) -> int:
    """Run the scenarios under the view, write the reports, print the summary; returns the exit code.

    `durations` of the slowest scenarios are shown by what was done. Of `part`, number and count, only that is run. The
    nodes of `cluster` run them, where there is one.
    """
    directory = _report_directory(options["report"])
    past = (Path("reports") if options["report"] is None else directory) / history.FILE_NAME
    collected, divided = _part_of(collected, part, past)
    scenarios, broken, loaded = collected
    plan = Plan(
        scenarios=scenarios,
        broken=broken,
        template=template,
        tools=validation.tool_names(options["tools"]) or frozenset(),
        jobs=options["jobs"],
        control=begun,
        loaded=loaded,
        keep_captures=directory / "captures" if options["keep_captures"] else None,
        graph=directory / "graphs" if options["graph"] else None,
        suppressions=options["suppressions"],
        options=shared.changed(options),
        errors=options["errors"],
    )
    view = RunView(
        len(scenarios) + len(broken), quiet=options["quiet"], verbose=options["verbose"], color=options["color"]
    )
    try:
        with view:
            found = f"{len(scenarios)} scenario{'' if len(scenarios) == 1 else 's'}"
            view.plan([found, *(left_out(arenas=options["arenas"]) if cluster is None else ())])
            run = _run(plan, view, partial(write_so_far, directory), cluster, past)
            if part is not None:
                shard = shards.shard_of(divided, *part, str(run.environment.get("commit") or ""))
                run = msgspec.structs.replace(run, shards=[shard])
    except BaseException:
        with suppress(OSError):  # there is something in it
            directory.rmdir()
        raise
    write_run(run, directory, history=past)
    if options["report"] is None and not run.interrupted:
        point_latest(Path("reports"), directory)
    view.summary(run, directory)
    for text in slowest(run, durations or 0):
        echo(text)
    return exit_code(run, strict=options["strict"])


def _run(
    plan: Plan, view: RunView, keep: Callable[[RunResult], None], cluster: Cluster | None, past: Path
) -> RunResult:
    """Here, or on a cluster."""
    if cluster is None:
        return Runner(plan, view, keep).run()
    from leakcheck.remote import running  # dear to import, and only for this

    return running.run(plan, view, keep, cluster, history.durations(past))


def _part_of(collected: Collected, part: tuple[int, int] | None, past: Path) -> tuple[Collected, dict[str, int]]:
    """What one of several machines runs, and what each does; a file that cannot be imported is one of its things."""
    if part is None:
        return collected, {}
    number, count = part
    names = [each.id for each in collected.scenarios] + [each.id for each in collected.broken]
    divided = shards.divided(names, history.durations(past), count)
    scenarios = [each for each in collected.scenarios if divided[each.id] == number]
    broken = [each for each in collected.broken if divided[each.id] == number]
    return collected._replace(scenarios=scenarios, broken=broken), divided


def exit_code(run: RunResult, *, strict: bool) -> int:
    """The documented exit code of a run."""
    if run.interrupted:
        return main.EXIT_INTERRUPTED
    own_errors = any(each.failure is not None and each.failure.type == INTERNAL for each in run.scenarios)
    if run.control.status == "failed" or own_errors:
        return main.EXIT_INTERNAL
    if any(not scenario.ok for scenario in run.scenarios):
        return main.EXIT_LEAK
    if any(scenario.verdict in ("inconclusive", "skipped") for scenario in run.scenarios):
        return main.EXIT_LEAK if strict else main.EXIT_UNDECIDED
    return main.EXIT_OK


def _report_directory(asked: Path | None) -> Path:
    """The folder of this run's files."""
    if asked is not None:
        return shared.folder("--report", asked)
    return new_run_directory(shared.folder("--report", Path("reports")))

"""`elkyn-leakcheck monitor`: a living process, a command or one scenario, watched for hours from outside."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leakcheck.cli.command import Command
from leakcheck.cli.options import SECONDS, Count, Seconds, folder
from leakcheck.cli.terminal import echo
from leakcheck.errors import UsageError

if TYPE_CHECKING:
    from leakcheck.monitor.alert import Alert
    from leakcheck.monitor.outside import Source
    from leakcheck.monitor.session import Session
    from leakcheck.records import Finding, Verdict


@click.command("monitor", cls=Command, context_settings={"ignore_unknown_options": False})
@click.argument("target", nargs=-1, metavar="[SCENARIO | -- COMMAND ...]")
@click.option("--pid", type=Count(), help="Watch this process and all that it starts.")
@click.option(
    "--interval",
    type=SECONDS,
    metavar="S",
    help="Seconds between readings.  [default: 10; 1 for a command or a scenario; less for a short --duration]",
)
@click.option("--duration", type=SECONDS, metavar="S", help="End after so many seconds.")
@click.option(
    "--limit",
    default="cgroup",
    show_default=True,
    metavar="SIZE",
    help="What memory may reach: '2 GiB', bytes, cgroup (else the machine's memory), none.",
)
@click.option(
    "--period",
    type=Seconds(0),
    metavar="S",
    help="Rhythm of the load in seconds, 0 for none.  [default: a day; 0 for a command, a scenario or a --duration]",
)
@click.option(
    "--patience",
    type=SECONDS,
    metavar="S",
    help="Seconds after which steady growth is reported however small.  [default: two weeks; without a rhythm 600 "
    "intervals]",
)
@click.option(
    "--lines",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Append every reading and alert to this file, one JSON object a line.",
)
@click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep results.json and index.html there, up to date.",
)
@click.option("--alert-command", metavar="COMMAND", help="Run this shell command for each alert, JSON on its input.")
@click.option(
    "--attach",
    type=SECONDS,
    metavar="S",
    help="On an alert, look into the process of --pid: by an agent where it is of Python 3.14 or newer, else by memray "
    "for so many seconds. A command has the agent anyhow.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but the last line.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def command(
    target: tuple[str, ...],
    pid: int | None,
    interval: float | None,
    duration: float | None,
    limit: str,
    period: float | None,
    patience: float | None,
    lines: Path | None,
    report: Path | None,
    alert_command: str | None,
    attach: float | None,
    quiet: bool,
    color: str,
) -> int:
    """Watch the growth of a living process.

    \b
    elkyn-leakcheck monitor --pid 4711 --limit "2 GiB" --report reports/service
    elkyn-leakcheck monitor --interval 1 -- python service.py
    elkyn-leakcheck monitor scenarios/events.py::subscribe_unsubscribe --duration 3600

    Exit codes: 0 no growth, or growth that stopped; 1 an alert that was not taken back; 4 wrong usage; 6 not clear yet.
    Ctrl-C ends the watch and gives the verdict so far.
    """
    from leakcheck.monitor.session import DECIDING_READINGS, Options, Session

    if period is None:
        period = 24 * 3600.0 if pid is not None and duration is None else 0.0
    if interval is None:
        interval = min(10.0 if period else 1.0, (duration or math.inf) / DECIDING_READINGS)
    for option, place in (("--report", report), ("--lines", lines and lines.parent)):
        if place is not None:
            folder(option, place)
    source, look = _source(target, pid, interval, attach)
    try:
        options = Options(
            interval=interval,
            duration=duration,
            limits=_limits(limit, source),
            period=period,
            patience=patience or (14 * 24 * 3600.0 if period else 600 * interval),
            lines=lines,
            report=report,
            alert_command=alert_command,
        )
        view = _view(quiet, color, interval)
        with view:
            session = Session(source, options, view, look=look)
            verdict = session.run()
    finally:
        source.close()
    echo(_last_line(session, verdict))
    return {"leak": 1, "inconclusive": 6}.get(verdict, 0)


_Look = Callable[["Alert"], tuple[list["Finding"], str]] | None


def _source(target: tuple[str, ...], pid: int | None, interval: float, attach: float | None) -> tuple[Source, _Look]:
    """What is to be watched, and how its cause is looked for.

    A single word that names a scenario is one; anything else is a command.
    """
    from leakcheck.monitor.outside import Command, Processes, Repeated

    if pid is None and not target:
        raise UsageError("monitor: what is to be watched? Give --pid PID, a scenario, or -- COMMAND ...")
    if pid is not None and target:
        raise UsageError(f"monitor: --pid {pid} and {target[0]!r} were given; watch one of them at a time")
    if pid is not None:
        processes = Processes(pid)
        if attach is None:
            return processes, None
        from leakcheck.monitor import attach as entering

        return processes, lambda alert: entering.look(processes.pids() or [pid], attach, alert.rate / 3600)
    if len(target) == 1 and ("::" in target[0] or target[0].endswith(".py") or ":" in target[0]):
        from leakcheck.execution.job import Job, ScenarioInfo
        from leakcheck.run.discovery import collect

        template = Job(scenario=ScenarioInfo(id="", target="", name=""), cwd=Path.cwd())
        collected = collect(target, template)
        if collected.broken:
            raise UsageError(f"{target[0]}: cannot be imported: {collected.broken[0].failure.message}")
        if len(collected.scenarios) != 1:
            names = ", ".join(each.id for each in collected.scenarios) or "none"
            raise UsageError(f"monitor watches one scenario at a time; {target[0]} has: {names}")
        import msgspec

        return Repeated(msgspec.structs.replace(template, scenario=collected.scenarios[0]), interval), None
    from leakcheck.monitor.inside import Inside

    inside = Inside()
    return Command(target, inside.environment()), lambda alert: inside.look(alert.rate / 3600)


def _limits(limit: str, source: Source) -> dict[str, float]:
    from leakcheck.monitor.limits import memory_limit, process_limit

    try:
        memory = memory_limit(None if limit == "none" else limit, pid=str(source.pid))
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    found: dict[str, float] = {}
    if memory is not None:
        found |= {gauge.name: memory.value for gauge in source.gauges if gauge.name in ("pss", "rss")}
    tasks = process_limit(pid=str(source.pid))
    if tasks is not None:
        found["threads"] = tasks.value
    return found


def _view(quiet: bool, color: str, interval: float):  # type: ignore[no-untyped-def]
    from rich.console import Console

    from leakcheck.monitor.dashboard import Dashboard, Lines, Silent

    force = {"always": True, "never": False}.get(color)
    console = Console(force_terminal=force, no_color=color == "never", highlight=False)
    if quiet:
        return Silent()
    if sys.stdout.isatty():
        return Dashboard(console)
    return Lines(console, every=max(10 * interval, 5.0))


def _last_line(session: Session, verdict: Verdict) -> str:
    parts = [f"{verdict}: {session.reason()}"]
    if session.source.ended:
        parts.append(f"({session.source.ended})")
    if session.options.report is not None:
        parts.append(f"Report: {session.options.report / 'index.html'}")
    return " ".join(parts)

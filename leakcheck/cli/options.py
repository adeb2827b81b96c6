"""Options that several commands share: how to measure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from leakcheck.errors import UsageError
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.validation import TOOLS

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def interpreter(ctx: click.Context, parameter: click.Parameter, python: str | None) -> str | None:  # noqa: ARG001
    """The interpreter that was named. Raises `UsageError` where nothing can be measured in it."""
    if python is not None:
        check_interpreter(python)
    return python


def likely_interpreter(ctx: click.Context, parameter: click.Parameter, python: str | None) -> str | None:
    """The same, looked at only where its name is no interpreter's: to ask it takes as long as to start a worker in it.

    Whoever finds no worker in it calls `check_interpreter`.
    """
    likely = python is None or os.path.basename(python).startswith("python")
    return python if likely else interpreter(ctx, parameter, python)


def check_interpreter(python: str) -> None:
    """Raises `UsageError` where nothing can be measured in it."""
    from leakcheck.execution.interpreter import unfit

    if problem := unfit(python):
        raise UsageError(f"--python {python}: it {problem}")


_MEASURING = [
    click.option(
        "--tools",
        default="auto",
        metavar="LIST",
        show_default=True,
        help="auto, or some of growth,memray,valgrind. auto: growth for all, memray where something grows, valgrind "
        "where it is installed and native code is suspected.",
    ),
    click.option("--report", type=click.Path(path_type=Path), help="Folder for the files of this run.", metavar="DIR"),
    click.option(
        "--time-budget", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, metavar="S",
        help="Seconds that the step of a suspicious scenario may run; clean ones need far less.",
    ),
    click.option("--max-iterations", type=click.IntRange(1), metavar="N", help="Never run a step more often."),
    click.option(
        "--max-growth", default="1GiB", show_default=True, metavar="BYTES",
        help="Stop a scenario that has grown by so much (2GiB, 64MiB, 1000000).",
    ),
    click.option(
        "--gc", type=click.Choice(["collect", "auto", "off", "freeze"]), default="collect", show_default=True,
        help="collect: before each reading; auto: untouched; off: switched off; freeze: what is alive is put aside.",
    ),
    click.option(
        "--allocator", type=click.Choice(["malloc", "pymalloc"]), default="malloc", show_default=True,
        help="malloc puts Python's and native memory on one exact ledger.",
    ),
    click.option(
        "--python", metavar="PATH", callback=likely_interpreter,
        help="Measure in this interpreter; it needs nothing of ours installed.",
    ),
    click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, metavar="N",
                 help="Scenarios at a time; as many as there are processors. A scenario's own time is what it ran, so "
                 "company costs it nothing."),
    click.option("--strict", is_flag=True, help="Exit 1 also for inconclusive and skipped scenarios."),
    click.option("--keep-captures", is_flag=True, help="Keep memray's captures in the report folder."),
    click.option("--graph", is_flag=True, help="Draw who holds it, as pictures (needs objgraph and graphviz)."),
    click.option("--suppressions", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
                 metavar="FILE", help="Suppression file for valgrind, in its own syntax."),
    click.option("--no-control", is_flag=True, help="Leave out the planted scenarios that prove the readings."),
    click.option("-q", "--quiet", count=True, help="Only the summary; twice: nothing but errors."),
    click.option("-v", "--verbose", count=True, help="More about each scenario."),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True),
]  # fmt: skip


def measuring(function: Decorated) -> Decorated:
    """Add the options of a measurement to a command."""
    for option in reversed(_MEASURING):
        function = option(function)
    return function


def tools(text: str) -> frozenset[str]:
    """The names in `--tools`. Raises `UsageError` for one that is not known."""
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    unknown = sorted(names - set(TOOLS))
    if unknown or not names:
        raise UsageError(f"--tools {text}: {', '.join(unknown) or 'empty'}; known are {', '.join(TOOLS)}")
    return names


def size(text: str) -> int:
    """Bytes of `512MiB`, `1GB`, `1000`. Raises `UsageError`."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
    written = str(text).strip()
    digits = written.rstrip("BKMGibkmg ")
    unit = written[len(digits) :].strip().upper()
    try:
        return int(float(digits) * units[unit])
    except (ValueError, KeyError):
        raise UsageError(f"--max-growth {text}: not a size; write bytes, or 64MiB, 1GiB, 500MB") from None


def template(options: Mapping[str, Any]) -> Job:
    """The job that every scenario of the run is a copy of."""
    return Job(
        scenario=ScenarioInfo(id="", target="", name=""),
        python=options["python"] or sys.executable,
        allocator=options["allocator"],
        gc=options["gc"],
        budget=Budget(
            time_s=options["time_budget"],
            max_iterations=options["max_iterations"],
            max_growth=size(options["max_growth"]),
        ),
        cwd=Path.cwd(),
    )


_REPRODUCED = {
    "tools": "auto",
    "time_budget": 10.0,
    "max_iterations": None,
    "max_growth": "1GiB",
    "gc": "collect",
    "allocator": "malloc",
    "python": None,
}


def changed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that change what is measured and differ from their defaults: for the command that reproduces."""
    return {name: options[name] for name, default in _REPRODUCED.items() if options[name] != default}

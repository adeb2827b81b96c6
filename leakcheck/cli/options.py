"""Options that several commands share: how to measure."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from leakcheck import validation
from leakcheck.errors import UsageError
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.validation import Option

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


class Seconds(click.FloatRange):
    """Seconds that come to an end: not `nan`, and not `inf`."""

    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As its base does."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


class Count(click.IntRange):
    """How many of something there are to be: a whole number, from 1 on unless another begin is given."""

    name = "whole number"

    def __init__(self, least: int = 1, most: int | None = None) -> None:
        super().__init__(least, most)


SECONDS = Seconds(0, min_open=True)


def folder(option: str, place: Path) -> Path:
    """A folder to write into, made now: that it cannot be written must be said before, not after the work."""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {place}: cannot be made: {error.strerror or error}") from error
    if not os.access(place, os.W_OK):
        raise UsageError(f"{option} {place}: cannot be written to; name another folder")
    return place


def _click(option: Option) -> Callable[[Decorated], Decorated]:
    """The declaration of an option, as one of the command line."""
    kinds: dict[str, Any] = {
        "time_budget": SECONDS,
        "max_iterations": Count(),
        "timeouts": click.UNPROCESSED,  # a table in pyproject.toml
    }

    def examined(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is not None and not option.fits(value):
            raise click.BadParameter(f"{value!r} is not {option.meaning}.", ctx, parameter)
        return value

    return click.option(
        f"--{option.name.replace('_', '-')}",
        type=click.Choice(option.choices) if option.choices else kinds.get(option.name),
        default=option.default,
        is_flag=option.default is False,
        show_default=option.default not in (None, False),
        callback=examined,
        metavar=option.metavar or None,
        help=option.help,
    )


_MEASURING = [
    *map(_click, validation.of_place("command")),
    click.option("--report", type=click.Path(path_type=Path), help="Folder for the files of this run.", metavar="DIR"),
    click.option(
        "--python", metavar="PATH", callback=likely_interpreter,
        help="Measure in this interpreter; it needs nothing of ours installed.",
    ),
    click.option("--jobs", type=Count(), default=os.cpu_count() or 1, metavar="N",
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


def template(options: Mapping[str, Any]) -> Job:
    """The job that every scenario of the run is a copy of."""
    return Job(
        scenario=ScenarioInfo(id="", target="", name=""),
        python=options["python"] or sys.executable,
        allocator=options["allocator"],
        arenas=options["arenas"],
        gc=options["gc"],
        budget=Budget(
            time_s=options["time_budget"],
            max_iterations=options["max_iterations"],
            max_growth=validation.size(options["max_growth"]) or Budget().max_growth,
        ),
        cwd=Path.cwd(),
        values=options["values"],
        timeouts=validation.timeouts(options["timeouts"] or {}) or {},
    )


def changed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that change what is measured and differ from their defaults: for the command that reproduces."""
    defaults = {option.name: option.default for option in validation.of_place("command")} | {"python": None}
    found = {name: options[name] for name, default in defaults.items() if options[name] != default}
    if "timeouts" in found:
        limits = validation.timeouts(found["timeouts"]) or {}
        found["timeouts"] = ",".join(f"{name}={seconds:g}" for name, seconds in limits.items())
    return found


def known() -> frozenset[str]:
    """The names of all options of a measurement, with underscores."""

    @measuring
    def nothing() -> None:
        pass

    return frozenset(parameter.name for parameter in nothing.__click_params__)  # type: ignore[attr-defined]

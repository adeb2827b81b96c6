"""`elkyn-leakcheck bisect`: the test of `git bisect run`, or a search over the versions of a package."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from leakcheck import units
from leakcheck.cli.command import Command
from leakcheck.cli.options import SECONDS
from leakcheck.cli.terminal import echo
from leakcheck.errors import UsageError
from leakcheck.execution.workspace import Workspace
from leakcheck.records import RunResult
from leakcheck.report.text import line
from leakcheck.versions import sandbox, search

_GIT = {"good": 0, "bad": 1, "unknown": 125}
_STOP_BISECTING = 130
"""On 128 and more `git bisect` stops for good; on 2 it would take the revision for a bad one."""


@click.command("bisect", cls=Command)
@click.argument("targets", nargs=-1, required=True, metavar="SCENARIOS...")
@click.option("--package", metavar="NAME", help="Search over the versions of this package from pip's index.")
@click.option("--good", metavar="VERSION", help="A version of the package that does not leak.")
@click.option("--bad", metavar="VERSION", help="A later version that leaks.")
@click.option("--pre", is_flag=True, help="Try pre-releases too.")
@click.option("--with", "extra", multiple=True, metavar="REQUIREMENT", help="Install this too, beside the package.")
@click.option("--build", metavar="COMMAND", help="Under git bisect: builds the revision; a failure is exit 125.")
@click.option("--fingerprint", default="", metavar="HASH", help="Only this leak makes a version bad.")
@click.option("--time-budget", type=SECONDS, metavar="S", help="As in `run`.")
@click.option("-k", "keyword", metavar="EXPR", help="As in `run`.")
def command(
    targets: tuple[str, ...],
    package: str | None,
    good: str | None,
    bad: str | None,
    pre: bool,
    extra: tuple[str, ...],
    build: str | None,
    fingerprint: str,
    time_budget: float | None,
    keyword: str | None,
) -> None:
    """Find the first revision or version that leaks.

    Without --package it judges what is checked out, for `git bisect run`: exit 0 good, 1 bad, 125 cannot be judged
    (a build that fails, an error, an inconclusive scenario).

    With --package it installs versions in environments of their own and names the first that leaks: exit 0 when
    it was found, 6 when versions that cannot be judged are in between.

    \b
    Example:
      git bisect start HEAD v1.4
      git bisect run elkyn-leakcheck bisect scenarios/ --build "make"
      elkyn-leakcheck bisect --package parselib --good 1.0 --bad 2.0 scenario.py
    """
    options = [*(["--time-budget", str(time_budget)] if time_budget else []), *(["-k", keyword] if keyword else [])]
    if package is None:
        if good or bad or pre or extra:
            raise UsageError("--good, --bad, --pre and --with go with --package")
        code = _revision(targets, build, fingerprint, options)
    else:
        if not good or not bad:
            raise UsageError("--package needs a version that is --good and a later one that is --bad")
        if build:
            raise UsageError("--build is for git bisect; versions of a package are installed with pip")
        code = _package(package, good, bad, targets, fingerprint, [*options, "--no-control"], extra, pre)
    click.get_current_context().exit(code)


def _revision(targets: Sequence[str], build: str | None, fingerprint: str, options: Sequence[str]) -> int:
    with Workspace() as temporary:
        try:
            if build:
                sandbox.build(build, Path(sys.executable), Path.cwd())
            run = sandbox.run(Path(sys.executable), targets, Path.cwd(), temporary / "report", options)
        except (sandbox.TrialError, UsageError) as error:
            echo(f"unknown: {line(str(error), 600)}")
            return _GIT["unknown"]
        except KeyboardInterrupt:
            return _STOP_BISECTING
    if run.interrupted:
        return _STOP_BISECTING
    said = search.answer(run, fingerprint)
    echo(f"{said}: {_why(run)}")
    return _GIT[said]


def _package(
    package: str,
    good: str,
    bad: str,
    targets: Sequence[str],
    fingerprint: str,
    options: Sequence[str],
    extra: Sequence[str],
    pre: bool,
) -> int:
    known = sandbox.between(package, good, bad, prereleases=pre)
    absolute = [_absolute(target) for target in targets]
    asked: dict[str, str] = {}

    def ask(version: str) -> search.Answer:
        said, why = _try(package, version, absolute, fingerprint, options, extra)
        asked[version] = why
        echo(f"{package} {version}: {said}: {line(why, 300)}")
        return said

    for version, expected in ((good, "good"), (bad, "bad")):
        said = ask(version)
        if said != expected:
            raise UsageError(f"{package} {version} was given as {expected}, but it is {said}: {asked[version]}")
    found = search.search(known, ask)
    if found.unknown:
        between = ", ".join(found.unknown)
        echo(
            f"{package}: the first version that leaks is one of {between}, {found.first_bad}; "
            f"{found.last_good} does not leak, and what lies between cannot be judged"
        )
        return 6
    echo(
        f"{package} {found.first_bad} is the first that leaks, {found.last_good} does not "
        f"({units.count(len(asked), 'version')} tried): {line(asked[found.first_bad], 600)}"
    )
    return 0


def _try(
    package: str,
    version: str,
    targets: Sequence[str],
    fingerprint: str,
    options: Sequence[str],
    extra: Sequence[str],
) -> tuple[search.Answer, str]:
    """Install a version and run the scenarios in an empty folder: a source tree here must not be measured instead."""
    with Workspace() as place:
        (place / "run").mkdir()
        try:
            python = sandbox.environment(place / "environment")
            sandbox.install(python, [f"{package}=={version}", *extra])
            run = sandbox.run(python, targets, place / "run", place / "report", options)
        except sandbox.TrialError as error:
            return "unknown", str(error)
    return search.answer(run, fingerprint), _why(run)


def _absolute(target: str) -> str:
    path, separator, name = target.partition("::")
    if not Path(path).exists():
        raise UsageError(f"{path} does not exist; give a scenario file")
    return f"{Path(path).resolve()}{separator}{name}"


def _why(run: RunResult) -> str:
    """The worst of a run in one sentence."""
    if run.control.status == "failed":
        return f"the control failed: {run.control.reason}"
    wrong = [scenario for scenario in run.scenarios if not scenario.ok]
    undecided = [scenario for scenario in run.scenarios if scenario.verdict in ("inconclusive", "skipped")]
    for scenario in [*wrong, *undecided]:
        return f"{scenario.id}: {scenario.reason}"
    return f"{units.count(len(run.scenarios), 'scenario')} as expected"

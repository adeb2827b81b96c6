"""Build two revisions of a git repository and run the same scenarios on them in turn, A B A B."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from leakcheck.errors import UsageError
from leakcheck.records import Record, RunResult
from leakcheck.versions import sandbox

_HINT = "give a branch, a tag or a commit, or the path of a result"


class Revision(Record, frozen=True, kw_only=True):
    """A revision that is checked out."""

    name: str
    commit: str
    source: Path
    """The top of its tree."""
    directory: Path
    """The folder in it that is the user's current one."""


class Scenario(Record, frozen=True, kw_only=True):
    """A file or folder of scenarios that both sides are to run."""

    path: Path
    relative: str
    """Where it is to stand, from the folder that is run in."""


class Built(Record, frozen=True, kw_only=True):
    """A revision that is ready to be measured."""

    name: str
    python: Path
    directory: Path
    """Where its scenarios are run."""
    source: Path | None = None
    """The tree to import from, where the revision was not installed."""


def commit_of(repository: Path, revision: str) -> str:
    """The commit that a revision names. Raises `UsageError`."""
    ended = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if ended.returncode:
        raise UsageError(f"{revision!r} is neither a file nor a revision of the repository in {repository}; {_HINT}")
    return ended.stdout.strip()


def root(directory: Path) -> Path:
    """The top of the repository around `directory`. Raises `UsageError` outside of one."""
    ended = _git(directory, "rev-parse", "--show-toplevel")
    if ended.returncode:
        raise UsageError(f"{directory} is not in a git repository; {_HINT}")
    return Path(ended.stdout.strip())


def checked_out(current: Path, name: str, source: Path) -> Revision:
    """Put a revision into `source`, as a clone that leaves the user's repository and tree as they are."""
    repository = root(current)
    commit = commit_of(repository, name)
    for arguments in (
        ["clone", "--quiet", "--shared", "--no-checkout", str(repository), str(source)],
        ["-C", str(source), "checkout", "--quiet", "--detach", commit],
    ):
        ended = _git(repository, *arguments)
        if ended.returncode:
            raise sandbox.TrialError(f"cannot check out {name}: {ended.stderr.strip()[-500:]}")
    inside = current.resolve().relative_to(repository.resolve())
    return Revision(name=name, commit=commit, source=source, directory=source / inside)


def build(revision: Revision, scenarios: Sequence[Scenario], command: str | None, place: Path) -> Built:
    """Build a revision in `place`; the scenarios are copied to where it is run.

    Without a command it is installed with pip where it can be, and then run beside its source tree, so that what was
    built is measured and not what lies in the tree.
    """
    python = sandbox.environment(place / "environment")
    built = Built(name=revision.name, python=python, directory=revision.directory, source=revision.source)
    if command is not None:
        sandbox.build(command, python, revision.source)
    elif _is_installable(revision.source):
        sandbox.install(python, ["."], revision.source)
        built = Built(name=revision.name, python=python, directory=place / "run")
    for scenario in scenarios:
        target = built.directory / scenario.relative
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and target.samefile(scenario.path):
            continue
        if scenario.path.is_dir():
            shutil.copytree(scenario.path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(scenario.path, target)
    return built


def measure(
    sides: Sequence[Built],
    targets: Sequence[str],
    repeat: int,
    options: Sequence[str],
    place: Path,
    tell: Callable[[str], None],
) -> list[list[RunResult]]:
    """Run each side `repeat` times, in turn, so that what the machine does meanwhile meets both alike."""
    runs: list[list[RunResult]] = [[] for _ in sides]
    for turn in range(repeat):
        for index, side in enumerate(sides):
            tell(f"run {turn + 1} of {repeat}: {side.name}")
            report = place / f"report-{index}-{turn}"
            runs[index].append(sandbox.run(side.python, targets, side.directory, report, options, side.source))
    return runs


def _is_installable(source: Path) -> bool:
    if (source / "setup.py").exists():
        return True
    project = source / "pyproject.toml"
    if not project.exists():
        return False
    try:
        table = tomllib.loads(project.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
    return "build-system" in table or "project" in table


def _git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=directory, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise UsageError(f"git cannot be started: {error.strerror}; install it, or give paths of results") from error

"""Try a version of a package: an environment of its own, and a run of scenarios in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from leakcheck import results
from leakcheck.agent import lifeline
from leakcheck.errors import LeakcheckError, UsageError
from leakcheck.execution.workspace import clear_abandoned
from leakcheck.records import RunResult

_SHOWN_CHARACTERS = 1500
"""Characters of a command's output that its error shows, the last."""


_ENDING_S = 10.0
"""Seconds that a command may take to end when it is asked to: a run writes then what it has."""


class TrialError(LeakcheckError):
    """A version could not be installed, built or run, so nothing is known of it."""


def environment(directory: Path) -> Path:
    """Make an empty virtual environment of this Python in `directory`; returns its interpreter."""
    _checked([sys.executable, "-m", "venv", "--without-pip", str(directory)], "make a virtual environment")
    return directory / "bin" / "python"


def install(python: Path, requirements: Sequence[str], directory: Path | None = None) -> None:
    """Install with pip into the environment of `python`. Raises `TrialError` with pip's last words."""
    if not requirements:
        return
    command = [*_pip(), "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    _checked([*command, *requirements], f"install {' '.join(requirements)}", directory)


def build(command: str, python: Path, directory: Path) -> None:
    """Run a build command of the user in `directory`, with the environment of `python` first on the path."""
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    _checked(["env", f"PATH={path}", "sh", "-c", command], f"build with {command!r}", directory)


def run(
    python: Path,
    targets: Sequence[str],
    directory: Path,
    report: Path,
    options: Sequence[str],
    source: Path | None = None,
    before: Sequence[str] = (),
) -> RunResult:
    """Run scenarios in `directory`, measured in `python`; `source` is a tree to import from.

    `before` are words of a command that runs another, by which it is started.

    Raises `TrialError` when the run ends without results.
    """
    command = [*before, sys.executable, "-P", "-m", "leakcheck", "run", *targets, "--python", str(python)]
    ended = _ended([*command, "--report", str(report), "-qq", *options], directory, source)
    if not (report / results.FILE_NAME).exists():
        said = _last_words(ended)
        if ended.returncode == 4:
            raise UsageError(said)
        raise TrialError(f"the run ended with exit code {ended.returncode} and no result: {said}")
    return results.read(report)


def versions(package: str, *, prereleases: bool) -> list[str]:
    """The versions of a package that the index of pip has for this Python, oldest first."""
    command = [*_pip(), "index", "versions", package, "--disable-pip-version-check", *(["--pre"] * prereleases)]
    ended = _ended(command)
    for row in ended.stdout.splitlines():
        label, _, listed = row.partition(":")
        if label.strip() == "Available versions":
            return [version.strip() for version in listed.split(",")][::-1]
    raise UsageError(f"pip finds no versions of {package}: {_last_words(ended)}")


def between(package: str, oldest: str, newest: str, *, prereleases: bool) -> list[str]:
    """The versions that the index has from one to another, the oldest first; an empty `newest` is the last.

    Raises `UsageError` where it lacks one of them, or they are the other way round.
    """
    known = versions(package, prereleases=prereleases)
    newest = newest or known[-1]
    for version in (oldest, newest):
        if version not in known:
            shown = ", ".join(known[-20:])
            raise UsageError(f"the index has no {package} {version} for this Python; it has {shown}")
    first, last = known.index(oldest), known.index(newest)
    if first >= last:
        raise UsageError(f"{package} {oldest} must be older than {newest}")
    return known[first : last + 1]


def _pip() -> list[str]:
    if find_spec("pip") is None:
        raise UsageError(f"pip is not there for {sys.executable}; install it with `python -m ensurepip`")
    return [sys.executable, "-m", "pip"]


def _checked(command: Sequence[str], what: str, directory: Path | None = None) -> None:
    ended = _ended(command, directory)
    if ended.returncode:
        raise TrialError(f"cannot {what}: {_last_words(ended)}")


def _ended(
    command: Sequence[str], directory: Path | None = None, source: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. One of ours ends by itself where this process does, whatever happens to it."""
    ours, held = os.pipe()
    environment = {**os.environ, lifeline.VARIABLE: str(ours), **({"PYTHONPATH": str(source)} if source else {})}
    try:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=[ours],
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends that one in its own way
        )
    except OSError as error:
        os.close(held)
        raise TrialError(f"cannot start {command[0]}: {error.strerror}") from error
    finally:
        os.close(ours)
    try:
        output, errors = process.communicate()
    except BaseException:
        _end(process)
        raise
    finally:
        os.close(held)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _end(process: subprocess.Popen[str]) -> None:
    """Ask for the end, and after a while insist; what one of ours had no time to remove is removed."""
    process.terminate()
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        clear_abandoned()


def _last_words(ended: subprocess.CompletedProcess[str]) -> str:
    rows = (ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}").splitlines()
    return "\n".join(rows[-12:])[-_SHOWN_CHARACTERS:]

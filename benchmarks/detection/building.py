"""What both kinds of extensions of the benchmark are built by: a command that must succeed, and a compiler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path


class EnvironmentMissingError(Exception):
    """An environment cannot be made here; the message says why."""


def output(command: list[str]) -> str:
    """What a command prints. Raises `EnvironmentMissingError` where it is not there, or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise EnvironmentMissingError(str(missing)) from missing
    if done.returncode:
        raise EnvironmentMissingError(f"{' '.join(command[:6])} ... failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def compile_extension(source: Path, target: Path, flags: Iterable[str], python: Path = Path(sys.executable)) -> None:
    """Make a shared library of a C or C++ file for an interpreter. Raises `EnvironmentMissingError`."""
    compiler = "g++" if source.suffix == ".cpp" else "gcc"
    # Libraries come behind what needs them.
    output([compiler, "-shared", "-fPIC", "-w", _include(python), str(source), "-o", str(target), *flags])


@cache
def _include(python: Path) -> str:
    """The option that says where `Python.h` is."""
    return "-I" + output([str(python), "-c", "import sysconfig; print(sysconfig.get_path('include'))"]).strip()

"""Whether a node measures what would be measured here: the same tool, interpreter and packages."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from leakcheck import units
from leakcheck.errors import UsageError
from leakcheck.records import Record
from leakcheck.run import provenance

_NAMED = 3
"""Packages that a refusal names; the others are counted."""

_ASK = r"""
import json, platform
from importlib.metadata import distributions
found = {}
for each in distributions():
    found.setdefault(each.metadata["Name"] or "", each.version)
print(json.dumps([platform.python_implementation() + " " + platform.python_version(), found]))
"""
"""What an interpreter prints of itself: of a package that is there twice, the one that an import finds."""


class Likeness(Record, frozen=True, kw_only=True):
    """What two machines must have in common."""

    tool: str
    """Version of this tool."""
    sources: str
    """Hash of its sources: two checkouts may have one version."""
    python: str
    """Implementation and version of the interpreter that is measured."""
    packages: dict[str, str]
    """Versions of what is installed in it, as `pip freeze` tells them."""

    @property
    def digest(self) -> str:
        """Hash of all of it."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]


def here(python: str = "") -> Likeness:
    """That of this machine, with an interpreter other than this one if it is named. Raises `UsageError`."""
    try:
        done = subprocess.run(
            [python or sys.executable, "-c", _ASK], capture_output=True, text=True, check=True, timeout=60
        )
        version, packages = msgspec.json.decode(done.stdout, type=tuple[str, dict[str, str]])
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        raise UsageError(f"{python or sys.executable} does not say what is installed in it: {error}") from error
    return Likeness(
        tool=provenance.tool().version,
        sources=_sources(),
        python=version,
        packages={re.sub(r"[-_.]+", "-", name).lower(): each for name, each in packages.items()},
    )


def is_the_same_tool(wanted: Likeness) -> bool:
    """Whether this tool is that of another machine."""
    return (wanted.tool, wanted.sources) == (provenance.tool().version, _sources())


def difference(there: Likeness, wanted: Likeness) -> str:
    """Why a node that is like `there` cannot measure for one that is like `wanted`, in one clause; empty if it can."""
    if there.tool != wanted.tool:
        return f"has elkyn-leakcheck {there.tool}, and this run is one of {wanted.tool}; install that version there"
    if there.sources != wanted.sources:
        return f"has other sources of elkyn-leakcheck {wanted.tool}; install the same there"
    if there.python != wanted.python:
        return f"measures in {there.python}, and this run in {wanted.python}; start the worker with that"
    if there.packages != wanted.packages:
        return f"has other packages: {_packages(there.packages, wanted.packages)}; install the same there"
    return ""


def _packages(there: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    differing = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
    named = [
        f"{name} {there.get(name, 'not at all')} (here {wanted.get(name, 'not at all')})" for name in differing[:_NAMED]
    ]
    more = len(differing) - len(named)
    return ", ".join(named) + (f" and {units.count(more, 'package')} more" if more else "")


@cache
def _sources() -> str:
    """Hash of the modules of this tool."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]

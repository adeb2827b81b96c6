"""What a reader of a result must know of the machine and the tools that made it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Any

from leakcheck.execution.interpreter import allocator_in
from leakcheck.execution.job import Job
from leakcheck.records import Tool

_REMOTE = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^@/]*@)?(?P<host>[A-Za-z0-9.-]+)(?::\d+)?/|(?:[^@/:]+@)?(?P<scp>[A-Za-z0-9.-]+):(?!/))"
    r"(?P<path>.+?)(?:\.git)?/?"
)
"""A remote of git's: a URL, or `user@host:path`."""


def tool() -> Tool:
    """This tool, as installed."""
    return Tool(version=_version("elkyn-leakcheck") or "0+unknown")


def environment(job: Job) -> dict[str, Any]:
    """Interpreter, machine, helpers and checkout of a run."""
    return {**machine(job), **checkout()}


def machine(job: Job) -> dict[str, Any]:
    """What a result depends on of the machine that measures."""
    return {
        "python": platform.python_version() if job.python == sys.executable else _python_version(job.python),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()}-{platform.release()}",
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "libc": _libc(),
        "allocator": allocator_in(job.python, job.allocator),
        "gc": job.gc,
        "memray": _version("memray"),
        "valgrind": valgrind_version(),
    }


def checkout() -> dict[str, Any]:
    """Which sources lie in the current folder, and whether this is continuous integration."""
    root, _, commit = (_output(["git", "rev-parse", "--show-toplevel", "--short=12", "HEAD"]) or "").partition("\n")
    return {
        "commit": commit or None,
        "root": root or None,
        "repository": web_address(_output(["git", "config", "--get", "remote.origin.url"]) or "") if commit else None,
        "ci": "true" if os.environ.get("CI") else None,
    }


def web_address(remote: str) -> str | None:
    """Where people read what git fetches from `remote`, without a name or token in it; None for a local folder."""
    found = _REMOTE.fullmatch(remote)
    return f"https://{found['host'] or found['scp']}/{found['path']}" if found else None


def _libc() -> str | None:
    """Name and version of the C library; the system knows glibc's, any other is read out of the interpreter's file."""
    try:
        glibc = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):  # not on this system, or not known to its C library
        glibc = None
    return glibc or " ".join(platform.libc_ver()).strip() or None


def valgrind_version() -> str | None:
    """Version of the valgrind program on PATH, or None."""
    if shutil.which("valgrind") is None:
        return None
    version = _output(["valgrind", "--version"])
    return version.removeprefix("valgrind-") if version else None


def _version(package: str) -> str | None:
    """The version of an installed package by the name of its folder, `name-version.dist-info`.

    So it is laid down in "Recording installed projects" (PyPA). To import `importlib.metadata` takes a tenth of the
    time that a short run takes; it is asked where no such folder is found.
    """
    beginning, end = f"{package.replace('-', '_')}-", ".dist-info"
    for place in sys.path:
        try:
            names = os.listdir(place or os.curdir)
        except OSError:  # a zip file, or a folder that is not there
            continue
        for name in names:
            if name.startswith(beginning) and name.endswith(end):
                return name[len(beginning) : -len(end)]
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _python_version(python: str) -> str | None:
    return _output([python, "-ISc", "import sys; print(sys.version.split()[0])"])


def _output(command: list[str]) -> str | None:
    """What a short command prints, or None where it cannot."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None

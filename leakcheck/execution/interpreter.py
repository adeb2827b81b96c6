"""Another interpreter to measure in, looked at before anything is started there."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

OLDEST = (3, 11)
"""What the worker is written for, as `requires-python` says of the rest."""

_ASK = "import sys; sys.stdout.write('leakcheck %d %d' % sys.version_info[:2])"


def unfit(python: str) -> str:
    """Why nothing can be measured in an interpreter, in one clause; empty where it can."""
    return look(python)[1]


def look(python: str) -> tuple[tuple[int, ...], str]:
    """Its version, as (3, 12), and why nothing can be measured in it."""
    if python == sys.executable:
        return sys.version_info[:2], ""
    inside = Path(python, "bin", "python")
    if inside.exists():
        return (), f"is a folder; name the interpreter in it, {inside}"
    try:
        done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f"cannot be started: {getattr(error, 'strerror', None) or error}"
    name, *numbers = done.stdout.split() or [""]
    if name != "leakcheck":
        return (), "is no Python interpreter"
    version = tuple(map(int, numbers))
    if version < OLDEST:
        return version, f"is Python {dotted(version)}; Python {dotted(OLDEST)} or newer can be measured"
    return version, ""


def allocator_in(python: str, wanted: str) -> str:
    """What Python's objects come from there: a free-threaded build has an allocator of its own, and takes no other."""
    return "mimalloc" if _is_free_threaded(python) else wanted


@cache
def _is_free_threaded(python: str) -> bool:
    if python == sys.executable:
        return "t" in sys.abiflags
    asked = [python, "-I", "-S", "-c", "import sys; sys.exit('t' in sys.abiflags)"]
    try:
        return subprocess.run(asked, capture_output=True, check=False, timeout=30).returncode == 1
    except (OSError, subprocess.TimeoutExpired):
        return False  # whoever starts it says why it cannot be


def dotted(version: tuple[int, ...]) -> str:
    """`3.12`."""
    return ".".join(map(str, version))

"""Another interpreter to measure in, looked at before anything is started there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
"""What the worker is written for, as `requires-python` says of the rest."""

_ASK = "import sys; sys.stdout.write('leakcheck %d %d' % sys.version_info[:2])"


def unfit(python: str) -> str:
    """Why nothing can be measured in an interpreter, in one clause; empty where it can."""
    if python == sys.executable:
        return ""
    inside = Path(python, "bin", "python")
    if inside.exists():
        return f"is a folder; name the interpreter in it, {inside}"
    try:
        told = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be started: {getattr(error, 'strerror', None) or error}"
    name, *version = told.stdout.split() or [""]
    if name != "leakcheck":
        return "is no Python interpreter"
    if tuple(map(int, version)) < OLDEST:
        return f"is Python {'.'.join(version)}; Python {'.'.join(map(str, OLDEST))} or newer can be measured"
    return ""

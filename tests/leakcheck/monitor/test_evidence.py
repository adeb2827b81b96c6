"""Evidence from inside the living process, gathered in one that holds little else.

A walk of a process that has run thousands of tests takes a minute, and there are a dozen.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

INSIDE = Path(__file__).with_name("evidence_inside.py")


def test_evidence_from_inside():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", str(INSIDE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout

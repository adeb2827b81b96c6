"""Suites of tests as people have them, and `pytest --leakcheck` on them in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def run(folder: Path, *arguments: str, timeout: float = 280, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments],
        cwd=folder,
        env={**inherited, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def results(folder: Path) -> dict[str, dict]:
    run = json.loads((folder / "report" / "results.json").read_text())
    return {each["id"].partition("::")[2]: each for each in run["scenarios"]}

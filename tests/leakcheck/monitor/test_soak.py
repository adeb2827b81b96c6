"""Six real minutes: a service with workers, a leak that begins half-way, kill -9 of the monitor and of the service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parents[3] / "benchmarks" / "soak.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the soak watches a process tree in /proc")
def test_a_leak_that_begins_half_way_is_found_from_inside_and_from_outside(tmp_path):
    done = subprocess.run(
        [sys.executable, SOAK, "--keep", tmp_path], capture_output=True, text=True, timeout=900, check=False
    )
    assert [line for line in done.stdout.splitlines() if not line.startswith("ok ")] == []
    assert len(done.stdout.splitlines()) == 9, done.stdout + done.stderr
    assert done.returncode == 0, done.stderr

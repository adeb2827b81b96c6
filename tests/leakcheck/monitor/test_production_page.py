"""The Python blocks of the page on production run as printed, in order, in one process of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "production.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)

BEFORE = """
import elkyn
from leakcheck.monitor.alert import Alert

alert = Alert(**{fields})
store = elkyn.open("data/before")
"""
"""What the page's own words bring about: an alert that came, the store of the service."""
AFTER = "watch.stop()\nstore.close()\n"


def test_its_blocks_run_as_printed(tmp_path):
    assert len(BLOCKS) > 8
    fields = {
        "meter": "rss", "unit": "B", "rate": 2 * 2**20, "low": 2**20, "high": 3 * 2**20, "level": 2**29, "limit": 2**30,
        "hours_left": 256.0, "soonest": 170.7, "latest": 512.0, "window_hours": 96.0, "reason": "grew in a line",
        "at": "2026-01-02T03:04:05+00:00", "pid": 42, "uptime_hours": 100.0,
    }  # fmt: skip
    program = tmp_path / "service.py"
    watched, *rest = [block.replace("start_http_server(9000)", "start_http_server(0)") for block in BLOCKS]  # any port
    program.write_text("\n".join([watched, BEFORE.format(fields=fields), *rest, AFTER]))
    done = subprocess.run([sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "def reconnects" in done.stdout

"""The README's program runs as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_price_table_runs_as_printed(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (program,) = [block for block in blocks if "import elkyn" in block]
    assert len(program.splitlines()) <= 62
    (tmp_path / "prices.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "prices.py", "0.5"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"[1-9]\d* events delivered, 0 dropped", done.stdout)

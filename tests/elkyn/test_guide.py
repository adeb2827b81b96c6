"""The guide's Python blocks run as printed, in order, in one directory."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "elkyn.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL) if GUIDE.exists() else []
PROGRAM = next((block for block in BLOCKS if "A live price table" in block), "")


def test_the_guides_blocks_run_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) > 10
    scope: dict[str, object] = {"__name__": "guide"}
    with contextlib.redirect_stdout(io.StringIO()):
        for number, block in enumerate(BLOCKS):
            if block is not PROGRAM:
                exec(compile(block, f"{GUIDE.name}, block {number + 1}", "exec"), scope)


def test_the_price_table_runs_as_printed_and_has_sixty_lines_or_so(tmp_path: Path) -> None:
    program = tmp_path / "prices.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), "0.5"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "ACME" in done.stdout
    assert re.search(r"\d+ events delivered, 0 dropped, \d+ alarms", done.stdout)
    assert done.stderr == ""
    assert len(PROGRAM.strip().splitlines()) <= 62

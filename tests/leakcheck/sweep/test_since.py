"""A sweep leaves out what an earlier one has done, as long as its code is what it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = "def one(value):\n    return value\n"
APART = "def apart(value):\n    return [value]\n"
FRONT = "from parts import helper\n\ndef front(value):\n    return helper.one(value)\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, source in {"__init__": "from parts import apart, front, helper\n", "helper": HELPER, "apart": APART,
                         "front": FRONT}.items():  # fmt: skip
        (folder / f"{name}.py").write_text(source)
    return folder


def swept(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict]:
    done = subprocess.run(
        [sys.executable, "-m", "leakcheck", "sweep", "parts", "--no-control", "--time-per-target", "2",
         "--report", "now", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done, json.loads((folder / "now" / "sweep.json").read_text()) if done.returncode in (0, 1) else {}


def test_what_has_not_changed_is_left_out_and_stays_known(package, tmp_path):
    names = {"parts.apart.apart", "parts.front.front", "parts.helper.one"}
    first, before = swept(tmp_path)
    assert first.returncode == 0, first.stderr
    assert set(before["code"]) == names
    assert before["unchanged"] == []
    (tmp_path / "now" / "sweep.json").rename(tmp_path / "before.json")

    (package / "helper.py").write_text(f"{HELPER}# another text\n")
    second, after = swept(tmp_path, "--since", "before.json")
    assert second.returncode == 0, second.stderr
    assert after["unchanged"] == ["parts.apart.apart"]
    assert "1 left out, for their code is what it was" in second.stdout
    assert after["code"]["parts.apart.apart"] == before["code"]["parts.apart.apart"]
    assert after["code"]["parts.front.front"] != before["code"]["parts.front.front"]
    assert after["unfinished"] == []

    (tmp_path / "before.json").write_text(json.dumps({**before, "generator": "another"}))
    _, whole = swept(tmp_path, "--since", "before.json")
    assert whole["unchanged"] == []  # another version calls in other ways


def test_a_file_that_is_no_sweep_is_said(package, tmp_path):
    done, _ = swept(tmp_path, "--since", "missing.json")
    assert done.returncode == 4
    assert "missing.json does not exist" in done.stderr

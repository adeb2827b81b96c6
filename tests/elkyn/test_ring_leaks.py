"""The ring keeps nothing of the events that go through it, as leakcheck says of its C++ steps; a planted leak shows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "elkyn" / "native" / "tests" / "leaks_event_queue.cpp"
FLAGS = ["-std=c++20", "-g", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-pthread"]


def test_the_ring_keeps_nothing_to_the_byte(tmp_path):
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    program = tmp_path / "ring"
    build = [compiler, *FLAGS, "-I", ROOT / "leakcheck" / "adapters", SOURCE, "-o", program]
    subprocess.run(build, check=True, timeout=200)
    command = [sys.executable, "-m", "leakcheck", "run", "./ring", "--no-control", "--tools", "growth"]
    done = subprocess.run(
        [*command, "--report", "report"], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads((tmp_path / "report" / "results.json").read_text())["scenarios"]
    assert {each["id"]: each["verdict"] for each in found} == {
        "ring::push_and_pop": "clean",
        "ring::run_over": "clean",
        "ring::make_and_end": "clean",
        "ring::forget_a_record": "leak",
    }
    (planted,) = (each for each in found if each["id"] == "ring::forget_a_record")
    (heap,) = (each for each in planted["meters"] if each["name"] == "heap.bytes")
    assert heap["low"] == heap["growth"] == heap["high"], "one block an iteration, to the byte"

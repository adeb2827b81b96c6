"""What the look at reference counts costs a clean scenario: wall and processor time with it and without.

    python -m benchmarks.reference_counts [--pairs 5] [--python PATH]

The tool and all its processes are counted. Runs with it and without follow each other, and the medians are compared.
Exits with 1 where the wall time with it is more than 1.3 times of that without; on a shared machine the processor time
says more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_MOST = 1.3
"""Times of the wall time without it that a clean scenario may take."""
_STEPS = """
import json, re
from leakcheck import scenario

text = json.dumps([1, 2.5, {"a": "x" * 50}])

@scenario
def nothing(): ...

@scenario
def parses(): json.loads(text)

@scenario
def searches(): re.findall("a+", "banana " * 200)

@scenario
def has_many_objects():
    table = {f"key {number}": [number, {"value": str(number)}] for number in range(100_000)}
    yield lambda: table["key 77"][1]["value"]
"""
_WITHOUT = """
import sys
from leakcheck.verdict import reach
reach.references.counted = lambda *_: "left out"
from leakcheck.cli.main import main
sys.exit(main())
"""
_WITH = "import sys\nfrom leakcheck.cli.main import main\nsys.exit(main())"


def main() -> int:
    """Print a row for each step; returns 1 where it costs too much."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="runs of each kind")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the interpreter that is measured")
    options = parser.parse_args()
    names = [line[4:].partition("(")[0] for line in _STEPS.splitlines() if line.startswith("def ")]
    print(f"{'step':18} {'wall s':>14} {'':>6} {'processor s':>16}")
    right = True
    with tempfile.TemporaryDirectory(prefix="reference-counts-") as temporary:
        folder = Path(temporary)
        (folder / "steps.py").write_text(_STEPS, "utf-8")
        for name in names:
            rows = {program: [] for program in (_WITHOUT, _WITH)}
            for _ in range(options.pairs):
                for program, seconds in rows.items():
                    seconds.append(_run(program, name, folder, options.python))
            (wall, cpu), (wall_with, cpu_with) = (
                [statistics.median(each) for each in zip(*seconds, strict=True)] for seconds in rows.values()
            )
            right &= wall_with <= _MOST * wall
            print(
                f"{name:18} {wall:6.2f} {wall_with:7.2f} {wall_with / wall:6.2f}x {cpu:7.2f} {cpu_with:7.2f} "
                f"{cpu_with / cpu:6.2f}x",
                flush=True,
            )
    return 0 if right else 1


def _run(program: str, name: str, folder: Path, python: Path) -> tuple[float, float]:
    """Wall and processor seconds of one run, which must come out clean, with the look or without as it is asked for."""
    report = folder / "report"
    command = [sys.executable, "-c", program, "run", f"steps.py::{name}", "-q", "--no-control"]
    began, before = time.perf_counter(), os.times()
    subprocess.run([*command, "--report", str(report), "--python", str(python)], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    wall, after = time.perf_counter() - began, os.times()
    (result,) = json.loads((report / "results.json").read_bytes())["scenarios"]
    looked = any(meter["name"] == "refs" for meter in result["meters"])
    if result["verdict"] != "clean" or looked is not (program is _WITH):
        sys.exit(f"{name}: {result['verdict']}: {result['reason']}")
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    sys.exit(main())

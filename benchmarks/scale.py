"""What many tests and many scenarios cost, as ratios: the numbers of docs/scale.md.

python -m benchmarks.scale suite NAME FOLDER [PYTEST ARGUMENTS]   a suite as it is, and screened: processor seconds
python -m benchmarks.scale planted                              fifty leaking tests among fifty innocent ones
python -m benchmarks.scale step                                 what a call of an empty test costs, by the protocol
python -m benchmarks.scale page                                 reports of 500 and of 10,000 scenarios
python -m benchmarks.scale run                                  a verdict on an empty scenario, and on a cheap leak
python -m benchmarks.scale nodes [SCENARIOS WORKERS]            scenarios that sleep a second, on many nodes (3 minutes)
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import many_nodes, planted_suite

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}


def spent(command: list[str], folder: Path) -> tuple[float, float, str]:
    """Processor seconds of a command and all that it starts, seconds that it took, and what it printed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return processor, time.perf_counter() - began, done.stdout + done.stderr


def verdicts(report: Path) -> dict[str, str]:
    """By test."""
    return {each["id"]: each["verdict"] for each in json.loads((report / "results.json").read_text())["scenarios"]}


def suite(name: str, folder: Path, arguments: list[str]) -> None:
    """The plain run, then the same with screening; the judge's part is told apart."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    plain, plain_wall, _ = spent(pytest, folder)
    with tempfile.TemporaryDirectory() as report:
        code = "import leakcheck.pytest_plugin.screening as s; s.Screening.judge = lambda self: None; import pytest; "
        screened, screened_wall, _ = spent(
            [sys.executable, "-c", code + f"pytest.main({[*pytest[3:], '--leakcheck=screen']!r})"], folder
        )
        whole, whole_wall, _ = spent([*pytest, "--leakcheck=screen", "--leakcheck-report", report], folder)
        found = list(verdicts(Path(report)).values())
    counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in dict.fromkeys(found))
    ratios = f"screened {screened / plain:.1f} times, with the judge {whole / plain:.1f} times"
    waiting = f"waited for {screened_wall / plain_wall:.1f} and {whole_wall / plain_wall:.1f} times as long"
    print(f"{name}: {len(found)} tests ({counts}); plain {plain:.1f} s of processor; {ratios}; {waiting}")


def planted(sizes: Sequence[int]) -> None:
    """How many of the planted leaks of some bytes a call are found, and whether an innocent one is accused."""
    with tempfile.TemporaryDirectory() as made:
        folder, report = Path(made, "suite"), Path(made, "report")
        planted_suite.write(folder, sizes)
        options = ["-q", "-p", "no:cacheprovider"]
        plain, _, _ = spent([sys.executable, "-m", "pytest", *options], folder)
        options += ["--leakcheck=screen", "--leakcheck-report", str(report)]
        # Only the verdicts are asked for here, and not the places.
        code = "import leakcheck.pytest_plugin.screening as s; s.TOOLS = frozenset({'growth'}); import pytest; "
        whole, wall, _ = spent([sys.executable, "-c", code + f"pytest.main({options!r})"], folder)
        found = verdicts(report)
    leaking = [name for name in found if "test_leaks" in name]
    innocent = [name for name in found if "test_is_innocent" in name]
    seen = sum(found[name] == "leak" for name in leaking)
    accused = [name for name in innocent if found[name] == "leak"]
    flat = sum(found[name] == "screened" for name in innocent)
    print(f"planted: {seen} of {len(leaking)} leaks found; {len(accused)} of {len(innocent)} innocent ones accused")
    print(f"         {flat} innocent ones screened; {whole / plain:.0f} times the plain run, {wall:.0f} s in all")
    for name in [*(each for each in leaking if found[each] != "leak"), *accused]:
        print(f"         wrong: {name}: {found[name]}")


def step() -> None:
    """Repetitions of an empty test in one process: the whole protocol of pytest, and what is repeated of it."""
    with tempfile.TemporaryDirectory() as made:
        Path(made, "test_empty.py").write_text("def test_empty():\n    pass\n")
        _, _, said = spent([sys.executable, "-c", _STEP], Path(made))
    print(next(line for line in said.splitlines() if line.startswith("step: ")))


_STEP = """
import copy, time, pytest
from leakcheck.agent.hosts.pytest_protocol import Repeater

class Runner(Repeater):
    __module__ = "leakcheck.benchmark"

    def pytest_runtestloop(self, session):
        item = session.items[0]
        twin = copy.copy(item)

        def work(step):
            def each(call, count=3000):
                call()
                began = time.process_time()
                for _ in range(count):
                    call()
                return (time.process_time() - began) / count * 1e6

            quick, whole = each(step), each(lambda: self.whole(item, twin))
            print(f"step: an empty test takes {quick:.0f} us a call, {whole:.0f} us by the whole protocol: "
                  f"{whole / quick:.1f} times as long")

        self.inside(item, twin, work)
        return True

pytest.main(["-q", "-p", "no:leakcheck", "-p", "no:terminalreporter", "--capture=no"], plugins=[Runner()])
"""


def page() -> None:
    """The files of large runs: sizes, and what the process that writes them takes."""
    for count in (500, 10_000):
        with tempfile.TemporaryDirectory() as made:
            _, _, said = spent([sys.executable, "-c", _PAGE, str(count), made], Path.cwd())
        print(said.strip().splitlines()[-1])


_PAGE = """
import resource, sys, time
from pathlib import Path
import msgspec
from leakcheck import checking
from leakcheck.records import RunResult, summarize
from leakcheck.report.folder import write_run
from leakcheck.results import read
from leakcheck.run import provenance
from leakcheck.records import Control
from leakcheck.verdict.result import without_curves

count, folder = int(sys.argv[1]), Path(sys.argv[2])
clean = without_curves(checking.check(sum, [1]).record)
kept = []
leak = checking.check(lambda: kept.append(bytearray(100)), tools="growth").record
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scenarios = []
for number in range(count):
    each = msgspec.to_builtins(leak if number % 1000 == 7 else clean)  # a copy, as each would have its own
    scenarios.append(msgspec.convert(each | {"id": f"tests/test_file_{number % 97}.py::test_{number}"}, type(clean)))
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run = RunResult(tool=provenance.tool(), environment={}, started="2026-01-01T00:00:00+00:00", duration_s=1.0,
                control=Control(status="ok"), summary=summarize(scenarios), scenarios=scenarios)
began = time.process_time()
write_run(run, folder)
took = time.process_time() - began
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
again = read(folder)
assert again.summary == run.summary
size = {name: (folder / name).stat().st_size / 1e6 for name in ("index.html", "results.json")}
print(f"page: {count} scenarios: index.html {size['index.html']:.2f} MB, results.json {size['results.json']:.1f} MB; "
      f"the results take {(held - before) / 1024 / count * 1024:.1f} KiB of memory each, to write all files "
      f"{(most - held) / 1024:.0f} MiB more and {took:.1f} s of processor")
"""


def run() -> None:
    """Processor seconds and waiting of whole commands, the least of five."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "empty.py").write_text("from leakcheck import scenario\n\n@scenario\ndef empty():\n    pass\n")
        (folder / "leak.py").write_text(
            "from leakcheck import scenario\nkept = []\n\n@scenario\ndef keeps():\n    kept.append(bytearray(100))\n"
        )
        bare = min(spent([sys.executable, "-c", "pass"], folder)[0] for _ in range(5))
        for name in ("empty", "leak"):
            each = [spent([sys.executable, "-m", "leakcheck", "run", f"{name}.py", "-q"], folder) for _ in range(5)]
            processor, wall = min(one[0] for one in each), min(one[1] for one in each)
            print(
                f"run: {name}: {processor:.2f} s of processor ({processor / bare:.0f} bare interpreters), {wall:.2f} s"
            )


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or [""]
    if what == "suite" and len(rest) >= 2:
        suite(rest[0], Path(rest[1]), rest[2:])
    elif what == "planted" and all(map(str.isdecimal, rest)):
        planted([int(size) for size in rest] or planted_suite.SIZES)
    elif what == "nodes" and len(rest) in (0, 2) and all(map(str.isdecimal, rest)):
        many_nodes.run(*(map(int, rest) if rest else (10_000, 64)))
    elif what in ("step", "page", "run") and not rest:
        globals()[what]()
    else:
        sys.exit(__doc__)

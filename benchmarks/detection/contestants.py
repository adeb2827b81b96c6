"""Three tools on the same workload with their defaults: what each says, and how long the whole process takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks.detection import workloads
from benchmarks.detection.cases import HERE, Case
from leakcheck import records
from leakcheck.records import Finding

Answer = Literal["leak", "no leak", "inconclusive", "error"]
_TIMEOUT_S = 180
_UNCOMPILED = "PYTHONDONTWRITEBYTECODE"
"""Where it is set, a tool that runs from its sources is compiled again at each start, and an installed one is not."""


class Outcome(NamedTuple):
    """What a tool said of one case in one repeat."""

    answer: Answer
    seconds: float
    detail: str = ""
    findings: list[Finding] = []  # noqa: RUF012 - a NamedTuple's default, never changed

    def right(self, case: Case) -> bool:
        """Whether the answer is the truth; `inconclusive` is no answer."""
        return self.answer == ("leak" if case.leaks else "no leak") or (case.arguable and self.answer != "error")


def leakcheck(case: Case, python: Path, tools: str) -> Outcome:
    """Our tool, as a user starts it, control and reports included."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "leakcheck", "run", str(HERE / "scenario_of_case.py"), "--tools", tools),
            *("--report", folder, "-q", "--python", str(python)),
        ]
        done, seconds = _timed(command, case, folder)
        file = Path(folder, "results.json")
        if not file.exists():
            return Outcome("error", seconds, (done.stdout + done.stderr)[-300:])
        scenario = next(iter(records.decode(file.read_bytes()).scenarios), None)
        if scenario is None:
            return Outcome("error", seconds, f"no verdict within {_TIMEOUT_S} s")
        answers: dict[str, Answer] = {"leak": "leak", "clean": "no leak", "bounded": "no leak"}
        answer = answers.get(scenario.verdict, "inconclusive" if scenario.verdict == "inconclusive" else "error")
        return Outcome(answer, seconds, f"{scenario.verdict}: {scenario.reason}", scenario.findings)


def psleak(case: Case, python: Path) -> Outcome:
    """psleak's `MemoryLeakTestCase.execute` with its defaults, under the allocator that it asks for."""
    done, seconds = _timed([str(python), str(HERE / "peers_of_case.py")], case, None, PYTHONMALLOC="malloc")
    answers: dict[int, Answer] = {0: "no leak", 1: "leak"}
    return Outcome(answers.get(done.returncode, "error"), seconds, done.stderr[-300:])


def pytest_memray(case: Case, python: Path) -> Outcome:
    """pytest-memray's `limit_leaks("1 KB")` over 1000 calls."""
    # Without this project's own configuration, which names plugins that an environment of a case has not.
    plain = ["-q", "-c", os.devnull, "--rootdir", str(HERE), "-p", "no:cacheprovider"]
    command = [str(python), "-m", "pytest", "--memray", *plain, str(HERE / "peers_of_case.py")]
    done, seconds = _timed(command, case, None, DETECTION_PYTEST="1")
    if done.returncode == 1 and "was allowed to leak" in done.stdout + done.stderr:
        return Outcome("leak", seconds)
    return Outcome("no leak" if done.returncode == 0 else "error", seconds, done.stdout[-300:])


def _timed(
    command: list[str], case: Case, cwd: str | None, **environment: str
) -> tuple[subprocess.CompletedProcess[str], float]:
    environment = {workloads.PATH: str(case.workload), **case.environ, **environment}
    if case.path is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(case.path), os.environ.get("PYTHONPATH"))))
    if case.layer == "peer":
        environment[workloads.FUNCTION] = case.name
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd=cwd,
            env={name: value for name, value in os.environ.items() if name != _UNCOMPILED} | environment,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(command, 124, "", f"did not end within {_TIMEOUT_S} s")
    return done, time.perf_counter() - began

"""What this machine can do for a leak test: one record a means, each with what was found and what would help."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from leakcheck import meters
from leakcheck.execution.elf import sections
from leakcheck.execution.environment import left_out
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.interpreter import allocator_in, unfit
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker
from leakcheck.meters import BLOCKS_LEDGER, LEDGER
from leakcheck.run import provenance
from leakcheck.run.control import run_control

State = Literal["ok", "missing", "failed"]


class Check(NamedTuple):
    """One means: whether it is there, what was found, and what to do where it is not."""

    name: str
    state: State
    found: str
    advice: str = ""


def examine(python: str, allocator: Any, cwd: Path) -> list[Check]:
    """Look at everything a run may use, then run the control. Never raises for what is missing."""
    job = Job(
        scenario=ScenarioInfo(id="", target=str(Path(__file__).with_name("control_scenarios.py")), name="no_op"),
        python=python,
        allocator=allocator,
        cwd=cwd,
    )
    checks = _interpreter(job)
    checks += [Check("environment", "ok", sentence) for sentence in left_out()]
    checks += [_memray(python), _valgrind(), _symbols(python), _ptrace(), _pictures(), _browser()]
    if all(check.state != "failed" for check in checks):
        checks.append(_control(job))
    return checks


def _interpreter(job: Job) -> list[Check]:
    advice = "name an interpreter that starts, of Python 3.11 or newer, with --python"
    if problem := unfit(job.python):
        return [Check("interpreter", "failed", f"{job.python} {problem}", advice)]
    try:
        with Worker(job) as worker:
            opened = worker.open()
            worker.close()
    except WorkerFailed as failure:
        return [Check("interpreter", "failed", f"{job.python}: {failure}", advice)]
    version = opened.python.split()[0]
    checks = [Check("interpreter", "ok", f"{platform.python_implementation()} {version} ({job.python})")]
    missing = opened.unavailable
    allocator = allocator_in(job.python, job.allocator)
    ledger = LEDGER if allocator == "malloc" else BLOCKS_LEDGER
    if ledger in missing:
        checks.append(Check("allocator", "failed", f"{ledger}: {missing[ledger]}", "a Linux system with glibc >= 2.33"))
    else:
        libc = " ".join(platform.libc_ver())
        checks.append(Check("allocator", "ok", f"{allocator}, exact ledger {ledger} ({libc})"))
    known = {*meters.of_family("heap"), *(spec.name for spec in meters.CATALOGUE if spec.occasional)}
    others = {name: why for name, why in missing.items() if name not in known}
    for kind, means, names in _by_exactness(name for name, _ in opened.meters):
        checks.append(Check(f"{kind} meters", "ok", ", ".join(names), means))
    checks += [Check(name, "missing", "not read here", why) for name, why in others.items()]
    return checks


def _by_exactness(names: Iterable[str]) -> Iterator[tuple[str, str, list[str]]]:
    """The meters by how exactly they count: the kind, what that means, and their names."""
    specs = [meters.of(name, "") for name in names]
    pages = [spec.name for spec in specs if spec.decisive and spec.family in ("pages", "children") and spec.unit == "B"]
    exact = [spec.name for spec in specs if spec.decisive and spec.name not in pages]
    evidence = [spec.name for spec in specs if not spec.decisive]
    yield "exact", "each byte, object or file that is lost counts", exact
    yield "page", "what is lost counts once it fills a page of memory", pages
    yield "other", "evidence only: they decide nothing", evidence


def _memray(python: str) -> Check:
    found = _asked(python, "import memray; print(memray.__version__)")
    if found is None:
        return Check(
            "memray", "missing", "cannot be imported", f"{python} -m pip install memray: names the lines that allocate"
        )
    return Check("memray", "ok", found)


def _valgrind() -> Check:
    version = provenance.valgrind_version()
    if version is None:
        advice = "install the system package `valgrind`: finds what native code loses, with C stacks"
        return Check("valgrind", "missing", "not on PATH", advice)
    return Check("valgrind", "ok", version)


def _symbols(python: str) -> Check:
    """Without a symbol table the interpreter's native frames have no names; without debug information no lines."""
    try:
        names = {section.name for section in sections(Path(python).resolve().read_bytes())}
    except OSError as error:
        return Check("debug symbols", "missing", f"{python} cannot be read: {error.strerror}")
    except ValueError as error:
        return Check("debug symbols", "missing", f"{python}: {error}")
    if ".debug_info" in names:
        return Check("debug symbols", "ok", "the interpreter has debug information")
    advice = (
        "build extensions with -g to see their lines; for the interpreter itself: python3-dbg (verdicts need neither)"
    )
    if ".symtab" in names:
        return Check("debug symbols", "ok", "the interpreter has function names, no lines", advice)
    return Check("debug symbols", "missing", "the interpreter is stripped", advice)


def _ptrace() -> Check:
    setting = Path("/proc/sys/kernel/yama/ptrace_scope")
    try:
        scope = int(setting.read_text().strip())
    except (OSError, ValueError):
        return Check("ptrace", "ok", "not restricted")
    if scope == 0:
        return Check("ptrace", "ok", "not restricted")
    advice = "runs do not need it; to attach to a running process: root, or `sysctl kernel.yama.ptrace_scope=0`"
    return Check("ptrace", "ok" if scope == 1 else "missing", f"restricted (ptrace_scope {scope})", advice)


def _pictures() -> Check:
    missing = [name for name, there in (("objgraph", find_spec("objgraph")), ("dot", shutil.which("dot"))) if not there]
    if missing:
        advice = "for --graph: python -m pip install objgraph, and the system package `graphviz`"
        return Check("pictures", "missing", f"without {' and '.join(missing)}", advice)
    return Check("pictures", "ok", "objgraph and graphviz, for --graph")


def _browser() -> Check:
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if where := shutil.which(name):
            return Check("browser", "ok", f"{where} (only the tests of this project need it)")
    return Check("browser", "missing", "no Chromium or Chrome", "only the tests of this project need it")


def _control(job: Job) -> Check:
    control = run_control(job)
    if control.status == "failed":
        return Check(
            "control", "failed", control.reason, "run it again on a quieter machine, or without other LD_PRELOADs"
        )
    outcomes = ", ".join(f"{check.name}: {check.verdict}" for check in control.checks)
    return Check("control", "ok", f"{outcomes} ({control.duration_s:.1f} s)")


def _asked(python: str, code: str) -> str | None:
    """What one line of Python prints in that interpreter, None where it fails."""
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

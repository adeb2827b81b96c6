"""Into a running Python process: the agent where that takes remote code, else memray for some seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from leakcheck.agent.entry import resident
from leakcheck.diagnosis.fingerprint import of_frames
from leakcheck.diagnosis.frames import python_frame
from leakcheck.errors import LeakcheckError
from leakcheck.execution.workspace import Workspace
from leakcheck.records import Finding

FINDINGS = 10
"""Findings of one window, those with most bytes first."""
ATTACH_TIMEOUT = 60
"""Seconds that attaching may take."""
OLDER = 3
"""Exit code of an interpreter that has no remote code."""
_SEND = (
    f"import sys\nif not hasattr(sys, 'remote_exec'): sys.exit({OLDER})\nsys.remote_exec(int(sys.argv[1]), sys.argv[2])"
)
_JOIN = """
import sys
resident = sys.modules.get("_leakcheck_resident")
if resident is None:
    sys.path.insert(0, {folder!r})
    try:
        resident = __import__("resident")
    finally:
        sys.path.remove({folder!r})
    sys.modules["_leakcheck_resident"] = sys.modules.pop("resident")
resident.join({address!r})
"""
CAP_SYS_PTRACE = 19
"""The bit of this capability in the numbers of /proc."""


class TooOld(LeakcheckError):  # noqa: N818 - no error: another way is tried
    """The process's interpreter takes no remote code."""


def enter(pid: int, address: str, folder: Path) -> str:
    """Have the agent begin in a process, and come to `address`. Returns why it cannot; empty where it was sent.

    By the process's own interpreter, for both have to be of one version: nothing need be installed there. The process
    reads the code from `folder` when it next runs Python. Raises `TooOld` before Python 3.14.
    """
    reason = may_trace(pid)
    if reason:
        return f"cannot enter process {pid}: {reason}"
    script = folder / f"join-{pid}.py"
    script.write_text(_JOIN.format(folder=os.path.dirname(resident.__file__), address=address), "utf-8")
    folder.chmod(0o755)
    try:
        interpreter = os.readlink(f"/proc/{pid}/exe")
        if "python" not in os.path.basename(interpreter):
            return f"process {pid} runs {os.path.basename(interpreter)}, and no Python"
        command = [interpreter, "-I", "-S", "-c", _SEND, str(pid), str(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ATTACH_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot enter process {pid}: {error}"
    if done.returncode == OLDER:
        raise TooOld(f"process {pid} takes no remote code: that needs Python 3.14 or newer there")
    said = done.stderr.strip().splitlines()
    return f"cannot enter process {pid}: {said[-1] if said else 'it did not say why'}" if done.returncode else ""


def look(pids: Sequence[int], seconds: float, rate: float) -> tuple[list[Finding], str]:
    """Findings in running processes, and why there are none; one of both is empty. The first process is the main one.

    The agent enters those that take remote code. Where none does, memray tracks the first for so many seconds.
    """
    from leakcheck.monitor.inside import Inside

    reasons, inside = list[str](), Inside()
    try:
        with Workspace() as folder:
            for pid in pids:
                try:
                    reasons.append(enter(pid, inside.address, Path(folder)))
                except TooOld as old:
                    reasons.append(str(old))
            if not all(reasons):
                return inside.look(rate)
    finally:
        inside.close()
    findings, why_not = survivors(pids[0], seconds)
    return findings, f"{why_not}; {reasons[0]}" if why_not and reasons[0] not in why_not else why_not


def survivors(pid: int, seconds: float) -> tuple[list[Finding], str]:
    """Findings of a tracking window in another process, and why there are none; one of both is empty.

    Uses `memray attach`, which needs a debugger (gdb or lldb) and the right to trace the process, or a Python that
    takes remote code (3.14 and newer). The process need not have memray: it is given ours, which must be built for the
    same version of Python.
    """
    reason = may_trace(pid) or debugger_fault()
    if reason:
        return [], f"cannot attach to process {pid}: {reason}"
    with Workspace() as folder:
        capture = Path(folder, "capture.bin")
        command = [sys.executable, "-c", _bringing_memray(), "attach", "--native"]
        command += ["--duration", str(max(1, round(seconds)))]
        command += ["-o", str(capture), str(pid)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ATTACH_TIMEOUT)
        except (OSError, subprocess.TimeoutExpired) as error:
            return [], f"memray could not attach to process {pid}: {error}"
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            return [], f"memray could not attach to process {pid}: {said[-1] if said else 'it did not say why'}"
        time.sleep(seconds + 1)
        return read(capture, seconds)


def _bringing_memray() -> str:
    """The program of `memray attach`, which also injects where memray is, behind all that the process has itself."""
    import memray

    # What is injected is formatted: braces in a path are doubled.
    folder = str(Path(memray.__file__).parents[1]).replace("{", "{{").replace("}", "}}")
    begin = f"import sys\nsys.path.append({folder!r})\n"
    end = f"\nsys.path.remove({folder!r})\n"
    return (
        "import sys, memray.commands.attach as attach; from memray.commands import main\n"
        f"attach.PAYLOAD = {begin!r} + attach.PAYLOAD + {end!r}\n"
        "sys.exit(main(sys.argv[1:]))"
    )


def read(capture: Path, seconds: float) -> tuple[list[Finding], str]:
    """The places of a capture whose allocations were not freed, those with most bytes first."""
    import memray

    sites: dict[tuple[tuple[str, int, str], ...], list[int]] = {}
    try:
        with memray.FileReader(capture) as reader:
            for record in reader.get_leaked_allocation_records(merge_threads=True):
                stack = tuple((file, line, name) for name, file, line in record.stack_trace())
                if stack:
                    site = sites.setdefault(stack, [0, 0])
                    site[0] += record.n_allocations
                    site[1] += record.size
    except (OSError, ValueError) as error:
        return [], f"memray's capture cannot be read: {error}"
    largest = sorted(sites.items(), key=lambda item: -item[1][1])[:FINDINGS]
    findings = []
    for stack, (count, size) in largest:
        frames = [python_frame(file, line, name) for file, line, name in stack]
        place = next((frame for frame in frames if frame.user), frames[0])
        findings.append(
            Finding(
                kind="allocation",
                fingerprint=of_frames("allocation", frames),
                title=(
                    f"{size:,} bytes in {count:,} allocations of {seconds:.0f} s were not freed in that time: "
                    f"{place.function} at {place.file}:{place.line}"
                ),
                bytes_per_iteration=size / seconds,
                count_per_iteration=count / seconds,
                meter="rss",
                stack=frames,
                source="memray",
            )
        )
    return findings, "" if findings else f"nothing that was allocated in {seconds:.0f} s stayed"


def debugger_fault() -> str:
    """Why gdb cannot call a function in a process here; empty where it can, or where there is none.

    Tried on a process of ours: one that does not know the processor's registers fails in the middle of it, and may end
    the process that it was to look into.
    """
    gdb = shutil.which("gdb")
    if gdb is None:
        return ""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"]) as ours:
        command = [gdb, "-nx", "-batch", "-p", str(ours.pid), "-ex", "call (int) getpid()"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ATTACH_TIMEOUT)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"gdb cannot be run: {error}"
        finally:
            ours.kill()
    if f"$1 = {ours.pid}" in done.stdout:
        return ""
    said = [line for line in done.stderr.splitlines() if line.strip()]
    why = f" ({said[-1].strip().rstrip('.')})" if said else ""
    return f"gdb cannot call a function in a process here{why}: a newer gdb may know this processor"


def may_trace(pid: int, proc: Path = Path("/proc")) -> str:
    """Why this system will not let us attach to a process; empty where nothing speaks against it."""
    if not hasattr(os, "geteuid"):
        return "attaching needs a POSIX system"
    scope = proc / "sys/kernel/yama/ptrace_scope"
    level = scope.read_text("ascii").strip() if scope.exists() else "0"
    try:
        own, theirs = ((proc / of / "status").read_text("ascii", "replace") for of in ("self", str(pid)))
    except OSError:
        return f"process {pid} cannot be seen"
    capabilities = next((int(line.split()[1], 16) for line in own.splitlines() if line.startswith("CapEff:")), 0)
    owner = next((int(line.split()[1]) for line in theirs.splitlines() if line.startswith("Uid:")), -1)
    if level == "3":
        return "kernel.yama.ptrace_scope is 3: nobody may attach until the next boot"
    if capabilities >> CAP_SYS_PTRACE & 1:
        return ""
    if level == "2":
        return "kernel.yama.ptrace_scope is 2: run this as root, or give it CAP_SYS_PTRACE"
    if owner != os.geteuid():
        return "the process is another user's: run this as that user or as root (in a container: --cap-add SYS_PTRACE)"
    return "kernel.yama.ptrace_scope is 1: run this as root, or set it to 0" if level == "1" else ""

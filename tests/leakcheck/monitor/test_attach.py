"""Whether a process may be traced, by what the system says of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from leakcheck.monitor import attach
from leakcheck.monitor.attach import TooOld, debugger_fault, enter, may_trace, survivors

PTRACE, NOTHING = 1 << 19, 0


def proc(root, *, scope=None, capabilities=NOTHING, owner=None):
    """A /proc with this process and process 7."""
    owner = os.geteuid() if owner is None else owner
    for name, uid in (("self", os.geteuid()), ("7", owner)):
        (root / name).mkdir()
        (root / name / "status").write_text(f"Uid:\t{uid}\t{uid}\nCapEff:\t{capabilities:016x}\n")
    if scope is not None:
        (root / "sys/kernel/yama").mkdir(parents=True)
        (root / "sys/kernel/yama/ptrace_scope").write_text(f"{scope}\n")
    return root


@pytest.mark.parametrize(("scope", "capabilities"), [(None, NOTHING), (0, NOTHING), (1, PTRACE), (2, PTRACE)])
def test_it_may(tmp_path, scope, capabilities):
    assert may_trace(7, proc(tmp_path, scope=scope, capabilities=capabilities)) == ""


@pytest.mark.parametrize(("scope", "capabilities"), [(1, NOTHING), (2, NOTHING), (3, NOTHING), (3, PTRACE)])
def test_the_scope_may_forbid_it(tmp_path, scope, capabilities):
    reason = may_trace(7, proc(tmp_path, scope=scope, capabilities=capabilities))
    assert reason.startswith(f"kernel.yama.ptrace_scope is {scope}")


def test_the_process_of_another_user_takes_a_capability(tmp_path):
    (tmp_path / "without").mkdir()
    (tmp_path / "with").mkdir()
    other = os.geteuid() + 1
    assert "another user's" in may_trace(7, proc(tmp_path / "without", owner=other))
    assert may_trace(7, proc(tmp_path / "with", owner=other, capabilities=PTRACE)) == ""


def test_a_process_that_is_gone_cannot_be_seen(tmp_path):
    assert may_trace(8, proc(tmp_path)) == "process 8 cannot be seen"


@pytest.mark.parametrize(
    ("prints", "fault"),
    [
        ('echo "\\$1 = $4"', ""),
        (
            "echo 'Cannot write registers.' >&2; exit 1",
            "gdb cannot call a function in a process here (Cannot write regist",
        ),
        ("exit 1", "gdb cannot call a function in a process here: a newer gdb may know this processor"),
    ],
)
def test_the_debugger_is_tried_on_a_process_of_ours_first(tmp_path, monkeypatch, prints, fault):
    gdb = tmp_path / "gdb"
    gdb.write_text(f"#!/bin/sh\n{prints}\n")
    gdb.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert debugger_fault().startswith(fault)
    assert bool(debugger_fault()) == bool(fault)


@pytest.mark.skipif(not shutil.which("gdb"), reason="gdb not found: install it with apt-get install gdb")
def test_a_process_without_memray_is_looked_into():
    code = "import sys\ntry:\n    import memray\nexcept ImportError:\n    print('none', flush=True)\n" + (
        "kept = []\ndef grow(): kept.append(bytearray(100_000))\nwhile True: grow(); sum(range(500_000))\n"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "none\n"
        findings, why_not = survivors(process.pid, 2)
        if forbidden := may_trace(process.pid) or debugger_fault():
            assert forbidden in why_not
            assert process.poll() is None
            return
        assert not why_not
        assert "grow" in findings[0].title
    finally:
        process.kill()
        process.wait()


def test_a_process_that_may_not_be_traced_is_not_entered(tmp_path, monkeypatch):
    monkeypatch.setattr(attach, "may_trace", lambda _: "kernel.yama.ptrace_scope is 3: nobody may attach")
    assert enter(os.getpid(), "nobody", tmp_path) == (
        f"cannot enter process {os.getpid()}: kernel.yama.ptrace_scope is 3: nobody may attach"
    )


def test_what_cannot_be_entered_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(attach, "may_trace", lambda _: "")
    with subprocess.Popen(["sleep", "60"]) as other:
        assert enter(other.pid, "nobody", tmp_path) == f"process {other.pid} runs {_program(other.pid)}, and no Python"
        other.kill()
    assert "No such file or directory" in enter(other.pid, "nobody", tmp_path)


def _program(pid):
    return os.path.basename(os.readlink(f"/proc/{pid}/exe"))


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python takes remote code: it is entered in the next test")
def test_a_python_that_takes_no_remote_code_is_too_old(tmp_path, monkeypatch):
    monkeypatch.setattr(attach, "may_trace", lambda _: "")
    with pytest.raises(TooOld, match="takes no remote code: that needs Python"):
        enter(os.getpid(), "nobody", tmp_path)


@pytest.mark.slow
def test_a_running_python_that_takes_remote_code_is_looked_into_with_nothing_installed(tmp_path):
    """Its modules are as before but for ours, and its threads are gone when it was looked at."""
    root = Path(__file__).parents[3]
    made = subprocess.run([root / "ci/pythons", "3.14"], capture_output=True, text=True, check=True, timeout=1200)
    file = tmp_path / "service.py"
    file.write_text(
        "import time\nkept = []\nprint(1, flush=True)\n"
        "while True:\n    kept.append(bytearray(10_000))\n    time.sleep(0.01)\n"
    )
    with subprocess.Popen([made.stdout.strip(), "-I", str(file)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        findings, why_not = attach.look([process.pid], 2, 1e6)
        threads = len(os.listdir(f"/proc/{process.pid}/task"))
        process.kill()
    if forbidden := may_trace(os.getpid()):
        assert forbidden in why_not
        return
    assert not why_not
    assert findings[0].stack[0].line == 5
    assert "held by __main__.kept[*], never removed" in findings[0].title
    assert threads == 1

"""Whether a process may be traced, by what the system says of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from leakcheck.monitor.attach import may_trace, survivors

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


@pytest.mark.skipif(not shutil.which("gdb"), reason="gdb not found: install it with apt-get install gdb")
def test_a_process_without_memray_is_looked_into():
    code = "import sys\ntry:\n    import memray\nexcept ImportError:\n    print('none', flush=True)\n" + (
        "import time\nkept = []\ndef grow(): kept.append(bytearray(100_000))\nwhile True: grow(); time.sleep(0.01)\n"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "none\n"
        findings, why_not = survivors(process.pid, 2)
        if forbidden := may_trace(process.pid):
            assert forbidden in why_not
            return
        assert not why_not
        assert "grow" in findings[0].title
    finally:
        process.kill()
        process.wait()

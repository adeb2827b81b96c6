"""The tool is stopped: its processes end, its folders go, what is finished is written, what was under way is judged."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from processes import eventually, is_running

from leakcheck.execution.workspace import PREFIX

SLOW = """
    import os, subprocess, sys, time
    from leakcheck import scenario

    @scenario
    def quick():
        pass

    @scenario
    def slow():
        print(os.getpid(), file=open("pids", "a"))
        yield step
        open("torn_down", "w").close()

    kept = []
    def step():
        kept.append(bytearray(1000))
        open("under_way", "w").close()
        {step}
"""
STEPS = {
    "sleeps": "time.sleep(0.2)",
    "computes": "until = time.monotonic() + 600\n        while time.monotonic() < until: pass",
    "is in a long call of C": "sum(range(10**12))",
    "has started others": "print(subprocess.Popen(['sleep', '600']).pid, file=open('pids', 'a')); time.sleep(600)",
    "has started a session": (
        "print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, file=open('pids', 'a')); time.sleep(600)"
    ),
}


def _with_a_terminal() -> None:
    """Where the tests run under `nohup`, their commands do not."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Running:
    """A command of ours under way in a folder of its own, with its own folder for temporary files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, **options) -> subprocess.Popen[str]:
        environment = {**os.environ, "CI": "true", "TMPDIR": str(self.temporary), "PYTEST_ADDOPTS": ""}
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "preexec_fn": _with_a_terminal, **options}
        command = [sys.executable, "-m", *arguments]
        self.process = subprocess.Popen(command, cwd=self.folder, text=True, env=environment, **how)
        return self.process

    def write(self, name: str, source: str) -> None:
        (self.folder / name).write_text(textwrap.dedent(source))

    def wait_for(self, name: str) -> None:
        assert eventually((self.folder / name).exists), f"{name} did not come"

    @property
    def pids(self) -> list[int]:
        """Of the measured process and of what it has started."""
        return [int(each) for each in (self.folder / "pids").read_text().split()]

    def left(self) -> list[str]:
        """What is left of our temporary folders."""
        return [name for name in os.listdir(self.temporary) if PREFIX in name]

    def results(self) -> dict:
        (file,) = self.folder.glob("reports/2*/results.json")
        return json.loads(file.read_text())

    def text(self, name: str) -> str:
        (file,) = self.folder.glob(f"reports/2*/{name}")
        return file.read_text()


@pytest.fixture
def running(tmp_path):
    found = Running(tmp_path)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.process.kill()
        found.process.wait()
    for pid in found.pids if (tmp_path / "pids").exists() else []:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def under_way(running):
    """A run whose first scenario is finished and whose second is in its step."""

    def start(step: str, *options: str, **streams) -> Running:
        running.write("slow.py", SLOW.format(step=STEPS[step]))
        running.start("leakcheck", "run", "slow.py", "--jobs", "1", "--no-control", *options, **streams)
        running.wait_for("under_way")
        return running

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_stopped_writes_what_it_has_and_says_so_everywhere(under_way, number):
    running = under_way("sleeps")
    running.process.send_signal(number)
    printed, _ = running.process.communicate(timeout=30)
    assert running.process.returncode == 2, printed
    assert "interrupted" in printed
    results = running.results()
    assert results["interrupted"] is True
    quick, slow = results["scenarios"]
    assert (quick["verdict"], quick["interrupted"]) == ("clean", False)
    assert (slow["verdict"], slow["interrupted"]) == ("inconclusive", True)
    assert slow["reason"] == "interrupted before it was decided"
    assert slow["meters"], "what was read is kept"
    for name in ("index.html", "summary.md", "junit.xml"):
        assert "interrupted" in running.text(name), name
    assert running.left() == []
    assert not any(map(is_running, running.pids))
    assert (running.folder / "torn_down").exists()


def test_a_run_that_is_killed_leaves_what_was_finished(under_way):
    running = under_way("sleeps")
    running.process.kill()
    running.process.wait()
    results = running.results()
    assert results["interrupted"] is True
    assert [(each["id"], each["verdict"]) for each in results["scenarios"]] == [("slow.py::quick", "clean")]
    assert not (running.folder / "reports" / "latest").exists()


def test_the_latest_report_is_the_last_that_was_finished(running):
    running.write("quick.py", "from leakcheck import scenario\n@scenario\ndef quick():\n    pass\n")
    running.start("leakcheck", "run", "quick.py", "--no-control").communicate(timeout=60)
    latest = (running.folder / "reports" / "latest").resolve()
    running.write("slow.py", SLOW.format(step=STEPS["sleeps"]))
    running.start("leakcheck", "run", "slow.py", "--no-control")
    running.wait_for("under_way")
    running.process.send_signal(signal.SIGINT)
    running.process.communicate(timeout=30)
    assert (running.folder / "reports" / "latest").resolve() == latest


def test_a_run_that_is_stopped_before_it_measures_leaves_no_report(running):
    running.write("slow.py", "import time\nopen('under_way', 'w').close()\ntime.sleep(600)\n# scenario\n")
    running.start("leakcheck", "run", "slow.py", "--no-control")
    running.wait_for("under_way")
    running.process.send_signal(signal.SIGTERM)
    printed, _ = running.process.communicate(timeout=30)
    assert (running.process.returncode, printed.strip()) == (2, "elkyn-leakcheck: interrupted")
    assert list(running.folder.glob("reports/*")) == []
    assert running.left() == []


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_cannot_be_called_off_is_ended_with_all_that_it_has_started(under_way, step):
    running = under_way(step)
    running.process.send_signal(signal.SIGTERM)
    printed, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 2, printed
    assert eventually(lambda: not any(map(is_running, running.pids)))
    assert running.left() == []


@pytest.mark.parametrize("step", [step for step in STEPS if "session" not in step])
def test_when_the_tool_is_killed_its_processes_end_in_whatever_they_are(under_way, step):
    running = under_way(step)
    running.process.kill()
    assert eventually(lambda: not any(map(is_running, running.pids)), 5.0)


def test_what_a_killed_run_has_left_the_next_one_clears(under_way):
    running = under_way("has started a session")
    running.process.kill()
    running.process.wait()
    assert running.left() != []
    running.write("quick.py", "from leakcheck import scenario\n@scenario\ndef quick():\n    pass\n")
    running.start("leakcheck", "run", "quick.py", "--no-control").communicate(timeout=60)
    assert running.left() == []
    assert eventually(lambda: not any(map(is_running, running.pids)))


def test_a_terminal_that_closes_takes_no_result_with_it(under_way):
    ours, theirs = pty.openpty()
    running = under_way("sleeps", stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=_own_terminal)
    os.close(theirs)
    os.close(ours)  # nobody is left at the other end
    assert running.process.wait(30) == 2
    assert [each["verdict"] for each in running.results()["scenarios"]] == ["clean", "inconclusive"]


def _own_terminal() -> None:
    import fcntl
    import termios

    _with_a_terminal()
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_reader_that_goes_takes_no_result_with_it(running):
    running.write("quick.py", "from leakcheck import scenario\n@scenario\ndef quick():\n    pass\n")
    reads, writes = os.pipe()
    running.start("leakcheck", "run", "quick.py", "--no-control", stdout=writes)
    os.close(reads)
    os.close(writes)
    assert running.process.wait(60) == 0
    assert [each["verdict"] for each in running.results()["scenarios"]] == ["clean"]


def test_who_ignores_a_closed_terminal_goes_on(running):
    running.write("quick.py", "from leakcheck import scenario\n@scenario\ndef quick():\n    pass\n")
    running.write("nohup.py", "import signal, sys\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + NOHUP)
    printed, _ = running.start("nohup", "run", "quick.py", "--no-control").communicate(timeout=60)
    assert running.process.returncode == 0, printed


NOHUP = """
import os, threading
from leakcheck.__main__ import main
sys.argv[0] = "leakcheck"
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP)).start()
main()
"""


def test_a_snippet_is_stopped_like_a_run(running):
    running.start("leakcheck", "snippet", "-s", "import os, time", "open('under_way', 'w').close(); time.sleep(0.1)")
    running.wait_for("under_way")
    running.process.send_signal(signal.SIGTERM)
    printed, _ = running.process.communicate(timeout=30)
    assert running.process.returncode == 2, printed
    assert running.results()["scenarios"][0]["interrupted"] is True
    assert running.left() == []


def test_a_watch_of_a_scenario_ends_with_its_verdict(running):
    running.write("slow.py", SLOW.format(step=STEPS["sleeps"]))
    running.start("leakcheck", "monitor", "slow.py::slow", "--interval", "0.3", "--report", "out")
    running.wait_for("out/results.json")
    running.process.send_signal(signal.SIGTERM)
    printed, _ = running.process.communicate(timeout=30)
    assert "inconclusive" in printed
    assert (running.folder / "torn_down").exists()
    assert running.left() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_command_that_has_started_another_takes_it_along(running, number, code):
    running.write("slow.py", SLOW.format(step=STEPS["computes"]))
    running.start("leakcheck", "bisect", "slow.py")
    running.wait_for("under_way")
    running.process.send_signal(number)
    running.process.communicate(timeout=30)
    assert running.process.returncode == code
    assert eventually(lambda: not any(map(is_running, running.pids)))
    if number != signal.SIGKILL:
        assert running.left() == []


PYTEST = """
import os, time

def test_quick():
    pass

calls = 0

def test_slow():
    global calls
    calls += 1
    if calls > 1:
        open("under_way", "w").close()
        time.sleep(0.2)
"""


def test_an_interrupted_session_of_pytest_reports_what_it_has_measured(running):
    running.write("test_it.py", PYTEST)
    running.start("pytest", "-p", "no:cacheprovider", "--leakcheck", "--leakcheck-report", "reports/2")
    running.wait_for("under_way")
    running.process.send_signal(signal.SIGINT)
    printed, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 2, printed
    assert "interrupted: what is missing here was not measured" in printed
    assert {each["id"]: each["interrupted"] for each in running.results()["scenarios"]} == {
        "test_it.py::test_quick": False,
        "test_it.py::test_slow": True,
    }
    assert running.results()["interrupted"] is True
    assert running.left() == []

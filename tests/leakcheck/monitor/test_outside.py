"""The monitor from outside: readings of other processes, alerts, files, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from leakcheck.errors import UsageError
from leakcheck.monitor import panel
from leakcheck.monitor.dashboard import Silent, chart
from leakcheck.monitor.outside import Command, Processes
from leakcheck.monitor.panel import Gauge
from leakcheck.monitor.session import Options, Session
from leakcheck.monitor.trend import judge
from leakcheck.records import decode

LEAKS = """
import os, sys, time
kept = []
if os.fork() == 0:          # a worker, that shares most of its memory
    time.sleep(600)
while True:
    kept.append(b"x" * 60_000)
    time.sleep(0.002)
"""
QUIET = "import time\nwhile True: time.sleep(0.01)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def monitor(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "leakcheck", "monitor", "--interval", "0.05", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def events(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


class Scripted:
    """A source of numbers in its own time."""

    name, pid, ended, restarted, work, own_time, notes = "scripted", 1, "", False, None, None, ()
    gauges = (Gauge("pss", "B", "memory"),)

    def __init__(self, values) -> None:
        self.started = 0.0
        self.now = 0.0
        self._values = iter(values)

    def clock(self) -> float:
        self.now += 0.001
        return self.now

    def read(self):
        self.now += 1.0
        value = next(self._values, None)
        if value is None:
            self.ended = "no more numbers"
            return None
        return value if isinstance(value, dict) else {"pss": value}

    def close(self) -> None:
        return


def options(tmp_path, **changes):
    return Options(
        interval=0.001, duration=None, limits={"pss": 500e6}, period=0, patience=600, lines=tmp_path / "lines.jsonl",
        report=tmp_path / "report", alert_command=None,
    )._replace(**changes)  # fmt: skip


def watch(source, tmp_path, **changes):
    session = Session(source, options(tmp_path, **changes), Silent(), clock=source.clock)
    return session, session.run()


def test_a_leak_is_reported_once_and_written_down(tmp_path):
    session, verdict = watch(Scripted([100e6 + 1e6 * second for second in range(200)]), tmp_path)
    assert verdict == "leak"
    assert len(session.alerts) == 1
    kinds = [each["event"] for each in events(tmp_path / "lines.jsonl")]
    assert kinds[0] == "begin"
    assert kinds.count("growth") == 1
    assert kinds[-1] == "end"
    run = decode((tmp_path / "report" / "results.json").read_bytes())
    assert run.scenarios[0].verdict == "leak"
    assert run.scenarios[0].meters[0].growth == pytest.approx(1e6, rel=0.05)


def test_a_flat_process_is_clean(tmp_path):
    assert watch(Scripted([100e6 + 1e5 * (second % 4) for second in range(200)]), tmp_path)[1] == "clean"


def test_a_warm_up_is_no_leak(tmp_path):
    values = [100e6 + 80e6 * (1 - 0.97**second) for second in range(300)]
    assert watch(Scripted(values), tmp_path)[1] in ("clean", "bounded")


def test_too_short_a_look_is_inconclusive(tmp_path):
    assert watch(Scripted([1e6, 2e6, 3e6]), tmp_path)[1] == "inconclusive"


MACHINE = {"pss": 24e9}
"""A limit of which nothing that these tests do uses a noticeable part."""


def test_memory_of_which_nothing_can_be_said_yet_is_not_clean_because_descriptors_are_steady(tmp_path):
    source = Scripted([{"pss": 100e6 + 1e5 * second, "fds": 7.0} for second in range(200)])
    source.gauges = (Gauge("pss", "B", "memory"), Gauge("fds", "fds", "fds"))
    session, verdict = watch(source, tmp_path, period=24 * 3600.0, limits=MACHINE)
    assert verdict == "inconclusive"
    assert session.reason().startswith("pss: less than three periods")
    assert "--period 0" in session.reason()


@pytest.mark.parametrize("seconds", [180, 300, 480])
def test_a_load_test_of_some_minutes_that_grows_in_a_straight_line_leaks(tmp_path, seconds):
    start = [100e6 + 2e6 * min(second, 20) for second in range(seconds)]
    grows = [value + 1e5 * second for second, value in enumerate(start)]
    assert watch(Scripted(grows), tmp_path, limits=MACHINE, interval=1.0)[1] == "leak"
    assert watch(Scripted(start), tmp_path, limits=MACHINE, interval=1.0)[1] in ("clean", "bounded")


@pytest.mark.parametrize("ramp", [20, 45, 90])
def test_the_alert_of_a_start_is_taken_back_when_the_curve_is_flat(tmp_path, ramp):
    values = [20e6 + 120e6 * min(second, ramp) / ramp for second in range(6 * ramp)]
    session, verdict = watch(Scripted(values), tmp_path, limits={"pss": 400e6}, interval=1.0)
    assert verdict in ("clean", "bounded"), session.reason()
    assert "GiB an hour" not in session.reason()
    if session.alerts:
        assert verdict == "bounded"
        assert "is taken back" in session.reason()
        assert "calm" in [each["event"] for each in events(tmp_path / "lines.jsonl")]


def test_the_closing_sentence_tells_the_rate_that_is_so_now(tmp_path):
    values = [100e6 + 1e6 * second + 4e6 * max(0, second - 100) for second in range(400)]
    source = Scripted(values)
    session, verdict = watch(source, tmp_path, interval=1.0)
    assert verdict == "leak"
    assert session.alerts[0].rate == pytest.approx(3.6e9, rel=0.1)
    now = session.panel.now(session.alerts[0], source.now)
    assert now.rate == pytest.approx(5e6 * 3600, rel=0.2)
    assert session.reason() == str(now)


@pytest.mark.parametrize("interval", [0.001, 1.0])
def test_a_run_that_is_too_short_says_how_long_it_would_have_to_be(tmp_path, interval):
    values = [100e6 + 1e5 * second for second in range(50)]
    session, verdict = watch(Scripted(values), tmp_path, limits=MACHINE, interval=interval)
    assert verdict == "inconclusive"
    assert "--duration 120 would decide" in session.reason()


def test_readings_go_on_while_evidence_is_gathered(tmp_path, monkeypatch):
    read_on = threading.Event()

    class Watched(Scripted):
        reads = 0

        def read(self):
            self.reads += 1
            if asked.is_set() and self.reads > asked.at + 10:
                read_on.set()
            return super().read()

    class Asked(threading.Event):
        at = 0

    asked = Asked()
    source = Watched([100e6 + 1e6 * second for second in range(200)])

    def look(_alert):
        asked.at = source.reads
        asked.set()
        return [], "" if read_on.wait(30) else "nobody read on"

    session = Session(source, options(tmp_path), Silent(), look=look, clock=source.clock)
    session.run()
    assert read_on.is_set()
    assert [each["missing"] for each in events(tmp_path / "lines.jsonl") if each["event"] == "evidence"] == [""]


def test_the_alert_command_gets_the_alert(tmp_path):
    file = tmp_path / "alert.json"
    watch(
        Scripted([100e6 + 1e6 * second for second in range(100)]),
        tmp_path,
        alert_command=f"cat > {file}; echo $LEAKCHECK_METER >> {file}",
    )
    text = file.read_text()
    assert text.endswith("pss\n")
    assert json.loads(text.removesuffix("pss\n"))["meter"] == "pss"


def test_children_are_counted_and_shared_memory_counts_once(until):
    code = "import os, time; kept = b'x' * 50_000_000\nfor _ in range(3): os.fork() or time.sleep(600)\ntime.sleep(600)"
    source = Command(python(code))
    try:
        until(lambda: (source.read() or {}).get("processes", 0) >= 4)
        values = source.read()
        assert values is not None
        if source.memory == "pss":
            assert values["pss"] < 120e6
        assert values["threads"] >= 4
    finally:
        source.close()


def test_the_work_of_all_processes_is_added_up_and_stays_when_one_ends(until):
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    while time.process_time() < 1: pass\n"
        "    time.sleep(600)\n"
        "os.wait()\n"
        "time.sleep(600)\n"
    )
    source = Command(python(code))
    try:
        until(lambda: source.read() is not None and source.work is not None and source.work >= 0.5)
        children = psutil.Process(source.pid).children()
        for each in children:
            each.kill()
        until(lambda: (source.read() or {}).get("processes") == 1)
        assert source.work is not None
        assert 0.5 <= source.work < 10
    finally:
        source.close()


def test_the_panel_judges_by_the_work_of_the_source(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(panel, "judge", lambda *arguments: (seen.append(arguments[-1]), judge(*arguments))[1])

    class Working(Scripted):
        def read(self):
            values = super().read()
            self.work = 0.5 * self.now
            return values

    watch(Working([100e6] * 50), tmp_path)
    used = [each.low for each in seen[-1]]
    assert used == sorted(used)
    assert used[0] < 1
    assert used[-1] > 20


def test_a_scenario_that_is_slowed_down_leaks_in_a_line_by_its_own_clock(tmp_path):
    """Each reading has fewer iterations than the one before, and all leave the same: by the time it would fade."""

    class SlowedDown(Scripted):
        def read(self):
            values = super().read()
            self.own_time = 100 * (1 - 0.97**self.now)
            return values

    kept = [100e6 + 300e6 * (1 - 0.97**second) for second in range(1, 120)]
    assert watch(Scripted(kept), tmp_path)[1] == "bounded"
    assert watch(SlowedDown(kept), tmp_path)[1] == "leak"


def test_a_command_that_ends_says_how(until):
    source = Command(python("import os; os.kill(os.getpid(), 9)"))
    until(lambda: source.read() is None)
    assert source.ended == "ended by SIGKILL"
    source.close()


def test_a_process_that_is_not_there_is_a_usage_error():
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(UsageError, match="no such process"):
        Processes(child.pid)


def test_the_command_watches_a_command_and_exits_by_verdict(tmp_path):
    lines, report = tmp_path / "lines.jsonl", tmp_path / "report"
    watched = ("--limit", "600 MB", "--duration", "100", "--alert-command", "kill -INT $PPID")  # ends with the alert
    ran = monitor(*watched, "-o", str(lines), "--report", str(report), "--", *python(LEAKS))
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "grows by" in ran.stdout
    assert (report / "index.html").exists()
    assert events(lines)[-1]["verdict"] == "leak"


def test_a_quiet_command_exits_with_zero():
    ran = monitor("--duration", "6", "-q", "--", *python(QUIET))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.startswith("clean")


def test_a_scenario_can_be_watched_for_long(tmp_path):
    file = tmp_path / "leaks.py"
    file.write_text(
        "from leakcheck import scenario\nkept = []\n@scenario\ndef keeps():\n    kept.append(bytes(20_000))\n"
    )
    ran = monitor("--limit", "4 GB", "--duration", "12", f"{file}::keeps")
    assert ran.returncode == 1, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["--pid", "1", "x.py::y"], ["--limit", "much", "--", "true"], ["nowhere.py"]]
)
def test_wrong_usage_exits_with_four(arguments):
    assert monitor(*arguments).returncode == 4


def test_files_are_whole_after_the_monitor_is_killed(tmp_path, until):
    lines, report = tmp_path / "lines.jsonl", tmp_path / "report"
    service = subprocess.Popen(python(QUIET))
    command = [sys.executable, "-m", "leakcheck", "monitor", "--interval", "0.02", "-q", "-o", str(lines)]
    watcher = subprocess.Popen([*command, "--report", str(report), "--pid", str(service.pid)])
    try:
        until(lambda: lines.exists() and lines.stat().st_size > 3000 and (report / "index.html").exists())
        watcher.kill()
        watcher.wait()
    finally:
        service.kill()
        service.wait()
    assert [each["event"] for each in events(lines)].count("reading") > 5
    decode((report / "results.json").read_bytes())
    assert (report / "index.html").read_text().rstrip().endswith("</html>")


def test_the_end_of_the_service_is_reported_when_it_is_killed(tmp_path, until):
    lines, report = tmp_path / "lines.jsonl", tmp_path / "report"
    service = subprocess.Popen(python(QUIET))
    command = [sys.executable, "-m", "leakcheck", "monitor", "--interval", "0.02", "-q", "-o", str(lines)]
    watcher = subprocess.Popen([*command, "--report", str(report), "--pid", str(service.pid)], stdout=subprocess.PIPE)
    until(lambda: lines.exists() and lines.stat().st_size > 3000)
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    out, _ = watcher.communicate(timeout=60)
    assert b"the process has ended" in out
    assert events(lines)[-1]["event"] == "end"
    decode((report / "results.json").read_bytes())


def test_ctrl_c_ends_the_watch_with_the_verdict_so_far(tmp_path, until):
    lines = tmp_path / "lines.jsonl"
    service = subprocess.Popen(python(QUIET))
    command = [sys.executable, "-m", "leakcheck", "monitor", "--interval", "0.02", "-q", "-o", str(lines)]
    watcher = subprocess.Popen([*command, "--period", "0", "--pid", str(service.pid)], stdout=subprocess.PIPE)
    until(lambda: lines.exists() and len(lines.read_text().splitlines()) > 60)
    watcher.send_signal(signal.SIGINT)
    out, _ = watcher.communicate(timeout=60)
    service.kill()
    service.wait()
    assert watcher.returncode == 0
    assert out.startswith(b"clean")


def test_a_chart_goes_from_bottom_to_top():
    rows = chart([0, 1, 2, 3], 4, rows=2)
    assert rows[0][0] == " "
    assert rows[0][-1] == "█"
    assert all(len(row) == 4 for row in rows)
    assert chart([], 10) == [""] * 4
    assert len(chart([5.0] * 500, 60)[0]) == 60


def test_time_is_not_asked_of_the_wall(monkeypatch, tmp_path):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert watch(Scripted([100e6] * 100), tmp_path)[1] == "clean"

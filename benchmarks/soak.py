"""A soak of six minutes: a service with workers, in one of which a leak begins half-way; found from inside and outside.

    python benchmarks/soak.py [--seconds 360] [--keep DIR]

Then the monitor is killed with -9, and another time the service: the files they leave must be valid. Exit code 0 when
all came out as it must.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from leakcheck.records import decode

HERE = Path(__file__).resolve().parent


class Trial:
    """What was checked, and how it came out."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, what: str, came_out: bool, detail: str = "") -> None:
        """Print one line."""
        self.failed += not came_out
        print(f"{'ok  ' if came_out else 'FAIL'} {what}{': ' + detail if detail else ''}", flush=True)


def monitor(pid: int, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """Watch a process tree from outside."""
    command = [sys.executable, "-m", "leakcheck", "monitor", "--pid", str(pid), "--interval", "1", "--period", "0"]
    command += ["--limit", "400 MB", "-q", "--lines", str(folder / "lines.jsonl"), "--report", str(folder / "report")]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen([*command, *more], stdout=said)


def events(folder: Path) -> list[dict]:
    """All lines of the monitor, each of which must be whole."""
    return [json.loads(line) for line in (folder / "lines.jsonl").read_text().splitlines()]


def valid(folder: Path) -> bool:
    """Whether the files that were left can be read."""
    events(folder)
    decode((folder / "report" / "results.json").read_bytes())
    return (folder / "report" / "index.html").read_text().rstrip().endswith("</html>")


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=360.0)
    parser.add_argument("--keep", type=Path, help="leave the files there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return soak(options.keep or Path(temporary), options.seconds)


def soak(folder: Path, seconds: float) -> int:
    """The whole trial in `folder`."""
    trial = Trial()
    begins = seconds / 2
    folder.mkdir(parents=True, exist_ok=True)
    inside = folder / "alerts.jsonl"
    began = time.time()
    rate = 54e6 / begins
    service = subprocess.Popen(
        [
            sys.executable,
            str(HERE / "service.py"),
            *("--workers", "3", "--leak-after", str(begins), "--leak-rate", str(rate), "--alerts", str(inside)),
        ],
        start_new_session=True,
    )
    watchers = [monitor(service.pid, folder / "outside"), monitor(service.pid, folder / "killed")]
    try:
        time.sleep(begins)
        trial.check(
            "nothing is reported before the leak begins", not inside.exists() and not reported(folder / "outside")
        )
        watchers[1].kill()
        watchers[1].wait()
        trial.check("the files of a killed monitor are valid", valid(folder / "killed"))
        while time.time() - began < seconds and not (inside.exists() and reported(folder / "outside")):
            time.sleep(1)
        trial.check("found from outside", bool(reported(folder / "outside")), ", ".join(reported(folder / "outside")))
        alerts = [json.loads(line) for line in inside.read_text().splitlines()] if inside.exists() else []
        trial.check(
            "found from inside, in one worker, once",
            len(alerts) == 1,
            "; ".join(f"{each['clock'] - began - begins:.0f} s after it began, {each['meter']}" for each in alerts),
        )
        findings = [finding["title"] for each in alerts for finding in each["evidence"]["findings"]]
        trial.check(
            "the growing container is named", any("SESSIONS.open" in title for title in findings), str(findings[:2])
        )
        time.sleep(max(0.0, seconds - (time.time() - began)))
        os.killpg(service.pid, signal.SIGKILL)
        service.wait()
        code = watchers[0].wait(60)
        trial.check("the monitor ends with the service, with the verdict's code", code == 1, str(code))
        said = (folder / "outside" / "said.txt").read_text()
        trial.check("it says so in its last words", "leak: pss grows by" in said, said.splitlines()[0] if said else "")
        trial.check("its files are valid", valid(folder / "outside"))
        trial.check("reported once", [each["event"] for each in events(folder / "outside")].count("growth") == 1)
    finally:
        for process in watchers:
            if process.poll() is None:
                process.kill()
                process.wait()
        if service.poll() is None:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()
    return int(trial.failed > 0)


def reported(folder: Path) -> list[str]:
    """The meters of the alerts that a monitor has reported."""
    return [each["meter"] for each in events(folder) if each["event"] == "growth"]


if __name__ == "__main__":
    sys.exit(main())

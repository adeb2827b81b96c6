"""A real Prometheus scrapes a real service: the rule of docs/alerts.yml fires on a leak, and not without one.

    python benchmarks/prometheus.py [--prometheus PROGRAM] [--seconds 60]

Needs the program `prometheus` (Debian: apt install prometheus). Exit code 0 when both came out as they must.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "docs" / "alerts.yml"
ALERT = "ProcessLeaks"


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str) -> dict:
    """The answer of Prometheus's API."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def firing(base: str) -> set[tuple[str, str]]:
    """Name and job of the alerts that fire."""
    alerts = ask(f"{base}/api/v1/alerts")["data"]["alerts"]
    return {(each["labels"]["alertname"], each["labels"]["job"]) for each in alerts if each["state"] == "firing"}


def main() -> int:
    """Run both services and Prometheus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default=shutil.which("prometheus"))
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look on after the alert")
    parser.add_argument("--timeout", type=float, default=240.0)
    options = parser.parse_args()
    if options.prometheus is None:
        print("skipped: there is no program prometheus here (Debian: apt install prometheus)")
        return 77
    ports = {"leaking": free_port(), "healthy": free_port()}
    own = free_port()
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        targets = "\n".join(
            f"  - job_name: {job}\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]"
            for job, port in ports.items()
        )
        config = Path(folder, "prometheus.yml")
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: ['{RULES}']\nscrape_configs:\n{targets}\n"
        )
        try:
            for job, port in ports.items():
                leak = ["--leak-after", "5", "--leak-rate", "1000000"] if job == "leaking" else []
                command = [sys.executable, str(HERE / "service.py"), "--port", str(port), "--interval", "0.25", *leak]
                processes.append(subprocess.Popen(command))
            processes.append(
                subprocess.Popen(
                    [
                        options.prometheus,
                        f"--config.file={config}",
                        f"--storage.tsdb.path={folder}/data",
                        f"--web.listen-address=127.0.0.1:{own}",
                    ],
                    stderr=subprocess.DEVNULL,
                )
            )
            by_name = dict(zip([*ports, "prometheus"], processes, strict=True))
            return look(f"http://127.0.0.1:{own}", options.seconds, options.timeout, by_name)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


def look(base: str, seconds: float, timeout: float, processes: dict[str, subprocess.Popen[bytes]]) -> int:
    """Wait for the alert of the leaking service, then look on whether the healthy one stays silent."""
    began = time.monotonic()
    fired = None
    while time.monotonic() - began < timeout:
        time.sleep(1)
        for name, process in processes.items():
            if process.poll() is not None:
                print(f"{name} ended with exit code {process.returncode}")
                return 1
        try:
            now = firing(base)
        except OSError:
            continue  # not up yet
        if (ALERT, "healthy") in now:
            print(f"{ALERT} fires on the healthy service, after {time.monotonic() - began:.0f} s")
            return 1
        if (ALERT, "leaking") in now and fired is None:
            fired = time.monotonic()
            print(f"{ALERT} fires on the leaking service, after {fired - began:.0f} s")
        if fired is not None and time.monotonic() - fired > seconds:
            break
    if fired is None:
        print(f"{ALERT} did not fire on the leaking service within {timeout:.0f} s")
        return 1
    for query in ("leakcheck_growth_bytes_per_second", "elkyn_events_processed_total", "elkyn_map_used_bytes"):
        for result in ask(f"{base}/api/v1/query?query={query}")["data"]["result"]:
            labels = result["metric"]
            print(f"  {labels['job']:8} {query}{{{labels.get('meter', '')}}} = {float(result['value'][1]):,.0f}")
    print("the healthy service stayed silent")
    return 0


if __name__ == "__main__":
    sys.exit(main())

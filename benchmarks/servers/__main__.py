"""Measures real servers, each with a leak and mended, in an environment of their own; prints a table for the docs.

    python -m benchmarks.servers [NAME...]       e.g. flask starlette celery
    python -m benchmarks.servers --cost          what the agent costs a request, in pairs of batches

The environment is made once, in build/servers. Celery needs the program redis-server. Exits with 1 where a verdict or a
place is wrong, or the agent costs more than is promised.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from leakcheck.agent.children import descendants
from leakcheck.agent.entry.resident import VARIABLE
from leakcheck.agent.service.started import Service
from leakcheck.execution.environment import worker_environment
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker

APPS = Path(__file__).parent / "apps"
ENVIRONMENT = Path("build", "servers").absolute()
PACKAGES = [
    *("aiohttp", "celery", "django", "fastapi", "flask", "gevent", "grpcio", "gunicorn", "mcp", "packaging"),
    *("redis", "starlette", "uvicorn"),
]
GUNICORN = "gunicorn -b 127.0.0.1:{port} "
UVICORN = "uvicorn --port {port} --no-access-log "
BY_REQUEST = {
    "flask: gunicorn, 4 sync workers": (GUNICORN + "-w 4 with_flask:app", "/leak"),
    "flask: gunicorn, 2 gevent workers": (GUNICORN + "-w 2 -k gevent with_flask:app", "/leak"),
    "django: gunicorn, 2 workers of 2 threads": (GUNICORN + "-w 2 --threads 2 with_django:application", "/leak"),
    "starlette: uvicorn": (UVICORN + "with_starlette:app", "/leak"),
    "starlette: uvicorn, in a thread": (UVICORN + "with_starlette:app", "/leak-in-a-thread"),
    "fastapi: uvicorn, 3 workers": (UVICORN + "--workers 3 with_fastapi:app", "/leak"),
    "aiohttp": ("python with_aiohttp.py {port}", "/leak"),
}
"""The command, and the path that leaks; `/mended` does not."""
BY_SCENARIO = {
    "celery: 2 prefork workers, Redis": ("celery_worker[leak]", "celery_worker[mended]"),
    "grpc": ("grpc_server[Leak]", "grpc_server[Mended]"),
    "mcp: sessions that nobody ends": ("mcp_sessions[False]", "mcp_sessions[True]"),
    "multiprocessing.Pool, fork": ("pool[leak-fork]", "pool[mended-fork]"),
    "multiprocessing.Pool, spawn": ("pool[leak-spawn]", "pool[mended-spawn]"),
}
MARK = "# the leak"
STARTS, PAIRS, BATCH = 9, 12, 100
"""Of both servers, the one with the agent and the one without; batches to them in turn; requests of a batch."""
MOST_COST = 0.05


class Outcome(NamedTuple):
    verdict: str
    place: bool
    """Whether a finding names the line that has the mark; None of a package's own leak has one."""
    where: str
    seconds: float


def installed() -> Path:
    """The `bin` of the environment, made where it is missing."""
    if not (ENVIRONMENT / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([ENVIRONMENT / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)
        (ENVIRONMENT / ".ready").touch()
    return ENVIRONMENT / "bin"


def measured(arguments: list[str], programs: Path) -> Outcome:
    """What the tool says."""
    report = ENVIRONMENT / "report"
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    command = [
        sys.executable,
        "-m",
        "leakcheck",
        *arguments[:1],
        "--no-control",
        "--report",
        str(report),
        *arguments[1:],
    ]
    began = time.monotonic()
    subprocess.run(command, cwd=APPS, env=environment, check=False, stdout=subprocess.DEVNULL, timeout=600)
    seconds = time.monotonic() - began
    (result,) = json.loads((report / "results.json").read_text())["scenarios"]
    return Outcome(result["verdict"], _names_the_line(result), _where(result), seconds)


def _names_the_line(result: dict[str, Any]) -> bool:
    first = result["findings"][:1]
    return any(MARK in frame["source"] for finding in first for frame in finding["stack"])


def _where(result: dict[str, Any]) -> str:
    title = result["findings"][0]["title"] if result["findings"] else result["reason"]
    return title.rpartition("; in ")[2] if "; in " in title else ""


def compared(names: list[str]) -> bool:
    """Measures the servers whose name begins with one of `names`; prints a table, and returns whether all is right."""
    programs, right = installed(), True
    print("| server | leak | mended |\n|---|---|---|")
    for name in (*BY_REQUEST, *BY_SCENARIO):
        if names and not name.startswith(tuple(names)):
            continue
        if name in BY_REQUEST:
            command, path = BY_REQUEST[name]
            calls = [["service", "--get", each, "--", *command.split()] for each in (path, "/mended")]
        else:
            python = ["--python", str(programs / "python")]
            calls = [["run", *python, f"scenarios.py::{each}"] for each in BY_SCENARIO[name]]
        leaking, mended = (measured(call, programs) for call in calls)
        found = [leaking.verdict, "right line" if leaking.place else "", leaking.where, f"{leaking.seconds:.0f} s"]
        print(f"| {name} | {', '.join(filter(None, found))} | {mended.verdict}, {mended.seconds:.0f} s |", flush=True)
        right &= leaking.verdict == "leak" and mended.verdict in ("clean", "bounded")
    return right


def cost() -> bool:
    """Requests to two servers of one command, with the agent and without; prints the ratio of their processor time.

    By the kernel's own count of nanoseconds: the time on the wall is also that of whoever else wants the processors.
    """
    programs = installed()
    gunicorn = [str(programs / "gunicorn"), "-w", "1", "with_flask:app", "-b"]
    os.chdir(APPS)
    plain = {name: value for name, value in worker_environment("malloc", "/tmp").items() if name != VARIABLE}
    ports = [Service("none", None, 1).port for _ in range(2)]
    url = f"http://127.0.0.1:{ports[0]}/mended"
    os.environ |= {"COMMAND": " ".join([*gunicorn, f"127.0.0.1:{ports[0]}"]), "URL": url}
    ratios = [_ratio([*gunicorn, f"127.0.0.1:{ports[1]}"], plain, ports) for _ in range(STARTS)]
    quarters = statistics.quantiles(ratios, n=4)
    more = statistics.median(ratios) - 1
    print(f"a request with the agent takes {more:+.1%} of processor time (quartiles {quarters[0] - 1:+.1%} to "
          f"{quarters[2] - 1:+.1%}), {STARTS} starts of both, {PAIRS} pairs of {BATCH} requests each")  # fmt: skip
    return more < MOST_COST


def _ratio(command: list[str], plain: dict[str, str], ports: list[int]) -> float:
    """Of the median batch: two processes of one program differ by where their memory lies, so there are several."""
    info = ScenarioInfo(id="cost", target=str(APPS.parent / "cost.py"), name="served")
    with Worker(Job(scenario=info, cwd=APPS)) as worker:
        worker.open()
        for count in (64, 64):
            worker.run(count)
        with subprocess.Popen(command, env=plain, stderr=subprocess.DEVNULL) as bare:
            _await(ports[1])
            with_agent, without = list(descendants(worker.pid)), [bare.pid, *descendants(bare.pid)]
            sides = [(ports[0], with_agent), (ports[1], without)]
            ratios = []
            for pair in range(PAIRS):
                spent = {port: _batch(port, pids) for port, pids in (sides if pair % 2 else sides[::-1])}
                ratios.append(spent[ports[0]] / spent[ports[1]])
            bare.terminate()
        worker.close()
    return statistics.median(ratios)


def _await(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            _get(port)
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nothing answers at port {port}")


def _get(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/mended", headers={"Connection": "close"})
    connection.getresponse().read()
    connection.close()


def _batch(port: int, pids: list[int]) -> int:
    """Nanoseconds of processor time that these processes take for a batch."""
    before = sum(map(_nanoseconds, pids))
    for _ in range(BATCH):
        _get(port)
    return sum(map(_nanoseconds, pids)) - before


def _nanoseconds(pid: int) -> int:
    return sum(int(each.read_text().split()[0]) for each in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--cost", action="store_true")
    options = parser.parse_args()
    return 0 if (cost() if options.cost else compared(options.names)) else 1


if __name__ == "__main__":
    sys.exit(main())

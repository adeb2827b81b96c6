"""A scheduler and workers of Dask, each a process of its own on this machine, as their own commands start them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from processes import eventually, is_running

_DASK = [sys.executable, "-m", "dask"]
SCHEDULER = ["scheduler", "--host", "HOST", "--port", "PORT", "--no-dashboard"]
WORKER = ["worker", "tcp://HOST:PORT", "--nthreads", "CORES", "--no-nanny", "--memory-limit", "0", "--no-dashboard"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}


class DaskCluster:
    """A context manager; what it has started is gone at its end."""

    def __init__(self, folder: Path, workers: int = 0) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start_scheduler()
        for number in range(1, workers + 1):
            self.start_worker(f"node-{number}", wait=False)
        for number in range(1, workers + 1):
            self.wait_for(f"node-{number}", "Registered to:")

    @property
    def address(self) -> str:
        return f"dask://127.0.0.1:{self.port}"

    def start_scheduler(self) -> None:
        self._start("scheduler", self._filled(SCHEDULER))
        self.wait_for("scheduler", "Scheduler at:")

    def start_worker(self, name: str, cores: int = 1, *, wait: bool = True, **environment: str) -> None:
        words = [*self._filled(WORKER, CORES=cores), "--name", name, "--local-directory", str(self.folder)]
        self._start(name, words, **environment)
        if wait:
            self.wait_for(name, "Registered to:")

    def _filled(self, words: list[str], **values: object) -> list[str]:
        """A command of the documentation, with what it leaves open."""
        text = "\n".join(words)
        for name, value in {"HOST": "127.0.0.1", "PORT": self.port, **values}.items():
            text = text.replace(name, str(value))
        return text.split("\n")

    def start_worker_without_the_product(self, name: str) -> None:
        """One that imports all that is installed but `leakcheck`."""
        packages = self.folder / "packages"
        packages.mkdir()
        for each in Path(sysconfig.get_path("purelib")).iterdir():
            if "elkyn" not in each.name and each.suffix != ".pth":
                (packages / each.name).symlink_to(each)
        words = [*self._filled(WORKER, CORES=1), "--name", name, "--local-directory", str(self.folder)]
        self._start(name, words, program=[sys.executable, "-S", "-m", "dask"], PYTHONPATH=str(packages))
        self.wait_for(name, "Registered to:")

    def _start(self, name: str, words: list[str], *, program: Sequence[str] = _DASK, **environment: str) -> None:
        with self._log(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*program, *words],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                env=ENVIRONMENT | environment,
            )

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def wait_for(self, name: str, words: str) -> None:
        assert eventually(lambda: words in self._log(name).read_text() or self.is_gone(name)), name
        assert words in self._log(name).read_text(), self._log(name).read_text()

    def is_gone(self, name: str) -> bool:
        return self.processes[name].poll() is not None

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Command:
    """`elkyn-leakcheck run` under way in a folder, whose output is read as it comes."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.output = folder / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "leakcheck", "run", *words, "--report", "report"],
                cwd=folder, stdout=output, stderr=output, env=ENVIRONMENT,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str) -> str:
        """The line in which some words are printed."""
        assert eventually(lambda: words in self.text or self.process.poll() is not None, 120), self.text
        assert words in self.text, self.text
        return next(line for line in self.text.splitlines() if words in line)

    def wait(self) -> int:
        try:
            return self.process.wait(timeout=200)
        finally:
            self.process.kill()


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found = [
        int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
    ]
    return [one for one in found if is_running(one)]

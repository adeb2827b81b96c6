"""Readings of other processes: one and all that it started, summed; or one scenario, repeated for hours."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil

from leakcheck import meters
from leakcheck.errors import UsageError
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Job
from leakcheck.execution.worker import Worker
from leakcheck.monitor.panel import Gauge

RESTARTED_PROCESSES, RESTARTED_MEMORY = 0.5, 0.8
"""More than this part of the processes must be new, and hold less than this part of the memory, for a restart."""
SHORTEST_ROUND = 0.05
"""Seconds of an interval for which rounds of a scenario are made, at the least."""


class Source(Protocol):
    """Where readings come from."""

    name: str
    gauges: list[Gauge]
    notes: list[str]
    """What a reader must know of these readings."""
    pid: int
    started: float
    """Monotonic seconds."""
    restarted: bool
    """Whether what is watched was started again since the last reading."""
    ended: str
    """How it ended; empty as long as it runs."""
    work: float | None
    """Seconds of processor time used by the last reading, where the load may come and go."""

    @property
    def own_time(self) -> float | None:
        """Monotonic seconds of the last reading by a clock of its own, which is as slow as what is watched.

        None where the readings are of the time that passes.
        """

    def read(self) -> dict[str, float] | None:
        """One value a gauge, or None when it has ended."""

    def close(self) -> None:
        """Let go of it; ends what was started for watching."""


def program(command: Sequence[str]) -> str:
    """What a command line runs, without its arguments, which may be anything: `python -m http.server`."""
    words = [os.path.basename(word) for word in command[:1]]
    rest = list(command[1:])
    while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
        rest.pop(0)
    if rest[:1] == ["-m"]:
        words += rest[:2]
    elif rest and rest[0].endswith(".py"):
        words.append(os.path.basename(rest[0]))
    return " ".join(words)


class Processes:
    """A process and its descendants. Memory is the sum of proportional sets (PSS): shared pages count once."""

    own_time: float | None = None

    def __init__(self, pid: int, name: str = "") -> None:
        try:
            self._root = psutil.Process(pid)
            born = self._root.create_time()
            self.name = name or program(self._root.cmdline()) or self._root.name()
        except psutil.NoSuchProcess:
            raise UsageError(f"--pid {pid}: there is no such process (any more)") from None
        except psutil.AccessDenied:
            self.name, born = name or f"pid {pid}", time.time()
        self.pid = pid
        self.notes: list[str] = []
        self.restarted = False
        self.ended = ""
        self.started = time.monotonic() - max(0.0, time.time() - born)
        self.work: float | None = 0.0
        self._used: dict[tuple[int, float], float] = {}
        self._last = 0.0
        self._proportional = _pss(pid) is not None
        if not self._proportional:
            self.notes.append(
                "memory is the sum of resident sizes, in which shared pages count more than once: "
                f"/proc/{pid}/smaps_rollup cannot be read (it takes the same user, or CAP_SYS_PTRACE)"
            )
        self.memory = "pss" if self._proportional else "rss"
        self.gauges = [
            Gauge(self.memory, "B", "memory"),
            Gauge("fds", "fds", "fds"),
            Gauge("threads", "threads", "threads"),
            Gauge("processes", "processes", "processes"),
        ]

    def read(self) -> dict[str, float] | None:
        """Sums over the processes that are there; one that goes meanwhile does not count."""
        family = self._family()
        if not family:
            self.ended = self.ended or "the process has ended"
            return None
        memory = descriptors = threads = 0.0
        readable = True
        for process in family:
            try:
                memory += (_pss(process.pid) if self._proportional else None) or process.memory_info().rss
                threads += process.num_threads()
                descriptors += process.num_fds()
            except psutil.AccessDenied:
                readable = False
            except psutil.NoSuchProcess:
                continue
        used = {
            (member := (process.pid, process.create_time())): max(_used(process), self._used.get(member, 0.0))
            for process in family
            if process.is_running()
        }
        fresh = len(used.keys() - self._used) / max(1, len(used))
        self.restarted = bool(self._used) and fresh > RESTARTED_PROCESSES and memory < RESTARTED_MEMORY * self._last
        # Added up reading by reading: what a process has used that is gone must not be taken away again.
        self.work = (self.work or 0.0) + sum(seconds - self._used.get(each, 0.0) for each, seconds in used.items())
        self._used, self._last = used, memory
        values = {self.memory: memory, "threads": threads, "processes": float(len(family))}
        return values | {"fds": descriptors} if readable else values

    def pids(self) -> list[int]:
        """The process, and those below it."""
        return [each.pid for each in self._family()]

    def close(self) -> None:
        """Nothing to end: the process is not ours."""

    def _family(self) -> list[psutil.Process]:
        try:
            if not self._root.is_running() or self._root.status() == psutil.STATUS_ZOMBIE:
                return []
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class Command(Processes):
    """A command that is started to be watched, and its descendants."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        try:
            self._child = subprocess.Popen(command, env=environment)
        except OSError as error:
            raise UsageError(f"cannot start {command[0]}: {error.strerror or error}") from error
        super().__init__(self._child.pid, program(command))

    def read(self) -> dict[str, float] | None:
        """Like `Processes`; says how the command ended."""
        code = self._child.poll()
        if code is not None:
            self.ended = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            return None
        return super().read()

    def close(self) -> None:
        """Ask the command and all that it started to end (SIGTERM), and end what is left after ten seconds."""
        family = [each for each in self._family() if each.pid != self.pid]
        for process in family:
            with suppress(psutil.Error):
                process.terminate()
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(10)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for process in psutil.wait_procs(family, timeout=1)[1]:
            with suppress(psutil.Error):
                process.kill()


class Repeated:
    """One scenario in a worker of its own, its step repeated all the time."""

    def __init__(self, job: Job, seconds: float) -> None:
        """Read about every so many `seconds`."""
        self.name = job.scenario.id
        self._seconds = seconds
        self.work: float | None = None
        self.notes: list[str] = []
        self.ended = ""
        self.restarted = False
        self.iterations = 0
        self._per_iteration = 0.0
        self._pace = 1
        self._worker = Worker(job)
        try:
            opened = self._worker.open()
        except WorkerFailed:
            self._worker.stop()
            raise
        self.pid = self._worker.pid
        self.started = time.monotonic()
        self.gauges = [
            Gauge(
                spec.name,
                spec.unit,
                "memory" if spec.unit == "B" and spec.family != "disk" else spec.name,
                spec.decisive,
            )
            for spec in (meters.of(name, unit) for name, unit in opened.meters)
        ]

    @property
    def own_time(self) -> float | None:
        """The iterations, each as long as it took at first.

        What they leave is a line against these. Against the time it is one only while nothing else slows them down.
        """
        return self.started + self.iterations * self._per_iteration

    def read(self) -> dict[str, float] | None:
        """Run rounds for about the interval, then the readings of the worker's own meters."""
        end = time.monotonic() + self._seconds
        while True:
            try:
                done = self._worker.run(self._pace)
            except WorkerFailed as failed:
                self.ended = f"the scenario failed: {failed.failure.message}"
                return None
            self.iterations = done.iterations
            if done.raised is not None:
                self.ended = f"the step raised {done.raised.type}: {done.raised.said}"
                return None
            # Rounds of half an interval of the step's own time: a reading, which settles first, may take longer.
            share = max(SHORTEST_ROUND, self._seconds) / max(done.seconds, 1e-4) / 2
            self._pace = max(1, min(int(self._pace * min(share, 10.0)), 10_000_000))
            if time.monotonic() >= end:
                self._per_iteration = self._per_iteration or (time.monotonic() - self.started) / max(1, self.iterations)
                return dict(zip((gauge.name for gauge in self.gauges), done.values, strict=True))

    def close(self) -> None:
        """End the worker."""
        self._worker.stop()


def _used(process: psutil.Process) -> float:
    """Processor time of one process so far, in seconds."""
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _pss(pid: int) -> float | None:
    """Proportional set size in bytes; None where the system does not say."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii", "replace").splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1]) * 1024
    except OSError:
        return None
    return None

"""Runs a job in a child process of this machine, and turns whatever happens to it into an answer or a `Failure`."""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import subprocess
import threading
import time
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from leakcheck import meters, units
from leakcheck.agent.protocol import (
    HOSTED,
    PROGRAM,
    VERSION,
    Close,
    Closed,
    Described,
    Failed,
    Hello,
    List,
    Listed,
    Open,
    Opened,
    Run,
    Sampled,
    ScreenTest,
)
from leakcheck.execution.deadline import Deadline
from leakcheck.execution.environment import worker_environment
from leakcheck.execution.failure import WorkerFailed, of_exception, of_process
from leakcheck.execution.interpreter import allocator_in
from leakcheck.execution.job import Job
from leakcheck.execution.workspace import Workspace, end_processes
from leakcheck.records import Failure

_KEPT_OUTPUT = 64 * 1024
"""Bytes of what a worker prints that are kept, the last."""
_POLL_S = 0.05
"""How often it is looked whether the worker lives, while it says nothing."""
_DEATH_S = 5.0
"""How long a worker may take to end before it is killed."""
_LAST_WORDS_S = 3.0
"""How long a tear-down may take where the run was interrupted, and the round before it that cannot be called off."""
_SLOWER = 10
"""How many times as long as those before them calls may take: they may work on more by now."""

INTERRUPT = "interrupt"
"""Type of the `Failure` of a worker that was called off."""


_FAILED = b'{"failed"'
"""How the answer begins to a request that came to nothing."""

Answer = TypeVar("Answer")


_LIMITED = {
    List: ("import", "the import"), Open: ("setup", "the set-up"), Run: ("call", "the step"),
    ScreenTest: ("call", "the test, run again some times,"),
    Close: ("teardown", "the tear-down"),
}  # fmt: skip
"""Which of `validation.TIMEOUTS` a request has, and what it waits for; others have that of the diagnosis."""


_MAKING = threading.Lock()


@cache
def _decoder(answer: Any) -> msgspec.json.Decoder[Any]:
    """One for each type, made by one thread at a time.

    What msgspec learns of a type it leaves with the type, and finds there while it is half learned: two threads that
    decode the first of a type at the same time crash the process.
    """
    with _MAKING:
        return msgspec.json.Decoder(answer)


class Round(NamedTuple):
    """What one round reported."""

    iterations: int
    """Since the scenario was opened."""
    seconds: float
    """That the calls of the step took, less those that the process waited for a processor."""
    spent: float
    """The same for the whole round, with settling and the reading before this one."""
    cycles: int
    """Objects in cyclic garbage that the collector found after the round."""
    values: list[float]
    """One a meter, in the order of `Opened.meters`."""
    raised: Failed | None = None
    """The exception that ended the round, if one did."""
    lowest: float | None = None
    """The fewest bytes in use after any of the calls that were watched, before settling."""


class Worker:
    """One child process that has opened (or is about to open) one scenario. Use it in one thread, as a context manager.

    `wrapper` is put before the interpreter (`["valgrind", ...]`). `memory_limit` in bytes of resident memory stops a
    child that is about to take the machine down.
    """

    def __init__(
        self,
        job: Job,
        *,
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        memory_limit: int | None = None,
    ) -> None:
        self.job = job
        allocator = allocator_in(job.python, job.allocator)
        self._workspace = Workspace()
        directory = self._workspace.path
        self.tmp_path = str(directory / "tmp_path")
        self.temporary = str(directory / "temporary")
        package_parent = directory / "package"
        for folder in (self.tmp_path, self.temporary, package_parent):
            os.mkdir(folder)
        package = Path(__file__).parent.parent
        (package_parent / "leakcheck").symlink_to(package)
        self._memory_limit = memory_limit if memory_limit is not None else _default_memory_limit()
        self._wrapped = bool(wrapper)
        self._checked = 0.0
        self._greeted = self._listed = self._open = self._interrupted = False
        self._owed = 0
        """Answers that have not come."""
        self._calls, self._seconds = 0, 0.0
        """Calls of the step so far, and what they took."""
        self._output = b""
        self._pending = b""
        commands_read, self._commands = os.pipe()
        self._replies, replies_write = os.pipe()
        lifeline_read, self._lifeline = os.pipe()
        output_read, output_write = os.pipe()
        self._output_fd = output_read
        program = job.scenario.target.removeprefix(PROGRAM)
        words = [job.python, str(package / "agent" / "__main__.py")]
        if program != job.scenario.target:  # another runtime speaks the protocol itself
            words, package_parent = [program], Path()
        try:
            self._process = subprocess.Popen(
                [
                    *wrapper,
                    *words,
                    str(commands_read),
                    str(replies_write),
                    str(lifeline_read),
                    str(package_parent),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output_write,
                stderr=output_write,
                pass_fds=(commands_read, replies_write, lifeline_read),
                env={**worker_environment(allocator, self.temporary, arenas=job.arenas), **(environment or {})},
                cwd=job.cwd,
                start_new_session=True,  # a terminal's Ctrl-C reaches the parent alone, which then decides
            )
        except OSError as error:
            self._workspace.close()
            for descriptor in (self._commands, self._replies, self._lifeline, output_read):
                os.close(descriptor)
            raise WorkerFailed(
                Failure(type="start", message=f"cannot start {words[0]}: {error.strerror or error}")
            ) from error
        finally:
            for descriptor in (commands_read, replies_write, lifeline_read, output_write):
                os.close(descriptor)
        self._selector = selectors.DefaultSelector()
        os.set_blocking(self._replies, False)
        os.set_blocking(self._output_fd, False)
        self._selector.register(self._replies, selectors.EVENT_READ)
        self._selector.register(self._output_fd, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        """Process id of the child (of the wrapper, where there is one)."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether the child has ended."""
        return self._process.poll() is not None

    @property
    def output(self) -> str:
        """The last 64 KiB that the child printed, standard output and error together."""
        return self._output.decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def list_scenarios(self) -> list[Described]:
        """Import the job's target and list what is in it."""
        listed = self.ask(List(self.job.scenario.target), Listed).scenarios
        self._listed = True
        return listed

    def open(self) -> Opened:
        """Import the target, run the scenario's set-up, make the meters. Returns what the worker says of them."""
        if not self._listed and not self.job.scenario.target.startswith(HOSTED):
            self.list_scenarios()  # by itself: it has a limit of its own
        request = Open(
            target=self.job.scenario.target,
            name=self.job.scenario.name,
            directory=self.tmp_path,
            directories=[self.tmp_path, self.temporary],
            gc=self.job.gc,
            meters=[spec.name for spec in meters.CATALOGUE if not spec.afterwards],
            fault=self.job.fault,
            asked=self.job.asked,
        )
        opened = self.ask(request, Opened)
        self._open = True
        return opened

    def run(self, count: int, /, *, watch: int = 0, whole: bool = True) -> Round:
        """`count` iterations, settle, read. A step that raises ends the round early and is reported in it.

        After each of the last `watch` iterations the bytes in use are read too, and the lowest is reported. Where
        `whole` is false, the collector looks at young objects only.
        """
        answer = self.ask(Run.of(count, watch, whole), Sampled)
        iterations, seconds, spent, cycles, lowest, *values = array("d", bytes.fromhex(answer.numbers))
        self._calls, self._seconds = self._calls + count, self._seconds + (seconds if count else 0.0)
        watched = lowest if watch and math.isfinite(lowest) else None
        return Round(int(iterations), seconds, spent, int(cycles), values, answer.raised, watched)

    def close(self) -> None:
        """Run the scenario's tear-down; what it raises is a failure. That it ends the process, and well, is none."""
        self._open = False
        try:
            self.ask(Close(), Closed)
        except WorkerFailed:
            if self._process.poll() != 0:
                raise

    def wait(self) -> int:
        """Let the child end by itself (no more commands) and return its exit code, negative for a signal."""
        self._close_commands()
        limit = self.job.timeout("diagnosis")
        deadline = Deadline(limit, self.pid)
        while self._process.poll() is None:
            self._stop_if_interrupted()
            if deadline.passed():
                raise self._failed("timeout", f"did not end within {limit:.0f} s after its last command")
            self._pump(_POLL_S)
        self._pump(0)
        return self._process.returncode

    def ask(self, request: NamedTuple, answer: type[Answer], /) -> Answer:
        """Send one request and wait for its answer, of that type. Raises `WorkerFailed`.

        Where there was no answer in time, or the process has ended, the worker is then useless.
        """
        if not isinstance(request, Close):
            self._stop_if_interrupted()
        line = _line(request)
        if not self._greeted:
            line, self._greeted = _line(Hello(VERSION)) + line, True
        try:
            os.write(self._commands, line)
        except BrokenPipeError:
            raise self._died() from None
        self._owed += 1
        deadline = Deadline(_LAST_WORDS_S if self._interrupted else self._limit(request), self.pid)
        while self._owed:  # an earlier one may have come too late for whoever asked
            line = self._next_line(request, deadline)
            self._owed -= 1
        if line.startswith(_FAILED):
            failed = _decoder(dict[str, Failed]).decode(line)["failed"]
            raise of_exception(failed, _last_lines(self.output), values=self.job.values)
        try:
            kind: Any = answer
            answered: Answer = _decoder(kind).decode(line)
        except msgspec.ValidationError as error:
            raise self._failed("protocol", f"the measured process gave no {answer.__name__}: {error}") from None
        return answered

    def stop(self) -> None:
        """Tear down what is open, end the child and all that it started, remove its directories. Idempotent."""
        if self._open and self._process.poll() is None:
            with suppress(WorkerFailed):
                self.close()
        self._close_commands()
        deadline = time.monotonic() + _DEATH_S
        if self._process.poll() is None:
            self._signal_group(signal.SIGTERM)
        while self._process.poll() is None and time.monotonic() < deadline:
            self._pump(0.01)
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        if self._selector.get_map() is not None:
            self._selector.close()
            for descriptor in (self._replies, self._output_fd, self._lifeline):
                os.close(descriptor)
            end_processes(self._workspace.path)
        self._workspace.close()

    def interrupt(self) -> None:
        """Call it off, from any thread: the one that uses the worker gets a `WorkerFailed` and stops it."""
        self._interrupted = True

    def _stop_if_interrupted(self) -> None:
        if self._interrupted:
            raise WorkerFailed(Failure(type=INTERRUPT, message="the run was interrupted"))

    def _limit(self, request: NamedTuple) -> float:
        """Seconds that may pass until the answer."""
        limit = self.job.timeout(self._limited(request)[0])
        if isinstance(request, Open) and not self._listed:
            limit += self.job.timeout("import")
        if isinstance(request, ScreenTest):
            limit += _SLOWER * request.took_s
        return limit + _SLOWER * self._seconds / max(self._calls, 1) * getattr(request, "calls", 0)

    def _limited(self, request: NamedTuple) -> tuple[str, str]:
        """The name of its limit, and what is waited for. A tool that slows down all of it has one limit for all."""
        name, what = _LIMITED.get(type(request), ("diagnosis", "the look at the process"))
        return "diagnosis" if self._wrapped else name, what

    def _next_line(self, request: NamedTuple, deadline: Deadline) -> bytes:
        self._pump(0 if time.monotonic() > self._checked + _POLL_S else _POLL_S)
        while b"\n" not in self._pending:
            if self._process.poll() is not None:
                self._pump(0)
                if b"\n" in self._pending:
                    break
                raise self._died()
            if self._interrupted and deadline.limit > _LAST_WORDS_S:
                if not isinstance(request, Close):
                    self._stop_if_interrupted()
                deadline = Deadline(_LAST_WORDS_S, self.pid)
            self._checked = time.monotonic()
            if deadline.passed():
                raise self._hangs(request, deadline.limit)
            self._check_memory()
            self._pump(_POLL_S)
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _close_commands(self) -> None:
        if self._commands >= 0:
            os.close(self._commands)
            self._commands = -1

    def _pump(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            try:
                part = os.read(key.fd, 65536)
            except BlockingIOError:
                continue
            if not part:
                self._selector.unregister(key.fd)
                if not self._selector.get_map():
                    time.sleep(min(timeout, 0.0005))  # both pipes are at their end: only the exit code is left to come
            elif key.fd == self._replies:
                self._pending += part
            else:
                self._output = (self._output + part)[-_KEPT_OUTPUT:]

    def _check_memory(self) -> None:
        try:
            with open(f"/proc/{self._process.pid}/statm", "rb") as file:
                resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return
        if resident > self._memory_limit:
            self._signal_group(signal.SIGKILL)
            self._process.wait()
            raise self._failed(
                "memory",
                f"stopped at {units.size(resident)} of resident memory, above the ceiling of "
                f"{units.size(self._memory_limit)} that keeps the machine alive",
            )

    def _hangs(self, request: NamedTuple, limit: float) -> WorkerFailed:
        """Time is up: have faulthandler print where every thread stands, then take the child down."""
        self._process.send_signal(signal.SIGABRT)
        deadline = time.monotonic() + _DEATH_S
        while self._process.poll() is None and time.monotonic() < deadline:
            self._pump(_POLL_S)
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        self._pump(0)
        name, what = self._limited(request)
        more = self.job.option_for("timeouts", {name: math.ceil(2 * limit)})
        return self._failed("timeout", f"{what} did not come back within {limit:.0f} s; {more} allows more")

    def _died(self) -> WorkerFailed:
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
            return self._failed("signal", f"the process was ended by {name}")
        return self._failed("exit", f"the process ended by itself with exit code {code}")

    def _failed(self, kind: str, message: str) -> WorkerFailed:
        printed, stack = self.output, ""
        for begins in ("Fatal Python error", "Current thread"):  # by faulthandler, with the stacks of all threads
            if (start := printed.rfind(begins)) >= 0:
                printed, stack = printed[:start], printed[start:]
                break
        return of_process(kind, message, _last_lines(printed), stack, values=self.job.values)

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def _line(request: NamedTuple) -> bytes:
    """The request's line. A path may have bytes that are no text, which Python's own JSON hands on as they are."""
    return json.dumps([type(request).__name__, *request]).encode() + b"\n"


def _last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-40:])


def _default_memory_limit() -> int:
    """Three quarters of the memory that is available now, in bytes."""
    try:
        with open("/proc/meminfo", "rb") as file:
            available = next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"MemAvailable:"))
    except (OSError, StopIteration):
        import psutil

        available = psutil.virtual_memory().available
    return available * 3 // 4

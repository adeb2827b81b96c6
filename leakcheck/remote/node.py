"""What a node does for a run: it admits itself or not, proves its readings, and examines scenarios as a run here does.

The engine's process on the node calls `answer`, in several threads. What is measured is a child of that process, so
neither the engine's threads nor its limits of memory are in it.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from leakcheck.errors import LeakcheckError
from leakcheck.execution.crew import Crew
from leakcheck.execution.job import Job
from leakcheck.execution.workspace import Workspace, clear_abandoned
from leakcheck.records import Control, Failure, Sample, ScenarioResult
from leakcheck.remote import bundle, likeness, locked
from leakcheck.remote.requests import Admit, Admitted, Examine, Progress, Prove, Work, decode, encode, encode_results
from leakcheck.results.file import without_home
from leakcheck.run import provenance
from leakcheck.run.control import run_control
from leakcheck.run.runner import Plan, Runner

_KEPT_S = 3600.0
"""Seconds after which sources that nobody has used are removed: the next run has others, as a rule."""
_TOLD_APART_S = 0.5
"""Seconds between two readings of a scenario that are told: the view draws them twice a second."""

Tell = Callable[[bytes], None]


def answer(content: bytes, tell: Tell) -> bytes:
    """Answer one request; `tell` sends word of what goes on meanwhile. Blocks, and is called in any thread."""
    request = decode(content, Admit | Prove | Examine)
    if isinstance(request, Admit):
        return encode(_admitted(request))
    with _BUNDLES.used(request.digest) as folder:
        name = bundle.name_of(request.digest)
        work: Work = decode(bundle.moved(bytes(request.work), name, str(folder)), Work)
        job = msgspec.structs.replace(work.job, python=request.python or sys.executable)
        if isinstance(request, Prove):
            return encode(_proved(request.run, job))
        plan = Plan(
            scenarios=[job.scenario],
            broken=[],
            template=job,
            tools=frozenset(work.tools),
            suppressions=[Path(each) for each in work.suppressions],
            options=work.options,
            errors=work.errors,
        )
        runner = Runner(plan, _Telling(tell))
        with _CALLS.under_way(request.run, runner.interrupt):
            results = runner.examine(job.scenario)
        return without_home(bundle.moved(encode_results(results), str(folder), name))


def interrupt(run: str) -> None:
    """Call off whatever is examined for a run, now and later. Returns at once."""
    _CALLS.call_off(run)


def _admitted(request: Admit) -> Admitted:
    python = request.python
    try:
        if request.lock is not None and likeness.is_the_same_tool(request.like):
            python = locked.interpreter(request.lock)
        there = likeness.here(python)
    except LeakcheckError as error:
        return Admitted(refused=f"cannot say or make what it measures in: {error}")
    if request.lock is not None:
        there = msgspec.structs.replace(there, packages=request.like.packages)  # they are those of the lock
    if refused := likeness.difference(there, request.like):
        return Admitted(refused=refused)
    if request.archive is None and request.digest not in _BUNDLES:
        return Admitted(lacks_bundle=True)
    clear_abandoned()
    if request.archive is not None:
        _BUNDLES.add(request.digest, request.archive)
    job = msgspec.structs.replace(decode(request.work, Work).job, python=python or sys.executable)
    return Admitted(environment=provenance.machine(job), python=python)


def _proved(run: str, job: Job) -> Control:
    crew = Crew()
    with _CALLS.under_way(run, crew.interrupt):
        return run_control(job, crew.start)


class _Bundles:
    """The sources that lie on this node, by their hash."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: dict[str, Workspace] = {}
        self._users: dict[str, int] = {}
        self._since: dict[str, float] = {}
        """When they were last used."""
        atexit.register(self._remove, 0.0)

    def __contains__(self, digest: str) -> bool:
        with self._lock:
            if digest in self._folders:
                self._since[digest] = time.monotonic()
            return digest in self._folders

    def add(self, digest: str, archive: bytes) -> None:
        """Unpack sources, unless they are there."""
        self._remove(_KEPT_S)
        with self._lock:
            if digest in self._folders:
                return
            workspace = Workspace()
            try:
                bundle.unpack(archive, workspace.path)
            except BaseException:
                workspace.close()
                raise
            self._folders[digest], self._since[digest] = workspace, time.monotonic()

    @contextmanager
    def used(self, digest: str) -> Iterator[Path]:
        """The folder of sources; they stay as long."""
        with self._lock:
            folder = self._folders[digest].path
            self._users[digest] = self._users.get(digest, 0) + 1
        try:
            yield folder
        finally:
            with self._lock:
                self._users[digest] -= 1
                self._since[digest] = time.monotonic()

    def _remove(self, unused_s: float) -> None:
        with self._lock:
            for digest in list(self._folders):
                if not self._users.get(digest) and time.monotonic() - self._since[digest] >= unused_s:
                    self._folders.pop(digest).close()


class _Calls:
    """What is under way on this node, by run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupts: dict[str, list[Callable[[], None]]] = {}
        self._called_off: set[str] = set()

    @contextmanager
    def under_way(self, run: str, stop: Callable[[], None]) -> Iterator[None]:
        """While this lasts, `stop` is called when the run is called off; at once if that was before."""
        with self._lock:
            self._interrupts.setdefault(run, []).append(stop)
            called_off = run in self._called_off
        if called_off:
            stop()
        try:
            yield
        finally:
            with self._lock:
                self._interrupts[run].remove(stop)
                if not self._interrupts[run]:
                    del self._interrupts[run]

    def call_off(self, run: str) -> None:
        """Call off what is under way for a run, and what is begun for it from now on."""
        with self._lock:
            self._called_off.add(run)
            stopping = [*self._interrupts.get(run, ())]
        for stop in stopping:
            stop()


_BUNDLES, _CALLS = _Bundles(), _Calls()


class _Telling:
    """A view that sends what it is told."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._due = 0.0

    def start(self, scenario_id: str) -> None:
        self._say("start", scenario_id)

    def progress(self, scenario_id: str, meter: str, samples: list[Sample], seconds_left: float) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _TOLD_APART_S
            self._say("progress", scenario_id, meter=meter, samples=samples, seconds_left=seconds_left)

    def diagnosing(self, scenario_id: str, tools: Sequence[str]) -> None:
        self._say("diagnosing", scenario_id, tools=[*tools])

    def failing(self, scenario_id: str, tried: int, failures: int) -> None:
        now = time.monotonic()
        if not tried or now >= self._due:
            self._due = now + _TOLD_APART_S
            self._say("failing", scenario_id, tried=tried, failures=failures)

    def failed(self, scenario_id: str, whole: Failure) -> None:
        """It may have values of the program, which stay on their machine; the answer has what may be told."""

    def finish(self, result: ScenarioResult) -> None:
        """The answer says it."""

    def control(self, control: Control) -> None:
        """There is none in an examination."""

    def _say(self, what: str, scenario_id: str, **more: object) -> None:
        self._tell(encode(Progress(what=what, scenario=scenario_id, **more)))  # type: ignore[arg-type]

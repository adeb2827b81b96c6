"""A cluster whose nodes do what a test says, in the order that it says; no process is started."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.records import Control, Failure, RunResult, ScenarioResult
from leakcheck.remote.bundle import Bundle
from leakcheck.remote.dispatch import Dispatch
from leakcheck.remote.engine import Answered, Cluster, Event, Joined, Left
from leakcheck.remote.likeness import Likeness
from leakcheck.remote.requests import Admit, Admitted, Examine, Prove, Work, decode, encode, encode_results
from leakcheck.run.runner import Plan

LIKE = Likeness(tool="1.0", sources="s", python="CPython 3.12.1", packages={"numpy": "2.0"})
GOOD, BAD = Control(status="ok"), Control(status="failed", reason="no_op came out as leak: it grows")


class Silent:
    """A view that keeps what is said above it."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.places: list[tuple[str, str]] = []
        self.finished: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def start_at(self, scenario_id: str, node: str) -> None:
        self.places.append((scenario_id, node))

    def finish(self, result: ScenarioResult) -> None:
        self.finished.append(result.id)

    def start(self, *_) -> None:
        """Nothing is drawn."""

    nodes = progress = diagnosing = failing = failed = control = start


class ScriptedCluster:
    """An engine. What was submitted waits in `asked`, by node; a test's script yields what becomes of it."""

    def __init__(self, script: Callable[[ScriptedCluster], Iterator[Event | None]]) -> None:
        self._script = script
        self._events: Iterator[Event | None] | None = None
        self.asked: dict[str, deque[tuple[str, Admit | Prove | Examine]]] = {}
        self.verdicts: dict[tuple[str, str], str] = {}
        """By scenario and node; clean where nothing is said."""
        self.is_cancelled = False
        self.most_busy: dict[str, int] = {}

    def submit(self, node: str, request: str, content: bytes) -> None:
        waiting = self.asked.setdefault(node, deque())
        waiting.append((request, decode(content, Admit | Prove | Examine)))
        self.most_busy[node] = max(self.most_busy.get(node, 0), len(waiting))

    def as_completed(self) -> Iterator[Event | None]:
        if self._events is None:
            self._events = self._script(self)
        return self._events

    def cancel(self) -> None:
        self.is_cancelled = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing is held."""

    def joined(self, node: str, machine: str = "", cores: int = 1) -> Joined:
        return Joined(node, node, machine or node, cores)

    def ready(self, node: str, machine: str = "", cores: int = 1, control: Control = GOOD) -> Iterator[Event]:
        """A node that joins, admits itself and does its control."""
        yield self.joined(node, machine, cores)
        yield self.answered(node)
        if self.asked[node] and isinstance(self.asked[node][0][1], Prove):
            yield self.answered(node, encode(control))

    def answered(self, node: str, answer: bytes | None = None) -> Answered:
        """The answer to what a node was asked first, of what it has not answered."""
        request, asked = self.asked[node].popleft()
        return Answered(request, self._answer(node, asked) if answer is None else answer)

    def rest(self) -> Iterator[Event]:
        """The answers to whatever has none, and to what is asked then."""
        while busy := next((node for node, asked in self.asked.items() if asked), ""):
            yield self.answered(busy)

    def left(self, node: str) -> Left:
        self.asked.pop(node, None)
        return Left(node)

    def examined(self, node: str) -> str:
        """The scenario that a node was asked for first."""
        asked = self.asked[node][0][1]
        assert isinstance(asked, Examine)
        return decode(asked.work, Work).job.scenario.id

    def _answer(self, node: str, asked: Admit | Prove | Examine) -> bytes:
        if isinstance(asked, Admit):
            return encode(Admitted(environment={"python": "3.12.1", "platform": "Linux"}))
        if isinstance(asked, Prove):
            return encode(GOOD)
        name = decode(asked.work, Work).job.scenario.id
        verdict = self.verdicts.get((name, node), "clean")
        failure = Failure(type="signal", message="gone") if verdict == "error" else None
        ok = verdict in ("clean", "bounded")
        return encode_results([ScenarioResult(id=name, verdict=verdict, ok=ok, reason="it is so", failure=failure)])


def run(
    script: Callable[[ScriptedCluster], Iterator[Event | None]],
    names: str,
    view: Silent | None = None,
    confirm: int = 1,
    **options,
) -> tuple[RunResult, ScriptedCluster]:
    """The run of scenarios with those names, of one letter each."""
    scenarios = [ScenarioInfo(id=name, target=f"/project/{name}.py", name=name) for name in names]
    job = Job(scenario=ScenarioInfo(id="", target="", name=""), cwd=Path("/project"))
    plan = Plan(scenarios=scenarios, broken=[], template=job, tools=frozenset({"auto"}))
    engine = ScriptedCluster(script)
    bundle = Bundle("/project", "d1", b"archive")
    dispatch = Dispatch(
        plan, engine, view or Silent(), bundle, LIKE, name="run", cluster=Cluster("", confirm), **options
    )
    return dispatch.run(), engine

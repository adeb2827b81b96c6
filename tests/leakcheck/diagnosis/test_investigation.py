"""The order of the means, with scripted processes: what runs, what is skipped and why, and whose root a path has."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import pytest

from leakcheck.agent.inquiry import (
    Adder,
    Arrival,
    Birth,
    Captures,
    Graph,
    GrowingContainer,
    KeptResource,
    Node,
    Resources,
)
from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import PROBES, Opened
from leakcheck.diagnosis.faults import RetainingPath
from leakcheck.diagnosis.investigation import diagnose
from leakcheck.diagnosis.plan import Diagnosis, DiagnosisOptions, GrowthFacts
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.records import Failure

CONTAINER = GrowingContainer(
    bytes=100.0,
    objects=1.0,
    types={"app.Listener": 1.0},
    sites=(),
    opaque=False,
    path=(Node("app", "module"), Node(".listeners", "list")),
    shape="wider",
    many="[*]",
    per_iteration=1.0,
    shared_with="",
    elements={"app.Listener": 1.0},
    heads=(),
    examples=(),
    adders=(Adder((("/src/app/hub.py", 41, "Hub.on"),), 1.0),),
    other_threads=False,
)
GRAPH = Graph(
    containers=(CONTAINER,), pinned=(), unclearable=(), sites=(), frozen=0.0, freezing=(), at_exit=0.0, registering=(),
    iterations=0, phases={},
)  # fmt: skip
LEDGER = Resources({"heap.bytes": KeptResource((Arrival((("/src/app/native.py", 3, "call"),), 300.0),))})
OPENED = Opened(meters=[], unavailable={}, python="3.11", descriptor_limit=None, roots=HERE.roots, answers_probes=True)


class ScriptedWorkers:
    """Answers each probe from a script, or fails; notes what was asked."""

    pid = 0

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, job: Job) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def open(self) -> Opened:
        return OPENED

    def ask(self, question: NamedTuple, answer: type) -> Any:
        name = PROBES[type(question).__name__].rpartition(".")[2]
        self.asked.append(name)
        if name not in self.answers:
            raise WorkerFailed(Failure(type="timeout", message="no answer within 120 s"))
        return self.answers[name]


def diagnosed(workers: ScriptedWorkers, *tools: Any, **meters: float) -> Diagnosis:
    job = Job(scenario=ScenarioInfo(id="app.py::on", target="app.py", name="on"))
    growth = GrowthFacts(meters={name.replace("_", "."): rate for name, rate in meters.items()})
    return diagnose(job, growth, DiagnosisOptions(tools=frozenset(tools)), workers)  # type: ignore[arg-type]


def states(diagnosis: Diagnosis) -> dict[str, tuple[str, str]]:
    return {tool.name: (tool.status, tool.reason) for tool in diagnosis.tools}


def test_a_growth_that_the_graph_explains_needs_no_more() -> None:
    workers = ScriptedWorkers(containers=GRAPH)
    diagnosis = diagnosed(workers, "graph", "valgrind", heap_bytes=100.0)
    assert [finding.title for finding in diagnosis.findings] == [
        "leaks 1 Listener (100 B) per iteration: added at hub.py:41 in Hub.on, held by app.listeners[*], never removed"
    ]
    assert (diagnosis.explained, workers.asked) == (1.0, ["containers"])
    assert states(diagnosis) == {
        "graph": ("ok", ""),
        "memray": ("not needed", "not among the tools that were asked for"),
        "resources": ("not needed", ""),
        "valgrind": ("not needed", "the growth is explained without it"),
    }


def test_a_line_that_was_not_seen_to_add_is_told_as_the_one_that_makes() -> None:
    born = (("/src/app/listener.py", 7),)
    found = CONTAINER._replace(adders=(), heads=(Birth(born, 1.0, 100.0),))
    workers = ScriptedWorkers(containers=GRAPH._replace(containers=(found,)))
    (finding,) = diagnosed(workers, "graph", heap_bytes=100.0).findings
    assert "made at listener.py:7" in finding.title


def test_where_much_is_unexplained_the_heaps_own_ledger_is_watched() -> None:
    workers = ScriptedWorkers(containers=GRAPH, resources=LEDGER)
    diagnosis = diagnosed(workers, "graph", heap_bytes=400.0)
    assert [finding.stack[0].line for finding in diagnosis.findings] == [3, 41]
    assert (diagnosis.explained, workers.asked) == (1.0, ["containers", "resources"])


def test_a_process_that_fails_is_a_tool_that_failed_and_the_others_count() -> None:
    diagnosis = diagnosed(ScriptedWorkers(), "graph", fds=1.0, heap_bytes=100.0)
    assert not diagnosis.findings
    assert states(diagnosis)["graph"] == states(diagnosis)["resources"] == ("error", "timeout: no answer within 120 s")


def test_a_graph_that_is_too_large_is_not_looked_at_and_its_births_still_name_the_line() -> None:
    births = GRAPH._replace(
        containers=(), sites=(Birth((("/src/app/hub.py", 41),), 1.0, 92.0),), unseen="more than 5,000,000 objects"
    )
    diagnosis = diagnosed(ScriptedWorkers(containers=births), "graph", heap_bytes=100.0)
    assert states(diagnosis)["graph"] == ("skipped", "more than 5,000,000 objects")
    (finding,) = diagnosis.findings
    assert "allocated at hub.py:41" in finding.title
    assert finding.title.endswith("what holds it was not looked at")
    assert finding.source == "survivors"


def test_an_interpreter_without_memray_skips_it_and_says_why() -> None:
    workers = ScriptedWorkers(containers=GRAPH, memray=Captures(missing="python3.12 has no memray"))
    diagnosis = diagnosed(workers, "graph", "memray", heap_bytes=100.0)
    assert states(diagnosis)["memray"] == ("skipped", "python3.12 has no memray")
    assert [finding.source for finding in diagnosis.findings] == ["graph"]


def test_what_takes_no_memory_is_not_looked_for_in_the_heap() -> None:
    workers = ScriptedWorkers(resources=Resources({"fds": KeptResource(())}))
    diagnosis = diagnosed(workers, "graph", "memray", fds=1.0)
    assert workers.asked == ["resources"]
    assert states(diagnosis)["graph"] == states(diagnosis)["memray"] == ("not needed", "no memory grows")


@pytest.mark.parametrize(
    ("label", "root"),
    [
        ("<list held by native code>", "native code"),
        ("threading._active", "standard library"),
        ("app.hub", "program"),
        ("<scenario on>", "program"),
    ],
)
def test_the_root_of_a_path_is_read_once_on_arrival(label: str, root: str) -> None:
    path = RetainingPath.of((Node(label, "list"), Node(".x", "list")))
    assert (path.root, path.name) == (root, f"{label}.x")

"""The order of the means, with scripted processes: what runs, what is skipped and why, and whose root a path has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec
import pytest

from leakcheck.diagnosis.answers import GrowingContainer
from leakcheck.diagnosis.investigation import diagnose
from leakcheck.diagnosis.plan import Diagnosis, DiagnosisOptions, GrowthFacts
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import WorkerFailed
from leakcheck.records import Failure

CONTAINER = {
    "path": [["app", "module"], [".listeners", "list"]],
    "shape": "wider",
    "many": "[*]",
    "opaque": False,
    "limit": 0,
    "count": 1.0,
    "bytes": 100.0,
    "shared_with": "",
    "elements": {"app.Listener": 1.0},
    "types": {"app.Listener": 1.0},
    "sites": [],
    "heads": [],
    "examples": [],
    "adders": [[[["/src/app/hub.py", 41, "Hub.on"]], 1.0]],
    "other_threads": False,
}
GRAPH = {
    "containers": [CONTAINER],
    "pinned": [],
    "sites": [],
    "frozen": 0.0,
    "freezing": [],
    "at_exit": {"count": 0.0, "adders": []},
    "phases": {"walk": 0.1},
}
LEDGER = {"kinds": {"heap.bytes": {"stacks": [{"stack": [["/src/app/native.py", 3, "call"]], "count": 300.0}]}}}


class ScriptedWorkers:
    """Answers each probe from a script, or fails; notes what was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, job: Job) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def open(self, timeout: float) -> None:
        pass

    def probe(self, module: str, arguments: Mapping[str, object], timeout: float) -> Any:
        name = module.rpartition(".")[2]
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
        "leaks 1.00 Listener (100 B) per iteration: added at hub.py:41 in Hub.on, held by app.listeners[*], "
        "never removed"
    ]
    assert (diagnosis.explained, workers.asked) == (1.0, ["containers"])
    assert states(diagnosis) == {
        "graph": ("ok", ""),
        "memray": ("skipped", "not among the tools that were asked for"),
        "resources": ("not needed", ""),
        "valgrind": ("not needed", "the growth is explained without it"),
    }


def test_where_much_is_unexplained_the_heaps_own_ledger_is_watched() -> None:
    workers = ScriptedWorkers(containers=GRAPH, resources=LEDGER)
    diagnosis = diagnosed(workers, "graph", heap_bytes=400.0)
    assert [finding.stack[0].line for finding in diagnosis.findings] == [3, 41]
    assert (diagnosis.explained, workers.asked) == (1.0, ["containers", "resources"])


def test_a_process_that_fails_is_a_tool_that_failed_and_the_others_count() -> None:
    diagnosis = diagnosed(ScriptedWorkers(), "graph", fds=1.0, heap_bytes=100.0)
    assert not diagnosis.findings
    assert states(diagnosis)["graph"] == states(diagnosis)["resources"] == ("error", "timeout: no answer within 120 s")


def test_an_interpreter_without_memray_skips_it_and_says_why() -> None:
    workers = ScriptedWorkers(containers=GRAPH, memray={"missing": "python3.12 has no memray"})
    diagnosis = diagnosed(workers, "graph", "memray", heap_bytes=100.0)
    assert states(diagnosis)["memray"] == ("skipped", "python3.12 has no memray")
    assert [finding.source for finding in diagnosis.findings] == ["graph"]


def test_what_takes_no_memory_is_not_looked_for_in_the_heap() -> None:
    workers = ScriptedWorkers(resources={"kinds": {"fds": {"count": 1.0, "stacks": []}}})
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
    container = msgspec.convert(CONTAINER | {"path": [[label, "list"], [".x", "list"]]}, GrowingContainer)
    assert (container.held.root, container.held.name) == (root, f"{label}.x")

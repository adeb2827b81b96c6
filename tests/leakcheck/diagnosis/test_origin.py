"""A user's project may live in a folder that is called like a part of ours: the diagnosis names it like any other."""

from __future__ import annotations

import pytest

from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.run.runner import Plan, Runner

HUB = """
listeners = []
def on(listener):
    listeners.append(listener)
"""
CASE = """
import sys
sys.path.insert(0, {folder!r})
import hub
from leakcheck import scenario
@scenario
def case():
    hub.on([1])
"""


class Unseen:
    def start(self, *_):
        pass

    progress = diagnosing = failing = failed = finish = control = start


@pytest.mark.parametrize("folder", ["memray", "leakcheck/worker", "leakcheck/agent", "asyncio"])
def test_the_first_finding_names_the_users_line(tmp_path, folder):
    project = tmp_path / folder
    project.mkdir(parents=True)
    (project / "hub.py").write_text(HUB)
    file = tmp_path / "case.py"
    file.write_text(CASE.format(folder=str(project)))
    info = ScenarioInfo(id="case.py::case", target=str(file), name="case", file=str(file))
    job = Job(scenario=info, cwd=tmp_path, budget=Budget(time_s=3.0))
    run = Runner(Plan([info], [], job, frozenset({"auto"})), Unseen()).run()
    (finding, *_) = run.scenarios[0].findings
    assert "added at hub.py:4 in on" in finding.title
    assert "held by hub.listeners[*]" in finding.title
    assert [frame.user for frame in finding.stack] == [True] * len(finding.stack)

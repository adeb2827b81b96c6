"""The worked examples of CONTRIBUTING.md do what the page says: each is added, and seen where it should be seen."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import sample_run
from scripted_process import Scripted, suspicion

from leakcheck import meters, report
from leakcheck.agent import protocol
from leakcheck.agent.meters import READERS
from leakcheck.diagnosis.investigation import diagnose
from leakcheck.diagnosis.plan import DiagnosisOptions, GrowthFacts
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.execution.worker import Worker
from leakcheck.gate import budgets
from leakcheck.meters import COUNTS, MeterSpec, Words
from leakcheck.monitor.readings import own_meters
from leakcheck.report import sentences
from leakcheck.verdict import result
from leakcheck.verdict.challenges import challenge
from leakcheck.verdict.reach import reach

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")

LEAKS_A_SOCKET = """
import socket
kept = []
@scenario
def case():
    kept.append(socket.socket())
"""


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"CONTRIBUTING.md has no block named {name!r}"
    return found[1]


@pytest.fixture
def job(tmp_path):
    def make(source: str) -> Job:
        file = tmp_path / "scenarios_under_test.py"
        file.write_text("from leakcheck import scenario\n" + source)
        info = ScenarioInfo(id="scenarios_under_test.py::case", target=str(file), name="case", file=str(file))
        return Job(scenario=info, cwd=tmp_path, budget=Budget(time_s=3.0))

    return make


@pytest.fixture
def with_sockets(monkeypatch):
    row = eval(block("meter: row"), {"MeterSpec": MeterSpec, "COUNTS": COUNTS, "Words": Words})
    monkeypatch.setattr(meters, "CATALOGUE", (*meters.CATALOGUE, row))
    monkeypatch.setitem(READERS, row.name, None)
    exec(block("meter: reader"), {})
    return row


def test_a_meter_is_a_row_and_a_reader_and_is_seen_everywhere(job, with_sockets):
    leaking = job(block("meter: reader") + LEAKS_A_SOCKET)
    with Worker(leaking) as worker:
        reached = reach(worker, worker.open(), leaking.budget)
    assert reached.judgements["sockets"].verdict == "leak"
    assert reached.leaking["sockets"] == pytest.approx(1, abs=0.01)

    facts = GrowthFacts(meters=reached.leaking, iterations=reached.measured.iterations)
    found = diagnose(leaking, facts, DiagnosisOptions(tools=frozenset({"graph"}))).findings
    assert any(finding.meter == "sockets" and finding.title.startswith("leaks 1") for finding in found)

    told = result.judged(leaking, reached)
    assert "sockets" in {meter.name for meter in told.meters}
    assert next(iter(budgets.check(budgets.Budget(growth={"sockets": 0.5}), told))).meter == "sockets"
    assert "sockets" in sentences.sensitivity(sample_run.scenario("a.py::b", detectable={"sockets": 0.01}))
    assert "sockets" in {each.gauge.name for each in own_meters({}, print)}


def test_a_probe_is_two_records_and_a_module(job, tmp_path, monkeypatch):
    (tmp_path / "counting.py").write_text(block("probe: module"))
    monkeypatch.syspath_prepend(str(tmp_path))
    import counting

    source = """
from leakcheck.agent.protocol import PROBES
PROBES["CountOfType"] = "counting"
class Listener: pass
kept = []
@scenario
def case():
    kept.append(Listener())
"""
    with Worker(job(source)) as worker:
        worker.open()
        worker.run(7)
        assert worker.ask(counting.CountOfType("Listener"), counting.Count).objects == 7


def test_a_challenge_is_a_function_in_the_list():
    names: dict = {}
    exec(block("challenge: function"), names)
    added = names["fewer_than_a_hundred_calls"]
    process = Scripted([0.0])
    left = challenge(suspicion(process, iterations=50), process, [added])
    assert left.judgements[meters.LEDGER].verdict == "inconclusive"
    assert challenge(suspicion(process, iterations=5000), process, [added]).judgements[meters.LEDGER].verdict == "leak"


def test_a_report_is_a_module_and_a_file_name(monkeypatch):
    module = ModuleType("leakcheck.report.lines")
    exec(block("report: module"), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(report.FILES, "lines", "lines.txt")
    run = sample_run.run()
    assert report.render("lines", run).splitlines()[0] == f"{run.scenarios[0].verdict}\t{run.scenarios[0].id}"


def test_the_files_that_the_page_names_are_there():
    named = set(re.findall(r"`((?:leakcheck|docs|tests)/[\w/.]+\.(?:py|md))`", PAGE))
    assert len(named) >= 8
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_question_has_a_module_that_answers_it():
    from importlib import import_module

    for question, module in protocol.PROBES.items():
        if not module.endswith(".memray"):
            assert callable(import_module(module).answer)
            assert hasattr(import_module(module), question)

"""Cyclic garbage in real processes: how much waits for the collector, what closes the cycle, and who may limit it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from processes import job_of, run

from leakcheck.gate import budgets
from leakcheck.meters import GARBAGE, LEDGER
from leakcheck.records import Meter, ScenarioResult
from leakcheck.report import sentences

NODES = """
    class Node:
        def __init__(self, size):
            self.children = []
            self.payload = bytearray(size)
        def add(self, child):
            self.children.append(child)
            child.parent = self
    @scenario
    def case():
        Node({size}).add(Node(10))
"""
SIZE = 200_000


def nodes(size: int = SIZE) -> str:
    return NODES.replace("{size}", str(size))


def garbage_of(result: ScenarioResult) -> Meter:
    return next(meter for meter in result.meters if meter.name == GARBAGE)


def test_what_waits_for_the_collector_is_measured_named_and_told_under_the_verdict(tmp_path: Path) -> None:
    result = run(job_of(tmp_path, nodes()))
    meter = garbage_of(result)
    assert result.verdict == "clean"
    assert not meter.decisive
    assert SIZE <= meter.growth <= 1.02 * SIZE
    highest = max(sample.value for sample in meter.samples)
    assert highest > 20 * SIZE, "the collector counts objects, a hundred of these weigh megabytes"
    assert f"up to {highest / 2**20:.1f} MiB wait until the collector comes by itself" in meter.reason
    assert "Node leads back to itself by .children[*].parent" in meter.reason
    assert "closed at scenarios_under_test.py:9 in Node.add" in meter.reason
    assert sentences.garbage(result) == f"no leak, but {meter.reason}"
    assert f"no leak, but {meter.reason}" in result.advice


def test_little_garbage_is_advice_and_not_told_under_the_verdict(tmp_path: Path) -> None:
    result = run(job_of(tmp_path, """
    @scenario
    def case():
        cycle = []
        cycle.append(cycle)
    """))  # fmt: skip
    assert "list leads back to itself by [*], closed at scenarios_under_test.py:6 in case" in garbage_of(result).reason
    assert sentences.garbage(result) == ""
    assert any("cyclic garbage" in advice for advice in result.advice)


@pytest.mark.parametrize(
    ("body", "way"),
    [
        (
            """
        try:
            raise ValueError
        except ValueError as error:
            kept = error""",
            "ValueError leads back to itself by .__traceback__.tb_frame.<local kept>",
        ),
        (
            """
        def again(n):
            return again(n - 1) if n else None
        again(2)""",
            "function leads back to itself by .<closure again>",
        ),
    ],
)
def test_cycles_through_functions_and_tracebacks_are_named(tmp_path: Path, body: str, way: str) -> None:
    result = run(job_of(tmp_path, f"""
    @scenario
    def case():{body}
    """))  # fmt: skip
    assert result.verdict == "clean"
    assert way in garbage_of(result).reason
    assert "closed at scenarios_under_test.py" in garbage_of(result).reason


def test_what_a_finalizer_frees_counts_too(tmp_path: Path) -> None:
    result = run(job_of(tmp_path, """
    def generates():
        me = yield
        payload = bytearray(200_000)
        yield me
    @scenario
    def case():
        generator = generates()
        next(generator)
        generator.send(generator)
    """))  # fmt: skip
    meter = garbage_of(result)
    assert SIZE <= meter.growth <= 1.02 * SIZE
    assert "generator leads back to itself by .<local me>, closed at scenarios_under_test.py" in meter.reason


def test_keys_that_may_be_data_are_not_told(tmp_path: Path) -> None:
    result = run(job_of(tmp_path, """
    @scenario
    def case():
        own = {"a-secret": None}
        own["a-secret"] = own
    """))  # fmt: skip
    assert "dict leads back to itself by [key]" in garbage_of(result).reason


def test_a_step_without_cycles_has_no_garbage(tmp_path: Path) -> None:
    result = run(job_of(tmp_path, """
    @scenario
    def case():
        [bytearray(1000)]
    """))  # fmt: skip
    assert GARBAGE not in {meter.name for meter in result.meters}
    assert not any("garbage" in advice for advice in result.advice)


def test_a_budget_for_it_is_held_and_names_the_cycle(tmp_path: Path) -> None:
    job = job_of(tmp_path, nodes())

    def with_budget(limit: float) -> ScenarioResult:
        scenario = msgspec.structs.replace(job.scenario, budget={GARBAGE: limit})
        return run(msgspec.structs.replace(job, scenario=scenario), "auto")

    beyond = with_budget(1000)
    assert (beyond.verdict, beyond.ok) == ("leak", False)
    (finding,) = beyond.findings
    assert "Node leads back to itself by .children[*].parent, closed at scenarios_under_test.py:9" in finding.title
    assert (finding.meter, finding.share, finding.stack[0].line) == (GARBAGE, 1.0, 9)
    assert with_budget(2 * SIZE).verdict == "clean"


def test_the_budgets_of_a_team_know_its_growth_and_its_peak(tmp_path: Path) -> None:
    result = run(job_of(tmp_path, nodes()))
    broken = budgets.Budget(growth={GARBAGE: SIZE / 2}, highest={GARBAGE: SIZE})
    assert [(each.meter, each.kind) for each in budgets.check(broken, result)] == [
        (GARBAGE, "growth"),
        (GARBAGE, "highest"),
    ]
    kept = budgets.Budget(growth={GARBAGE: 2 * SIZE}, highest={GARBAGE: 10_000 * SIZE})
    assert list(budgets.check(kept, result)) == []


def test_where_the_collector_is_off_it_is_the_verdict(tmp_path: Path) -> None:
    result = run(job_of(tmp_path, nodes(1000), gc="off"), "auto")
    assert result.verdict == "leak"
    assert garbage_of(result).decisive
    assert "Node leads back to itself" in result.reason
    assert next(meter.verdict for meter in result.meters if meter.name == LEDGER) == "bounded"


def test_where_the_collector_is_left_alone_it_is_no_leak(tmp_path: Path) -> None:
    result = run(job_of(tmp_path, nodes(1000), gc="auto"))
    assert result.verdict != "leak", result.reason
    assert not garbage_of(result).decisive

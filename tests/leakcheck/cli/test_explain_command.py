"""`explain` prints one finding in full, or lists those that are meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from leakcheck import records
from leakcheck.cli import main
from leakcheck.records import Control, Finding, Frame, PathNode, RunResult, ScenarioResult, Tool


def finding(title: str, fingerprint: str) -> Finding:
    return Finding(
        kind="container",
        fingerprint=fingerprint,
        title=title,
        bytes_per_iteration=432.0,
        count_per_iteration=1.0,
        share=0.92,
        type="Listener",
        path=[
            PathNode(name="hub", type="module", status="innocent", why="a module lives as long as the process"),
            PathNode(name=".listeners", type="list", suspect=True, status="guilty", why="it only ever grows"),
        ],
        stack=[
            Frame(
                file="hub.py",
                line=41,
                function="Hub.on",
                source="self.listeners.append(listener)",
                user=True,
                context=["def on(self, listener):", "    self.listeners.append(listener)"],
                context_start=40,
            )
        ],
        examples=["Listener"],
        source="graph",
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    scenario = ScenarioResult(
        id="scenarios/hub.py::subscribe",
        verdict="leak",
        ok=False,
        reason="it grows",
        findings=[finding("leaks a listener", "aaaa1111"), finding("leaks a line", "bbbb2222")],
        command="elkyn-leakcheck run scenarios/hub.py::subscribe",
    )
    run = RunResult(
        tool=Tool(version="0"),
        environment={},
        started="2026-01-01T00:00:00Z",
        duration_s=1.0,
        control=Control(status="off"),
        summary=records.summarize([scenario]),
        scenarios=[scenario],
    )
    (tmp_path / "results.json").write_bytes(records.encode(run))
    return tmp_path


def explain(*arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(main.command_line, ["explain", *arguments])
    return outcome.exit_code, outcome.output


def test_one_finding_is_printed_in_full(results: Path) -> None:
    code, output = explain(str(results), "aaaa")
    assert code == 0
    for part in (
        "leaks a listener",
        "hub.listeners",
        "a module lives as long as the process",
        "hub.py:41 in Hub.on",
        "self.listeners.append(listener)",
        "92 % of the growth of heap.bytes",
        "elkyn-leakcheck run scenarios/hub.py::subscribe",
    ):
        assert part in output
    assert "leaks a line" not in output


def test_several_findings_are_listed_with_their_fingerprints(results: Path) -> None:
    code, output = explain(str(results))
    assert code == 0
    assert "aaaa1111" in output
    assert "bbbb2222" in output


def test_a_finding_is_meant_by_its_number_too(results: Path) -> None:
    assert "leaks a line" in explain(str(results), "2")[1]


def test_an_unknown_id_is_said_with_what_to_do(results: Path) -> None:
    outcome = CliRunner().invoke(main.command_line, ["explain", str(results), "zzzz"])
    assert outcome.exit_code != 0
    assert "leave it out to list all 2" in str(outcome.exception)


def test_the_last_run_is_meant_where_none_is_named(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = results / "elsewhere"
    (folder / "reports").mkdir(parents=True)
    monkeypatch.chdir(folder)
    outcome = CliRunner().invoke(main.command_line, ["explain"])
    assert "run something first" in str(outcome.exception)
    (folder / "reports" / "latest").symlink_to(results)
    assert "explain FINGERPRINT" in explain()[1]
    assert "leaks a line" in explain("bbbb")[1]


def test_source_keeps_its_indentation(results: Path) -> None:
    assert "    self.listeners.append(listener)" in explain(str(results), "aaaa")[1].replace("❱", "")


def test_a_finding_is_told_briefly_for_a_program(results: Path) -> None:
    told = json.loads(explain(str(results), "bbbb", "--brief")[1])
    assert (told["schema"], told["sentence"], told["others"]) == ("leakcheck-brief/1", "leaks a line", 1)
    assert json.loads(explain(str(results), "--brief")[1])["sentence"] == "leaks a listener"

"""The draft of a bug report: what a maintainer needs, from a result."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import sample_run

from leakcheck.records import Finding, Frame, Meter, RunResult, Sample, ScenarioResult
from leakcheck.report.draft import draft
from leakcheck.shell import pasteable

METER = Meter(
    name="heap.bytes", unit="B", verdict="leak", growth=320.0,
    samples=[Sample(iterations=calls, value=1000.0 + 320 * calls) for calls in (1, 64, 128, 256, 512, 1024)],
)  # fmt: skip


@pytest.fixture
def run() -> RunResult:
    return sample_run.run()


def drafted(run: RunResult, finding: Finding, **scenario: object) -> str:
    result = ScenarioResult(
        id="app.py::on", verdict="leak", ok=False, reason="leaks", meters=[METER], findings=[finding]
    )
    return draft(run, msgspec.structs.replace(result, **scenario), finding)


def finding(*stack: Frame, title: str = "leaks 1 block") -> Finding:
    return Finding(kind="native", fingerprint="00ff", title=title, meter="heap.bytes", stack=list(stack))


def test_a_statement_becomes_a_program_that_repeats_it(run: RunResult) -> None:
    command = pasteable(["elkyn-leakcheck", "snippet", "-s", "import x\ny = 1", "if y:\n    x.run(y)", "--python", "p"])
    text = drafted(run, finding(), command=command)
    assert "import x\ny = 1\nwhile True:\n    if y:\n        x.run(y)\n" in text


def test_the_growth_is_shown_at_three_scales_with_the_rate_between_two(run: RunResult) -> None:
    rows = [row for row in drafted(run, finding()).splitlines() if row.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == ["| 256", "| 512", "| 1,024"]
    assert all(row.endswith("320 B |") for row in rows[1:])


def test_an_installed_package_is_named_with_its_version_and_files_as_others_know_them(run, tmp_path: Path) -> None:
    site = tmp_path / "lib" / "site-packages"
    (site / "thing-2.5.dist-info").mkdir(parents=True)
    (site / "thing-2.5.dist-info" / "METADATA").write_text("Name: thing\nVersion: 2.5\n")
    (site / "thing-2.5.dist-info" / "RECORD").write_text("thing/core.py,,\n")
    text = drafted(run, finding(Frame(file=str(site / "thing" / "core.py"), line=3, function="run")))
    assert "* thing 2.5\n" in text
    assert "thing/core.py:3 in run" in text
    assert str(tmp_path) not in text


def test_nothing_in_a_title_is_read_as_markdown(run: RunResult) -> None:
    assert "# leaks \\*1\\* &lt;b&gt;" in drafted(run, finding(title="leaks *1* <b>"))

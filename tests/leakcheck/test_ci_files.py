"""The ready-made files of `ci/`: valid for the systems that read them, and the gate script as it runs in CI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from leakcheck.gate import budgets

ROOT = Path(__file__).resolve().parents[2]
CI = ROOT / "ci"


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        ("action.yml", "vendor.github-actions"),
        ("workflow.yml", "vendor.github-workflows"),
        ("workflow-shards.yml", "vendor.github-workflows"),
        ("gitlab-shards.yml", "vendor.gitlab-ci"),
        ("sweep.yml", "vendor.github-workflows"),
        ("release.yml", "vendor.github-workflows"),
        ("gitlab.yml", "vendor.gitlab-ci"),
    ],
)
def test_each_file_is_valid_for_its_system(file, schema):
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, CI / file],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_no_script_of_an_action_has_an_input_pasted_into_it():
    for file in ("action.yml", "workflow.yml", "workflow-shards.yml", "sweep.yml"):
        in_script = False
        for line in (CI / file).read_text().splitlines():
            stripped = line.strip()
            in_script = stripped.startswith("run:") or (in_script and line.startswith("        "))
            assert not (in_script and "${{" in line), f"{file}: {line}"


def test_the_budgets_of_the_repository_can_be_read():
    assert budgets.read(CI / "budgets.toml")


HUB = """kept = []
def on(handler):
    kept.append([handler] * 20)
def off():
    kept.pop()
"""
SCENARIO = """from leakcheck import scenario
import hub
@scenario
def subscribing():
    hub.on(print)
    hub.off()
"""


class Project:
    """A sample project with a scenario and the gate in its CI."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "scenarios").mkdir()
        (directory / "scenarios" / "hub.py").write_text(HUB)
        self.write(SCENARIO)

    def write(self, scenario):
        (self.directory / "scenarios" / "subscribing.py").write_text(scenario)

    def plant(self, *lines):
        self.write(SCENARIO.replace("    hub.off()\n", "".join(f"    {line}\n" for line in lines)))

    def gate(self):
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("LEAKCHECK", "GITHUB"))}
        return subprocess.run(
            [CI / "run-gate", "scenarios"],
            cwd=self.directory,
            env={
                **ours,
                "LEAKCHECK": f"{sys.executable} -m leakcheck",
                "LEAKCHECK_RUN_OPTIONS": "--time-budget 3 -q",
                "GITHUB_ACTIONS": "true",
                "GITHUB_STEP_SUMMARY": str(self.directory / "summary.md"),
            },
            capture_output=True,
            text=True,
        )

    def update(self, *options):
        subprocess.run(
            [sys.executable, "-m", "leakcheck", "baseline", "update", "leakcheck-report", *options],
            cwd=self.directory,
            check=True,
            capture_output=True,
        )

    def report(self, name):
        return (self.directory / "leakcheck-report" / "gate" / name).read_text()

    def lines(self):
        return [(line["kind"], line["fingerprint"]) for line in json.loads(self.report("gate.json"))["lines"]]


@pytest.mark.slow
def test_the_life_of_a_leak_at_the_gate(tmp_path):
    project = Project(tmp_path)
    green = project.gate()
    assert green.returncode == 0, green.stdout + green.stderr
    project.update("--scenarios")

    project.plant("pass")
    red = project.gate()
    assert red.returncode == 1
    assert "::error file=scenarios/hub.py,line=3,title=new leak" in red.stdout
    assert "scenarios/hub.py:3" in project.report("gate.md")
    assert "scenarios/hub.py:3" in (tmp_path / "summary.md").read_text()
    assert "hub.py:3" in etree.fromstring(project.report("junit.xml").encode()).find(".//failure").text
    place = json.loads(project.report("leaks.sarif"))["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("scenarios/hub.py", 3)

    known = [fingerprint for kind, fingerprint in project.lines() if kind == "new leak"]
    for fingerprint in known:
        project.update("--accept", fingerprint, "the sample project leaks on purpose")
    accepted = project.gate()
    assert accepted.returncode == 0, accepted.stdout

    (tmp_path / "scenarios" / "hub.py").write_text("#\n" * 100 + HUB)
    moved = project.gate()
    assert moved.returncode == 0, moved.stdout
    assert "known leak" in moved.stdout

    project.plant("more.append(bytearray(700))")
    project.write((tmp_path / "scenarios" / "subscribing.py").read_text().replace("@scenario", "more = []\n@scenario"))
    second = project.gate()
    assert second.returncode == 1
    assert "new leak" in [kind for kind, _ in project.lines()]

    project.write(SCENARIO)
    fixed = project.gate()
    assert fixed.returncode == 0, fixed.stdout
    assert "fixed, remove it from the baseline" in fixed.stdout

    (tmp_path / "scenarios" / "subscribing.py").write_text("@scenario\ndef broken(")
    broken = project.gate()
    assert broken.returncode == 1
    assert "vanished scenario" in broken.stdout


def test_a_run_that_does_not_start_is_never_judged_by_an_older_result(tmp_path):
    project = Project(tmp_path)
    (tmp_path / "leakcheck-report").mkdir()
    (tmp_path / "leakcheck-report" / "results.json").write_text("{}")
    (tmp_path / "scenarios" / "hub.py").unlink()
    (tmp_path / "scenarios" / "subscribing.py").unlink()
    assert project.gate().returncode == 5
    assert not (tmp_path / "leakcheck-report" / "results.json").exists()

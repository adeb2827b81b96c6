"""`elkyn-leakcheck init`: what it writes works as it is, and nothing that was there is lost."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from leakcheck.cli.init import command


def init(folder) -> str:
    done = CliRunner().invoke(command, [str(folder)], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output


def leakcheck(folder, *arguments: str) -> int:
    done = subprocess.run([sys.executable, "-m", "leakcheck", *arguments], cwd=folder, capture_output=True, timeout=200)
    return done.returncode


def test_a_new_project_runs_and_its_gate_is_green(tmp_path):
    assert "elkyn-leakcheck run scenarios/" in init(tmp_path)
    report = ("--report", "leakcheck-report", "--time-budget", "0.5")
    assert leakcheck(tmp_path, "run", "scenarios/", "--no-control", *report) == 0
    assert leakcheck(tmp_path, "gate", "leakcheck-report") == 0


def test_the_workflow_runs_the_scenarios_and_the_gate(tmp_path):
    init(tmp_path)
    workflow = YAML(typ="safe").load(tmp_path / ".github" / "workflows" / "leakcheck.yml")
    commands = [step["run"] for step in workflow["jobs"]["leakcheck"]["steps"] if "run" in step]
    assert any("elkyn-leakcheck run scenarios/" in each for each in commands)
    assert any(each.startswith("elkyn-leakcheck gate leakcheck-report") for each in commands)


def test_files_that_are_there_stay_as_they_are(tmp_path):
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "first.py").write_text("mine")
    told = init(tmp_path)
    assert "kept     scenarios/first.py" in told
    assert (tmp_path / "scenarios" / "first.py").read_text() == "mine"
    assert (tmp_path / "ci" / "budgets.toml").exists()


def test_a_project_with_scenarios_gets_no_other_one(tmp_path):
    (tmp_path / "scenarios" / "events").mkdir(parents=True)
    (tmp_path / "scenarios" / "events" / "hub.py").write_text("mine")
    assert "kept     scenarios/ (it has scenarios)" in init(tmp_path)
    assert not (tmp_path / "scenarios" / "first.py").exists()
    assert (tmp_path / ".github" / "workflows" / "leakcheck.yml").exists()


def test_assistants_get_their_instructions_where_they_are_wished(tmp_path):
    init(tmp_path)
    assert not (tmp_path / "AGENTS.md").exists()
    done = CliRunner().invoke(command, [str(tmp_path), "--agents"], standalone_mode=False)
    assert "written  AGENTS.md" in done.output
    text = (tmp_path / "AGENTS.md").read_text()
    assert len(text.splitlines()) <= 25
    for words in re.findall(r"`elkyn-leakcheck (\w+)([^`]*)`", text):
        options = import_module(f"leakcheck.cli.{words[0]}").command.params
        known = {name for each in options for name in each.opts}
        assert set(re.findall(r"(?<!\S)--[\w-]+", words[1])) <= known, words


def test_reports_are_ignored_by_git_once(tmp_path):
    (tmp_path / ".gitignore").write_text("*.pyc")
    init(tmp_path)
    init(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\nreports/\nleakcheck-report/\n"


def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path):
    (tmp_path / "scenarios").write_text("a file in the way")
    with pytest.raises(Exception, match="cannot be written"):
        init(tmp_path)

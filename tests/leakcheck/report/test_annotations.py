"""Annotations of code hosts: one per problem, at its line, one line each."""

from __future__ import annotations

import json

import sample_run

from leakcheck.report import github, gitlab


def test_github_gets_one_command_per_problem_with_file_and_line():
    lines = github.render(sample_run.run()).splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("::error file=app/hub.py,line=41,title=leak-container%3A ")
    assert lines[-1].startswith("::notice ")


def test_text_cannot_start_a_command_of_its_own():
    hostile = "x\n::error::gotcha\r\n::set-output name=a::b,c:d%0A"
    scenario = sample_run.leaking(hostile, [sample_run.replace(sample_run.LISTENER, title=hostile)])
    lines = github.render(sample_run.run([scenario])).splitlines()
    assert len(lines) == 1
    properties = lines[0].split("::")[1]
    assert properties.count(",") == 2
    assert "%250A" in lines[0]


def test_gitlab_gets_entries_that_its_parser_needs():
    issues = json.loads(gitlab.render(sample_run.run()))
    assert len({issue["fingerprint"] for issue in issues}) == len(issues) == 8
    for issue in issues:
        assert set(issue) >= {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert issue["location"]["lines"]["begin"] >= 1

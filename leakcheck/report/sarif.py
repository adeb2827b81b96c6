"""SARIF 2.1.0, which code hosts and editors show beside the lines at fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from leakcheck.records import Frame, RunResult
from leakcheck.report import sentences, text
from leakcheck.results.history import Entry
from leakcheck.results.problems import RULES, Problem, problems

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LIMIT = 5000
"""Results of a run that code hosts accept."""


def render(run: RunResult, past: Sequence[Entry] = ()) -> str:  # noqa: ARG001 - all forms are called alike
    """The SARIF log of `run`."""
    return of_problems(run, list(problems(run)))


def of_problems(run: RunResult, found: Sequence[Problem], states: dict[str, str] | None = None) -> str:
    """The SARIF log of chosen problems; `states` gives the baseline state (`new`, `unchanged`) by fingerprint."""
    rules = list(dict.fromkeys(problem.rule for problem in found))
    tool = {
        "name": run.tool.name,
        "semanticVersion": run.tool.version,
        "informationUri": "https://github.com/elkyn/elkyn-leakcheck",
        "rules": [_rule(rule) for rule in rules],
    }
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": tool},
                "columnKind": "unicodeCodePoints",
                "automationDetails": {"id": "leakcheck/"},
                "invocations": [_invocation(run)],
                "results": [_result(problem, rules, states or {}) for problem in found[:_LIMIT]],
            }
        ],
    }
    return json.dumps(log, indent=1) + "\n"


def _rule(rule: str) -> dict[str, Any]:
    return {
        "id": rule,
        "name": "".join(part.capitalize() for part in rule.split("-")),
        "shortDescription": {"text": RULES[rule]},
        "fullDescription": {"text": RULES[rule]},
        "helpUri": "https://github.com/elkyn/elkyn-leakcheck#readme",
        "defaultConfiguration": {"level": "note" if rule == "inconclusive" else "error"},
        "properties": {"tags": ["memory", "leak"], "precision": "high"},
    }


def _invocation(run: RunResult) -> dict[str, Any]:
    invocation: dict[str, Any] = {
        "executionSuccessful": run.control.status != "failed" and not run.interrupted,
        "startTimeUtc": run.started,
    }
    if run.control.status == "failed":
        notice = {"level": "error", "message": {"text": text.line(sentences.headline(run), 1000)}}
        invocation["toolExecutionNotifications"] = [notice]
    return invocation


def _result(problem: Problem, rules: Sequence[str], states: dict[str, str]) -> dict[str, Any]:
    finding = problem.finding
    message = f"{text.line(problem.message, 1000)} (scenario {text.line(problem.scenario.id, 300)})"
    result: dict[str, Any] = {
        "ruleId": problem.rule,
        "ruleIndex": rules.index(problem.rule),
        "level": problem.level,
        "message": {"text": message},
        "locations": [_location(problem.file, problem.line)],
        "partialFingerprints": {"leakcheck/v2": text.line(problem.fingerprint, 200)},
        "properties": {"scenario": text.line(problem.scenario.id, 1000), "verdict": problem.scenario.verdict},
    }
    if problem.fingerprint in states:
        result["baselineState"] = states[problem.fingerprint]
    if finding is not None and len(finding.stack) > 1:
        result["stacks"] = [{"message": {"text": "where it comes from"}, "frames": _frames(finding.stack)}]
    return result


def _frames(stack: Sequence[Frame]) -> list[dict[str, Any]]:
    return [
        {"location": {**_location(frame.file, frame.line), "message": {"text": text.line(frame.function, 300) or "?"}}}
        for frame in stack[:60]
    ]


def _location(file: str, line: int) -> dict[str, Any]:
    region = {"region": {"startLine": line}} if line > 0 else {}
    return {"physicalLocation": {"artifactLocation": _artifact(file), **region}}


def _artifact(file: str) -> dict[str, Any]:
    relative = text.line(sentences.relative(file), 1000) or "unknown"
    if Path(relative).is_absolute():
        return {"uri": "file://" + quote(relative)}
    return {"uri": quote(relative), "uriBaseId": "%SRCROOT%"}

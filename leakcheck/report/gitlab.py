"""GitLab's code quality report: each problem becomes a remark at its line of the merge request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from leakcheck.records import RunResult
from leakcheck.report import sentences, text
from leakcheck.results.history import Entry
from leakcheck.results.problems import Problem, problems

_SEVERITIES = {"error": "critical", "warning": "major", "note": "info"}


def render(run: RunResult, past: Sequence[Entry] = ()) -> str:  # noqa: ARG001 - all forms are called alike
    """The JSON list of `run`'s problems."""
    return of_problems(problems(run))


def of_problems(found: Iterable[Problem]) -> str:
    """The JSON list of problems; the same fault in two scenarios gives two entries with fingerprints of their own."""
    return json.dumps([_issue(problem) for problem in found], indent=1) + "\n"


def _issue(problem: Problem) -> dict[str, Any]:
    identity = f"{problem.fingerprint}\0{problem.scenario.id}\0{problem.scenario.origin}"
    return {
        "type": "issue",
        "check_name": problem.rule,
        "description": f"{text.line(problem.message, 1000)} ({text.line(problem.scenario.id, 200)})",
        "categories": ["Bug Risk"],
        "severity": _SEVERITIES[problem.level],
        "fingerprint": hashlib.sha256(identity.encode(errors="replace")).hexdigest(),
        "location": {
            "path": text.line(sentences.relative(problem.file), 1000) or "unknown",
            "lines": {"begin": max(1, problem.line)},
        },
    }

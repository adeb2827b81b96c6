"""GitHub's workflow commands: each problem becomes an annotation at its line of the pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from leakcheck.gate.gate import Gate
from leakcheck.records import RunResult
from leakcheck.report import sentences, text
from leakcheck.results.history import Entry
from leakcheck.results.problems import Problem, problems

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def render(run: RunResult, past: Sequence[Entry] = ()) -> str:  # noqa: ARG001 - all forms are called alike
    """One line per problem of `run`; a failed control first, as no verdict counts then."""
    failed = run.control.status == "failed"
    head = f"::error title=Leak check::{_message(sentences.headline(run))}\n" if failed else ""
    return head + of_problems(problems(run))


def of_problems(found: Iterable[Problem]) -> str:
    """One line per problem."""
    return "".join(f"{_command(problem)}\n" for problem in found)


def _command(problem: Problem) -> str:
    parts = _at(problem.file, problem.line, f"{problem.rule}: {problem.scenario.id}")
    return f"::{_COMMANDS[problem.level]} {','.join(parts)}::{_message(problem.message)}"


def _at(file: str, line: int, title: str) -> list[str]:
    parts = [f"file={_property(sentences.relative(file))}"] if file else []
    if file and line > 0:
        parts.append(f"line={line}")
    return [*parts, f"title={_property(text.line(title, 200))}"]


def _message(value: str) -> str:
    return text.line(value, 1000).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _message(value).replace(":", "%3A").replace(",", "%2C")


def of_gate(gate: Gate) -> str:
    """One line per thing that the gate says; known and fixed leaks as notices."""
    levels = {"red": "error", "blind": "warning", "info": "notice"}
    return "".join(
        f"::{levels[one.level]} {','.join(_at(one.file, one.line, f'{one.kind}: {one.scenario}'))}"
        f"::{_message(one.message)}\n"
        for one in gate.lines
    )

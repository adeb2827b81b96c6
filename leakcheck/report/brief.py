"""One problem in at most two kilobytes of JSON: for a program, or a coding assistant, that reads one thing at a time.

The keys are stable (`leakcheck-brief-1.schema.json` beside this file). No values of the measured program are in it
beyond those that the results have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from leakcheck import units
from leakcheck.records import Finding, Frame, Record, RunResult, ScenarioResult, Verdict
from leakcheck.report import sentences
from leakcheck.report.text import line, source
from leakcheck.results.history import Entry
from leakcheck.results.problems import Problem, place, problems
from leakcheck.shell import pasteable

SCHEMA = "leakcheck-brief/1"
MOST_BYTES = 2048
"""Size of the document, whatever the run has: that is its point."""
_LINES = 5
"""Source lines that are shown, the faulty one among them."""


class Brief(Record, frozen=True, kw_only=True):
    """The first thing that is wrong in a run, or that nothing is."""

    schema: str = SCHEMA
    verdict: Verdict | None
    """Of the scenario; None where nothing was run."""
    as_expected: bool
    sentence: str
    scenario: str = ""
    place: str = ""
    """`app/hub.py:41 in Hub.on`."""
    source: list[str] = msgspec.field(default_factory=list)
    """The lines around the place, each with its number."""
    path: list[str] = msgspec.field(default_factory=list)
    """What holds it, from the module to the container."""
    growth: str = ""
    """How much each call adds, in the unit of the meter: `+432 B/iteration`."""
    share: float | None = None
    """The part of this growth that the finding explains, 0 to 1."""
    sensitivity: str = ""
    """Of what does not leak: what would have been noticed."""
    fingerprint: str = ""
    """The same for the same fault, after lines have moved and on other machines."""
    reproduction: str = ""
    """The command that shows it again, and that proves a mend: its exit code is 0 then."""
    next: str = ""
    """The command that tells more; empty where nothing is left to tell."""
    others: int = 0
    """Further problems of the run."""


def render(run: RunResult, past: Sequence[Entry] = ()) -> str:  # noqa: ARG001 - the signature of all reports
    """The document of the first problem of a run."""
    wrong = list(problems(run))
    return encode(of_problem(wrong[0], len(wrong) - 1) if wrong else of_run(run))


def of_run(run: RunResult) -> Brief:
    """Of a run in which nothing is wrong."""
    only = run.scenarios[0] if len(run.scenarios) == 1 else None
    return Brief(
        verdict=only.verdict if only else "clean" if run.scenarios else None,
        as_expected=bool(run.scenarios) and run.control.status != "failed",
        sentence=line(only.reason if only and run.control.status != "failed" else sentences.headline(run)),
        scenario=line(only.id) if only else "",
        sensitivity=sentences.sensitivity(only) if only else "",
        reproduction=only.command if only else "",
    )


def of_problem(problem: Problem, others: int = 0) -> Brief:
    """Of one problem; `others` are there beside it."""
    scenario, finding = problem.scenario, problem.finding
    meter, whole = sentences.decisive_meter(scenario), Frame(file=problem.file, line=problem.line, function="")
    grows = scenario.verdict in ("leak", "inconclusive") and meter is not None
    return Brief(
        verdict=scenario.verdict,
        as_expected=scenario.ok,
        sentence=line(problem.message),
        scenario=line(scenario.id, 200),
        **_of_finding(finding) if finding else {"place": sentences.location(whole)},
        growth=units.rate(meter.growth, meter.unit) if grows and meter and meter.growth else "",
        sensitivity="" if scenario.verdict == "leak" else sentences.sensitivity(scenario),
        fingerprint=problem.fingerprint,
        reproduction=scenario.command,
        next=_next(scenario, finding),
        others=others,
    )


def _of_finding(finding: Finding) -> dict[str, Any]:
    frame = place(finding)
    around = frame.context if frame else []
    first = max(0, (frame.line - frame.context_start) - _LINES // 2) if frame and around else 0
    numbered = enumerate(around[first : first + _LINES], frame.context_start + first) if frame else ()
    return {
        "place": f"{sentences.location(frame)} in {line(frame.function, 120)}" if frame else "",
        "source": [f"{number}: {source(text, 120)}" for number, text in numbered],
        "path": [line(node.name, 80) for node in finding.path[-8:]],
        "share": finding.share,
    }


def _next(scenario: ScenarioResult, finding: Finding | None) -> str:
    if finding is not None:
        return pasteable(["elkyn-leakcheck", "explain", finding.fingerprint])
    if scenario.verdict == "error" and scenario.command:
        return f"{scenario.command} --values"
    return ""


def encode(brief: Brief) -> str:
    """The JSON text, in at most `MOST_BYTES`: what says least is cut first."""
    for lighter in ({}, {"sensitivity": ""}, {"source": brief.source[:1]}, {"source": [], "path": brief.path[-2:]}):
        brief = msgspec.structs.replace(brief, **lighter)
        text = msgspec.json.format(msgspec.json.encode(brief), indent=1)
        if len(text) < MOST_BYTES:
            return f"{text.decode()}\n"
    words = {name: value for name, value in msgspec.structs.asdict(brief).items() if isinstance(value, str)}
    short = {name: value[: MOST_BYTES // len(words) // 4] for name, value in words.items()}  # four bytes a character
    return f"{msgspec.json.encode(msgspec.structs.replace(brief, path=[], **short)).decode()}\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **msgspec.json.schema(Brief)}

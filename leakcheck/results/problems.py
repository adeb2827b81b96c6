"""What is wrong in a run, one record each, with its place and fingerprint: what machines and the gate read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

from leakcheck.meters import of_family
from leakcheck.records import Finding, Frame, Meter, Record, RunResult, ScenarioResult

Level = Literal["error", "warning", "note"]

_MEMORY = frozenset(of_family("heap", "pages", "objects", "resident"))

RULES: dict[str, str] = {
    "leak-allocation": "Memory that a line allocates survives every iteration.",
    "leak-container": "A container of the program grows with every iteration.",
    "leak-native": "A native function loses memory on every iteration.",
    "leak-resource": "Descriptors, threads, tasks, children or files stay behind on every iteration.",
    "leak": "A meter grows with every iteration, and no place was found.",
    "missed-leak": "A leak was planted and not found: the tool does not see what it should.",
    "over-budget": "A meter is over the budget that was set for it.",
    "error": "A scenario ended without a verdict.",
    "inconclusive": "Whether a scenario leaks could not be decided.",
}


class Problem(Record, frozen=True, kw_only=True):
    """One thing that is wrong."""

    rule: str
    level: Level
    message: str
    scenario: ScenarioResult
    fingerprint: str
    """Stable over moved lines, machines and runs."""
    finding: Finding | None = None
    file: str = ""
    line: int = 0


def problems(run: RunResult) -> Iterator[Problem]:
    """All that is not as expected in `run`, and as notes what could not be decided."""
    for scenario in run.scenarios:
        yield from of_scenario(scenario)


def of_scenario(scenario: ScenarioResult) -> Iterator[Problem]:
    """The problems of one scenario; none for one that is as expected."""
    if scenario.verdict == "inconclusive":
        yield _whole(scenario, "inconclusive", "error" if not scenario.ok else "note")
    elif scenario.ok:
        return
    elif scenario.verdict == "leak":
        yield from leaks(scenario)
    elif scenario.verdict in ("clean", "bounded"):
        yield _whole(scenario, "missed-leak" if scenario.expect == "leak" else "over-budget", "error")
    else:
        yield _whole(scenario, "error", "error")


def leaks(scenario: ScenarioResult) -> Iterator[Problem]:
    """One problem per finding that is not known, or one for the scenario where no place was found."""
    return _leaks(scenario, [finding for finding in scenario.findings if not finding.known])


def all_leaks(scenario: ScenarioResult) -> Iterator[Problem]:
    """The same, of findings that the team knows too."""
    return _leaks(scenario, scenario.findings)


def _leaks(scenario: ScenarioResult, findings: Sequence[Finding]) -> Iterator[Problem]:
    for finding in findings:
        at = place(finding)
        yield Problem(
            rule=f"leak-{finding.kind}",
            level="error",
            message=finding.title,
            scenario=scenario,
            fingerprint=finding.fingerprint or placeless_fingerprint(scenario, finding.kind),
            finding=finding,
            file=at.file if at else scenario.file,
            line=at.line if at else scenario.line,
        )
    if not findings:
        yield _whole(scenario, "leak", "error")


def place(finding: Finding) -> Frame | None:
    """The line to look at: the first frame of the user's code, else the first with a line at all."""
    preferred = (
        [frame for frame in finding.stack if frame.user and not frame.native]
        or [frame for frame in finding.stack if frame.user]
        or [frame for frame in finding.stack if frame.line]
        or finding.stack
    )
    return preferred[0] if preferred else None


def placeless_fingerprint(scenario: ScenarioResult, what: str) -> str:
    """What identifies a problem that has no place: its scenario and what grew, or what it is."""
    grown = sorted({family(meter.name) for meter in leaking_meters(scenario)})
    parts = "\0".join([scenario.id, what, *grown])
    return hashlib.sha256(parts.encode(errors="replace")).hexdigest()[:16]


def family(meter: str) -> str:
    """Meters that show the same leak: memory as the heap, the blocks and the objects see it; others alone."""
    return "memory" if meter in _MEMORY else meter


def leaking_meters(scenario: ScenarioResult) -> list[Meter]:
    """The meters that make the scenario a leak."""
    return [meter for meter in scenario.meters if meter.decisive and meter.verdict == "leak"]


def _whole(scenario: ScenarioResult, rule: str, level: Level) -> Problem:
    """A problem of the scenario as a whole, at the place where it is defined."""
    return Problem(
        rule=rule,
        level=level,
        message=scenario.reason,
        scenario=scenario,
        fingerprint=placeless_fingerprint(scenario, rule),
        file=scenario.file or scenario.id.partition("::")[0],
        line=scenario.line,
    )

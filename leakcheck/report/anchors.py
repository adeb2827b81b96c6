"""The names by which a link finds a scenario or a finding in a page: the same in every run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from leakcheck.records import Finding, ScenarioResult


def of_fingerprint(fingerprint: str) -> str:
    """A fingerprint as the name of an anchor: what is not a plain character of a URL becomes `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", fingerprint)[:80] or "finding"


def of_scenario(scenario: ScenarioResult) -> str:
    """The name of the anchor of a scenario: the same in every run."""
    return of_name(scenario.id, scenario.origin)


def of_name(identifier: str, origin: str = "") -> str:
    """The same, by the scenario's id and the platform that its result is of."""
    return "s-" + hashlib.sha256(f"{identifier}\0{origin}".encode(errors="replace")).hexdigest()[:12]


def of_findings(scenarios: Sequence[ScenarioResult]) -> list[list[str]]:
    """The anchor of each finding, per scenario; a fault that shows in several is numbered after the first."""
    taken: dict[str, int] = {}

    def number(finding: Finding) -> str:
        name = of_fingerprint(finding.fingerprint)
        taken[name] = taken.get(name, 0) + 1
        return name if taken[name] == 1 else f"{name}-{taken[name]}"

    return [[number(finding) for finding in scenario.findings] for scenario in scenarios]

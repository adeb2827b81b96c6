"""Where the time of a run went: by scenario, and in each by what was done."""

from __future__ import annotations

from collections.abc import Iterator

from leakcheck import units
from leakcheck.records import RunResult, ScenarioResult
from leakcheck.report.text import line


def slowest(run: RunResult, count: int) -> Iterator[str]:
    """A line for each of the `count` scenarios that took longest, the longest first; nothing where it is 0."""
    if count:
        yield f"The slowest {min(count, len(run.scenarios))} of {units.count(len(run.scenarios), 'scenario')}:"
    for scenario in sorted(run.scenarios, key=lambda each: -each.duration_s)[:count]:
        yield f"  {units.seconds(scenario.duration_s)}  {line(scenario.id, 200)}: {phases(scenario)}"


def phases(scenario: ScenarioResult) -> str:
    """What was done, and for how long, in the order in which it was done."""
    parts = [f"{line(name, 40)} {units.seconds(spent)}" for name, spent in scenario.phases.items()]
    return ", ".join(parts) or "not known"

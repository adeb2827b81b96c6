"""Merge results of several runs into one: shards of a suite, re-runs, platforms.

The rules do not depend on the order of the runs. A scenario that was run more than once on the same platform
keeps its worst decided verdict: a repetition can replace "not known" (error, inconclusive, skipped) but never
hides a leak. On different platforms both results stay, told apart by `origin`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from leakcheck.errors import UsageError
from leakcheck.records import Control, RunResult, ScenarioResult, Verdict, summarize

_WEIGHT: dict[Verdict, int] = {
    "skipped": 0,
    "inconclusive": 1,
    "error": 2,
    "screened": 3,
    "clean": 4,
    "bounded": 5,
    "leak": 6,
}
_ORIGIN_KEYS = ("implementation", "python", "platform", "machine", "allocator")


def merge(runs: Sequence[RunResult]) -> RunResult:
    """One run out of several. Raises `UsageError` when there is none."""
    if not runs:
        raise UsageError("no result to merge; give at least one result file or run directory")
    if len(runs) == 1:
        return runs[0]
    runs = sorted(runs, key=lambda run: (run.started, msgspec.json.encode(run)))
    scenarios = _scenarios(runs)
    return RunResult(
        tool=max((run.tool for run in runs), key=lambda tool: tool.version),
        environment=common([run.environment for run in runs]),
        started=runs[0].started,
        duration_s=sum(run.duration_s for run in runs),
        control=joined_control([run.control for run in runs]),
        summary=summarize(scenarios),
        scenarios=scenarios,
        interrupted=any(run.interrupted for run in runs),
        options=common([run.options for run in runs]),
        shards=[shard for run in runs for shard in run.shards],
        nodes=[node for run in runs for node in run.nodes],
    )


def origin(run: RunResult) -> str:
    """The platform of a run, in words: `CPython 3.12.1, Linux-6.1, x86_64`."""
    return ", ".join(str(run.environment[key]) for key in _ORIGIN_KEYS if run.environment.get(key))


def _scenarios(runs: Sequence[RunResult]) -> list[ScenarioResult]:
    several = len({origin(run) for run in runs}) > 1
    merged: dict[tuple[str, str], ScenarioResult] = {}
    for run in runs:
        for scenario in run.scenarios:
            where = scenario.origin or (origin(run) if several else "")
            key = (scenario.id, where)
            marked = msgspec.structs.replace(scenario, origin=where)
            merged[key] = _worst(merged[key], marked) if key in merged else marked
    return list(merged.values())


def _worst(earlier: ScenarioResult, later: ScenarioResult) -> ScenarioResult:
    """The one to keep of two results of a scenario on one platform; the later where both weigh the same."""
    keep, other = (earlier, later) if _weight(earlier) > _weight(later) else (later, earlier)
    if keep.verdict == other.verdict:
        return keep
    remark = f"another run of this scenario was {other.verdict}: {other.reason}"
    return msgspec.structs.replace(keep, advice=[*keep.advice, remark])


def _weight(scenario: ScenarioResult) -> tuple[bool, bool, int]:
    weight = _WEIGHT[scenario.verdict]
    return (weight >= _WEIGHT["screened"], not scenario.ok, weight)


def common(mappings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several mappings say, by key; where they differ, all of it, as `a | b`."""
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    return {key: _joined([mapping[key] for mapping in mappings if key in mapping]) for key in keys}


def _joined(values: list[Any]) -> Any:
    if all(value == values[0] for value in values):
        return values[0]
    return " | ".join(dict.fromkeys(str(value) for value in values))


def joined_control(controls: Sequence[Control]) -> Control:
    """Failed where one failed: a run whose readings cannot be trusted is not made better by the others."""
    for status in ("failed", "off"):
        for one in controls:
            if one.status == status:
                return one
    return msgspec.structs.replace(controls[-1], duration_s=sum(one.duration_s for one in controls))

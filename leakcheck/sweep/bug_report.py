"""A find as the draft of a bug report: the run's own draft of its finding, and what only a sweep knows."""

from __future__ import annotations

from leakcheck import units
from leakcheck.records import Finding, RunResult, ScenarioResult
from leakcheck.report import draft
from leakcheck.report.markdown import block, plain
from leakcheck.sweep.clusters import Cluster
from leakcheck.sweep.inside.messages import Began
from leakcheck.sweep.outcome import Find


def text(find: Find, cluster: Cluster, result: ScenarioResult, run: RunResult, began: Began) -> str:
    """The document, in Markdown."""
    finding = result.findings[0] if result.findings else Finding(kind="native", fingerprint="", title=result.reason)
    growth = ", ".join(units.rate(value, _unit(result, name)) for name, value in find.growth.items())
    versions = [f"{name} {version}" for name, version in began.distributions.items()]
    ending = f", which ends in {find.exception}" if find.exception else ""
    parts = [
        draft.draft(run, result, finding),
        "## Found by\n",
        f'Calling {plain(find.target)} in the way "{find.kind}"{ending}, again and again: {growth}.\n',
        block([*cluster.suspect.source.rstrip().splitlines(), "", "while True:", *_body(find)], "python"),
    ]
    if find.also:
        parts.append("The same is lost by " + ", ".join(plain(each) for each in find.also) + ".\n")
    if find.age:
        parts.append(f"It {plain(str(find.age))}.\n")
    if find.neighbour:
        parts += [
            "## What keeps nothing\n",
            "Measured in the same run:\n",
            block(find.neighbour.splitlines(), "python"),
        ]
    if versions:
        parts += ["## Swept\n", "".join(f"* {plain(each)}\n" for each in versions)]
    return "\n".join(parts)


def _body(find: Find) -> list[str]:
    lines = find.step.splitlines()
    if not find.exception:
        return [f"    {line}" for line in lines]
    return ["    try:", *(f"        {line}" for line in lines), "    except Exception:", "        pass"]


def _unit(result: ScenarioResult, meter: str) -> str:
    return next((each.unit for each in result.meters if each.name == meter), "B" if meter.endswith("bytes") else "")

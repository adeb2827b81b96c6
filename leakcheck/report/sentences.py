"""What all reports say in words, said once: the headline of a run, the place of a finding, what is wrong."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from leakcheck import meters, units
from leakcheck.gate.compare import ChangeKind
from leakcheck.records import Finding, Frame, Meter, RunResult, ScenarioResult
from leakcheck.report.text import line

SYMBOLS = {
    "clean": "✓",
    "screened": "∘",
    "bounded": "◠",
    "leak": "✗",
    "inconclusive": "?",
    "error": "!",
    "skipped": "-",
}
"""One mark per verdict: reports never tell by colour alone."""
CHANGES: dict[ChangeKind, str] = {
    "worse": "✗",
    "undecided": "?",
    "better": "✓",
    "less sensitive": "◌",
    "slower": "◷",
    "new": "+",
    "gone": "-",
    "same": "=",
}
"""One mark per kind of change between two runs."""


_NO_FILE = "<unknown>"
"""What memray names the file of a native frame without debug information."""
_MUCH_GARBAGE = 1 << 20
"""Bytes that wait for the collector, from which on it is told under the verdict: less goes unnoticed in a process."""


def headline(run: RunResult) -> str:
    """The whole run in one sentence."""
    if run.control.status == "failed":
        return f"The control failed, no verdict of this run can be relied on: {line(run.control.reason)}"
    if not run.scenarios:
        return "The run was interrupted before anything was measured." if run.interrupted else "No scenario was run."
    unexpected = [scenario for scenario in run.scenarios if not scenario.ok]
    of = f"of {units.count(len(run.scenarios), 'scenario')}"
    if unexpected:
        are = "is" if len(unexpected) == 1 else "are"
        text = f"{len(unexpected)} {of} {are} not as expected: {_kinds(unexpected)}."
    else:
        text = _as_expected(run, of)
    return text + (" The run was interrupted: what is missing was not measured." if run.interrupted else "")


def _as_expected(run: RunResult, of: str) -> str:
    undecided = [scenario for scenario in run.scenarios if scenario.verdict in ("inconclusive", "skipped")]
    planted = sum(scenario.expect == "leak" and scenario.verdict == "leak" for scenario in run.scenarios)
    if undecided:
        text = f"{len(undecided)} {of} could not be decided: {_kinds(undecided)}; the others are as expected."
    elif len(run.scenarios) == 1:
        text = "The scenario is as expected."
    else:
        text = f"All {len(run.scenarios)} scenarios are as expected."
    if planted:
        text += f" {units.count(planted, 'planted leak')} {'was' if planted == 1 else 'were'} found."
    return text


def _kinds(scenarios: Sequence[ScenarioResult]) -> str:
    counts: dict[str, int] = {}
    for scenario in scenarios:
        kind: str = scenario.verdict
        if not scenario.ok and kind in ("clean", "bounded"):
            kind = "missed leak" if scenario.expect == "leak" else "over budget"
        counts[kind] = counts.get(kind, 0) + 1
    plural = {"leak", "error", "missed leak"}
    return ", ".join(units.count(n, kind) if kind in plural else f"{n} {kind}" for kind, n in counts.items())


def expectation(scenario: ScenarioResult) -> str:
    """How the verdict stands to what was expected, empty where there is nothing to say."""
    if scenario.expect == "leak":
        return "planted, found" if scenario.ok else "a leak was planted here and not found"
    if not scenario.ok and scenario.verdict in ("clean", "bounded"):
        return "over its budget"
    return ""


def beyond_budget(scenario: ScenarioResult) -> str:
    """Which meters leak in spite of the scenario's own budget; empty where it has none."""
    if not scenario.budget or scenario.verdict != "leak":
        return ""
    parts = []
    for meter in scenario.meters:
        if meter.decisive and meter.verdict == "leak":
            allowed = scenario.budget.get(meter.name)
            budget = "no budget" if allowed is None else f"a budget of {units.quantity(allowed, meter.unit)}"
            parts.append(f"{line(meter.name, 60)} ({units.rate(meter.growth, meter.unit)}) has {budget}")
    return ", ".join(parts)


def without_result(run: RunResult) -> dict[str, int]:
    """Why tools of the diagnosis came to nothing, and for how many scenarios: what they would say is missing."""
    reasons: dict[str, int] = {}
    for scenario in run.scenarios:
        for tool in scenario.tools:
            if tool.status in ("skipped", "error"):
                reason = f"{tool.name} {'skipped' if tool.status == 'skipped' else 'failed'}: {line(tool.reason, 300)}"
                reasons[reason] = reasons.get(reason, 0) + 1
    return reasons


def location(frame: Frame | None) -> str:
    """`hub.py:41`, relative to the current directory where it lies there."""
    if frame is None or frame.file in ("", _NO_FILE):
        return ""
    return f"{relative(frame.file)}:{frame.line}" if frame.line else relative(frame.file)


def relative(file: str) -> str:
    """The path as a person types it: relative where it lies here, else with `~` where it lies in the home folder."""
    whole = os.path.expanduser(file)
    if not os.path.isabs(whole):
        return file
    path = Path(os.path.normpath(whole))
    for folder, name in ((Path.cwd(), ""), (Path.home(), "~")):
        if path.is_relative_to(folder) and folder != Path("/"):
            return str(Path(name, path.relative_to(folder)))
    return file


def path(finding: Finding) -> str:
    """What holds it, as an expression: `hub.listeners[*]`; empty where nothing is known to."""
    return "".join(node.name for node in finding.path)


def rates(finding: Finding) -> str:
    """How much it leaks: `432 B and 1 object per iteration`, `1 file in 250 iterations`; empty where unknown."""
    times, often = units.recurrence(finding.count_per_iteration or 0.0)
    parts = []
    if finding.bytes_per_iteration:
        parts.append(units.size(times * finding.bytes_per_iteration))
    if finding.count_per_iteration:
        count, spec = times * finding.count_per_iteration, meters.of(finding.meter, "")
        unit = "objects" if spec.unit in ("", "B") else spec.unit
        by_type = finding.type and unit == "objects" and finding.meter != meters.GARBAGE
        parts.append(f"{units.plain(count)} {line(finding.type, 60)}" if by_type else units.quantity(count, unit))
    return f"{' and '.join(parts)} {often}" if parts else ""


def share(finding: Finding, scenario: ScenarioResult) -> str:
    """How much of the growth it explains: `98 % of the growth of heap.bytes (441 B/iteration)`."""
    if finding.share is None:
        return ""
    grown = [units.rate(meter.growth, meter.unit) for meter in scenario.meters if meter.name == finding.meter]
    rate = f" ({grown[0]})" if grown else ""
    return f"{finding.share * 100:.0f} % of the growth of {line(finding.meter, 60)}{rate}"


def decisive_meter(scenario: ScenarioResult) -> Meter | None:
    """The meter that says most of a scenario: of a leak the one of its cause, else the heap's."""
    if not scenario.meters:
        return None
    named = {meter.name: meter for meter in scenario.meters}
    if scenario.verdict == "leak" and scenario.findings and (cause := named.get(scenario.findings[0].meter)):
        return cause
    agreeing = [meter for meter in scenario.meters if meter.decisive and meter.verdict == scenario.verdict]
    if scenario.verdict not in ("clean", "skipped", "error") and agreeing:
        return max(agreeing, key=lambda meter: meters.tells_more(meter.unit, meter.growth))
    ledgers = (named[name] for name in meters.of_family("heap") if name in named)
    return next(ledgers, scenario.meters[0])


def garbage(scenario: ScenarioResult) -> str:
    """What is said of cyclic garbage beside a verdict that is not by it; empty where little waits for the collector."""
    meter = next((each for each in scenario.meters if each.name == meters.GARBAGE), None)
    if meter is None or meter.decisive or max((each.value for each in meter.samples), default=0) < _MUCH_GARBAGE:
        return ""
    return f"no leak, but {meter.reason}"


def sensitivity(scenario: ScenarioResult) -> str:
    """The smallest growth that would have been noticed, in words; empty where unknown."""
    named = {meter.name: meter.unit for meter in scenario.meters}
    main = [spec.name for spec in meters.CATALOGUE if spec.headline and spec.name in scenario.detectable]
    others = [name for name in scenario.detectable if name not in main]
    parts = [
        f"{line(name, 60)} {units.noticed(scenario.detectable[name], scenario.once_in.get(name), named.get(name, ''))}"
        for name in [*main, *others][:5]
    ]
    return f"would have noticed: {', '.join(parts)}" if parts else ""

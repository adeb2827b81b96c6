"""The gate: a run against what the team has accepted. Pure: records in, lines and one exit code out.

Red is whatever is worse than the baseline says. What was not measured is never green: a failed control, a missing
scenario, a verdict or a sensitivity that was lost each have a line of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Literal

import msgspec

from leakcheck import units
from leakcheck.gate import baseline as accepted_leaks
from leakcheck.gate import budgets
from leakcheck.gate.baseline import Accepted, Baseline
from leakcheck.gate.budgets import Budget
from leakcheck.gate.pattern import fits
from leakcheck.meters import LEDGER
from leakcheck.records import ALL_POINTS, Record, RunResult, ScenarioResult, Shard, of_points, summarize
from leakcheck.results import sensitivity
from leakcheck.results.problems import Problem, family, leaking_meters, leaks, of_scenario

Kind = Literal[
    "failed control",
    "interrupted",
    "nothing run",
    "wrong shards",
    "new leak",
    "worse leak",
    "expired leak",
    "known leak",
    "fixed leak",
    "missed leak",
    "broken budget",
    "unchecked budget",
    "error",
    "vanished scenario",
    "less sensitive",
    "undecided",
    "screened",
    "old baseline",
]
Level = Literal["red", "blind", "info"]

LEVELS: dict[Kind, Level] = {
    "failed control": "red",
    "interrupted": "red",
    "nothing run": "red",
    "wrong shards": "red",
    "new leak": "red",
    "worse leak": "red",
    "expired leak": "red",
    "missed leak": "red",
    "broken budget": "red",
    "error": "red",
    "vanished scenario": "red",
    "unchecked budget": "blind",
    "less sensitive": "blind",
    "undecided": "blind",
    "old baseline": "info",
    "screened": "info",
    "known leak": "info",
    "fixed leak": "info",
}

TOLERANCE = 1.02
"""A rate must be higher by this factor to be worse: interpreters differ by a few bytes in the size of objects."""
_EXPLAINED = 0.6
"""The part of a scenario's growth that leaks which are known from other scenarios must explain."""


class Line(Record, frozen=True, kw_only=True):
    """One thing that the gate says."""

    kind: Kind
    level: Level
    scenario: str
    message: str
    fingerprint: str = ""
    file: str = ""
    line: int = 0
    origin: str = ""
    """The platform, where results of several were merged."""


class Gate(Record, frozen=True, kw_only=True):
    """What the gate makes of a run."""

    lines: list[Line]
    strict: bool = False

    @property
    def exit_code(self) -> int:
        """0 green, 1 red, 3 control failed, 5 nothing run, 6 something could not be judged (`strict`: 1)."""
        kinds = {line.kind for line in self.lines}
        levels = {line.level for line in self.lines}
        if "failed control" in kinds:
            return 3
        if "nothing run" in kinds:
            return 5
        if "red" in levels or ("blind" in levels and self.strict):
            return 1
        return 6 if "blind" in levels else 0


def judge(run: RunResult, baseline: Baseline, rules: Sequence[Budget], today: date, *, strict: bool = False) -> Gate:
    """Hold `run` against the baseline and the budgets."""
    lines = [*_run_lines(run)]
    if baseline.is_of_an_earlier_version:
        lines.append(_line("old baseline", "", _OLD_BASELINE))
        baseline = accepted_leaks.renewed(baseline, run)
    for scenario in run.scenarios:
        said = [
            *_scenario_lines(scenario, baseline, today),
            *_budget_lines(scenario, rules),
            *_sensitivity_lines(scenario, baseline),
        ]
        lines.extend(msgspec.structs.replace(line, origin=scenario.origin) for line in said)
    lines.extend(_fixed_lines(run, baseline))
    lines.extend(_vanished_lines(run, baseline))
    lines.extend(_idle_budget_lines(run, rules))
    order = list(LEVELS)
    return Gate(lines=sorted(lines, key=lambda line: order.index(line.kind)), strict=strict)


_OLD_BASELINE = (
    "the baseline was made by an earlier version, whose fingerprints did not tell all faults apart: what it accepts is "
    "known here by scenario and sentence; make it anew with `elkyn-leakcheck baseline update RESULTS --renew`"
)


def only(baseline: Baseline, run: RunResult) -> Baseline:
    """The baseline of a partial run: what it says of scenarios that were not run does not count."""
    names = {scenario.id for scenario in run.scenarios}
    return msgspec.structs.replace(
        baseline,
        leaks=[leak for leak in baseline.leaks if any(map(leak.covers, names))],
        scenarios={name: known for name, known in baseline.scenarios.items() if name in names},
    )


def applied(run: RunResult, gate: Gate, baseline: Baseline) -> RunResult:
    """The run as the gate sees it, for any report: known leaks are as expected, broken budgets are not."""
    leaks_now = accepted_leaks.renewed(baseline, run).leaks
    scenarios = [_applied(scenario, gate, leaks_now) for scenario in run.scenarios]
    scenarios += [
        ScenarioResult(id=line.scenario, verdict="error", ok=False, reason=line.message)
        for line in gate.lines
        if line.kind == "vanished scenario"
    ]
    return msgspec.structs.replace(run, scenarios=scenarios, summary=summarize(scenarios))


def _applied(scenario: ScenarioResult, gate: Gate, accepted: Sequence[Accepted]) -> ScenarioResult:
    mine = [line for line in gate.lines if (line.scenario, line.origin) == (scenario.id, scenario.origin)]
    red = [line for line in mine if line.level == "red" or (line.level == "blind" and gate.strict)]
    known = {line.fingerprint for line in mine if line.kind == "known leak"}
    reasons = {leak.fingerprint: leak.reason for leak in accepted if leak.covers(scenario.id)}
    findings = [
        msgspec.structs.replace(finding, known=reasons.get(finding.fingerprint, ""))
        if finding.fingerprint in known
        else finding
        for finding in scenario.findings
    ]
    findings.sort(key=lambda finding: bool(finding.known))
    said = {line.message for line in red} | {scenario.reason}
    remarks = [f"{line.kind}: {line.message}" for line in mine if line.message not in said]
    reason = red[0].message if red else f"known leak: {scenario.reason}" if known else scenario.reason
    return msgspec.structs.replace(
        scenario, ok=not red, reason=reason, findings=findings, advice=[*remarks, *scenario.advice]
    )


def _line(kind: Kind, scenario: str, message: str, problem: Problem | None = None) -> Line:
    return Line(
        kind=kind,
        level=LEVELS[kind],
        scenario=scenario,
        message=message,
        fingerprint=problem.fingerprint if problem else "",
        file=problem.file if problem else "",
        line=problem.line if problem else 0,
    )


def _run_lines(run: RunResult) -> Iterator[Line]:
    if run.control.status == "failed":
        yield _line("failed control", "", f"no verdict of this run can be relied on: {run.control.reason}")
    if run.interrupted:
        yield _line("interrupted", "", "the run was interrupted, so not everything was measured; run it again")
    for message in _wrong_shards(run.shards):
        yield _line("wrong shards", "", message)
    if screened := [one for one in run.scenarios if one.verdict == "screened"]:
        losses = [one.detectable[LEDGER] for one in screened if LEDGER in one.detectable]
        seen = f": in each, {units.size(max(losses))} of heap lost in every call would have shown" if losses else ""
        yield _line("screened", "", f"{units.count(len(screened), 'test')} screened by a few calls, not judged{seen}")
    if not run.scenarios:
        yield _line("nothing run", "", "no scenario was run; check the paths and the selection")


def _wrong_shards(shards: Sequence[Shard]) -> Iterator[str]:
    """Why the parts of a suite are not one whole."""
    if not shards:
        return
    counts = Counter(each.number for each in shards)
    most = max(each.of for each in shards)
    if missing := [number for number in range(1, most + 1) if number not in counts]:
        yield f"of {most} shards {', '.join(map(str, missing))} is missing: give the results of all of them together"
    for number, times in sorted(counts.items()):
        if times > 1:
            yield f"shard {number} of {most} is there {times} times: give the results of each once"
    for what, values in (
        ("numbers of shards", {str(each.of) for each in shards}),
        ("commits", {each.commit[:12] or "none" for each in shards}),
        ("plans (the scenarios or the history that they were divided by differ)", {each.plan for each in shards}),
    ):
        if len(values) > 1:
            yield f"the shards are of different {what}: {', '.join(sorted(values))}; run all of them anew"


def _scenario_lines(scenario: ScenarioResult, baseline: Baseline, today: date) -> Iterator[Line]:
    if scenario.verdict == "leak" and scenario.expect != "leak":
        yield from _leak_lines(scenario, baseline, today)
    elif scenario.verdict == "skipped":
        yield _line("undecided", scenario.id, scenario.reason)
    else:
        for problem in of_scenario(scenario):
            kind: Kind = _KINDS.get(problem.rule, "error")
            yield _line(kind, scenario.id, problem.message, problem)


_KINDS: dict[str, Kind] = {
    "missed-leak": "missed leak",
    "over-budget": "broken budget",
    "inconclusive": "undecided",
    "error": "error",
}


def _leak_lines(scenario: ScenarioResult, baseline: Baseline, today: date) -> Iterator[Line]:
    found = [
        _leak_line(problem, [leak for leak in baseline.leaks if leak.fingerprint == problem.fingerprint], today)
        for problem in leaks(scenario)
    ]
    yield from found
    if all(line.kind == "known leak" for line in found):
        yield from _unexplained(scenario, baseline)


def _leak_line(problem: Problem, same: Sequence[Accepted], today: date) -> Line:
    scenario = problem.scenario.id
    here = sorted((leak for leak in same if leak.covers(scenario)), key=lambda leak: leak.scenario != scenario)
    if not here:
        elsewhere = f"; accepted in {same[0].scenario} alone" if same else ""
        return _line("new leak", scenario, f"{problem.message}{elsewhere}", problem)
    leak = here[0]
    if accepted_leaks.is_expired(leak, today):
        text = f"{problem.message}; it was accepted until {leak.expires} ({leak.reason})"
        return _line("expired leak", scenario, text, problem)
    rate, meter = accepted_leaks.rate_of(problem.finding, problem.scenario)
    if accepted_leaks.interval(rate, meter)[0] > leak.high * TOLERANCE:
        unit = "B" if problem.finding is None or problem.finding.bytes_per_iteration else "things"
        text = (
            f"{problem.message}; {units.quantity(rate, unit)} per iteration, "
            f"it was {units.quantity(leak.rate, unit)} when it was accepted"
        )
        return _line("worse leak", scenario, text, problem)
    elsewhere = "" if leak.scenario == scenario else f", accepted in {leak.scenario}"
    until = f", until {leak.expires}" if leak.expires else ""
    return _line("known leak", scenario, f"{problem.message} ({leak.reason}{elsewhere}{until})", problem)


def _unexplained(scenario: ScenarioResult, baseline: Baseline) -> Iterator[Line]:
    """Growth that the known leaks of a scenario do not account for: a second leak whose place was not found."""
    here = [leak for leak in baseline.leaks if leak.covers(scenario.id)]
    by_pattern = all(leak.scenario != scenario.id for leak in here)
    accepted: dict[str, float] = {}
    for leak in here:
        for name, high in leak.meters.items():
            accepted[name] = max(high, accepted.get(name, 0.0))
    families = {family(name) for name in accepted} | {family(one.meter) for one in scenario.findings}
    if by_pattern and scenario.explained is not None and scenario.explained < _EXPLAINED:
        text = f"the known leaks explain only {scenario.explained * 100:.0f} % of its growth"
        yield _line("new leak", scenario.id, text)
    for meter in leaking_meters(scenario):
        grows = f"{meter.name} grows {units.quantity(meter.growth, meter.unit)} per iteration"
        if meter.name in accepted and meter.low > accepted[meter.name] * TOLERANCE:
            before = units.quantity(accepted[meter.name], meter.unit)
            yield _line("worse leak", scenario.id, f"{grows}, it was at most {before} when its leaks were accepted")
        elif family(meter.name) not in families:
            yield _line("new leak", scenario.id, f"{grows}, which no known leak of the scenario explains")


def _budget_lines(scenario: ScenarioResult, rules: Sequence[Budget]) -> Iterator[Line]:
    if scenario.verdict in ("error", "skipped"):
        return  # that it was not measured has a line already
    for rule in rules:
        if budgets.applies(rule, scenario):
            for excess in budgets.check(rule, scenario):
                shown = [units.quantity(value, excess.unit) for value in (excess.value or 0.0, excess.limit)]
                kind: Kind = "unchecked budget" if excess.value is None else "broken budget"
                yield _line(kind, scenario.id, budgets.describe(excess, shown))


def _idle_budget_lines(run: RunResult, rules: Sequence[Budget]) -> Iterator[Line]:
    for number, rule in enumerate(rules, start=1):
        if run.scenarios and not any(budgets.applies(rule, scenario) for scenario in run.scenarios):
            tags = f" with a tag of {', '.join(rule.tags)}" if rule.tags else ""
            text = f"budget {number} is for {rule.scenarios}{tags}, but no such scenario was run"
            yield _line("unchecked budget", "", text)


def _sensitivity_lines(scenario: ScenarioResult, baseline: Baseline) -> Iterator[Line]:
    known = baseline.scenarios.get(scenario.id)
    if known is None or scenario.verdict not in ("clean", "bounded", "leak"):
        return
    for text in sensitivity.lost(known.detectable, scenario, "when the baseline was made"):
        yield _line("less sensitive", scenario.id, text)


def _fixed_lines(run: RunResult, baseline: Baseline) -> Iterator[Line]:
    for leak in baseline.leaks:
        mine = [one for one in run.scenarios if leak.covers(one.id)]
        # A point of failure that leaks no more has no result: it is in that of all points.
        mine = mine or [one for one in run.scenarios if one.id == of_points(leak.scenario)]
        judged = [one for one in mine if one.verdict in ("clean", "bounded", "leak") or _all_points_were_tried(one)]
        alive = {problem.fingerprint for one in judged if one.verdict == "leak" for problem in leaks(one)}
        if mine and judged == mine and leak.fingerprint not in alive:
            text = (
                f"fixed, remove it from the baseline with `elkyn-leakcheck baseline update --remove "
                f"{leak.fingerprint} --in '{leak.scenario}'`: {leak.title}"
            )
            yield Line(
                kind="fixed leak", level="info", scenario=leak.scenario, message=text, fingerprint=leak.fingerprint
            )


def _all_points_were_tried(one: ScenarioResult) -> bool:
    """Whether a result says of all points at which a step can fail that they were looked at."""
    return one.verdict == "screened" and one.id.endswith(ALL_POINTS)


def _vanished_lines(run: RunResult, baseline: Baseline) -> Iterator[Line]:
    present = {scenario.id for scenario in run.scenarios}
    known = dict.fromkeys([*baseline.scenarios, *(leak.scenario for leak in baseline.leaks)])
    for name in known:
        if run.scenarios and of_points(name) not in present and not any(fits(name, one) for one in present):
            text = (
                f"was not run; if it is gone for good, say so with `elkyn-leakcheck baseline update --forget '{name}'`"
            )
            yield _line("vanished scenario", name, text)

"""What a team has accepted: known leaks with a reason each, and how sensitive the scenarios are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import msgspec

from leakcheck.errors import UsageError
from leakcheck.gate.pattern import fits
from leakcheck.records import Finding, Meter, Record, RunResult, ScenarioResult
from leakcheck.results import atomic
from leakcheck.results.problems import Problem, leaking_meters, leaks
from leakcheck.results.sensitivity import detectable

SCHEMA = "leakcheck-baseline/2"
EARLIER = "leakcheck-baseline/1"
"""Its fingerprints did not tell all faults apart; what it accepts is known by scenario and sentence instead."""


class Accepted(Record, frozen=True, kw_only=True):
    """A leak that is known and does not turn the gate red, as long as it does not get worse."""

    fingerprint: str
    scenario: str
    """The scenario in which it is accepted, or a pattern of several: `*` and `?` as in file names."""
    title: str
    reason: str
    """Why it is accepted: a person wrote this."""
    accepted: str
    """The day it was accepted (ISO 8601)."""
    expires: str = ""
    """The last day on which it is known; empty for ever."""
    rate: float = 0.0
    """What it leaked per iteration when it was accepted: bytes, or things where no bytes are known."""
    high: float = 0.0
    """The upper end of the confidence interval of `rate`."""
    meters: dict[str, float] = msgspec.field(default_factory=dict)
    """The upper ends of the growth of all meters that leaked in this scenario."""

    def covers(self, scenario: str) -> bool:
        """Whether it is accepted there."""
        return fits(self.scenario, scenario)


class Known(Record, frozen=True, kw_only=True):
    """How a scenario stood when the baseline learned of it."""

    verdict: str
    detectable: dict[str, float] = msgspec.field(default_factory=dict)


class Baseline(Record, frozen=True, kw_only=True):
    """The content of a baseline file."""

    schema: str = SCHEMA
    leaks: list[Accepted] = msgspec.field(default_factory=list)
    scenarios: dict[str, Known] = msgspec.field(default_factory=dict)

    @property
    def is_of_an_earlier_version(self) -> bool:
        """Whether it accepts leaks by fingerprints that are no longer made."""
        return self.schema == EARLIER and bool(self.leaks)


class _Head(msgspec.Struct):
    """What a baseline has and another file has not."""

    schema: str = ""


def read(path: Path) -> Baseline:
    """The baseline in `path`. Raises `UsageError`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"the baseline {path} does not exist; make it with "
            f"`elkyn-leakcheck baseline update RESULTS --baseline {path} --scenarios`"
        ) from None
    except OSError as error:
        raise UsageError(f"the baseline {path} cannot be read: {error.strerror}") from error
    try:
        if not msgspec.json.decode(content, type=_Head).schema:
            raise UsageError(
                f'{path} is no baseline: it has no "schema": "{SCHEMA}"; '
                "give a file made by `elkyn-leakcheck baseline update`"
            )
        found = msgspec.json.decode(content, type=Baseline)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the baseline {path} is damaged: {error}; restore it from version control or make it anew"
        ) from None
    if found.schema not in (SCHEMA, EARLIER):
        raise UsageError(
            f"{path} has the schema {found.schema[:40]!r}, but {SCHEMA!r} is needed; "
            "give a file made by `elkyn-leakcheck baseline update`, or upgrade elkyn-leakcheck"
        )
    for leak in found.leaks:
        if leak.expires:
            parse_day(leak.expires, f"{path}, leak {leak.fingerprint}")
    return found


def write(path: Path, baseline: Baseline) -> None:
    """Write the baseline, sorted, so that its changes are small in version control."""
    ordered = Baseline(
        leaks=sorted(baseline.leaks, key=lambda leak: (leak.scenario, leak.fingerprint)),
        scenarios=dict(sorted(baseline.scenarios.items())),
    )
    atomic.write(path, msgspec.json.format(msgspec.json.encode(ordered), indent=1) + b"\n")


def parse_day(text: str, where: str) -> date:
    """A day written as `2026-12-31`. Raises `UsageError`."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{where}: {text!r} is not a day; write it as 2026-12-31") from None


def is_expired(leak: Accepted, today: date) -> bool:
    """True after the last day on which the leak is known."""
    return bool(leak.expires) and today > parse_day(leak.expires, f"leak {leak.fingerprint}")


def interval(rate: float, meter: Meter | None) -> tuple[float, float]:
    """The confidence interval of a finding's rate: as wide, in proportion, as that of the meter it explains."""
    if meter is None or not meter.growth:
        return (rate, rate)
    return (rate * min(1.0, meter.low / meter.growth), rate * max(1.0, meter.high / meter.growth))


def rate_of(finding: Finding | None, scenario: ScenarioResult) -> tuple[float, Meter | None]:
    """What a finding leaks per iteration, and the meter it explains; for None the scenario's largest leak."""
    meters = {meter.name: meter for meter in scenario.meters}
    if finding is None:
        worst = max(leaking_meters(scenario), key=lambda meter: meter.growth, default=None)
        return (worst.growth if worst else 0.0, worst)
    return (finding.bytes_per_iteration or finding.count_per_iteration or 0.0, meters.get(finding.meter))


def accept(
    baseline: Baseline, run: RunResult, fingerprint: str, reason: str, today: date, expires: str = "", pattern: str = ""
) -> Baseline:
    """Accept a leak of `run` by its fingerprint, or by as many of its first characters as tell it from others.

    In each scenario that has it; with `pattern` in all scenarios that this fits, by the largest rate among them.
    """
    if not reason.strip():
        raise UsageError(f"accepting {fingerprint} needs a reason; say why the leak is acceptable")
    if expires:
        parse_day(expires, "--expires")
    found = [
        problem
        for scenario in run.scenarios
        if scenario.verdict == "leak" and scenario.expect != "leak" and (not pattern or fits(pattern, scenario.id))
        for problem in leaks(scenario)
        if problem.fingerprint.startswith(fingerprint)
    ]
    if not found:
        there = f" in a scenario that fits {pattern!r}" if pattern else ""
        raise UsageError(
            f"no leak of this run has the fingerprint {fingerprint!r}{there}; the gate names those that do"
        )
    if len({problem.fingerprint for problem in found}) > 1:
        several = ", ".join(sorted({problem.fingerprint for problem in found}))
        raise UsageError(f"{fingerprint!r} is the beginning of several fingerprints: {several}; give one whole")
    new = [_accepted(problem, reason.strip(), today.isoformat(), expires) for problem in found]
    if pattern:
        new = [_in_all(new, pattern)]
    return _with_leaks(baseline, [*_without(baseline.leaks, new), *new])


def _accepted(problem: Problem, reason: str, day: str, expires: str) -> Accepted:
    rate, meter = rate_of(problem.finding, problem.scenario)
    return Accepted(
        fingerprint=problem.fingerprint,
        scenario=problem.scenario.id,
        title=problem.message,
        reason=reason,
        accepted=day,
        expires=expires,
        rate=rate,
        high=interval(rate, meter)[1],
        meters={one.name: one.high for one in leaking_meters(problem.scenario)},
    )


def _in_all(found: Sequence[Accepted], pattern: str) -> Accepted:
    """One entry for several scenarios."""
    worst = max(found, key=lambda leak: leak.high)
    names = {name for leak in found for name in leak.meters}
    highest = {name: max(leak.meters.get(name, 0.0) for leak in found) for name in sorted(names)}
    return msgspec.structs.replace(worst, scenario=pattern, meters=highest)


def renewed(baseline: Baseline, run: RunResult) -> Baseline:
    """A baseline of an earlier version with the fingerprints of now.

    A leak is known again by its scenario and its sentence, numbers left out; one that `run` does not show is dropped.
    """
    if not baseline.is_of_an_earlier_version:
        return msgspec.structs.replace(baseline, schema=SCHEMA)
    old = {(leak.scenario, _sentence(leak.title)): leak for leak in baseline.leaks}
    shown = [problem for scenario in run.scenarios if scenario.verdict == "leak" for problem in leaks(scenario)]
    new = [
        msgspec.structs.replace(leak, fingerprint=problem.fingerprint, title=problem.message)
        for problem in shown
        if (leak := old.get((problem.scenario.id, _sentence(problem.message))))
    ]
    return msgspec.structs.replace(baseline, schema=SCHEMA, leaks=new)


def _sentence(title: str) -> str:
    """Without numbers, and without the keys that an earlier version showed."""
    without_keys = re.sub(r"\['[^']*'\]", "[key]", title)
    return re.sub(r"\d[\d.,]*( [KMGT]?i?B\b)?", "#", without_keys)


def remove(baseline: Baseline, fingerprint: str, pattern: str = "") -> Baseline:
    """Take a leak out of the baseline, or what accepts it for `pattern`. Raises `UsageError` when it is not in it."""
    left = [
        leak
        for leak in baseline.leaks
        if not leak.fingerprint.startswith(fingerprint) or pattern not in ("", leak.scenario)
    ]
    if len(left) == len(baseline.leaks):
        raise UsageError(f"no accepted leak has the fingerprint {fingerprint!r}; `baseline show` lists them")
    return _with_leaks(baseline, left)


def learn(baseline: Baseline, scenarios: Iterable[ScenarioResult]) -> Baseline:
    """Remember these scenarios and their sensitivity; those that could not be judged are left as they were.

    Of a scenario that is there several times, from several runs, the bluntest reading of each meter counts.
    """
    decided: dict[str, Known] = {}
    for scenario in scenarios:
        if scenario.verdict in ("clean", "bounded", "leak"):
            before = decided[scenario.id].detectable if scenario.id in decided else {}
            now = detectable(scenario)
            blunt = {
                name: float(f"{max(now.get(name, 0.0), before.get(name, 0.0)):.2g}")  # fewer changes to commit
                for name in now.keys() | before.keys()
            }
            decided[scenario.id] = Known(verdict=scenario.verdict, detectable=dict(sorted(blunt.items())))
    return msgspec.structs.replace(baseline, scenarios={**baseline.scenarios, **decided})


def forget(baseline: Baseline, scenario: str) -> Baseline:
    """Forget a scenario that is gone for good, and its leaks. Raises `UsageError` when it is not known."""
    if scenario not in baseline.scenarios and all(leak.scenario != scenario for leak in baseline.leaks):
        raise UsageError(f"the baseline does not know the scenario {scenario!r}; `baseline show` lists them")
    kept = {name: known for name, known in baseline.scenarios.items() if name != scenario}
    leaks_left = [leak for leak in baseline.leaks if leak.scenario != scenario]
    return msgspec.structs.replace(baseline, leaks=leaks_left, scenarios=kept)


def difference(before: Baseline, after: Baseline) -> list[str]:
    """What changes between two baselines, a line each, as `+` and `-` and `~`."""
    old = {(leak.fingerprint, leak.scenario): leak for leak in before.leaks}
    new = {(leak.fingerprint, leak.scenario): leak for leak in after.leaks}
    lines = []
    for key in sorted(old.keys() | new.keys(), key=lambda one: (one[1], one[0])):
        mark = "+" if key not in old else "-" if key not in new else "~" if old[key] != new[key] else ""
        if mark:
            leak = new.get(key) or old[key]
            until = f", until {leak.expires}" if leak.expires else ""
            lines.append(f"{mark} leak {leak.fingerprint} in {leak.scenario}: {leak.title} ({leak.reason}{until})")
    for name in sorted(before.scenarios.keys() | after.scenarios.keys()):
        mark = "+" if name not in before.scenarios else "-" if name not in after.scenarios else ""
        if not mark and before.scenarios[name] != after.scenarios[name]:
            mark = "~"
        if mark:
            lines.append(f"{mark} scenario {name}")
    return lines


def _with_leaks(baseline: Baseline, leaks_now: Sequence[Accepted]) -> Baseline:
    return msgspec.structs.replace(baseline, leaks=list(leaks_now))


def _without(old: Sequence[Accepted], new: Sequence[Accepted]) -> list[Accepted]:
    replaced = {(leak.fingerprint, leak.scenario) for leak in new}
    return [leak for leak in old if (leak.fingerprint, leak.scenario) not in replaced]

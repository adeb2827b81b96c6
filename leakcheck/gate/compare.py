"""Compare two sides, each measured once or several times: what got worse, what got better, what is not known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from leakcheck import units
from leakcheck.records import Meter, Record, RunResult, ScenarioResult
from leakcheck.results import sensitivity
from leakcheck.results.problems import family, leaks

ChangeKind = Literal["worse", "better", "same", "less sensitive", "slower", "new", "gone", "undecided"]
ORDER: tuple[ChangeKind, ...] = ("worse", "undecided", "better", "less sensitive", "slower", "new", "gone", "same")

TOLERANCE = 1.02
"""Growth must differ by this factor beyond both confidence intervals: objects differ by a few bytes."""
_SLOWER = 3.0
"""How many times as long as before a scenario takes where it is slower: its rounds double, and it may end one later."""
_SLOWER_S = 1.0
"""Seconds that it must take longer: nobody waits for less."""


class Change(Record, frozen=True, kw_only=True):
    """How one scenario stands on the head side, seen from the base side."""

    kind: ChangeKind
    scenario: str
    message: str


def compare(bases: Sequence[RunResult], heads: Sequence[RunResult]) -> list[Change]:
    """The changes from base to head, the worst first. Each side is one run or more of the same scenarios."""
    before, after = by_name(bases), by_name(heads)
    changes = []
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            changes.append(Change(kind="gone", scenario=name, message="is not in the head"))
        elif name not in before:
            changes.append(_new(name, after[name]))
        else:
            changes.append(_change(name, before[name], after[name]))
    return sorted(changes, key=lambda change: ORDER.index(change.kind))


def exit_code(changes: Sequence[Change], runs: Sequence[RunResult]) -> int:
    """0 nothing got worse, 1 something did, 3 a control failed, 5 nothing was run, 6 something is not known."""
    if any(run.control.status == "failed" for run in runs):
        return 3
    kinds = {change.kind for change in changes}
    if not kinds:
        return 5
    if "worse" in kinds:
        return 1
    return 6 if "undecided" in kinds or any(run.interrupted for run in runs) else 0


def is_slower(before_s: float, after_s: float) -> bool:
    """Whether a scenario takes much longer than it did, in seconds; never where it is not known what it took."""
    return before_s > 0 and after_s > max(before_s * _SLOWER, before_s + _SLOWER_S)


def by_name(runs: Sequence[RunResult]) -> dict[str, list[ScenarioResult]]:
    """The results of each scenario, of all runs of one side."""
    found: dict[str, list[ScenarioResult]] = {}
    for run in runs:
        for scenario in run.scenarios:
            found.setdefault(scenario.id, []).append(scenario)
    return found


def _new(name: str, after: Sequence[ScenarioResult]) -> Change:
    bad = [one for one in after if not one.ok]
    if bad:
        return Change(kind="worse", scenario=name, message=f"is new in the head, and {_said(bad)}")
    return Change(kind="new", scenario=name, message=f"is new in the head: {_said(after)}")


def _change(name: str, before: Sequence[ScenarioResult], after: Sequence[ScenarioResult]) -> Change:
    for side, results in (("base", before), ("head", after)):
        said = {_state(one) for one in results}
        if len(said) > 1 or "undecided" in said:
            return Change(kind="undecided", scenario=name, message=f"the {side} was {_said(results)}")
    was, now = _state(before[0]), _state(after[0])
    if was == now == "leak":
        return _leaks(name, before, after)
    if now == "leak":
        return Change(kind="worse", scenario=name, message=f"leaks now: {after[0].reason}")
    if was == "leak":
        return Change(kind="better", scenario=name, message=f"leaks no more: {before[0].reason}")
    if before[0].ok and not after[0].ok:
        return Change(kind="worse", scenario=name, message=after[0].reason)
    if after[0].ok and not before[0].ok:
        return Change(kind="better", scenario=name, message=f"is as expected now; it was not: {before[0].reason}")
    return _unchanged(name, before, after, _said(after))


def _unchanged(name: str, before: Sequence[ScenarioResult], after: Sequence[ScenarioResult], message: str) -> Change:
    """What is said of the scenario is the same: whether it says less than it did, or took longer to say it."""
    if lost := _lost(before, after):
        return Change(kind="less sensitive", scenario=name, message="; ".join(lost))
    least, most = min(one.duration_s for one in after), max(one.duration_s for one in before)
    if is_slower(most, least):
        text = f"takes {units.seconds(least)}, it took {units.seconds(most)}"
        return Change(kind="slower", scenario=name, message=text)
    return Change(kind="same", scenario=name, message=message)


def _lost(before: Sequence[ScenarioResult], after: Sequence[ScenarioResult]) -> list[str]:
    """What no run of the head would notice any more, though every run of the base did."""
    known = [sensitivity.detectable(one) for one in before]
    bluntest = {name: max(each[name] for each in known) for name in known[0] if all(name in each for each in known)}
    found = [list(sensitivity.lost(bluntest, one, "in the base")) for one in after]
    return found[-1] if all(found) else []


def _leaks(name: str, before: Sequence[ScenarioResult], after: Sequence[ScenarioResult]) -> Change:
    """Both sides leak: other places, or other rates."""
    old, new = _fingerprints(before), _fingerprints(after)
    fresh = [title for fingerprint, title in new.items() if fingerprint not in old]
    mended = [title for fingerprint, title in old.items() if fingerprint not in new]
    rates = list(_rates(before, after))
    worse = [text for kind, text in rates if kind == "worse"]
    better = [text for kind, text in rates if kind == "better"]
    if fresh and not mended:
        return Change(kind="worse", scenario=name, message=f"leaks in another place too: {fresh[0]}")
    if worse:
        return Change(kind="worse", scenario=name, message=f"leaks faster: {worse[0]}")
    if fresh:
        return Change(kind="worse", scenario=name, message=f"leaks elsewhere now: {fresh[0]}")
    if mended or better:
        return Change(kind="better", scenario=name, message=f"leaks less: {(better or mended)[0]}")
    return _unchanged(name, before, after, f"leaks as before: {after[0].reason}")


def _fingerprints(results: Sequence[ScenarioResult]) -> dict[str, str]:
    """Findings that every run of a side has: one that comes and goes is no difference between the sides."""
    each = [{problem.fingerprint: problem.message for problem in leaks(one)} for one in results]
    return {key: title for key, title in each[-1].items() if all(key in other for other in each)}


def _rates(before: Sequence[ScenarioResult], after: Sequence[ScenarioResult]) -> Iterator[tuple[str, str]]:
    for name, old in _meters(before).items():
        new = _meters(after).get(name, [])
        if len(old) != len(before) or len(new) != len(after):
            continue
        text = (
            f"{name} grows {units.quantity(new[-1].growth, new[-1].unit)} per iteration, "
            f"it was {units.quantity(old[-1].growth, old[-1].unit)}"
        )
        if min(one.low for one in new) > max(one.high for one in old) * TOLERANCE:
            yield "worse", text
        elif max(one.high for one in new) * TOLERANCE < min(one.low for one in old):
            yield "better", text


def _meters(results: Sequence[ScenarioResult]) -> dict[str, list[Meter]]:
    found: dict[str, list[Meter]] = {}
    for result in results:
        for meter in result.meters:
            if meter.decisive and meter.verdict == "leak":
                found.setdefault(meter.name, []).append(meter)
    return dict(sorted(found.items(), key=lambda item: (family(item[0]) != "memory", item[0])))


def _state(scenario: ScenarioResult) -> str:
    if scenario.verdict == "leak":
        return "leak"
    return "flat" if scenario.verdict in ("clean", "bounded") else "undecided"


def _said(results: Sequence[ScenarioResult]) -> str:
    verdicts = [result.verdict for result in results]
    if len(set(verdicts)) == 1:
        reason = results[0].reason
        return f"{verdicts[0]}: {reason}" if reason else verdicts[0]
    return f"not the same in its runs ({', '.join(verdicts)}); repeat it more often or give it more time"

"""From suspects to finds: each is judged twice, and those that lose the same memory at the same place are one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from leakcheck import meters, units
from leakcheck.errors import ControlError
from leakcheck.records import ScenarioResult
from leakcheck.report import sentences
from leakcheck.results import atomic
from leakcheck.sweep import bug_report, judged, scenario_file
from leakcheck.sweep.ages import Ages
from leakcheck.sweep.clusters import Cluster, worth
from leakcheck.sweep.inside.messages import Began
from leakcheck.sweep.outcome import Age, Find, Unconfirmed

_SENTENCE = 300
"""Characters of a reason that are kept."""
_BY_LIFE = frozenset({"initialized twice", "without initialization", "subclass"})
"""Kinds that lose what an object holds, which is taken at the same lines however it is lost: they are one among
themselves only. Of a cycle the place says nothing: objects of several types hold what is taken there."""
_FRAMES = 3
"""Innermost frames of a stack by which a place is known: where memory is taken, for what, and for whom."""


class Proved(NamedTuple):
    """A find, and what it was made from."""

    find: Find
    cluster: Cluster
    result: ScenarioResult


def confirmed(
    chosen: Sequence[Cluster],
    python: str,
    jobs: int,
    folder: Path,
    began: Began,
    stage: Callable[[str], None],
    ages: Ages | None = None,
) -> tuple[list[Find], list[Unconfirmed]]:
    """What the judge finds to leak twice, the worst first, with its files in `folder`; and what it does not.

    Raises `ControlError` where the judge's own control fails.
    """
    names = _names(chosen)
    if not names:
        return [], []
    stage(f"judge: {units.count(len(names), 'suspect')}, first time")
    texts = {name: scenario_file.text(cluster, with_neighbour=False) for name, cluster in names.items()}
    first = judged.judge(texts, python, jobs, diagnose=False)
    leaking = {name: cluster for name, cluster in names.items() if _leaks(first.of(name))}
    unconfirmed = [_unconfirmed(names[name], first.of(name)) for name in names if name not in leaking]
    if not leaking:
        return [], unconfirmed
    stage(f"judge: {units.count(len(leaking), 'suspect')}, second time, and why")
    texts = {
        name: scenario_file.text(cluster, with_neighbour=bool(cluster.suspect.neighbour))
        for name, cluster in leaking.items()
    }
    second = judged.judge(texts, python, jobs, folder=folder, diagnose=True)
    if second.run.control.status == "failed":
        raise ControlError(f"the control of the judge failed: {second.run.control.reason}")
    proved = []
    for name, cluster in leaking.items():
        result = second.of(name)
        if result is None or not _leaks(result):
            unconfirmed.append(_unconfirmed(cluster, result))
            (folder / f"{name}.py").unlink(missing_ok=True)
            continue
        neighbour = cluster.suspect.neighbour if second.neighbour_is_clean(name) else ""
        if cluster.suspect.neighbour and not neighbour:
            text = scenario_file.text(cluster, with_neighbour=False)
            atomic.write(folder / f"{name}.py", text.encode())
        proved.append(Proved(_find(name, cluster, result, neighbour), cluster, result))
    finds = []
    chosen_finds = one_a_place(proved, folder)
    known = _ages(chosen_finds, ages)
    for find, cluster, result in chosen_finds:
        find = msgspec.structs.replace(find, age=known.get(find.id))
        draft = bug_report.text(find, cluster, result, second.run, began)
        atomic.write(folder / find.draft, draft.encode("utf-8", "replace"))
        finds.append(find)
    return finds, unconfirmed


def _ages(proved: Sequence[Proved], ages: Ages | None) -> dict[str, Age]:
    if ages is None or not proved:
        return {}
    return ages.of({each.find.id: scenario_file.text(each.cluster, with_neighbour=False) for each in proved})


def one_a_place(proved: Sequence[Proved], folder: Path) -> list[Proved]:
    """The worst of those whose memory comes from the same lines; it names the targets of the others."""
    chosen: list[Proved] = []
    for each in sorted(proved, key=lambda each: (-worth(each.find.growth) * each.find.likelihood, len(_frames(each)))):
        same = next((index for index, other in enumerate(chosen) if _is_one(other, each)), None)
        if same is None:
            chosen.append(each)
            continue
        first = chosen[same]
        also = list(dict.fromkeys([*first.find.also, *({each.find.target} - {first.find.target})]))
        chosen[same] = first._replace(find=msgspec.structs.replace(first.find, also=also))
        (folder / each.find.scenario).unlink(missing_ok=True)
    return chosen


def _is_one(first: Proved, other: Proved) -> bool:
    """Whether two finds take their memory at the same place; or one calls what the other calls, and loses the same."""
    one, two = _frames(first), _frames(other)
    kinds = {each.find.kind for each in (first, other)}
    if not one or not two or "cycle" in kinds or (kinds & _BY_LIFE and len(kinds) > 1):
        return False
    if one[:_FRAMES] == two[:_FRAMES]:
        return True
    shorter = min(len(one), len(two))
    return (
        one[:shorter] == two[:shorter]
        and first.find.exception == other.find.exception
        and worth(first.find.growth) == worth(other.find.growth)
    )


def _frames(proved: Proved) -> list[tuple[str, str, int]]:
    """Where the memory of a find is taken, the innermost frame first, as far as its own program; empty if not known."""
    stack = proved.result.findings[0].stack if proved.result.findings else []
    return [
        (Path(frame.file).name, frame.function, frame.line)
        for frame in stack
        if Path(frame.file).name != proved.find.scenario
    ]


def _names(chosen: Sequence[Cluster]) -> dict[str, Cluster]:
    """Names of files, the same in the next sweep as long as the same is found."""
    names: dict[str, Cluster] = {}
    for cluster in chosen:
        name = scenario_file.file_name(cluster)
        again = sum(each == name or each.startswith(f"{name}_") for each in names)
        names[f"{name}_{again + 1}" if again else name] = cluster
    return names


def _leaks(result: ScenarioResult | None) -> bool:
    """Whether a suspect is confirmed: what the screen has seen it keep is memory, and things that are counted.

    That it does not give references back either, to `None` for one, is no proof of that.
    """
    if result is None or result.verdict != "leak":
        return False
    leaking = [meter.name for meter in result.meters if meter.decisive and meter.verdict == "leak"]
    return leaking != [meters.REFERENCES]


def _unconfirmed(cluster: Cluster, result: ScenarioResult | None) -> Unconfirmed:
    return Unconfirmed(
        target=cluster.target,
        kind=cluster.kind,
        step=cluster.suspect.step,
        verdict=result.verdict if result else "error",
        reason=result.reason[:_SENTENCE] if result else "was not measured",
    )


def _find(name: str, cluster: Cluster, result: ScenarioResult, neighbour: str) -> Find:
    containers = [finding for finding in result.findings if finding.kind == "container" and finding.path]
    named = sentences.path(containers[0]) if containers else ""
    growth = {meter.name: meter.growth for meter in result.meters if meter.decisive and meter.verdict == "leak"}
    return Find(
        id=name,
        fingerprint=cluster.fingerprint,
        kind=cluster.kind,
        target=cluster.target,
        also=[],
        exception=cluster.suspect.exception,
        growth=growth or cluster.suspect.growth,
        likelihood=cluster.likelihood,
        reason=result.reason[:_SENTENCE],
        cause=result.findings[0].fingerprint if result.findings else "",
        step=cluster.suspect.step,
        neighbour=neighbour,
        named=named,
        scenario=f"{name}.py",
        draft=f"{name}.md",
    )

"""The page of two sides next to each other: what changed between them first, then both curves and findings of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from markupsafe import Markup

from leakcheck import units
from leakcheck.gate.compare import Change, by_name
from leakcheck.records import Meter, RunResult, ScenarioResult
from leakcheck.report import anchors, chart, page, sentences
from leakcheck.results import merging

Standing = Literal[
    "new leak", "fixed", "worse", "slower", "less sensitive", "undecided", "better", "new", "gone", "same"
]
"""How a scenario stands, as a reader of a change asks: a change's kind, where a leak has come or gone said so."""
CARDS = 60
"""Scenarios of which both sides are shown; of more, those that come last are a row each: 500 are to stay below 2 MB."""
LISTED = 200
"""Changes in the list at the top."""

_COLORS: dict[Standing, str] = {
    "new leak": "leak",
    "fixed": "clean",
    "worse": "leak",
    "slower": "inconclusive",
    "less sensitive": "inconclusive",
    "undecided": "inconclusive",
    "better": "clean",
    "new": "bounded",
    "gone": "skipped",
    "same": "skipped",
}
"""The verdict whose colour it has."""
_ALWAYS: tuple[Standing, ...] = ("new leak", "fixed", "worse", "slower", "less sensitive", "same")
"""What is counted in the page even where there is none."""
_Results = dict[str, list[ScenarioResult]]
"""What was measured on one side, by scenario."""


class Side(NamedTuple):
    """One scenario on one side."""

    name: str
    results: Sequence[ScenarioResult]
    """All that was measured; the first one is shown."""
    meter: Meter | None
    curve: Markup
    anchors: list[str]
    fresh: list[bool]
    """Of each finding of the first result, whether the other side has it not."""
    environment: dict[str, Any]


class Card(NamedTuple):
    """A scenario that changed, or with `sides` left empty a row of the page."""

    change: Change
    standing: Standing
    anchor: str
    sides: list[Side]


class _Listed(NamedTuple):
    """One change, told once, however many scenarios have it."""

    card: Card
    others: list[Card]


def render(bases: Sequence[RunResult], heads: Sequence[RunResult], changes: Sequence[Change]) -> str:
    """The page of what `compare.compare` says of both sides."""
    before, after = by_name(bases), by_name(heads)
    order = list(_COLORS)
    told = sorted(
        ((change, _standing(change, before, after)) for change in changes), key=lambda pair: order.index(pair[1])
    )
    changed = [pair for pair in told if pair[1] != "same"]
    cards = _cards(changed[:CARDS], before, after, bases[0], heads[0])
    others = (*changed[CARDS:], *(pair for pair in told if pair[1] == "same"))
    rows = [Card(change, standing, anchors.of_name(change.scenario), []) for change, standing in others]
    counts = {standing: sum(one == standing for _, one in told) for standing in order}
    failed = [run for run in (*bases, *heads) if run.control.status == "failed"]
    return page.render(
        "side_by_side.html.j2",
        base=bases[0],
        head=heads[0],
        runs=(len(bases), len(heads)),
        cards=cards,
        rows=rows,
        listed=_listed([card for card in (*cards, *rows) if card.standing != "same"], before, after),
        LISTED=LISTED,
        tiles=[(one, counts[one], _COLORS[one]) for one in order if counts[one] or one in _ALWAYS],
        COLORS=_COLORS,
        MARKS={"new leak": sentences.CHANGES["worse"], "fixed": sentences.CHANGES["better"], **sentences.CHANGES},
        headline=_headline(counts, failed),
        status="bad"
        if failed or counts["new leak"] or counts["worse"]
        else "unsure"
        if counts["undecided"]
        else "good",
        differing=list(_differing(bases, heads)),
    )


def _standing(change: Change, before: _Results, after: _Results) -> Standing:
    leaked, leaks = (any(one.verdict == "leak" for one in side.get(change.scenario, [])) for side in (before, after))
    if change.kind == "worse" and leaks and not leaked:
        return "new leak"
    return "fixed" if change.kind == "better" and leaked and not leaks else change.kind


def _cards(
    told: Sequence[tuple[Change, Standing]], before: _Results, after: _Results, base: RunResult, head: RunResult
) -> list[Card]:
    pairs = [[side.get(change.scenario, []) for side in (before, after)] for change, _ in told]
    shown = [results[0] for side in (1, 0) for results in (pair[side] for pair in pairs) if results]
    names = {id(one): found for one, found in zip(shown, anchors.of_findings(shown), strict=True)}
    cards = []
    for (change, standing), pair in zip(told, pairs, strict=True):
        meter = _meter(*pair)
        read = [next((each for one in side[:1] for each in one.meters if each.name == meter), None) for side in pair]
        steepest = max((chart.steepness(each) for each in read if each), default=0.0)
        found = [{finding.fingerprint for one in side for finding in one.findings} for side in pair]
        sides = [
            Side(
                name=("Base", "Head")[index],
                results=pair[index],
                meter=read[index],
                curve=chart.chart(each, steepest) if (each := read[index]) else Markup(),
                anchors=[name for one in pair[index][:1] for name in names[id(one)]],
                fresh=[each.fingerprint not in found[1 - index] for one in pair[index][:1] for each in one.findings],
                environment=(base, head)[index].environment,
            )
            for index in (0, 1)
        ]
        cards.append(Card(change, standing, anchors.of_name(change.scenario), sides))
    return cards


def _meter(before: Sequence[ScenarioResult], after: Sequence[ScenarioResult]) -> str:
    """The name of the meter to draw: that of the leak, of the head rather than of the base."""
    both = [*after[:1], *before[:1]]
    ranked = sorted(both, key=lambda one: one.verdict != "leak")
    return next((meter.name for one in ranked if (meter := sentences.decisive_meter(one))), "")


def _listed(cards: Sequence[Card], before: _Results, after: _Results) -> list[_Listed]:
    """The changes, a leak that came or went in several scenarios once."""
    found: dict[tuple[str, str], _Listed] = {}
    for card in cards:
        name = card.change.scenario
        side = before if card.standing == "fixed" else after
        faults = [finding.fingerprint for one in side.get(name, [])[:1] for finding in one.findings[:1]]
        by_fault = card.standing in ("new leak", "fixed") and faults
        key = (card.standing, faults[0] if by_fault else name)
        if key in found:
            found[key].others.append(card)
        else:
            found[key] = _Listed(card, [])
    return list(found.values())


def _headline(counts: dict[Standing, int], failed: Sequence[RunResult]) -> str:
    """All of it in one sentence."""
    if failed:
        return f"A control failed, so nothing here can be relied on: {failed[0].control.reason}"
    total = units.count(sum(counts.values()), "scenario")
    worse, better = counts["new leak"] + counts["worse"], counts["fixed"] + counts["better"]
    first = f"{worse} of {total} got worse" if worse else f"None of {total} got worse"
    parts = [f"{better} better"] if better else []
    parts += [f"{counts[one]} {one}" for one in ("slower", "less sensitive", "undecided") if counts[one]]
    return f"{first}{': ' if parts and not worse else ', ' if parts else ''}{', '.join(parts)}."


def _differing(bases: Sequence[RunResult], heads: Sequence[RunResult]) -> Iterator[tuple[str, str, str]]:
    """What of the surroundings differs between the sides: a change may be theirs."""
    both = []
    for side in (bases, heads):
        told = merging.common([run.environment for run in side])
        told |= {f"option {name}": value for name, value in merging.common([run.options for run in side]).items()}
        both.append({"version": side[0].tool.version, **told})
    for name in dict.fromkeys([*both[0], *both[1]]):
        old, new = ("" if side.get(name) is None else str(side.get(name)) for side in both)
        if old != new:
            yield name, old, new

"""The HTML report: one file that opens anywhere, without network, from the file system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from leakcheck.records import RunResult, ScenarioResult
from leakcheck.report import anchors, page, timeline, trend
from leakcheck.results.history import Entry

CARDS = 200
"""Scenarios of which a page shows all that is known. Of more, what is as expected is a row, and what is not
from there on: no browser opens a page of ten thousand cards quickly."""
WRONG = 200
"""Scenarios that are not as expected, in the list at the top."""
NODES = 100
"""Nodes of a cluster in its list."""


def render(run: RunResult, past: Sequence[Entry] = ()) -> str:
    """The page of `run`; `past` are the runs before it, oldest first."""
    entries = trend.runs(run, past)
    cards, rows = _cards(run)
    names = {id(scenario): shown for scenario, shown in cards}
    return page.render(
        "index.html.j2",
        run=run,
        entries=entries,
        cards=cards,
        rows=rows,
        wrong=_wrong(run, names),
        timeline=timeline.rows(entries),
        linked={name for shown in names.values() for name in shown[: page.FINDINGS]},
        tags=sorted({tag for scenario in run.scenarios for tag in scenario.tags})[:200],
        status=_status(run),
        WRONG=WRONG,
        NODES=NODES,
        ROWS=timeline.ROWS,
    )


def prepare() -> None:
    """Load the template, so that `render` need not."""
    page.load("index.html.j2")


def _cards(run: RunResult) -> tuple[list[tuple[ScenarioResult, list[str]]], list[ScenarioResult]]:
    """What is shown in full, with the anchors of its findings, and what is a row."""
    scenarios = run.scenarios
    if len(scenarios) > CARDS:
        full = [each for each in scenarios if not each.ok or each.verdict in ("leak", "inconclusive", "error")][:CARDS]
        chosen = set(map(id, full))
        rows = [each for each in scenarios if id(each) not in chosen]
    else:
        full, rows = scenarios, []
    return list(zip(full, anchors.of_findings(full), strict=True)), rows


class _Wrong(NamedTuple):
    """One thing that is wrong, told once, however many scenarios it shows in."""

    scenario: ScenarioResult
    link: str
    others: list[ScenarioResult]


def _wrong(run: RunResult, shown: Mapping[int, Sequence[str]]) -> list[_Wrong]:
    """`shown` are those of the findings that the page shows, by the identity of their scenario."""
    found: dict[str, _Wrong] = {}
    for scenario in run.scenarios:
        if scenario.ok:
            continue
        link = next(iter(shown.get(id(scenario), ())), anchors.of_scenario(scenario))
        fault = scenario.findings[0].fingerprint if scenario.findings else link
        if fault in found:
            found[fault].others.append(scenario)
        else:
            found[fault] = _Wrong(scenario, link, [])
    return list(found.values())


def _status(run: RunResult) -> str:
    """`good`, `bad` or `unsure`: the colour of the page's mark."""
    if run.control.status == "failed" or run.summary.get("unexpected") or any(not one.ok for one in run.scenarios):
        return "bad"
    unsure = run.interrupted or not run.scenarios or run.control.status == "off"
    return "unsure" if unsure or any(one.verdict in ("inconclusive", "skipped") for one in run.scenarios) else "good"

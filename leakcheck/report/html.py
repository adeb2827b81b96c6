"""The HTML report: one file that opens anywhere, without network, from the file system."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from leakcheck import units
from leakcheck.records import VERDICTS, Finding, Frame, Meter, RunResult, ScenarioResult
from leakcheck.report import chart, durations, flame, sentences, source_links, text, trend
from leakcheck.results.history import Entry
from leakcheck.results.problems import place

CARDS = 200
"""Scenarios of which a page shows all that is known. Of more, what is as expected is a row, and what is not
from there on: no browser opens a page of ten thousand cards quickly."""
WRONG = 200
"""Scenarios that are not as expected, in the list at the top."""
FINDINGS = 30
"""Findings of a scenario that the page shows; `results.json` has the others."""
FRAMES = 40
"""Frames of a stack that a page has."""
NODES = 100
"""Nodes of a cluster in its list."""
METERS = 60
"""Meters of a scenario that a page has."""


def render(run: RunResult, past: Sequence[Entry] = ()) -> str:
    """The page of `run`; `past` are the runs before it, oldest first."""
    entries = trend.runs(run, past)
    cards, rows = _cards(run)
    names = {id(scenario): anchors for scenario, anchors in cards}
    style, script = asset("style.css"), asset("script.js")
    return _template().render(
        run=run,
        entries=entries,
        cards=cards,
        rows=rows,
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        wrong=_wrong(run, names),
        tags=sorted({tag for scenario in run.scenarios for tag in scenario.tags})[:200],
        status=_status(run),
    )


def prepare() -> None:
    """Load the template, so that `render` need not."""
    _template()


def anchor(fingerprint: str) -> str:
    """A fingerprint as the name of an anchor: what is not a plain character of a URL becomes `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", fingerprint)[:80] or "finding"


def scenario_anchor(scenario: ScenarioResult) -> str:
    """The name of the anchor of a scenario: the same in every run."""
    return "s-" + hashlib.sha256(f"{scenario.id}\0{scenario.origin}".encode(errors="replace")).hexdigest()[:12]


def _cards(run: RunResult) -> tuple[list[tuple[ScenarioResult, list[str]]], list[ScenarioResult]]:
    """What is shown in full, with the anchors of its findings, and what is a row."""
    scenarios = run.scenarios
    if len(scenarios) > CARDS:
        full = [each for each in scenarios if not each.ok or each.verdict in ("leak", "inconclusive", "error")][:CARDS]
        chosen = set(map(id, full))
        rows = [each for each in scenarios if id(each) not in chosen]
    else:
        full, rows = scenarios, []
    return list(zip(full, _anchors(full), strict=True)), rows


def _anchors(scenarios: Sequence[ScenarioResult]) -> list[list[str]]:
    """The anchor of each finding, per scenario; a fault that shows in several is numbered after the first."""
    taken: dict[str, int] = {}

    def number(finding: Finding) -> str:
        name = anchor(finding.fingerprint)
        taken[name] = taken.get(name, 0) + 1
        return name if taken[name] == 1 else f"{name}-{taken[name]}"

    return [[number(finding) for finding in scenario.findings] for scenario in scenarios]


class _Wrong(NamedTuple):
    """One thing that is wrong, told once, however many scenarios it shows in."""

    scenario: ScenarioResult
    link: str
    others: list[ScenarioResult]


def _wrong(run: RunResult, anchors: Mapping[int, Sequence[str]]) -> list[_Wrong]:
    """`anchors` are those of the findings that the page shows, by the identity of their scenario."""
    found: dict[str, _Wrong] = {}
    for scenario in run.scenarios:
        if scenario.ok:
            continue
        link = next(iter(anchors.get(id(scenario), ())), scenario_anchor(scenario))
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


def _charted(scenario: ScenarioResult) -> list[Meter]:
    """The meters that deserve a large chart: the one that says most, then all others that are not flat."""
    main = sentences.decisive_meter(scenario)
    others = [
        meter
        for meter in scenario.meters
        if meter is not main and meter.verdict not in ("clean", "skipped") and meter.decisive
    ]
    return [*([main] if main else []), *others][:12]


def _context(frame: Frame, around: int) -> list[tuple[int, str]]:
    """The source lines around a frame's line, numbered; the line alone where no others are at hand."""
    if not frame.context:
        return [(frame.line, frame.source)] if frame.source else []
    numbered = enumerate(frame.context, start=frame.context_start)
    return [(number, row) for number, row in numbered if abs(number - frame.line) <= around]


def _split_id(identifier: str) -> tuple[str, str]:
    """`path/to/file.py::name[param]` as the dim part and the part that names it."""
    head, separator, tail = identifier.rpartition("::")
    return (head + separator, tail)


def _guard(value: Any) -> Any:
    """Every value that a template prints passes here: hidden characters become visible, long texts are cut."""
    if value is None:
        return ""
    return text.block(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        bytecode_cache=_compiled(),
        loader=jinja2.PackageLoader("leakcheck.report", "templates"),
        autoescape=True,
        finalize=_guard,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    functions: dict[str, Callable[..., Any]] = {
        "anchor": scenario_anchor,
        "chart": chart.chart,
        "charted": _charted,
        "decisive": sentences.decisive_meter,
        "dots": trend.dots,
        "expectation": sentences.expectation,
        "flame_boxes": flame.boxes,
        "flame_depth": flame.depth,
        "headline": sentences.headline,
        "in_repository": source_links.in_repository,
        "location": sentences.location,
        "mini": chart.mini,
        "place": place,
        "noticed": units.noticed,
        "quantity": units.quantity,
        "rate": units.rate,
        "rates": sentences.rates,
        "relative": sentences.relative,
        "seconds": units.seconds,
        "sensitivity": sentences.sensitivity,
        "share": sentences.share,
        "split_id": _split_id,
        "context": _context,
        "trend_bars": trend.bars,
        "trend_changes": trend.changes,
        "trend_sentence": trend.sentence,
    }
    environment.globals.update(functions)
    environment.globals.update(
        SYMBOLS=sentences.SYMBOLS,
        VERDICTS=VERDICTS,
        WRONG=WRONG,
        FINDINGS=FINDINGS,
        FRAMES=FRAMES,
        METERS=METERS,
        NODES=NODES,
    )
    environment.filters["phases"] = durations.phases
    environment.filters["line"] = text.line
    environment.filters["source"] = text.source
    return environment.get_template("index.html.j2")


def _compiled() -> jinja2.BytecodeCache | None:
    """Where the compiled template is kept between runs, in a folder of this user's; compiling takes 0.1 s."""
    try:
        return jinja2.FileSystemBytecodeCache()
    except (OSError, RuntimeError):
        return None


def asset(name: str) -> str:
    """The text of a file that pages have in them."""
    return resources.files("leakcheck.report").joinpath("templates", name).read_text(encoding="utf-8")

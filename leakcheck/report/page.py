"""What all pages have in common: style and script stand in the file, and text from outside stays text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from leakcheck import units
from leakcheck.records import VERDICTS, Frame, Meter, ScenarioResult
from leakcheck.report import anchors, chart, durations, flame, sentences, source_links, text, timeline, trend
from leakcheck.results.problems import place

FINDINGS = 30
"""Findings of a scenario that the page shows; `results.json` has the others."""
FRAMES = 40
"""Frames of a stack that a page has."""
METERS = 60
"""Meters of a scenario that a page has."""


def render(name: str, **values: Any) -> str:
    """The page that the template `name` makes of the values."""
    style, script = asset("style.css"), asset("script.js")
    return load(name).render(
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )


def load(name: str) -> jinja2.Template:
    """The template `name`, compiled; dear the first time."""
    return _environment().get_template(name)


def asset(name: str) -> str:
    """The text of a file that pages have in them."""
    return resources.files("leakcheck.report").joinpath("templates", name).read_text(encoding="utf-8")


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
def _environment() -> jinja2.Environment:
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
        "anchor": anchors.of_scenario,
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
        "run_names": timeline.run_names,
        "strip": timeline.strip,
        "trend_bars": trend.bars,
        "trend_changes": trend.changes,
        "trend_sentence": trend.sentence,
    }
    environment.globals.update(functions)
    environment.globals.update(
        SYMBOLS=sentences.SYMBOLS,
        VERDICTS=VERDICTS,
        FINDINGS=FINDINGS,
        FRAMES=FRAMES,
        METERS=METERS,
    )
    environment.filters["phases"] = durations.phases
    environment.filters["line"] = text.line
    environment.filters["source"] = text.source
    return environment


def _compiled() -> jinja2.BytecodeCache | None:
    """Where the compiled template is kept between runs, in a folder of this user's; compiling takes 0.1 s."""
    try:
        return jinja2.FileSystemBytecodeCache()
    except (OSError, RuntimeError):
        return None

"""Markdown for the summary of a CI step or a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from leakcheck import units
from leakcheck.records import VERDICTS, Frame, RunResult, ScenarioResult
from leakcheck.report import sentences, text, trend
from leakcheck.results.history import Entry
from leakcheck.results.problems import place

_MARKS = {
    "clean": "🟢",
    "screened": "🟩",
    "bounded": "🔵",
    "leak": "🔴",
    "inconclusive": "🟡",
    "error": "🟣",
    "skipped": "⚪",
}
LIMIT = 60_000
"""Characters: a comment on a code host may have 65,536."""

_MOST_SHOWN = 3
"""Scenarios whose findings are not folded."""
_MOST_FOLDED = 10
"""Scenarios whose findings are told at all."""
_MOST_ROWS = 25
"""Rows of the table: a comment is read, and the page has the others."""
_MOST_NAMED = 8
"""Names of scenarios that changed."""


def render(run: RunResult, past: Sequence[Entry] = ()) -> str:
    """The summary of `run`."""
    good = run.control.status != "failed" and all(scenario.ok for scenario in run.scenarios)
    parts = [f"## {'✅' if good and not run.interrupted else '❌'} Leak check: {plain(sentences.headline(run))}\n"]
    entries = trend.runs(run, past)
    said = trend.sentence(entries)
    counts = [f"{run.summary[verdict]} {verdict}" for verdict in VERDICTS if run.summary.get(verdict)]
    parts.append(f"{', '.join(counts)} in {units.seconds(run.duration_s)}{f'; {said}' if said else ''}.\n")
    parts.extend(_change(title, names) for title, names in trend.changes(entries))
    wrong = [scenario for scenario in run.scenarios if not scenario.ok]
    parts.extend(_wrong(scenario) for scenario in wrong[:_MOST_SHOWN])
    if rest := wrong[_MOST_SHOWN:_MOST_FOLDED]:
        more = f", and {len(wrong) - _MOST_FOLDED} in the HTML report" if len(wrong) > _MOST_FOLDED else ""
        parts += [f"<details><summary>{len(rest)} more{more}</summary>\n", *map(_wrong, rest), "</details>\n"]
    parts.append(_table(run))
    parts.append(_without_result(run))
    return shorten("\n".join(part for part in parts if part))


def plain(value: str, limit: int = 600) -> str:
    """Text as it is: nothing in it is read as Markdown, HTML, a mention or a link."""
    value = text.line(value, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    value = re.sub(r"([\\`*_\[\]|~$])|^([-+#=>]|\d+[.)])", r"\\\1\2", value)
    return value.replace("@", "@<!-- -->").replace("://", ":<!-- -->//")


def code(value: str, limit: int = 300) -> str:
    """Text in a code span, whatever backticks it has; fit for a table cell."""
    value = text.line(value, limit).replace("|", "¦")
    if not value:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", value)), default=0) + 1)
    pad = " " if value.startswith("`") or value.endswith("`") else ""
    return f"{fence}{pad}{value}{pad}{fence}"


def block(lines: Sequence[str], language: str = "") -> str:
    """Lines in a fenced block that nothing in them can close."""
    content = text.block("\n".join(lines))
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", content)), default=0) + 1)
    return f"{fence}{language}\n{content}\n{fence}\n"


def shorten(document: str) -> str:
    """The document, cut between two paragraphs with a word where it is longer than code hosts accept."""
    if len(document) <= LIMIT:
        return document
    cut = document[:LIMIT].rpartition("\n\n###")[0] or document[:LIMIT].rpartition("\n")[0]
    fences = re.findall(r"^`{3,}", cut, re.MULTILINE)
    closing = f"\n{fences[-1]}" if len(fences) % 2 else ""
    return f"{cut}{closing}\n\n*The rest is left out here; see the HTML report.*\n"


def _wrong(scenario: ScenarioResult) -> str:
    remark = sentences.expectation(scenario)
    word = f"{scenario.verdict}{f', {remark}' if remark else ''}"
    mark = _MARKS["error" if scenario.verdict == "error" else "leak"]
    rows = [f"### {mark} {code(scenario.id)}: {word}\n"]
    if all(finding.title != scenario.reason for finding in scenario.findings):
        rows.append(f"{plain(scenario.reason)}\n")
    for finding in scenario.findings[:5]:
        where = sentences.location(place(finding))
        rows.append(f"* {f'{code(where)}: ' if where else ''}{plain(finding.title)} ({code(finding.fingerprint)})\n")
        if finding.stack:
            rows.append(_indented(block(stack_lines(finding.stack[:8]))))
        if finding.path:
            rows.append(f"  held by {code(sentences.path(finding), 600)}\n")
    if scenario.failure and scenario.failure.traceback:
        rows.append(block(text.block(scenario.failure.traceback, 4000).splitlines()[-30:]))
    if scenario.command:
        rows.append(f"Again: {code(scenario.command)}\n")
    return "\n".join(rows)


def stack_lines(stack: Sequence[Frame]) -> list[str]:
    """A stack as text: each frame's place, and its source below."""
    rows = []
    for frame in stack:
        rows.append(text.line(f"{sentences.location(frame)} in {frame.function}"))
        if frame.source:
            rows.append(f"    {text.line(frame.source)}")
    return rows


def _indented(value: str) -> str:
    return "".join(f"  {row}\n" for row in value.splitlines())


def _change(title: str, names: Sequence[str]) -> str:
    """What stands otherwise than in the run before: what a reader of a change looks for first."""
    shown = ", ".join(map(code, names[:_MOST_NAMED]))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"**{title}**: {shown}{more}\n"


def _table(run: RunResult) -> str:
    """The scenarios of which something is to be said; those that are clean, as they should be, are counted."""
    told = [scenario for scenario in run.scenarios if scenario.verdict != "clean" or not scenario.ok]
    if not run.scenarios:
        return ""
    if not told:
        return f"All {len(run.scenarios)} are clean.\n" if len(run.scenarios) > 1 else ""
    clean = len(run.scenarios) - len(told)
    rows = [
        f"<details><summary>{units.count(len(told), 'scenario')}{f', and {clean} clean' if clean else ''}</summary>\n",
        "| verdict | scenario | growth | time |",
        "|---|---|--:|--:|",
    ]
    for scenario in told[:_MOST_ROWS]:
        meter = sentences.decisive_meter(scenario)
        grows = scenario.verdict in ("leak", "inconclusive") and meter is not None and meter.growth
        growth = units.rate(meter.growth, plain(meter.unit, 40)) if grows and meter else ""
        remark = " (not as expected)" if not scenario.ok else " (planted)" if scenario.expect == "leak" else ""
        rows.append(
            f"| {_MARKS[scenario.verdict]} {scenario.verdict}{remark} | {code(scenario.id)} "
            f"| {growth} | {units.seconds(scenario.duration_s)} |"
        )
    if len(told) > _MOST_ROWS:
        rows.append(f"\n{len(told) - _MOST_ROWS} more stand in the HTML report.")
    return "\n".join([*rows, "\n</details>\n"])


def _without_result(run: RunResult) -> str:
    return "".join(f"* {plain(reason)}\n" for reason in list(sentences.without_result(run))[:10])

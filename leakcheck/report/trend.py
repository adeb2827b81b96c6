"""The trend: how this run stands to the runs before it, for the suite and for each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from leakcheck import units
from leakcheck.gate.compare import is_slower
from leakcheck.records import VERDICTS, RunResult
from leakcheck.report.text import line
from leakcheck.results.history import Entry, Past, entry
from leakcheck.results.sensitivity import is_blunter

_COLUMN, _HEIGHT = 16, 72
"""Of the history of runs, in pixels: a column a run."""
_ORDER = ("leak", "error", "inconclusive", "bounded", "skipped", "screened", "clean")


@dataclass(frozen=True)
class Dot:
    """What one run said of one scenario."""

    verdict: str
    title: str


def runs(run: RunResult, past: Sequence[Entry]) -> list[Entry]:
    """The runs to draw, oldest first; `run` is the last, and only once. Runs of other scenarios are left out."""
    now = entry(run)
    return [one for one in past if one.started != now.started and _comparable(one, now)] + [now]


def _comparable(one: Entry, other: Entry) -> bool:
    """Whether two runs measured mostly the same: a part of the suite says nothing about the trend of the whole."""
    both = one.scenarios.keys() & other.scenarios.keys()
    return 2 * len(both) >= len(one.scenarios.keys() | other.scenarios.keys())


def bars(entries: Sequence[Entry]) -> Markup:
    """One column per run, its verdicts stacked; empty when there is nothing to compare with."""
    if len(entries) < 2:
        return Markup()
    tallest = max(1, *(sum(one.summary.get(verdict, 0) for verdict in VERDICTS) for one in entries))
    columns = "".join(_column(index, one, tallest) for index, one in enumerate(entries))
    unexpected = ", ".join(str(one.summary.get("unexpected", 0)) for one in entries)
    label = f"Not as expected in the last {units.count(len(entries), 'run')}: {unexpected}"
    width = len(entries) * _COLUMN
    return Markup(  # noqa: S704 - numbers made here, and texts through escape()
        f'<svg class="trend" viewBox="0 0 {width} {_HEIGHT}" style="max-width:{width * 2}px" role="img" '
        f'aria-label="{escape(label)}">{columns}</svg>'
    )


def dots(scenario_id: str, entries: Sequence[Entry]) -> list[Dot]:
    """What the runs said of one scenario, oldest first; empty when only one run knows it."""
    known = [(one, one.scenarios[scenario_id]) for one in entries if scenario_id in one.scenarios][-12:]
    if len(known) < 2:
        return []
    return [
        Dot(past.verdict, f"{line(one.started, 40)}: {past.verdict}{_growth(past.growth, past.meter)}")
        for one, past in known
    ]


def sentence(entries: Sequence[Entry]) -> str:
    """What changed since the run before: `2 more than in the run before`."""
    if len(entries) < 2:
        return ""
    before, now = (one.summary.get("unexpected", 0) for one in entries[-2:])
    if now == before:
        return f"as many not as expected as in the run before ({now})"
    return f"{abs(now - before)} {'more' if now > before else 'fewer'} not as expected than in the run before"


def changes(entries: Sequence[Entry]) -> list[tuple[str, list[str]]]:
    """Which scenarios stand otherwise than in the run before, under a title each."""
    if len(entries) < 2:
        return []
    before, now = entries[-2].scenarios, entries[-1].scenarios
    both = [name for name in now if name in before]
    found = [
        ("Broken since", [name for name in both if before[name].ok and not now[name].ok]),
        ("Leaks in another place too", [name for name in both if _leaks_anew(before[name], now[name])]),
        ("Mended since", [name for name in both if now[name].ok and not before[name].ok]),
        ("Less sensitive", [name for name in both if _is_blunter(before[name], now[name])]),
        ("Slower", [name for name in both if _is_slower(before[name], now[name])]),
        ("New", [name for name in now if name not in before]),
        ("No longer run", [name for name in before if name not in now]),
    ]
    return [(title, names) for title, names in found if names]


def _leaks_anew(before: Past, now: Past) -> bool:
    """Whether a scenario that leaked before has a finding that it had not."""
    return bool(before.findings) and bool(set(now.findings) - set(before.findings))


def _is_blunter(before: Past, now: Past) -> bool:
    """Whether the same verdict says less; of a leak it is not asked what else would have been seen."""
    known = before.verdict == now.verdict in ("clean", "bounded") and before.bluntness is not None
    return known and is_blunter(before.bluntness or {}, now.bluntness or {})


def _is_slower(before: Past, now: Past) -> bool:
    """Whether the same verdict takes much longer; what looks for a leak's place takes its time."""
    return before.verdict == now.verdict and is_slower(before.duration_s, now.duration_s)


def _column(index: int, one: Entry, tallest: int) -> str:
    parts, floor = [], float(_HEIGHT)
    for verdict in reversed(_ORDER):
        height = one.summary.get(verdict, 0) / tallest * (_HEIGHT - 4)
        if height > 0:
            floor -= height
            parts.append(
                f'<rect class="f-{verdict}" x="{index * _COLUMN + 2}" y="{floor:.1f}" width="{_COLUMN - 4}" '
                f'height="{height:.1f}"/>'
            )
    said = ", ".join(f"{one.summary[verdict]} {verdict}" for verdict in _ORDER if one.summary.get(verdict))
    commit = f" ({line(one.commit, 12)})" if one.commit else ""
    return f"<g><title>{escape(line(one.started, 40))}{escape(commit)}: {escape(said)}</title>{''.join(parts)}</g>"


def _growth(growth: float | None, meter: str) -> str:
    if not growth:
        return ""
    return f", {units.plain(growth)} per iteration of {line(meter, 40)}"

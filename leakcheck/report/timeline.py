"""The timeline: each finding over the last runs, from where it was first seen to where it was gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from leakcheck import units
from leakcheck.report import anchors
from leakcheck.report.text import line
from leakcheck.results.history import Entry

THERE, GONE, UNKNOWN = "1", "0", "?"
"""What a run says of a finding: it has it; it has not, though all scenarios of it were decided; it cannot say."""
ROWS = 40
"""Findings that are drawn; there are as many more as a page says."""
_COLUMN, _HEIGHT = 16, 16
"""Of a row, in its own units: a column a run."""


@dataclass(frozen=True)
class Row:
    """One finding over the runs."""

    title: str
    anchor: str
    """The name of the finding's anchor, in a page that shows it."""
    states: str
    """A character a run, oldest first: `THERE`, `GONE` or `UNKNOWN`."""
    sentence: str
    """From when to when it was there, in words."""

    @property
    def is_there(self) -> bool:
        """Whether the newest run has it."""
        return self.states[-1] == THERE


def rows(entries: Sequence[Entry]) -> list[Row]:
    """A row a finding, those that are there first, of them the newest first; empty where there is one run alone."""
    if len(entries) < 2:
        return []
    titles = {fingerprint: title for entry in entries for fingerprint, title in entry.titles.items()}
    places = {fingerprint: _scenarios_of(fingerprint, entries) for fingerprint in titles}
    found = []
    for fingerprint, title in titles.items():
        states = "".join(_state(fingerprint, entry, places) for entry in entries)
        found.append(Row(title, anchors.of_fingerprint(fingerprint), states, _sentence(states, entries)))
    return sorted(found, key=lambda row: (row.is_there, row.states.find(THERE), row.states.rfind(THERE)), reverse=True)


def run_names(entries: Sequence[Entry]) -> list[str]:
    """The runs as a reader knows them: when, and at which commit."""
    return [f"{_day(one, 16)}{f' ({line(one.commit, 12)})' if one.commit else ''}" for one in entries]


def strip(row: Row) -> Markup:
    """The row drawn: a block where it is there, a stroke where it is not, nothing where that is not known."""
    width = len(row.states) * _COLUMN
    there, gone = (
        "".join(f"M{index * _COLUMN + 1} {shape}" for index, state in enumerate(row.states) if state == kind)
        for kind, shape in (
            (THERE, f"1h{_COLUMN - 2}v14h-{_COLUMN - 2}z"),
            (GONE, f"7h{_COLUMN - 2}v2h-{_COLUMN - 2}z"),
        )
    )
    return Markup(  # noqa: S704 - numbers made here, and texts through escape()
        f'<svg class="strip" viewBox="0 0 {width} {_HEIGHT}" preserveAspectRatio="none" '
        f'style="max-width:{width * 2}px" role="img" tabindex="0" '
        f'aria-label="{escape(row.sentence)}" data-states="{row.states}">'
        f'<path class="there" d="{there}"/><path class="gone" d="{gone}"/></svg>'
    )


def _scenarios_of(fingerprint: str, entries: Sequence[Entry]) -> set[str]:
    return {name for entry in entries for name, past in entry.scenarios.items() if fingerprint in past.findings}


def _state(fingerprint: str, entry: Entry, places: Mapping[str, set[str]]) -> str:
    here = [entry.scenarios[name] for name in places[fingerprint] if name in entry.scenarios]
    if any(fingerprint in past.findings for past in here):
        return THERE
    decided = [past.verdict in ("clean", "bounded") or (past.verdict == "leak" and past.findings) for past in here]
    return GONE if decided and all(decided) else UNKNOWN


def _sentence(states: str, entries: Sequence[Entry]) -> str:
    first, last = states.find(THERE), states.rfind(THERE)
    return ", ".join(_parts(states, first, last, entries))


def _parts(states: str, first: int, last: int, entries: Sequence[Entry]) -> Iterator[str]:
    if GONE not in states and UNKNOWN not in states:
        yield f"there in all {units.count(len(states), 'run')}"
        return
    yield "there in the first of these runs" if first == 0 else f"first seen {_day(entries[first], 10)}"
    yield f"in {states.count(THERE)} of {units.count(len(states), 'run')}"
    gone = states.find(GONE, last)
    if last == len(states) - 1:
        yield "in this one too"
    elif gone >= 0:
        yield f"gone since {_day(entries[gone], 10)}"
    else:
        yield f"last seen {_day(entries[last], 10)} and not measured since"


def _day(entry: Entry, characters: int) -> str:
    return line(entry.started[:characters].replace("T", " "), 40)

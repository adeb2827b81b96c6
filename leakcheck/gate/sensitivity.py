"""Whether a scenario is looked at less closely than it was: a verdict that says less is no better one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from leakcheck import units
from leakcheck.meters import of_family
from leakcheck.records import ScenarioResult

LESS_SENSITIVE = 10.0
"""How many times more a leak must grow to be noticed before it is said: a busy machine alone costs up to 4."""
_MATTERS = {"B": 64.0, "page": 4096.0, "": 0.1}
"""Growth per iteration that every run should notice: one small object, one page of a mapping, a thing in ten calls.
Below it the sensitivity of a run goes up and down by itself: one late settling of the heap costs a factor of 100."""


def detectable(scenario: ScenarioResult) -> dict[str, float]:
    """The smallest growth per iteration that would have been noticed, in its unit, by meter that decides."""
    read_off = {meter.name: meter.detectable for meter in scenario.meters if meter.decisive}
    return {**{name: value for name, value in read_off.items() if value is not None}, **scenario.detectable}


def lost(before: Mapping[str, float], scenario: ScenarioResult, then: str) -> Iterator[str]:
    """What `scenario` would no longer notice of what it did `then`, in a sentence each; `before` as by `detectable`."""
    now = detectable(scenario)
    paged = of_family("pages")
    unit_of = {meter.name: "page" if meter.name in paged else meter.unit for meter in scenario.meters}
    unread = [name for name in before if name not in now and name not in unit_of]
    if unread:
        yield f"{', '.join(unread)}: no longer read; it was {then}"
    blunt = [
        f"{name} {units.plain(now[name])}, it was {units.plain(old)}"
        for name, old in before.items()
        if name in now and now[name] > max(old * LESS_SENSITIVE, _MATTERS.get(unit_of.get(name, ""), _MATTERS[""]))
    ]
    if blunt:
        more = f" and {units.count(len(blunt) - 1, 'other meter')}" if len(blunt) > 1 else ""
        yield f"growth per iteration that would have been noticed: {blunt[0]}{more}; give it more time"

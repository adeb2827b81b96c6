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


def bluntness(scenario: ScenarioResult) -> dict[str, float]:
    """How many times what every run should notice a leak must be to be noticed, by meter of which it is more."""
    unit_of = _units(scenario)
    times = {name: value / _matters(unit_of.get(name, "")) for name, value in detectable(scenario).items()}
    return {name: value for name, value in times.items() if value > 1}


def is_blunter(before: Mapping[str, float], now: Mapping[str, float]) -> bool:
    """Whether a run is less sensitive than one before it, both as `bluntness` tells."""
    return any(times > before.get(name, 1.0) * LESS_SENSITIVE for name, times in now.items())


def lost(before: Mapping[str, float], scenario: ScenarioResult, then: str) -> Iterator[str]:
    """What `scenario` would no longer notice of what it did `then`, in a sentence each; `before` as by `detectable`."""
    now = detectable(scenario)
    unit_of = _units(scenario)
    unread = [name for name in before if name not in now and name not in unit_of]
    if unread:
        yield f"{', '.join(unread)}: no longer read; it was {then}"
    blunt = [
        f"{name} {units.plain(now[name])}, it was {units.plain(old)}"
        for name, old in before.items()
        if name in now and now[name] > max(old * LESS_SENSITIVE, _matters(unit_of.get(name, "")))
    ]
    if blunt:
        more = f" and {units.count(len(blunt) - 1, 'other meter')}" if len(blunt) > 1 else ""
        yield f"growth per iteration that would have been noticed: {blunt[0]}{more}; give it more time"


def _units(scenario: ScenarioResult) -> dict[str, str]:
    paged = of_family("pages")
    return {meter.name: "page" if meter.name in paged else meter.unit for meter in scenario.meters}


def _matters(unit: str) -> float:
    return _MATTERS.get(unit, _MATTERS[""])

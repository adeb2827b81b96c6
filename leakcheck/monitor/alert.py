"""The records of an alert: what grows, how fast, how long until the limit, and what was seen of the cause."""

from __future__ import annotations

import keyword
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from leakcheck import units

if TYPE_CHECKING:
    from leakcheck.records import Finding


class Growing(NamedTuple):
    """A meter that grows along."""

    meter: str
    unit: str
    rate: float
    """Per hour."""


class Evidence(NamedTuple):
    """What was seen of the cause from inside the process."""

    findings: tuple[Finding, ...]
    types: tuple[tuple[str, float], ...]
    """Types of which there were more objects at the last walk than at the first, the most first: objects an hour."""
    since_last_alert: tuple[tuple[str, int], ...]
    """Types of which there are more objects than at the previous alert, in objects; empty for the first alert."""
    objects: int
    """Objects that the last walk looked at."""
    longest_pause_ms: float
    """The longest stretch that the walk worked without a rest, in milliseconds of its thread's own time."""
    remarks: tuple[str, ...] = ()
    report: str = ""
    """Path of the HTML report; empty where none was asked for."""

    @property
    def sentence(self) -> str:
        """The best finding in words."""
        if self.findings:
            return self.findings[0].title
        return "no growing container was found" + (f": {self.remarks[0]}" if self.remarks else "")

    def sentences(self) -> list[str]:
        """What was seen, line by line, with the fingerprint that the gate and the baseline know."""
        seen = [each.title for each in self.findings[:3]]
        seen += [f"{kind}: {count:,.0f} objects an hour more" for kind, count in self.types[:3]]
        return seen + [f"fingerprint {each.fingerprint}" for each in self.findings[:3] if each.fingerprint][:1]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for logs and JSON."""
        import msgspec  # the service does not carry it unless something grows

        return {**self._asdict(), "findings": [msgspec.to_builtins(each) for each in self.findings]}


class Alert(NamedTuple):
    """One episode of growth. Rates are per hour, in `unit`."""

    meter: str
    unit: str
    rate: float
    low: float
    high: float
    """99 % confidence interval of `rate`."""
    level: float
    """What the process holds now at the least."""
    limit: float | None
    hours_left: float | None
    """Hours until `limit` at this rate; None without a limit."""
    soonest: float | None
    latest: float | None
    """The same at the ends of the rate's interval; `latest` is infinite where growth may as well stop."""
    window_hours: float
    """Hours over which the growth was measured."""
    reason: str
    """What makes it a leak."""
    at: str
    """UTC, ISO 8601."""
    pid: int
    uptime_hours: float
    along: tuple[Growing, ...] = ()
    evidence: Evidence | None = None

    def __str__(self) -> str:
        interval = f"{units.quantity(self.low, self.unit)} to {units.quantity(self.high, self.unit)}"
        text = f"{self.meter} grows by {units.quantity(self.rate, self.unit)} an hour ({interval}), {self.reason}"
        if self.limit is not None and self.hours_left is not None:
            text += f"; at {units.quantity(self.level, self.unit)} of {units.quantity(self.limit, self.unit)}, "
            text += f"{duration(self.hours_left)} left"
        return text

    def as_dict(self) -> dict[str, Any]:
        """Plain values for logs and JSON; infinite hours are None."""
        values: dict[str, Any] = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self._asdict().items()
        }
        values["along"] = [each._asdict() for each in self.along]
        values["evidence"] = None if self.evidence is None else self.evidence.as_dict()
        return values

    def scenario_stub(self, name: str = "grows_in_production") -> str:
        """Python source of a scenario that carries what production saw, with the step left to be filled in.

        `name` is the name of its function. Raises `ValueError` where it cannot be one.
        """
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"scenario_stub: {name!r} is not a name for a function")
        seen = [str(self), *([] if self.evidence is None else self.evidence.sentences())]
        comments = "\n".join(f"# * {' '.join(each.split())}" for each in seen)
        return _STUB.format(name=name, seen=comments, **self._asdict())


_STUB = '''"""What grew in production on {at}, to be reproduced.

Run it with: elkyn-leakcheck run THIS_FILE
"""

from leakcheck import scenario

# Seen in process {pid} after {uptime_hours:.1f} hours:
{seen}


@scenario(expect="leak")  # once it is fixed: expect="clean", and it guards the fix
def {name}(ctx):
    """Grows by {meter} in production."""
    # Set-up: make what the service makes once (clients, stores, applications).

    def step():
        raise NotImplementedError("do here what the service does once for each request or message")

    yield step
    # Tear-down: close what the set-up opened.
'''


def duration(hours: float) -> str:
    """Hours as a person reads them: `40 minutes`, `9 hours`, `12 days`."""
    if not math.isfinite(hours):
        return "no end"
    if hours < 2:
        minutes = round(hours * 60)
        return f"{minutes} minute" + "s" * (minutes != 1)
    if hours < 72:
        return f"{hours:.0f} hours"
    return f"{hours / 24:.0f} days" if hours < 24 * 365 * 2 else "years"

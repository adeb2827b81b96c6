"""An alert: what grows, how fast, how long it may go on, and what was seen of the cause."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from leakcheck.monitor.evidence import Evidence


class Growing(NamedTuple):
    """A meter that grows along."""

    meter: str
    unit: str
    rate: float
    """Per hour."""


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
        interval = f"{quantity(self.low, self.unit)} to {quantity(self.high, self.unit)}"
        text = f"{self.meter} grows by {quantity(self.rate, self.unit)} an hour ({interval}), {self.reason}"
        if self.limit is not None and self.hours_left is not None:
            text += f"; at {quantity(self.level, self.unit)} of {quantity(self.limit, self.unit)}, "
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
        """A scenario file that carries what production saw, with the step left to be filled in."""
        from leakcheck.monitor.stub import Seen, scenario_stub

        cause = [] if self.evidence is None else self.evidence.sentences()
        return scenario_stub(Seen(self.meter, self.at, self.pid, self.uptime_hours, [str(self), *cause]), name)


def quantity(value: float, unit: str) -> str:
    """A value as a person reads it: `3.2 MiB`, `14 fds`."""
    if not math.isfinite(value):
        return "?"
    if unit == "B":
        size, step = value, 0
        while abs(size) >= 1023.5 and step < 4:
            size, step = size / 1024, step + 1
        return f"{size:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[step]}" if step else f"{size:.0f} B"
    return f"{value:,.3g} {unit}".rstrip()


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

"""The monitor in the terminal: a chart a meter, its rate, the verdict so far, the time to its limit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel as Box
from rich.table import Table
from rich.text import Text

from leakcheck import units
from leakcheck.monitor.alert import Alert, duration
from leakcheck.monitor.panel import Reading
from leakcheck.monitor.session import Session, View
from leakcheck.monitor.trend import Trend
from leakcheck.report.text import line

_STYLES = {"warming": "dim", "steady": "green", "bounded": "green", "rising": "yellow", "leak": "bold red"}
_BLOCKS = " ▁▂▃▄▅▆▇█"
CHART_ROWS = 4
"""Lines of a chart."""
REMARKS = 6
"""Newest remarks that are shown."""


class Dashboard(View):
    """A live picture."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, screen=False, transient=False)
        self._remarks: list[Text] = []

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def update(self, session: Session) -> None:
        """Draw the readings of now."""
        size = self._live.console.size
        self._live.update(_picture(session, self._remarks, size.width, size.height))

    def alert(self, alert: Alert) -> None:
        """Keep an alert on the screen."""
        self._remarks.append(Text(f"✗ {line(str(alert))}", style="bold red"))

    def note(self, text: str) -> None:
        """Keep a remark on the screen."""
        self._remarks.append(Text(line(text), style="yellow"))


class Lines(View):
    """One line every so many seconds, for logs and pipes; alerts and remarks at once."""

    def __init__(self, console: Console, every: float) -> None:
        self._console = console
        self._every = every
        self._due = 0.0

    def update(self, session: Session) -> None:
        """Print the reading that decides, when it is time."""
        now = time.monotonic()
        worst = session.worst()
        if now < self._due or worst is None:
            return
        self._due = now + self._every
        self._console.print(Text(f"{_words(worst)}  {session.verdict()} so far"), soft_wrap=True)

    def alert(self, alert: Alert) -> None:
        """Print it."""
        self._console.print(Text(f"ALERT {line(str(alert))}", style="bold red"), soft_wrap=True)

    def note(self, text: str) -> None:
        """Print it."""
        self._console.print(Text(line(text), style="yellow"), soft_wrap=True)


Silent = View
"""Shows nothing at all."""


def chart(values: Sequence[float], width: int, rows: int = CHART_ROWS) -> list[str]:
    """The course of a meter as `rows` lines of block characters, from its lowest to its highest value."""
    if not values or width < 1:
        return [""] * rows
    columns = [values[index * len(values) // width] for index in range(width)] if len(values) > width else list(values)
    low, high = min(columns), max(columns)
    span = high - low or 1.0
    heights = [round((value - low) / span * (rows * 8 - 1)) + 1 for value in columns]
    return ["".join(_BLOCKS[max(0, min(8, height - 8 * row))] for height in heights) for row in range(rows - 1, -1, -1)]


def _picture(session: Session, remarks: Sequence[Text], width: int, height: int) -> RenderableType:
    head = Text(line(session.source.name, 80), style="bold")
    head.append(f"  pid {session.source.pid}  {duration((time.monotonic() - session.began) / 3600)}  ", style="dim")
    verdict = session.verdict()
    head.append(verdict, style={"leak": "bold red", "clean": "green", "bounded": "green"}.get(verdict, "yellow"))
    readings = session.panel.readings()
    # As many charts as fit, those that move first: a flat line says no more than its row in the table.
    moving = [
        each for each in readings if each.decisive and len({value for _, value in session.panel.course(each.meter)}) > 1
    ]
    room = max(1, (height - len(readings) - len(remarks[-REMARKS:]) - 4) // (CHART_ROWS + 2))
    boxes: list[RenderableType] = [_box(reading, session, width) for reading in (moving or readings[:1])[:room]]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("meter", "now", "per hour", "verdict", "limit in"):
        table.add_column(column, justify="right" if column in ("now", "per hour", "limit in") else "left")
    for reading in readings:
        table.add_row(*_cells(reading))
    return Group(head, *boxes, table, *remarks[-REMARKS:])


def _box(reading: Reading, session: Session, width: int) -> Box:
    course = [value for _, value in session.panel.course(reading.meter)]
    rows = chart(course, max(10, min(width, 120) - 4))
    title = f"{reading.meter} {units.quantity(reading.value, reading.unit)}"
    if course:
        title += f"  ({units.quantity(min(course), reading.unit)} to {units.quantity(max(course), reading.unit)})"
    picture = Text("\n".join(rows), style=_STYLES[reading.trend.verdict], no_wrap=True)
    return Box(picture, title=title, title_align="left")


def _cells(reading: Reading) -> list[RenderableType]:
    trend = reading.trend
    left = trend.hours_left(reading.limit)
    return [
        Text(reading.meter, style="" if reading.decisive else "dim"),
        Text(units.quantity(reading.value, reading.unit)),
        Text(f"+{units.quantity(trend.rate, reading.unit)}" if _grows(trend) else ""),
        Text(trend.verdict, style=_STYLES[trend.verdict]),
        Text(duration(left[0]) if left and trend.verdict in ("leak", "rising") else ""),
    ]


def _grows(trend: Trend) -> bool:
    """Whether there is a rate to show: the slope of a steady meter is noise."""
    return trend.rate > 0 and trend.verdict in ("leak", "rising", "bounded")


def _words(reading: Reading) -> str:
    rate = f" (+{units.quantity(reading.trend.rate, reading.unit)} an hour)" if _grows(reading.trend) else ""
    return f"{reading.meter} {units.quantity(reading.value, reading.unit)}{rate} {reading.trend.verdict}"

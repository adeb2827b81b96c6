"""The terminal of a sweep: how far it is, and what came of it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from leakcheck import meters, units
from leakcheck.report.terminal import make_console, say
from leakcheck.report.text import line, source
from leakcheck.results import atomic
from leakcheck.sweep import page
from leakcheck.sweep.inside.messages import Suspect
from leakcheck.sweep.outcome import Find, Sweep
from leakcheck.sweep.seen import Seen
from leakcheck.sweep.sweeping import FILE_NAME

_REFRESH_HZ = 2
"""Redraws a second."""
_APART_S = 30.0
"""Seconds between two lines of progress where nobody watches."""
_ENOUGH_DONE = 0.1
"""Targets that are done, as a part of those that are left, from which on it is said how long the rest will take."""
_LATEST = 6
"""Suspects, and crashes, that stand in the terminal while a sweep goes on."""
_PARTS = 2
"""Parts of a name that are shown there: those at its end tell it from others."""
_SHOWN = 20
"""Names of a kind that are listed; all of them are in the file."""


class SweepView:
    """Shows a sweep while it goes on, as a context manager."""

    def __init__(self, *, quiet: bool, color: str) -> None:
        self.console = make_console(color)
        self._quiet = quiet
        self._live: Live | None = None
        self._stage = ""
        self._seen = Seen()
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self.console.is_interactive and not self._quiet:
            self._live = Live(console=self.console, refresh_per_second=_REFRESH_HZ, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def stage(self, what: str) -> None:
        """Something begins that takes its time."""
        self._stage, self._began = what, time.monotonic()
        self._show(what, now=True)

    def progress(self, seen: Seen) -> None:
        """The interpreter has said something."""
        if len(seen.swept) == len(seen.done_before):
            self._began = time.monotonic()  # the time in which calls are looked for says nothing of the rest
        self._seen = seen
        self._show(f"{self._stage}: {progress(seen, time.monotonic() - self._began)}", now=False)

    def _show(self, text: str, *, now: bool) -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(live(text, self._seen, self.console.width))
        elif now or time.monotonic() - self._told > _APART_S:
            self._told = time.monotonic()
            with suppress(BrokenPipeError):
                say(self.console, text)


def live(text: str, seen: Seen, width: int) -> Group:
    """What stands in a terminal while a sweep goes on: how far it is, and the latest that it has met with."""
    met: list[tuple[str, str, str, str]] = [
        *((each.target, each.kind, _kept(each), "yellow") for each in seen.suspects[-_LATEST:]),
        *((each.target, each.how, "", "magenta") for each in seen.crashes[-_LATEST:]),
    ]
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=width // 2)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, justify="right")
    for target, kind, kept, style in met:
        name = ".".join(target.split(".")[-_PARTS:])
        table.add_row(Text(line(f" {name}", 200)), Text(line(kind, 40), style=style), Text(kept))
    return Group(Text(line(text)), table)


def _kept(suspect: Suspect) -> str:
    """What a call keeps, by the first ledger that says so."""
    return next((f"+{units.quantity(value, meters.of(name, '').unit)}" for name, value in suspect.growth.items()), "")


def progress(seen: Seen, seconds: float) -> str:
    """How far it is: `31 of 163 targets, 24,000 calls/s, 4 suspects, 1 crash`."""
    done = len(seen.swept)
    fresh, left = done - len(seen.done_before), len(seen.targets) - done
    if not fresh:
        return f"looking for calls that succeed: {len(seen.looked)} of {units.count(len(seen.targets), 'target')}"
    parts = [f"{done} of {units.count(len(seen.targets), 'target')}"]
    if seconds > 1:
        parts.append(f"{seen.calls / seconds:,.0f} calls/s")
    parts.append(units.count(len(seen.suspects), "suspect"))
    if seen.crashes:
        parts.append(f"{len(seen.crashes)} crash{'es' if len(seen.crashes) != 1 else ''}")
    if fresh > _ENOUGH_DONE * left > 0:
        parts.append(f"{units.seconds(seconds / fresh * left)} left")
    return ", ".join(parts)


def summary(sweep: Sweep, folder: Path, view: SweepView, *, quiet: bool) -> None:
    """What came of it, the worst first."""
    console = view.console
    for title, finds, style in (
        ("LEAKS", sweep.finds, "bold red"),
        ("KEPT BY WHAT THE PROGRAM NAMES: a cache, a registry, or a forgotten list", sweep.kept, "yellow"),
    ):
        if finds and not quiet:
            say(console, title, style=style)
            for find in finds:
                _find(find, view)
    if sweep.crashes and not quiet:
        say(console, "CRASHES", style="bold magenta")
        for crash in sweep.crashes[:_SHOWN]:
            times = units.count(crash.times, "call")
            say(console, line(f"{crash.target}: {crash.how} ({times}): {crash.step}", 200), 2)
        if len(sweep.crashes) > _SHOWN:
            say(console, f"and {len(sweep.crashes) - _SHOWN} more", 2)
    say(console, said(sweep))
    atomic.write(folder / page.FILE_NAME, page.render(sweep, said(sweep)).encode("utf-8", "replace"))
    say(console, f"files: {folder}/{FILE_NAME}, {folder}/{page.FILE_NAME}")


def said(sweep: Sweep) -> str:
    """The sweep in one paragraph; it never says clean."""
    isolated = {"none": "NOT ISOLATED", "landlock": "isolated by Landlock", "namespaces": "isolated"}
    parts = [
        f"{sweep.calls:,} calls of {units.count(sweep.targets, 'target')} tried, {isolated.get(sweep.isolation, '')}",
        f"{len(sweep.not_made)} could not be made" if sweep.not_made else "",
        f"{len(sweep.unfinished)} not tried to the end" if sweep.unfinished else "",
        f"{len(sweep.refused)} refused" if sweep.refused else "",
        f"{len(sweep.unchanged)} left out, for their code is what it was" if sweep.unchanged else "",
    ]
    known = sum(find.known for find in sweep.finds)
    found = f"{units.count(len(sweep.finds), 'leak')} confirmed"
    if known:
        found += f", {known} of them known"
    if sweep.unconfirmed:
        found += f"; {units.count(len(sweep.unconfirmed), 'suspect')} not confirmed"
    what = ", ".join(f"{name} {version}" for name, version in sweep.distributions.items()) or ", ".join(sweep.asked)
    end = " (interrupted)" if sweep.interrupted else ""
    return line(f"{what}: {', '.join(part for part in parts if part)}. {found}{end}.", 1000)


def _find(find: Find, view: SweepView) -> None:
    ending = f" ({find.exception})" if find.exception else ""
    known = " [known]" if find.known else ""
    say(
        view.console, Text(line(f"{find.target}: {find.kind}{ending}: {page.rates(find)}{known}", 300), style="bold"), 2
    )
    if find.also:
        say(view.console, line(f"and {', '.join(find.also)}", 200), 4)
    if find.named:
        say(view.console, line(f"in {find.named}", 200), 4)
    if find.age:
        say(view.console, line(str(find.age), 300), 4)
    for row in find.step.splitlines():
        say(view.console, Text(source(row, 200), style="cyan"), 4)
    say(view.console, Text(find.scenario, style="dim"), 4)

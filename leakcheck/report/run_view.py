"""The view of a run in the terminal: alive while it goes on, plain lines where no one watches, a last word."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from leakcheck import units
from leakcheck.records import VERDICTS, Control, Failure, RunResult, Sample, ScenarioResult
from leakcheck.report import sentences
from leakcheck.report.scenario_text import growth_of, least_drawn, mark, print_scenario
from leakcheck.report.sparkline import sparkline
from leakcheck.report.terminal import make_console, say
from leakcheck.report.text import line, middle

_REFRESH_HZ = 2
"""Redraws a second: the drawing runs on the machine that measures, so it must cost next to nothing."""
_WIDTH = 100
"""Columns that the live view takes at the most."""
_NAME = 20
"""Columns that a name needs in it at the least."""
_NODE = 21
"""Columns of the name of a node: an address with its port."""
_MOST_ROWS = 8
"""Scenarios under way that it shows."""


@dataclass
class _Running:
    """What is known of a scenario while it runs."""

    began: float = field(default_factory=time.monotonic)
    """When the phase began that it is in."""
    meter: str = ""
    curve: str = ""
    seconds_left: float | None = None
    tools: Sequence[str] | None = None
    """The tools that look for the place of a leak; None while it is not known to be one."""
    failing: str = ""
    """How many failures have been tried so far; empty while the step does not fail."""
    node: str = ""
    """Where it runs; empty on this machine."""


class RunView:
    """The view of a run; a context manager. On a terminal it lives at the bottom, elsewhere it prints lines.

    `quiet` 1 leaves only what is not as expected and the last line, 2 nothing; `verbose` adds the meters.
    """

    def __init__(self, total: int, *, quiet: int = 0, verbose: int = 0, color: str = "auto") -> None:
        self.console = make_console(color)
        self._total = total
        self._quiet = quiet
        self._verbose = verbose
        self._done = 0
        self._began = time.monotonic()
        self._running: dict[str, _Running] = {}
        self._whole: dict[str, Failure] = {}
        """What failed scenarios said, for the person before the terminal; what is recorded has no values."""
        self._nodes = ""
        """How many nodes of a cluster take part; empty on this machine."""
        self._live: Live | None = None
        if self.console.is_interactive and self.console.is_terminal and not quiet:
            self._live = Live(
                self,
                console=self.console,
                refresh_per_second=_REFRESH_HZ,
                transient=True,
                redirect_stderr=False,
            )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.clear()
        if self._live:
            self._live.stop()
            self._live = None

    def plan(self, lines: Sequence[str]) -> None:
        """Show what is going to be run."""
        if not self._quiet:
            for one in lines:
                say(self.console, line(one), style="dim")

    def start(self, scenario_id: str) -> None:
        """The measurement of a scenario begins."""
        self._running[scenario_id] = _Running()
        self._log(scenario_id, "measuring")

    def nodes(self, count: int, cores: int) -> None:
        """So many nodes of a cluster, with so many cores, take part."""
        self._nodes = f"{units.count(count, 'node')}, {units.count(cores, 'core')}"

    def start_at(self, scenario_id: str, node: str) -> None:
        """The measurement of a scenario begins on that node."""
        self._running[scenario_id] = _Running(node=node)
        self._log(scenario_id, f"measuring on {line(node)}")

    def progress(self, scenario_id: str, meter: str, samples: list[Sample], seconds_left: float) -> None:
        """A reading came in. Cheap: it keeps a few values, drawing happens at the view's own pace."""
        running = self._running.setdefault(scenario_id, _Running())
        running.meter = meter
        running.seconds_left = seconds_left
        if self._live:
            running.curve = sparkline(samples, least=least_drawn(meter))

    def diagnosing(self, scenario_id: str, tools: Sequence[str]) -> None:
        """A scenario leaks, and these tools look for the place now."""
        running = self._running.setdefault(scenario_id, _Running())
        if running.tools is None:
            running.began = time.monotonic()
        if tools:
            self._log(scenario_id, f"looking for the place: {', '.join(tools)}")
        running.tools = tools

    def failing(self, scenario_id: str, tried: int, failures: int) -> None:
        """A scenario leaks nothing as it is, and its step fails now: so many failures of so many have been tried."""
        if not tried:
            self._running[scenario_id] = _Running()
            self._log(scenario_id, f"failing, {units.count(failures, 'failure')}")
        self._running.setdefault(scenario_id, _Running()).failing = f"failing: {tried} of {failures}"

    def _log(self, scenario_id: str, what: str) -> None:
        """Where nothing lives at the bottom of a terminal, a phase is a line."""
        if self._verbose and not self._live and not self._quiet:
            say(self.console, f"{line(scenario_id)}: {what} ...", 2, "dim")

    def failed(self, scenario_id: str, whole: Failure) -> None:
        """Keep all that a failed scenario said: it is shown where a person looks on and nothing is recorded."""
        self._whole[scenario_id] = whole

    def finish(self, result: ScenarioResult) -> None:
        """A scenario has its result: one line of it stays."""
        self._running.pop(result.id, None)
        self._done += not result.failing
        if self._quiet > 1 or (self._quiet and result.ok):
            return
        whole = self._whole.pop(result.id, None)
        told = whole if self.console.is_interactive or whole == result.failure else None
        print_scenario(result, self.console, verbose=self._verbose, failure=told)

    def control(self, control: Control) -> None:
        """The planted controls are judged."""
        if control.status == "failed":
            if self._quiet < 2:
                say(self.console, f"control failed: {line(control.reason)}", style="bold red")
        elif not self._quiet:
            text = {
                "ok": f"control ok: {len(control.checks)} planted checks came out as planted",
                "off": "control off: nothing proves that this run's readings can be trusted",
            }[control.status]
            took = f" ({units.seconds(control.duration_s)})" if control.duration_s else ""
            say(self.console, text + took, style="dim" if control.status == "ok" else "yellow")

    def message(self, text: str) -> None:
        """Say something above the live view."""
        if not self._quiet:
            say(self.console, line(text))

    def summary(self, run: RunResult, report_dir: Path | None) -> None:
        """How it stands: the counts, the sentence, and once more the names of what is not as expected."""
        if self._quiet > 1:
            return
        self.console.print()
        self._tools_without_result(run)
        if not self._quiet and len(run.scenarios) != 1:
            counts = [f"{run.summary[verdict]} {verdict}" for verdict in VERDICTS if run.summary.get(verdict)]
            took = f"{units.count(len(run.scenarios), 'scenario')} in {units.seconds(run.duration_s)}"
            if nodes := sum(bool(node.scenarios) for node in run.nodes):
                took += f" on {units.count(nodes, 'node')}"
            say(self.console, f"{took}: {', '.join(counts) or 'nothing was run'}")
        style = "bold green" if _is_good(run) else "bold red" if run.summary.get("unexpected") else "bold yellow"
        if run.control.status == "failed":
            style = "bold red"
        say(self.console, sentences.headline(run), style=style)
        for scenario in run.scenarios if len(run.scenarios) > 1 else []:
            if not scenario.ok:
                again = mark(scenario).append(f" {line(scenario.id)} {growth_of(scenario)}".rstrip(), style="default")
                say(self.console, again, 2)
        if report_dir is not None:
            page = report_dir / "index.html"
            shown = page if page.exists() else report_dir
            self.console.print(Text(f"Report: {sentences.relative(str(shown))}"), soft_wrap=True)

    def _tools_without_result(self, run: RunResult) -> None:
        for reason, times in sentences.without_result(run).items():
            say(self.console, f"{reason} ({units.count(times, 'scenario')})", style="yellow")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What Live draws."""
        now = time.monotonic()
        width = min(options.max_width, _WIDTH)
        yield self._bar(now, width)
        for scenario_id, running in list(self._running.items())[:_MOST_ROWS]:
            yield _running_line(scenario_id, running, now, width)

    def _bar(self, now: float, width: int) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        parts = [self._nodes, units.seconds(now - self._began)]
        told = " · ".join(filter(None, parts))
        grid.add_row(
            Text(f"{self._done}/{self._total}"),
            ProgressBar(total=max(1, self._total), completed=self._done, width=max(10, width - 22 - len(told))),
            Text(told, style="dim"),
        )
        return grid


def _running_line(scenario_id: str, running: _Running, now: float, width: int) -> Text:
    """Which scenario, in which phase, since when: as much of it as there is room for."""
    least = min(_NAME, len(scenario_id))
    node = line(running.node, _NODE)
    width -= len(node) + bool(node)
    for words, curve, clock in _phases(running, now - running.began):
        room = width - 2 - sum(len(part) + 1 for part in (words, curve, clock) if part)
        if room >= least:
            break
    text = Text("  ", no_wrap=True, overflow="ellipsis")
    text.append(middle(scenario_id, max(least, room)), style="bold")
    for part, style in ((words, "dim" if running.tools is None else "red"), (curve, "cyan"), (clock, "dim")):
        text.append(f" {part}" if part else "", style=style)
    return text.append(f" {node}" if node else "", style="dim")


def _phases(running: _Running, since: float) -> list[tuple[str, str, str]]:
    """What can be said of the phase in words, as a curve and as a time: the most first."""
    clock = units.seconds(since)
    if running.tools is not None:
        return [(f"leaks; looking for the place: {', '.join(running.tools)}", "", clock), ("leaks; looking", "", clock)]
    if running.failing:
        return [(running.failing, "", clock), ("failing", "", clock)]
    meter, curve = line(running.meter, 20), running.curve
    left = running.seconds_left
    whole = clock if left is None else f"{clock} of at most {units.seconds(since + left)}"
    return [
        (f"measuring {meter}".rstrip(), curve, whole),
        (meter, curve, whole),
        (meter, curve, clock),
        (meter, "", clock),
        ("", "", clock),
    ]


def _is_good(run: RunResult) -> bool:
    return (
        run.control.status != "failed"
        and not run.interrupted
        and all(scenario.ok and scenario.verdict not in ("inconclusive", "skipped") for scenario in run.scenarios)
    )

"""The terminal: a live view while a run goes on, plain lines where no one watches, and the final table."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from leakcheck import meters, units
from leakcheck.records import VERDICTS, Control, Failure, Finding, Frame, RunResult, Sample, ScenarioResult
from leakcheck.report import sentences
from leakcheck.report.sparkline import sparkline
from leakcheck.report.text import BLOCK, block, line, middle
from leakcheck.results.problems import place

_STYLES = {
    "clean": "green",
    "bounded": "cyan",
    "leak": "bold red",
    "inconclusive": "yellow",
    "error": "bold magenta",
    "skipped": "dim",
    "screened": "green",
}
_REFRESH_HZ = 2
"""Redraws a second: the drawing runs on the machine that measures, so it must cost next to nothing."""
_WIDTH = 100
"""Columns where the output is no terminal."""
_VERDICT, _GROWTH, _TIME = 14, 16, 8
"""Columns of the table of results beside the names: for `✓ leak, found`, `growth/iteration`, `12.3 s`."""
_NAME = 20
"""Columns that names need at the least: for more, the narrow terminal has no growth and no time."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Say no more where nobody reads it: rich would end the process, and with it a run that has its results."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def make_console(color: str = "auto") -> Console:
    """A console on standard output for `--color auto|always|never`; `auto` respects `NO_COLOR` and `CI`."""
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    colored = color == "always" or (color == "auto" and terminal and not os.environ.get("NO_COLOR"))
    return _Console(
        no_color=not colored,
        color_system=("standard" if colored else None) if color == "always" or not colored else "auto",
        force_terminal=colored or terminal,
        force_interactive=terminal and not os.environ.get("CI"),
        highlight=False,
        markup=False,
        emoji=False,
        width=None if terminal else int(columns) if (columns := os.environ.get("COLUMNS", "")).isdecimal() else 80,
    )


def say(console: Console, text: Text | str, indent: int = 0, style: str = "") -> None:
    """Print a sentence: wrapped and indented for a person at a terminal, in one line for a log that is searched."""
    text = Text(text, style=style) if isinstance(text, str) else text
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, indent)))
    else:
        console.print(Text(" " * indent).append_text(text), soft_wrap=True)


@dataclass
class _Running:
    """What is known of a scenario while it runs."""

    tool: str
    began: float = field(default_factory=time.monotonic)
    fraction: float = 0.0
    meter: str = ""
    curve: str = ""
    seconds_left: float | None = None


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

    def start(self, scenario_id: str, tool: str) -> None:
        """A job begins; `tool` is `growth`, `memray`, `valgrind`, ..."""
        self._running[scenario_id] = _Running(tool)
        if self._verbose and not self._live and not self._quiet:
            say(self.console, f"{line(scenario_id)}: {tool} ...", 2, "dim")

    def progress(
        self,
        scenario_id: str,
        fraction: float,
        meter: str,
        samples: list[Sample],
        seconds_left: float | None,
    ) -> None:
        """A reading came in. Cheap: it keeps a few values, drawing happens at the view's own pace."""
        running = self._running.setdefault(scenario_id, _Running(""))
        running.fraction = fraction
        running.meter = meter
        running.seconds_left = seconds_left
        if self._live:
            running.curve = sparkline(samples, least=_least(meter))

    def failed(self, scenario_id: str, whole: Failure) -> None:
        """Keep all that a failed scenario said, where a person looks on and nothing is recorded."""
        if self.console.is_interactive:
            self._whole[scenario_id] = whole

    def finish(self, result: ScenarioResult) -> None:
        """A scenario has its result: one line of it stays."""
        self._running.pop(result.id, None)
        self._done += 1
        if self._quiet > 1 or (self._quiet and result.ok):
            return
        self._result(result)

    def _result(self, result: ScenarioResult) -> None:
        say(self.console, _result_line(result))
        say(self.console, line(result.reason), 4, "" if not result.ok else "dim")
        if remark := sentences.garbage(result):
            say(self.console, line(remark), 4, "yellow")

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
        """The final table, then what was found, then the sentence that says how it stands."""
        if self._quiet > 1:
            return
        if not self._quiet:
            self.console.print()
            self.console.print(_table(run, self.console.width, self._verbose))
        for scenario in run.scenarios:
            if not scenario.ok or (self._verbose and scenario.findings):
                whole = self._whole.get(scenario.id, scenario.failure)
                print_scenario(msgspec.structs.replace(scenario, failure=whole), self.console, verbose=self._verbose)
        self.console.print()
        self._tools_without_result(run)
        style = "bold green" if _is_good(run) else "bold red" if run.summary.get("unexpected") else "bold yellow"
        if run.control.status == "failed":
            style = "bold red"
        say(self.console, sentences.headline(run), style=style)
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
        for scenario_id, running in list(self._running.items())[:8]:
            yield _running_line(scenario_id, running, now, width)

    def _bar(self, now: float, width: int) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            Text(f"{self._done}/{self._total}"),
            ProgressBar(total=max(1, self._total), completed=self._done, width=max(10, width - 30)),
            Text(units.seconds(now - self._began), style="dim"),
        )
        return grid


def _least(meter: str) -> float:
    """The smallest change of a meter that is drawn as a hill."""
    return 4096 if meters.of(meter, "").unit == "B" else 4


def _running_line(scenario_id: str, running: _Running, now: float, width: int) -> Text:
    left = running.seconds_left
    clock = f"~{units.seconds(left)} left" if left is not None else units.seconds(now - running.began)
    tool = f" {running.tool} {running.fraction * 100:3.0f}%"
    tail, curve, clock = f"{tool} {line(running.meter, 20)} ", running.curve, f" {clock}"
    least = min(_NAME, len(scenario_id))

    def spare() -> int:
        return width - 2 - len(tail) - len(curve) - len(clock)

    curve = curve if spare() >= least else ""
    tail = tail if spare() >= least else tool
    clock = clock if spare() >= least else ""
    text = Text("  ", no_wrap=True, overflow="ellipsis")
    text.append(middle(scenario_id, spare()), style="bold")
    text.append(tail, style="dim")
    text.append(curve, style="cyan")
    text.append(clock, style="dim")
    return text


def _result_line(result: ScenarioResult) -> Text:
    text = _mark(result)
    text.pad_right(max(1, 15 - len(text)))
    text.append(line(result.id))
    remark = sentences.expectation(result)
    if remark and not result.ok:
        text.append(f" ({remark})", style="bold red")
    text.append(f" {units.seconds(result.duration_s)}", style="dim")
    return text


def _is_good(run: RunResult) -> bool:
    return (
        run.control.status != "failed"
        and not run.interrupted
        and all(scenario.ok and scenario.verdict not in ("inconclusive", "skipped") for scenario in run.scenarios)
    )


def _table(run: RunResult, width: int, verbose: int) -> Group:
    width = min(width, _WIDTH)
    directory = _common_directory([scenario.id for scenario in run.scenarios])
    table = Table(box=None, padding=(0, 1, 0, 0), width=width, header_style="dim", pad_edge=False)
    name_width = width - _VERDICT - _GROWTH - _TIME - 4
    wide = name_width >= _NAME
    table.add_column("verdict", width=_VERDICT, no_wrap=True)
    table.add_column(f"scenario in {middle(directory, 24)}" if directory else "scenario", ratio=1, overflow="fold")
    if wide:
        table.add_column("growth/iteration", width=_GROWTH, justify="right", no_wrap=True)
        table.add_column("time", width=_TIME, justify="right", no_wrap=True)
    for scenario in run.scenarios:
        name = line(scenario.id[len(directory) :])  # where there is little room it takes lines, and is whole
        figures = [_growth(scenario), Text(units.seconds(scenario.duration_s), style="dim")] if wide else []
        style = "" if scenario.ok else "bold"
        table.add_row(_mark(scenario), Text(middle(name, name_width) if wide else name, style=style), *figures)
        for meter in scenario.meters if verbose else []:
            curve = f"  {line(meter.name, 20):<13} {sparkline(meter.samples, least=_least(meter.name))} {meter.model}"
            growth = Text(units.quantity(meter.growth, meter.unit), style="dim")
            table.add_row("", Text(curve, style="dim"), *([growth, Text()] if wide else []))
    counts = [f"{run.summary[verdict]} {verdict}" for verdict in VERDICTS if run.summary.get(verdict)]
    took = f"{units.count(len(run.scenarios), 'scenario')} in {units.seconds(run.duration_s)}"
    return Group(table, Text(), Text(f"{took}: {', '.join(counts) or 'nothing was run'}", overflow="fold"))


def _common_directory(names: Sequence[str]) -> str:
    """The directory that all scenarios share: it says nothing in a table of 80 columns."""
    files = [name.partition("::")[0] for name in names if "::" in name]
    if len(files) != len(names) or not files:
        return ""
    directory = os.path.commonpath(files) if len({name.startswith("/") for name in files}) == 1 else ""
    if not directory or directory in files:
        directory = os.path.dirname(directory)
    return f"{directory}/" if directory and all(name.startswith(f"{directory}/") for name in files) else ""


def _mark(scenario: ScenarioResult) -> Text:
    if scenario.expect == "leak" and scenario.ok:
        return Text("✓ leak, found", style="green")
    if not scenario.ok and scenario.verdict in ("clean", "bounded"):
        return Text("✗ missed leak" if scenario.expect == "leak" else "✗ over budget", style="bold red")
    return Text(f"{sentences.SYMBOLS[scenario.verdict]} {scenario.verdict}", style=_STYLES[scenario.verdict])


def _growth(scenario: ScenarioResult) -> Text:
    meter = sentences.decisive_meter(scenario)
    if meter is None or not meter.growth or scenario.verdict not in ("leak", "inconclusive"):
        return Text()
    return Text(units.quantity(meter.growth, meter.unit))


def print_scenario(scenario: ScenarioResult, console: Console, *, verbose: int = 0) -> None:
    """What is wrong with one scenario: its sentence, its findings, how to see it again."""
    console.print()
    head = Text()
    head.append_text(_mark(scenario))
    head.append(f" {line(scenario.id)}", style="bold")
    say(console, head)
    if all(scenario.reason != finding.title for finding in scenario.findings):
        say(console, line(scenario.reason), 2)
    for finding in scenario.findings[: None if verbose else 5]:
        print_finding(finding, scenario, console)
    if excess := sentences.beyond_budget(scenario):
        say(console, excess, 2)
    if scenario.failure is not None:
        _print_failure(scenario, console, verbose)
    for advice in scenario.advice if verbose else []:
        say(console, f"note: {line(advice)}", 2, "dim")
    if scenario.command:
        console.print(Text(f"  again: {line(scenario.command, BLOCK)}", style="dim"), soft_wrap=True)


def print_finding(finding: Finding, scenario: ScenarioResult, console: Console) -> None:
    """A finding: the sentence with `file:line`, the source around it, the stack, the path that keeps it."""
    at = place(finding)
    where = sentences.location(at)
    head = Text()
    if where and f"{Path(at.file).name if at else ''}:{at.line if at else 0}" not in finding.title:
        head.append(f"{line(where)}: ", style="bold")
    head.append(line(finding.title))
    say(console, head, 2)
    details = [sentences.rates(finding), sentences.share(finding, scenario)]
    details.append(finding.fingerprint and f"#{finding.fingerprint}")
    details = [part for part in details if part]
    if details:
        say(console, line(", ".join(details)), 4, "dim")
    if finding.path:
        say(console, _path(finding), 4)
    for frame in finding.stack[:12]:
        _print_frame(frame, console)
    for example in finding.examples[:3]:
        say(console, f"e.g. {line(example, 160)}", 4, "dim")
    if finding.hint:
        say(console, line(finding.hint), 4, "yellow")


def _path(finding: Finding) -> Text:
    text = Text()
    text.append("held by ", style="dim")
    for node in finding.path:
        style = "bold underline red" if node.suspect else "dim"
        text.append(line(node.name, 80), style=style)
    return text


def _print_frame(frame: Frame, console: Console) -> None:
    text = Text()
    text.append(line(sentences.location(frame) or "?"), style="" if frame.user else "dim")
    text.append(f" in {line(frame.function, 160)}", style="dim")
    if frame.native:
        text.append(" (native)", style="dim")
    say(console, text, 4)
    if frame.source:
        say(console, line(frame.source, 160), 8, "bold" if frame.user else "dim")


def _print_failure(scenario: ScenarioResult, console: Console, verbose: int) -> None:
    failure = scenario.failure
    assert failure is not None
    say(console, f"{line(failure.type)}: {line(failure.message)}", 4, "magenta")
    if not failure.output:
        say(
            console, "messages of exceptions and output are left out: they may hold values; --values has them", 4, "dim"
        )
    for title, content in (("traceback", failure.traceback), ("last output", failure.output)):
        lines = block(content).strip().splitlines()
        if lines:
            console.print(Text(f"    {title}:", style="dim"))
            for one in lines if verbose else lines[-12:]:
                say(console, one, 6, "dim")

"""What the terminal says of one scenario: a row, and under it what is wrong, where, and how to see it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from leakcheck import meters, units
from leakcheck.records import Failure, Finding, Frame, Meter, ScenarioResult
from leakcheck.report import sentences
from leakcheck.report.sparkline import sparkline
from leakcheck.report.terminal import say
from leakcheck.report.text import BLOCK, block, line
from leakcheck.results.problems import place

STYLES = {
    "clean": "green",
    "screened": "green",
    "bounded": "cyan",
    "leak": "bold red",
    "inconclusive": "yellow",
    "error": "bold magenta",
    "skipped": "dim",
}
_VERDICT = 15
"""Columns of a row before the scenario's name: `✓ leak, found` is the widest verdict."""
_MOST_FINDINGS = 5
"""Findings of one scenario that are printed: the others are counted."""
_MOST_FRAMES = 12
"""Frames of a finding that are printed."""
_MOST_OUTPUT = 12
"""Lines of a traceback, or of what a program printed last."""
_SLOW_S = 5.0
"""Seconds from which on it is said what took them."""


def mark(scenario: ScenarioResult) -> Text:
    """The verdict as a row begins with it: `✗ leak`, `✓ leak, found`."""
    if scenario.expect == "leak" and scenario.ok:
        return Text("✓ leak, found", style="green")
    if not scenario.ok and scenario.verdict in ("clean", "bounded"):
        return Text("✗ missed leak" if scenario.expect == "leak" else "✗ over budget", style="bold red")
    return Text(f"{sentences.SYMBOLS[scenario.verdict]} {scenario.verdict}", style=STYLES[scenario.verdict])


def row(scenario: ScenarioResult) -> Text:
    """`✗ leak         app.py::subscribe  +432 B/iteration  7.1 s (memray 5.4 s)  node-7`."""
    text = mark(scenario)
    text.pad_right(max(1, _VERDICT - len(text)))
    text.append(line(scenario.id), style="" if scenario.ok else "bold")
    if remark := "" if scenario.ok else sentences.expectation(scenario):
        text.append(f" ({remark})", style="bold red")
    if growth := growth_of(scenario):
        text.append(f"  {growth}")
    text.append(f"  {_time(scenario)}", style="dim")
    if scenario.node:
        text.append(f"  {line(scenario.node, 40)}", style="dim")
    return text


def growth_of(scenario: ScenarioResult) -> str:
    """How much it grows by, in the unit of the meter at fault; empty where nothing goes on growing."""
    meter = sentences.decisive_meter(scenario)
    if meter is None or not meter.growth or scenario.verdict not in ("leak", "inconclusive"):
        return ""
    return units.rate(meter.growth, meter.unit)


def _time(scenario: ScenarioResult) -> str:
    """How long it took, and what of it took most of a long time."""
    slowest = max(scenario.tools, key=lambda tool: tool.duration_s, default=None)
    long = scenario.duration_s >= _SLOW_S and slowest is not None and slowest.duration_s * 2 >= scenario.duration_s
    of_it = f" ({slowest.name} {units.seconds(slowest.duration_s)})" if long and slowest else ""
    return units.seconds(scenario.duration_s) + of_it


def print_scenario(
    scenario: ScenarioResult, console: Console, *, verbose: int = 0, failure: Failure | None = None
) -> None:
    """The row, and what is to be said under it. `failure` is all that the program said, where it may be shown."""
    say(console, row(scenario))
    for meter in scenario.meters if verbose else []:
        if moved(meter):
            say(console, _meter_line(meter), 4, "dim")
    remark = sentences.garbage(scenario)
    advice = [each for each in scenario.advice if each != remark]
    if scenario.ok and not verbose:
        named = f": {advice[0]}" if scenario.verdict == "bounded" and advice else ""
        say(console, line(scenario.reason + named), 4, "dim")
    else:
        _print_details(scenario, console, verbose, failure, advice)
    if scenario.confirmed is False:
        say(console, line(scenario.advice[0]), 4, "yellow")
    if remark:
        say(console, line(remark), 4, "yellow")


def _print_details(
    scenario: ScenarioResult, console: Console, verbose: int, whole: Failure | None, advice: Sequence[str]
) -> None:
    failure = whole or scenario.failure
    if failure is None and all(scenario.reason != finding.title for finding in scenario.findings):
        say(console, line(scenario.reason), 4)
    shown = scenario.findings[: None if verbose else _MOST_FINDINGS]
    for finding in shown:
        print_finding(finding, scenario, console, examples=bool(verbose))
    if more := len(scenario.findings) - len(shown):
        say(console, f"and {units.count(more, 'finding')} more; -v shows all", 4, "dim")
    if excess := sentences.beyond_budget(scenario):
        say(console, excess, 4)
    if failure is not None:
        leaves_out = whole is None and not failure.output
        _print_failure(scenario, failure, console, verbose, leaves_out=leaves_out)
    for each in advice if verbose else ():
        say(console, f"note: {line(each)}", 4, "dim")
    if scenario.command and not scenario.ok:
        console.print(Text(f"    again: {line(scenario.command, BLOCK)}", style="dim"), soft_wrap=True)


def moved(meter: Meter) -> bool:
    """Whether there is something to see in its readings."""
    values = [each.value for each in meter.samples]
    return bool(values) and max(values) != min(values)


def least_drawn(name: str) -> float:
    """The smallest change of a meter that is drawn as a hill."""
    return 4096 if meters.of(name, "").unit == "B" else 4


def _meter_line(meter: Meter) -> str:
    curve = sparkline(meter.samples, least=least_drawn(meter.name))
    growth = units.rate(meter.growth, meter.unit) if meter.growth and meter.model == "linear" else ""
    return f"{line(meter.name, 20):<15} {curve} {meter.model:<10} {growth}".rstrip()


def print_finding(finding: Finding, scenario: ScenarioResult, console: Console, *, examples: bool = False) -> None:
    """A finding: the sentence with `file:line`, the source around it, the stack, the path that keeps it."""
    at = place(finding)
    where = sentences.location(at)
    head = Text()
    if where and f"{Path(at.file).name if at else ''}:{at.line if at else 0}" not in finding.title:
        head.append(f"{line(where)}: ", style="bold")
    head.append(line(finding.title))
    say(console, head, 4)
    frames = finding.stack[:_MOST_FRAMES]
    for frame in frames:
        _print_frame(frame, console, told=at is frame and f"in {frame.function}" in finding.title)
    if sentences.path(finding) not in finding.title:
        say(console, _path(finding), 6)
    details = [sentences.share(finding, scenario), finding.fingerprint and f"#{finding.fingerprint}"]
    if told := ", ".join(part for part in details if part):
        say(console, line(told), 6, "dim")
    for example in finding.examples[:3] if examples else []:
        say(console, f"e.g. {line(example, 160)}", 6, "dim")
    if finding.hint:
        say(console, line(finding.hint), 6, "yellow")


def _path(finding: Finding) -> Text:
    text = Text()
    text.append("held by ", style="dim")
    for node in finding.path:
        text.append(line(node.name, 80), style="bold underline red" if node.suspect else "dim")
    return text


def _print_frame(frame: Frame, console: Console, *, told: bool) -> None:
    """A frame of a stack; of one that the sentence has `told`, the source alone."""
    if not told or not frame.source:
        text = Text()
        if where := sentences.location(frame):
            text.append(f"{line(where)} in ", style="" if frame.user else "dim")
        text.append(line(frame.function, 160), style="dim")
        if frame.native:
            text.append(" (native)", style="dim")
        say(console, text, 6)
    if frame.source:
        say(console, line(frame.source, 160), 8, "bold" if frame.user else "dim")


def _print_failure(
    scenario: ScenarioResult, failure: Failure, console: Console, verbose: int, *, leaves_out: bool
) -> None:
    message = f"{line(failure.type)}: {line(failure.message)}" if failure.message else line(scenario.reason)
    say(console, message, 4, "magenta")
    if leaves_out:
        say(console, "messages and output may hold values and are left out; --values shows them", 4, "dim")
    for title, content in (("traceback", failure.traceback), ("last output", failure.output)):
        lines = block(content).rstrip().splitlines()
        while title == "traceback" and lines and not lines[-1].startswith(" "):
            lines.pop()  # it ends with the message
        if lines:
            console.print(Text(f"    {title}:", style="dim"))
            nearest = slice(_MOST_OUTPUT) if "most recent call first" in content else slice(-_MOST_OUTPUT, None)
            for one in lines if verbose else lines[nearest]:
                say(console, one, 6, "dim")

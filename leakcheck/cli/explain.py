"""`elkyn-leakcheck explain`: one finding in full, in the terminal."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console, Group
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from leakcheck import results
from leakcheck.cli.command import Command
from leakcheck.errors import UsageError
from leakcheck.records import Finding, Frame, PathNode, RunResult, ScenarioResult
from leakcheck.report import brief as brief_report
from leakcheck.report import sentences
from leakcheck.report.draft import draft
from leakcheck.report.folder import LATEST
from leakcheck.report.terminal import make_console, say
from leakcheck.report.text import BLOCK, line, source
from leakcheck.results.problems import problems

_LATEST = Path("reports", LATEST)
"""Where `run` leaves its last results."""
_STATUS = {"innocent": "green", "unknown": "yellow", "guilty": "red"}


@click.command("explain", cls=Command)
@click.argument("words", metavar="[RESULTS] [ID]", nargs=-1)
@click.option("--issue", is_flag=True, help="As the draft of a bug report, in Markdown.")
@click.option("--brief", is_flag=True, help="As at most 2 kB of JSON, for a program or a coding assistant.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def command(words: tuple[str, ...], issue: bool, brief: bool, color: str) -> None:
    """Print one finding in full: sentence, path, stack, source, how to see it again.

    RESULTS is a results.json or the directory of a run, the last one without it. ID is a finding's fingerprint (or its
    beginning), a scenario's id (or a part of it), or the number of a finding in the list that is printed when several
    fit.

    \b
    Example:
      elkyn-leakcheck explain
      elkyn-leakcheck explain 3f2a --issue
      elkyn-leakcheck explain reports/20261130-120000 3f2a
    """
    path, wanted = _meant(words)
    run = results.read(path)
    console = make_console(color)
    found = choose(run, wanted)
    if brief:
        click.echo(_brief(run, wanted, found, path), nl=False)
        return
    if not found:
        raise UsageError(_nothing(run, wanted, path))
    if len(found) > 1:
        _list(found, path, console)
        return
    scenario, finding = found[0]
    if issue:
        click.echo(draft(run, scenario, finding), nl=False)
        return
    console.print(explanation(scenario, finding), soft_wrap=not console.is_terminal)


def _meant(words: tuple[str, ...]) -> tuple[Path, str]:
    """The results and the finding that were typed: what is there is results, what is not is a finding of the last."""
    if len(words) > 2:
        raise UsageError(f"RESULTS and ID are two words, here are {len(words)}: {' '.join(words)}")
    if words and (len(words) == 2 or Path(words[0]).exists() or os.sep in words[0] or words[0].endswith(".json")):
        return Path(words[0]), words[1] if len(words) == 2 else ""
    if not _LATEST.exists():
        named = f"{words[0]} does not exist, and " if words else ""
        raise UsageError(f"{named}{_LATEST} is not there: run something first, or name the results as the first word")
    return _LATEST, words[0] if words else ""


def _brief(run: RunResult, wanted: str, found: list[tuple[ScenarioResult, Finding]], path: Path) -> str:
    """The finding that is meant, or of a scenario without one its problem; the first of the run without `wanted`."""
    if not wanted:
        return brief_report.render(run)
    marks = {finding.fingerprint for _, finding in found}
    wrong = list(problems(run))
    meant = [each for each in wrong if each.fingerprint in marks or wanted in each.scenario.id]
    if not meant:
        raise UsageError(_nothing(run, wanted, path))
    return brief_report.encode(brief_report.of_problem(meant[0], len(wrong) - 1))


def choose(run: RunResult, wanted: str) -> list[tuple[ScenarioResult, Finding]]:
    """The findings that `wanted` means, in the order of the results; all without it."""
    every = [(scenario, finding) for scenario in run.scenarios for finding in scenario.findings]
    if not wanted:
        return every
    if wanted.isdecimal() and 1 <= int(wanted) <= len(every):
        return [every[int(wanted) - 1]]
    mark = wanted.removeprefix("#")
    return (
        [pair for pair in every if pair[1].fingerprint.startswith(mark)]
        or [pair for pair in every if pair[0].id == wanted]
        or [pair for pair in every if wanted in pair[0].id]
    )


def explanation(scenario: ScenarioResult, finding: Finding) -> Group:
    """Everything that is known of one finding."""
    parts: list[Text | Padding] = [
        Text(line(finding.title, 2000), style="bold"),
        Text(line(f"in {scenario.id}"), style="dim"),
        _numbers(finding),
    ]
    if finding.path:
        parts += [Text(), Text("Who holds it", style="bold"), Padding(_path(finding.path), (0, 0, 0, 2))]
    if finding.stack:
        parts += [Text(), Text("Where it happens, the nearest first", style="bold")]
        parts += [Padding(_frame(frame), (0, 0, 0, 2)) for frame in finding.stack]
    if finding.examples:
        parts += [Text(), Text("Examples", style="bold")]
        parts += [Padding(Text(line(example, 400)), (0, 0, 0, 2)) for example in finding.examples]
    if finding.hint:
        parts += [Text(), Text(line(finding.hint, 400), style="yellow")]
    again = scenario.command or f"elkyn-leakcheck run {scenario.id}"
    parts += [Text(), Text("To see it again", style="bold"), Padding(Text(line(again, BLOCK)), (0, 0, 0, 2))]
    return Group(*parts)


def _numbers(finding: Finding) -> Text:
    parts = [sentences.rates(finding)]
    if finding.share is not None:
        parts.append(f"{finding.share * 100:.0f} % of the growth of {finding.meter}")
    parts += [f"found by {finding.source}" if finding.source else "", f"fingerprint {finding.fingerprint}"]
    return Text(line(", ".join(part for part in parts if part), 400), style="dim")


def _path(path: list[PathNode]) -> Text:
    """The path on one line, its suspect stretch underlined, then each step with its type and what is known of it."""
    text = Text()
    for node in path:
        text.append(line(node.name, 200), style="bold underline red" if node.suspect else "")
    text.append("\n")
    width = max(len(line(node.name, 60)) for node in path)
    for node in path:
        name = line(node.name, 60)
        text.append(f"\n{name:<{width}}  ", style="bold" if node.suspect else "")
        text.append(line(node.type, 80), style="cyan")
        text.append(f"  {node.status}", style=_STATUS[node.status])
        text.append(f": {line(node.why, 200)}" if node.why else "", style="dim")
    return text


def _frame(frame: Frame) -> Group:
    head = Text()
    head.append(line(sentences.location(frame) or "?"), style="bold" if frame.user else "")
    head.append(f" in {line(frame.function, 200)}{' (native)' if frame.native else ''}", style="dim")
    if not frame.context:
        return Group(head, *([Text(f"    {line(frame.source, 400)}")] if frame.source else []))
    return Group(
        head,
        Padding(
            Syntax(
                "\n".join(source(text, 400) for text in frame.context),
                "python",
                theme="ansi_dark",
                background_color="default",
                line_numbers=True,
                start_line=frame.context_start,
                highlight_lines={frame.line},
            ),
            (0, 0, 0, 2),
        ),
    )


def _list(found: list[tuple[ScenarioResult, Finding]], path: Path, console: Console) -> None:
    for number, (scenario, finding) in enumerate(found, 1):
        text = Text(f"{number:>3}  {finding.fingerprint}  ", style="dim")
        text.append(line(finding.title, 400), style="bold")
        say(console, text)
        say(console, line(scenario.id, 200), 5, "dim")
    shown = "" if path == _LATEST else f"{os.path.relpath(path) if path.is_absolute() else path} "
    console.print(
        Text(f"\n{len(found)} findings; one in full: elkyn-leakcheck explain {shown}FINGERPRINT"), soft_wrap=True
    )


def _nothing(run: RunResult, wanted: str, path: Path) -> str:
    count = sum(len(scenario.findings) for scenario in run.scenarios)
    if not count:
        return f"{path}: no scenario of this run has a finding; nothing is there to explain"
    return f"{path}: no finding is meant by {wanted!r}; leave it out to list all {count}"

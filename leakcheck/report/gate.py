"""What the gate says, on the terminal and in Markdown; the other forms come from the run as the gate sees it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from leakcheck import units
from leakcheck.gate.gate import Gate, Line
from leakcheck.records import RunResult
from leakcheck.report import markdown, sentences
from leakcheck.report.text import line

_STYLES = {"red": "bold red", "blind": "yellow", "info": "dim"}
_MARKS = {"red": "✗", "blind": "?", "info": "·"}
_EMOJI = {"red": "🔴", "blind": "🟡", "info": "⚪"}


def headline(gate: Gate) -> str:
    """The gate in one sentence."""
    counts: dict[str, int] = {}
    for one in gate.lines:
        counts[one.kind] = counts.get(one.kind, 0) + 1
    said = ", ".join(_counted(kind, number) for kind, number in counts.items())
    word = {0: "green", 6: "not red, but not all could be judged"}.get(gate.exit_code, "red")
    return f"The gate is {word}{f': {said}' if said else ''}."


def show(gate: Gate, console: Console) -> None:
    """One line per thing, then how it stands."""
    for one in gate.lines:
        text = Text()
        text.append(f"{_MARKS[one.level]} {one.kind:<17} ", style=_STYLES[one.level])
        if one.scenario:
            where = f"{one.scenario} on {one.origin}" if one.origin else one.scenario
            text.append(f"{line(where)}: ", style="bold" if one.level == "red" else "")
        text.append(_message(one))
        console.print(text, soft_wrap=True)
    style = {0: "bold green", 6: "bold yellow"}.get(gate.exit_code, "bold red")
    console.print(Text(headline(gate), style=style), soft_wrap=True)


def to_markdown(gate: Gate, applied: RunResult) -> str:
    """The lines of the gate, then the summary of the run as the gate sees it."""
    mark = {0: "✅", 6: "⚠️"}.get(gate.exit_code, "❌")
    rows = [f"## {mark} {markdown.plain(headline(gate))}\n"]
    for one in gate.lines:
        scenario = f" {markdown.code(one.scenario)}:" if one.scenario else ""
        rows.append(f"* {_EMOJI[one.level]} **{one.kind}**{scenario} {markdown.plain(_message(one))}\n")
    document = "".join(rows)
    rest = markdown.render(applied).partition("\n")[2]
    return markdown.shorten(f"{document}\n{rest}")


def _message(one: Line) -> str:
    where = f"{sentences.relative(one.file)}:{one.line}" if one.file and one.line else ""
    at = f"{line(where)}: " if where and where not in one.message else ""
    print_ = f" [{line(one.fingerprint, 80)}]" if one.fingerprint else ""
    return f"{at}{line(one.message, 600)}{print_}"


def _counted(kind: str, number: int) -> str:
    if kind.split()[-1] in ("leak", "budget", "scenario", "error"):
        return units.count(number, kind)
    return f"{number} {kind}"

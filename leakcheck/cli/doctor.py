"""`elkyn-leakcheck doctor`: what works on this machine, what does not and what to install, and the control run once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from leakcheck.cli import main
from leakcheck.cli.command import Command


@click.command("doctor", cls=Command)
@click.option("--python", metavar="PATH", default=sys.executable, help="Look at this interpreter instead of our own.")
@click.option("--allocator", type=click.Choice(["malloc", "pymalloc"]), default="malloc", show_default=True)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def command(python: str, allocator: str, color: str) -> int:
    """Say what works on this machine, and what to install.

    \b
    elkyn-leakcheck doctor
    elkyn-leakcheck doctor --python venv/bin/python

    Exit code 0 when verdicts can be trusted here, 3 when the control failed or nothing can be measured.
    """
    from rich.table import Table
    from rich.text import Text

    from leakcheck.report.terminal import make_console
    from leakcheck.report.text import line
    from leakcheck.run.doctor import examine

    checks = examine(python, allocator, Path.cwd())
    console = make_console(color)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for check in checks:
        style, mark = {"ok": ("green", "✓"), "missing": ("yellow", "-"), "failed": ("bold red", "✗")}[check.state]
        found = Text(line(check.found.replace(str(Path.home()), "~")))
        if check.advice:
            found.append(f"\n{line(check.advice)}", style="dim")
        table.add_row(Text(mark, style=style), Text(check.name), found)
    console.print(table)
    failed = [check for check in checks if check.state == "failed"]
    console.print()
    if failed:
        console.print(
            Text(f"Verdicts cannot be trusted here: {', '.join(check.name for check in failed)}.", "bold red")
        )
        return main.EXIT_INTERNAL
    missing = [check.name for check in checks if check.state == "missing"]
    console.print("Verdicts can be trusted here." + (f" Not available: {', '.join(missing)}." if missing else ""))
    return main.EXIT_OK

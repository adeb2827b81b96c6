"""The terminal itself: a console that respects its reader, and how a sentence is printed on it."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.padding import Padding
from rich.text import Text


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

"""Lines on standard output and standard error, in the encoding that the terminal has.

Click's own `echo` writes UTF-8 where the terminal says ASCII.
"""

from __future__ import annotations

import sys

import click


def echo(text: str, *, err: bool = False) -> None:
    """Print one line, at once; its colours are for terminals only."""
    stream = sys.stderr if err else sys.stdout
    stream.write(f"{text if stream.isatty() else click.unstyle(text)}\n")
    stream.flush()

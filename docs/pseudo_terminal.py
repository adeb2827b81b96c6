"""Runs a command as in a terminal, for the pictures: with colours, and this environment's programs first."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path


def output(command: list[str], folder: Path, rows: int, columns: int, **environment: str) -> Iterator[bytes]:
    """What a terminal of that size is given while `command` runs in `folder`, piece by piece as it comes."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI", "COLUMNS", "LINES")
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**inherited, "TERM": "xterm-256color", "PATH": path, **environment},
    ):  # fmt: skip
        os.close(theirs)
        with open(ours, "rb", buffering=0) as terminal:
            try:
                while piece := terminal.read(65536):
                    yield piece
            except OSError:  # how Linux says that the other end of a pseudo-terminal is closed
                return

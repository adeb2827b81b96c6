"""Makes the pictures of the README: its example is run in a pseudo-terminal, and what is there afterwards is drawn."""

from __future__ import annotations

import fcntl
import io
import os
import platform
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"
COMMAND = ["elkyn-leakcheck", "run", "leaks.py"]
_ROWS, _COLUMNS = 50, 112
_PAGE = "1100,1350"
"""Width and height of the browser's window, in pixels: the report of one leak down to its curves."""


def main() -> None:
    """Write `docs/images/run.svg` and `docs/images/report.png`."""
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder:
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / "run.svg").write_text(draw(record(Path(folder))), "utf-8")
        page = Path(folder, "reports", "latest", "index.html")
        text = page.read_text("utf-8").replace(platform.platform(), f"{platform.system()} {platform.machine()}")
        page.write_text(text, "utf-8")  # whose kernel it was is nobody's business
        photograph(page, IMAGES / "report.png")


def example() -> str:
    """`leaks.py` as the README prints it."""
    readme = (DOCS.parent / "README.md").read_text("utf-8")
    found = re.search(r"<!-- file: leaks\.py -->\n```python\n(.*?)```", readme, re.DOTALL)
    if found is None:
        raise LookupError("README.md: no block of Python after <!-- file: leaks.py -->; the pictures show that example")
    return found[1]


def record(folder: Path) -> str:
    """What a terminal shows after the command has run on the example in `folder`, with its colours."""
    (folder / "leaks.py").write_text(example(), "utf-8")
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    environment |= {"TERM": "xterm-256color", "CI": "true"}  # in CI the view that lives while it runs is left out
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    with subprocess.Popen(COMMAND, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        with open(ours, "rb", buffering=0) as terminal:
            told = b"".join(iter(lambda: _read(terminal), b""))
    return told.decode().replace("\r\n", "\n")


def _read(terminal: io.FileIO) -> bytes:
    try:
        return terminal.read(4096)
    except OSError:  # how Linux says that the other end of a pseudo-terminal is closed
        return b""


def draw(told: str) -> str:
    """The terminal as SVG, with the command as it was typed and without a font from another machine."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "dim"), (" ".join(COMMAND), "bold")))
    console.print(Text.from_ansi(told.rstrip()))
    picture = console.export_svg(title="elkyn-leakcheck", unique_id="run")
    picture = re.sub(r"\s*@font-face \{.*?\}\n", "\n", picture, flags=re.DOTALL)
    return picture.replace("Fira Code", "ui-monospace, Menlo, Consolas")


def photograph(page: Path, picture: Path) -> None:
    """The top of an HTML page as PNG, by headless Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("Chromium not found: install it with apt-get install chromium")
    subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--hide-scrollbars", f"--window-size={_PAGE}", f"--screenshot={picture}", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


if __name__ == "__main__":
    main()

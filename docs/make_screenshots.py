"""Makes the pictures of the README: its example is run in a pseudo-terminal, and what is there afterwards is drawn."""

from __future__ import annotations

import io
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from pseudo_terminal import output
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
    # In CI the view that lives while it runs is left out.
    told = b"".join(output(COMMAND, folder, _ROWS, _COLUMNS, CI="true"))
    return told.decode().replace("\r\n", "\n")


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

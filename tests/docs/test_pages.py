"""Every example of the user documentation is run, and what is printed there is what comes out; no link is dead.

In a page, `<!-- file: name -->` before a block writes it, `<!-- run -->` or `<!-- run: exit 1 -->` runs the commands of
a console block in the same folder. Three dots stand for anything; numbers are not compared.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["tutorial", "pytest", "reading", "verdicts", "cookbook", "ci", "faq", "comparison", "reference", "index"]
SLOW = {"cookbook", "pytest", "reference", "tutorial"}

_BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]*) -->\n)?^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


class Command(NamedTuple):
    """One command of a console block, and the output that the page shows."""

    line: str
    shown: list[str]


def commands(text: str) -> list[Command]:
    found: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], []))
        else:
            found[-1].shown.append(line)
    return found


def loose(text: str) -> str:
    """Without what differs from machine to machine: numbers, fingerprints, versions, runs of blanks and of bars."""
    text = re.sub(r"#[0-9a-f]{16}", "#", text)
    return re.sub(r"[ =_-]{2,}", " ", re.sub(r"\d[\d.,]*", "0", text)).strip()


def shows(shown: list[str], output: str) -> bool:
    """Whether the output is what the page shows; `...` is any text, any lines where it stands alone."""
    pattern = ""
    for line in shown:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(loose(part)) for part in line.split("...")) + r"\n+"
    told = "".join(f"{loose(line)}\n" for line in output.splitlines())
    return re.fullmatch(pattern.replace(r"\ ", " *") + r"\n*", told) is not None


@pytest.mark.parametrize("page", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in PAGES])
def test_every_example_of_the_page_works_as_shown(page, tmp_path):
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    environment |= {"NO_COLOR": "1", "CI": "true", "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for block in _BLOCK.finditer(text):
        mark, language, content = block["mark"] or "", block["language"], block["text"]
        if mark.startswith("file: "):
            file = tmp_path / mark.removeprefix("file: ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(content, "utf-8")
        elif mark.startswith("run"):
            expected = int(mark.partition("exit ")[2] or 0)
            for command in commands(content):
                done = subprocess.run(
                    ["bash", "-c", command.line], cwd=tmp_path, env=environment, text=True, timeout=240,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                )  # fmt: skip
                assert done.returncode == expected, f"$ {command.line}\n{done.stdout}"
                assert shows(command.shown, done.stdout), (
                    f"$ {command.line}\n{done.stdout}\n-- but the page shows:\n" + ("\n".join(command.shown))
                )
        else:
            assert language not in ("python", "console"), f"{page}: an example that is not run:\n{content}"


def test_the_comparison_of_output_can_fail():
    assert shows(["a 1.5 s", "..."], "a 0.2 s\nb\nc\n")
    assert shows(["...", "✗ leak x...held"], "first\n✗ leak   x of y, held\n")
    assert not shows(["a", "..."], "b\nc")
    assert not shows(["a"], "a\nb")


@pytest.mark.parametrize("file", ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_no_link_between_files_is_dead(file):
    path = ROOT / file
    targets = [target for target in _LINK.findall(path.read_text("utf-8")) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "tutorial.html").exists()

"""Every example of the user documentation is run, and what is printed there is what comes out; no link is dead.

In a page, `<!-- file: name -->` before a block writes it, `<!-- run -->` or `<!-- run: exit 1 -->` runs the commands of
a console block in the same folder. Three dots stand for anything; numbers are not compared.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["tutorial", "pytest", "reading", "verdicts", "cookbook", "ci", "faq", "comparison", "reference", "index"]
PAGES += ["assistants", "gallery", "how-it-works", "messages", "protocol", "services", "sweep"]
PAGES.append("../README")
SLOW = {"cookbook", "gallery", "how-it-works", "protocol", "pytest", "reference", "services", "sweep", "tutorial"}
SLOW.add("../README")

_BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]*) -->\n)?^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S)
_IN_THE_REPOSITORY = re.compile(r"https://github\.com/elkyn/elkyn-leakcheck/(?:blob|tree)/main/(.+)")
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
    """Without what differs from machine to machine: numbers (failures count), fingerprints, runs of blanks and bars."""
    text = re.sub(r"#[0-9a-f]{16}", "#", text)
    return re.sub(r"[ =_-]{2,}", " ", re.sub(r"(?<!failures=)\d[\d.,]*", "0", text)).strip()


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


def follow(page: str, folder: Path, programs: Path) -> None:
    """Do in `folder` what a page says, with the commands in `programs`, and compare what comes out."""
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    left_out = ("PYTEST_", "COV_", "VIRTUAL_ENV", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    environment |= {"NO_COLOR": "1", "CI": "true", "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    for block in _BLOCK.finditer(text):
        mark, language, content = block["mark"] or "", block["language"], block["text"]
        if mark.startswith("file: "):
            file = folder / mark.removeprefix("file: ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(content, "utf-8")
        elif mark.startswith("run"):
            expected = int(mark.partition("exit ")[2] or 0)
            for command in commands(content):
                done = subprocess.run(
                    ["bash", "-c", command.line], cwd=folder, env=environment, text=True, timeout=240,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                )  # fmt: skip
                assert done.returncode == expected, f"$ {command.line}\n{done.stdout}"
                assert shows(command.shown, done.stdout), (
                    f"$ {command.line}\n{done.stdout}\n-- but the page shows:\n" + ("\n".join(command.shown))
                )
        else:
            assert language not in ("python", "console"), f"{page}: an example that is not run:\n{content}"


@pytest.mark.parametrize("page", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in PAGES])
def test_every_example_of_the_page_works_as_shown(page, tmp_path):
    follow(page, tmp_path, Path(sys.executable).parent)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory):
    """A fresh environment with nothing but the wheel; returns its `bin`."""
    folder = tmp_path_factory.mktemp("newcomer")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=100)
    programs = folder / "venv" / "bin"
    build = f"build-dir={folder / 'build'}"  # not the repository's own, which belongs to what is installed from there
    subprocess.run([programs / "pip", "install", "--quiet", "--config-settings", build, ROOT], check=True, timeout=800)
    return programs


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_newcomer_who_has_the_wheel_alone_ends_with_a_leak_found_and_mended(newcomer, tmp_path):
    follow("tutorial", tmp_path, newcomer)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_suite_that_takes_warnings_for_errors_is_measured(newcomer, tmp_path):
    """From the wheel: of what is installed in another way pytest knows the modules under other names."""
    subprocess.run([newcomer / "pip", "install", "--quiet", "pytest"], check=True, timeout=300)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert sorted('ba')\n")
    done = subprocess.run(
        [newcomer / "pytest", "--leakcheck"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert "1 measured: 1 clean" in done.stdout, done.stdout


CELLS = """
import asyncio, leakcheck
kept = []
def work():
    kept.append(bytearray(100))
asyncio.get_running_loop().is_running()
---
leakcheck.check(work, time_budget=1)
---
async def pause():
    await asyncio.sleep(0)
await asyncio.to_thread(leakcheck.check, pause)
"""
EXECUTE = """
import json, sys, nbclient, nbformat
cells = [nbformat.v4.new_code_cell(source.strip()) for source in sys.stdin.read().split("---")]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
print(json.dumps([cell.outputs[-1]["data"] for cell in notebook.cells]))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_notebook_shows_the_verdict_under_its_own_running_loop(newcomer):
    subprocess.run([newcomer / "pip", "install", "--quiet", "nbclient", "ipykernel"], check=True, timeout=500)
    done = subprocess.run(
        [newcomer / "python", "-c", EXECUTE], input=CELLS, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    loop, leak, clean = json.loads(done.stdout.splitlines()[-1])
    assert loop["text/plain"] == "True"
    assert "leak: leaks 1 bytearray" in leak["text/html"]
    assert "kept.append(bytearray(100))" in leak["text/html"]
    assert leak["text/plain"].startswith("<leakcheck.Result leak")
    assert ">clean:" in clean["text/html"]


def test_the_comparison_of_output_can_fail():
    assert shows(["a 1.5 s", "..."], "a 0.2 s\nb\nc\n")
    assert shows(["...", "✗ leak x...held"], "first\n✗ leak   x of y, held\n")
    assert not shows(["a", "..."], "b\nc")
    assert not shows(["a"], "a\nb")
    assert not shows(["FAILED (failures=1)"], "FAILED (failures=2)")


@pytest.mark.parametrize("file", ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_no_link_between_files_is_dead(file):
    path = ROOT / file
    targets = _LINK.findall(path.read_text("utf-8"))
    beside = [path.parent / target for target in targets if "://" not in target]
    in_the_repository = [ROOT / address[1] for target in targets if (address := _IN_THE_REPOSITORY.match(target))]
    assert [target for target in beside + in_the_repository if not target.exists()] == []


def test_a_link_that_is_dead_on_the_site_fails_its_build(tmp_path):
    (tmp_path / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text("utf-8").partition("nav:\n  - ")[0])
    (tmp_path / "beside.md").write_text("# There in the repository alone\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Page\n\n[outside](../beside.md)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "'../beside.md', but the target is not found" in done.stderr


def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "tutorial.html").exists()

"""`elkyn-leakcheck init`: a first scenario, gate configuration and workflow, written into a project."""

from __future__ import annotations

from pathlib import Path

import click

from leakcheck.cli.command import Command
from leakcheck.cli.terminal import echo

_STARTER = Path(__file__).parent.parent / "starter"
_FIRST = "scenarios/first.py"
_AGENTS = "AGENTS.md"
_FILES = {
    _FIRST: "first.py.txt",
    "ci/budgets.toml": "budgets.toml",
    ".github/workflows/leakcheck.yml": "leakcheck.yml",
}
"""Where in the project, and which file of `leakcheck/starter` is copied there."""
_IGNORED = ("reports/", "leakcheck-report/")


@click.command("init", cls=Command)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--agents", is_flag=True, help="Also AGENTS.md, which tells coding assistants how to use this tool.")
def command(folder: Path, agents: bool) -> None:
    """Write a first scenario, gate configuration and workflow.

    \b
    elkyn-leakcheck init
    elkyn-leakcheck init path/to/project

    Files that are there already stay as they are; where there are scenarios, none is added.
    """
    from leakcheck.errors import UsageError

    try:
        for target, source in {**_FILES, **({_AGENTS: _AGENTS} if agents else {})}.items():
            if target == _FIRST and any(folder.glob("scenarios/**/*.py")) and not (folder / target).exists():
                echo("kept     scenarios/ (it has scenarios)")
                continue
            _write(folder, target, (_STARTER / source).read_text("utf-8"))
        _ignore(folder / ".gitignore")
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from error
    echo("\nNext: elkyn-leakcheck run scenarios/")


def _write(folder: Path, target: str, text: str) -> None:
    path = folder / target
    if path.exists():
        echo(f"kept     {target} (it was there)")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    echo(f"written  {target}")


def _ignore(path: Path) -> None:
    """Reports are not for the repository; only where there is a .gitignore, nobody is given one."""
    if not path.is_file():
        return
    lines = path.read_text("utf-8").splitlines()
    missing = [each for each in _IGNORED if each not in lines]
    if missing:
        path.write_text("\n".join([*lines, *missing]) + "\n", "utf-8")
        echo(f"added    {' '.join(missing)} to .gitignore")

"""`elkyn-leakcheck mcp`: the tool as a server of the Model Context Protocol, for coding assistants.

Each call is one command of this tool in a process of its own, in the folder that the server was started in. Answers are
brief: one problem, in at most two kilobytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leakcheck import results
from leakcheck.cli import main
from leakcheck.cli.command import Command
from leakcheck.cli.sweep import default_folder
from leakcheck.errors import UsageError
from leakcheck.report import brief
from leakcheck.report.folder import new_run_directory, point_latest

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

_INSTRUCTIONS = """\
Memory leaks of Python programs, native parts included. `run` judges functions and scenario files and names the line of
the first leak; `check_statement` judges one statement; `explain` tells all of a finding; after a change, run the same
again: `as_expected` is true once it is mended, and `prove_fix` proves that between two commits. A verdict is measured,
never guessed: `inconclusive` is not clean."""
_MOST_FINDS = 5
"""Leaks of a sweep that an answer has: the others stand in its `sweep.json`."""


@click.command("mcp", cls=Command)
def command() -> None:
    """Serve a coding assistant: the Model Context Protocol over standard input and output.

    \b
    pip install 'elkyn-leakcheck[mcp]'
    claude mcp add leakcheck -- elkyn-leakcheck mcp
    """
    server().run("stdio")


def server() -> MCPServer[Any]:
    """The server with its tools. Raises `UsageError` where the SDK is not installed."""
    try:
        from mcp.server.mcpserver import MCPServer
    except ImportError:
        raise UsageError("the protocol's SDK is not there: python -m pip install 'elkyn-leakcheck[mcp]'") from None
    made: MCPServer[Any] = MCPServer("leakcheck", instructions=_INSTRUCTIONS, log_level="WARNING")
    for tool in (run, check_statement, explain, sweep, compare, prove_fix):
        made.add_tool(tool)
    return made


async def run(targets: list[str], select: str = "", time_budget_s: float = 30.0) -> dict[str, Any]:
    """Judge scenarios: leak or not, where, and who holds it. Takes seconds for each scenario.

    `targets` are scenario files or folders (`scenarios/`, `scenarios/hub.py::subscribe`) or functions that can be
    called without arguments (`mypackage.parser:parse_all`). `select` keeps those whose id matches. Answers with the
    first problem; `others` counts the rest, each in `reports/latest`.
    """
    options = ["-k", select] if select else []
    return await _judged(["run", *targets, *options, "--time-budget", str(time_budget_s)])


async def check_statement(statement: str, setup: str = "") -> dict[str, Any]:
    """Judge one Python statement, run again and again after `setup` (its imports) has run once."""
    return await _judged(["snippet", *(["-s", setup] if setup else []), "--", statement])


async def explain(finding: str = "", as_issue: bool = False) -> str:
    """All that is known of a finding of the last run: stack, source, the path that holds it.

    `finding` is its fingerprint, or a part of the scenario's id. `as_issue` makes it the draft of a bug report.
    """
    return await _said(["explain", *([finding] if finding else []), *(["--issue"] if as_issue else [])])


async def sweep(package: str, seconds_per_target: float = 2.0) -> dict[str, Any]:
    """Look for leaks in a package or module without a scenario: its functions are called in many ways, isolated.

    Takes minutes. Answers with the likeliest leaks that were confirmed, each with a scenario file for `run`.
    """
    await _said(["sweep", package, "-q", "--time-per-target", str(seconds_per_target)], allowed=(0, 1))
    folder = default_folder(package)
    found = _object((folder / "sweep.json").read_text("utf-8"))
    shown = ("target", "kind", "exception", "reason", "step", "likelihood")
    finds = [
        {**{key: find[key] for key in shown}, "scenario": str(folder / find["scenario"])}
        for find in found["finds"][:_MOST_FINDS]
    ]
    return {"leaks": len(found["finds"]), "calls": found["calls"], "targets": found["targets"], "finds": finds}


async def compare(base: str, head: str, scenarios: list[str]) -> dict[str, Any]:
    """What got worse and what got better between two git revisions; both are built and measured in turn."""
    return _object(await _said(["compare", base, head, *scenarios, "--format", "json"], allowed=(0, 1, 6)))


async def prove_fix(base: str, head: str, scenarios: list[str]) -> dict[str, Any]:
    """Whether each scenario leaks at the git revision `base` and no longer at `head`, where it would have shown."""
    words = ["compare", "--prove-fix", base, head, *scenarios, "--format", "json"]
    return _object(await _said(words, allowed=(0, 1)))


async def _judged(words: list[str]) -> dict[str, Any]:
    folder = new_run_directory(Path("reports"))
    try:
        await _said([*words[:1], "--report", str(folder), *words[1:]], allowed=(0, 1, 2, 3, 6))
    except BaseException:
        with suppress(OSError):  # there is something in it
            folder.rmdir()
        raise
    point_latest(Path("reports"), folder)
    return _object(brief.render(results.read(folder)))


def _object(text: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(text)
    return made


async def _said(words: list[str], allowed: tuple[int, ...] = (main.EXIT_OK,)) -> str:
    """What a command of ours prints. Raises `ToolError` with its sentence where its exit code is not `allowed`."""
    import anyio
    from mcp.server.mcpserver.exceptions import ToolError

    done = await anyio.run_process(
        [sys.executable, "-m", "leakcheck", *words], stdin=subprocess.DEVNULL, check=False
    )  # whose output is the protocol's must not be written to by others
    if done.returncode not in allowed:
        raise ToolError((done.stderr or done.stdout).decode(errors="replace").strip())
    return done.stdout.decode(errors="replace")

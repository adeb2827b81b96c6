"""`elkyn-leakcheck snippet`: one statement, measured like any scenario, without a file to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from leakcheck.cli import options as shared
from leakcheck.cli.command import EXIT_CODES, Command
from leakcheck.errors import UsageError


@click.command("snippet", cls=Command, epilog=EXIT_CODES)
@click.argument("statement")
@click.option("-s", "--setup", multiple=True, metavar="CODE", help="Run once before; may be given several times.")
@shared.measuring
def command(statement: str, setup: tuple[str, ...], **options: Any) -> int:
    """Measure one Python statement: set-up once, the statement again and again, as with timeit.

    \b
    elkyn-leakcheck snippet -s "import json" "json.loads('[1]')"
    elkyn-leakcheck snippet -s "import asyncio" "await asyncio.sleep(0)"
    elkyn-leakcheck snippet -s "import mypackage" "mypackage.parse('x')" --python venv/bin/python
    """
    from leakcheck.cli.start import begin
    from leakcheck.execution.job import ScenarioInfo
    from leakcheck.execution.workspace import Workspace
    from leakcheck.run.discovery import Collected

    _check_syntax(statement, "the statement")
    _check_syntax("\n".join(setup), "--setup")
    _check_names(statement, "\n".join(setup))
    with Workspace() as folder:
        file = Path(folder, "snippet.py").resolve()
        before = "".join(f"{part.rstrip()}\n" for part in setup)
        file.write_text(f"{before}{statement.rstrip()}\n", "utf-8")
        again = ["elkyn-leakcheck", "snippet"]
        for part in setup:
            again += ["-s", part]
        info = ScenarioInfo(
            id=f"snippet::{' '.join(statement.split())}",
            target=f"snippet://{len(before.splitlines())}{file}",
            name="snippet",
            file=str(file),
            line=len(before.splitlines()) + 1,
            command=[*again, statement],
        )
        template = shared.template(options)
        shared.check_interpreter(template.python)
        with begin(template, control=not options["no_control"]) as begun:
            from leakcheck.cli.finish import run_and_report

            return run_and_report(Collected([info], []), template, options, begun)


def _check_syntax(code: str, what: str) -> None:
    """Say before anything is started what Python will not take."""
    import ast

    try:
        compile(code, "<snippet>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        shown = (error.text or code).strip().splitlines()
        raise UsageError(f"{what}: {error.msg}: {shown[0] if shown else ''!r}") from None


def _check_names(statement: str, setup: str) -> None:
    """Say before anything is started that a module is used and not imported; other names may come from anywhere."""
    import ast
    import builtins
    from importlib.util import find_spec

    used, known = [], set(dir(builtins))
    for node in [*ast.walk(ast.parse(setup)), *ast.walk(ast.parse(statement))]:
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.append(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ExceptHandler(name=name):
                known.add(name or "")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                known.add(name)
            case ast.alias(name="*"):
                return
            case ast.alias(name=name, asname=other):
                known.add(other or name.partition(".")[0])
    for name in used:
        if name not in known and find_spec(name) is not None:
            raise UsageError(f"the statement uses {name!r}, which nothing imports: add -s 'import {name}'")

"""A statement from the command line as a scenario: a file whose first lines are the set-up and the others the step.

Both are compiled as a module's code is, so that the statement sees and changes the names of the set-up, as in `timeit`.
A statement with `await` makes an async step; set-up with `await` is not possible outside a loop.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, ModuleType

from leakcheck.agent.scenario import Options, Scenario
from leakcheck.agent.step import CO_COROUTINE

_TOP_LEVEL_AWAIT = 0x2000
"""`ast.PyCF_ALLOW_TOP_LEVEL_AWAIT`, without importing `ast` into the measured process."""


def load(rest: str) -> list[Scenario]:
    """The one scenario of `<number of lines of set-up>/<absolute path>`."""
    lines_of_setup, _, path = rest.partition("/")
    path = "/" + path
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines(keepends=True)
    border = int(lines_of_setup)
    module = ModuleType("snippet")
    module.__file__ = path
    sys.modules["snippet"] = module  # a root of its own in the object graph: what the snippet keeps is `snippet.name`
    sys.path.insert(0, os.getcwd())
    exec(compile("".join(lines[:border]), path, "exec"), vars(module))  # noqa: S102 - the user's own line
    statement = compile("\n" * border + "".join(lines[border:]), path, "exec", _TOP_LEVEL_AWAIT)
    return [_scenario(statement, vars(module))]


def _scenario(statement: CodeType, names: dict[str, object]) -> Scenario:
    if statement.co_flags & CO_COROUTINE:

        async def async_step() -> None:
            await eval(statement, names)  # noqa: S307

        return Scenario("snippet", async_step, {}, Options())

    def step() -> None:
        exec(statement, names)  # noqa: S102

    return Scenario("snippet", step, {}, Options())

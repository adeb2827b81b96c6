"""Source that is run: a module's part once, a step again and again."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from leakcheck.sweep.inside.values import HELPERS

_NAMES = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
STANDARD = ("copy", "datetime", "decimal", "io", "pickle")
"""Modules of the standard library that expressions name."""


class Programs:
    """Makes programs of the modules that are swept."""

    def __init__(self, modules: Iterable[str], folders: Iterable[str] = (), seeds: str = "") -> None:
        """`folders` are those on the path that a program has to put there; `seeds` is a file of recipes."""
        self._modules = sorted(modules, key=len, reverse=True)
        self._folders = list(folders)
        self._seeds = os.path.dirname(seeds) if "seeds" in sys.modules else ""
        self._seeds_name = os.path.basename(seeds).removesuffix(".py")
        self._globals: dict[str, Any] = {}
        for name in STANDARD:
            self._globals[name] = importlib.import_module(name)
        for name in self._modules:
            self._globals[name.partition(".")[0]] = sys.modules[name.partition(".")[0]]
        if "numpy" in sys.modules:
            self._globals["numpy"] = sys.modules["numpy"]
        if self._seeds:
            self._globals["seeds"] = sys.modules["seeds"]
        for source in HELPERS.values():
            exec(source, self._globals)  # noqa: S102 - our own lines

    def value(self, expression: str) -> Any:
        """What an expression makes. Raises whatever it raises."""
        return eval(expression, self._globals)  # noqa: S307 - of our own making

    def head(self, setup: str, step: str) -> str:
        """The module's part that a step needs: imports, helpers, its set-up."""
        names = set(_NAMES.findall(f"{setup}\n{step}"))
        helpers = [source for name, source in HELPERS.items() if name in names]
        for source in helpers:
            names |= set(_NAMES.findall(source))
        text = f"{setup}\n{step}"
        standard = [f"import {name}" for name in (*STANDARD, "numpy") if f"{name}." in text]
        own = [name for name in self._modules if re.search(rf"\b{re.escape(name)}\.", text)]
        needed = [name for name in own if not any(other.startswith(f"{name}.") for other in own)]
        seeds = [f"import {self._seeds_name} as seeds"] if self._seeds and "seeds." in text else []
        blocks = ["\n".join([*standard, *(f"import {name}" for name in sorted(needed)), *seeds]), *helpers, setup]
        return "\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"

    def names_the_package(self, source: str) -> bool:
        """Whether a program still calls anything of what is swept: what is left without it is the interpreter's."""
        return any(f"{name.partition('.')[0]}." in source for name in self._modules) or "seeds." in source

    def folders(self, source: str) -> list[str]:
        """The folders that a program has to put on the path before it can import what it names."""
        roots = [sys.modules[name.partition(".")[0]] for name in self._modules if f"{name}." in source]
        files = [os.path.dirname(getattr(each, "__file__", None) or "") for each in roots]
        found = [
            folder
            for folder in self._folders
            if any(file == folder or os.path.dirname(file) == folder for file in files)
        ]
        return [*found, *([self._seeds] if self._seeds and "seeds." in source else [])]

    def step(self, setup: str, body: str) -> Callable[[], Any]:
        """The function whose body is `body`. Raises what the set-up raises."""
        scope = dict(self._globals)
        if setup:
            exec(setup, scope)  # noqa: S102 - of our own making
        exec(f"def step():\n{indented(body)}\n", scope)  # noqa: S102
        function: Callable[[], Any] = scope["step"]
        return function


def indented(body: str) -> str:
    """The lines of a body, each four columns further."""
    return "\n".join(f"    {line}" if line.strip() else "" for line in body.splitlines())


class Repeated:
    """Calls a step again and again, whatever it raises."""

    def __init__(self, step: Callable[[], Any], start_clock: Callable[[], None] = lambda: None) -> None:
        self._step = step
        self._start_clock = start_clock
        self.exception = ""
        """Type of the exception that the last call ended with."""
        self.calls = 0

    def __call__(self, count: int) -> None:
        """Call it `count` times."""
        step, raised = self._step, None
        self._start_clock()
        for _ in range(count):
            raised = None
            try:
                step()
            except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are no end of a sweep
                raised = type(error)
        self.calls += count
        self.exception = raised.__name__ if raised is not None else ""

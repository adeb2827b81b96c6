"""Turns file and line into a `Frame`: the function by its qualified name, the text of the line, the lines around it."""

from __future__ import annotations

import ast
import linecache
from functools import lru_cache

from leakcheck.model import Frame
from leakcheck.probes import places

_AROUND = 3


def python_frame(file: str, line: int, function: str = "") -> Frame:
    """A frame of Python code; `function` is used where the source cannot tell the qualified name."""
    text = linecache.getline(file, line).rstrip("\n")
    start = max(1, line - _AROUND)
    context = (
        [linecache.getline(file, number).rstrip("\n") for number in range(start, line + _AROUND + 1)] if text else []
    )
    while context and not context[-1]:
        context.pop()
    return Frame(
        file=file,
        line=max(0, line),
        function=qualified_name(file, line) or function or "?",
        source=text.strip(),
        user=places.rank(file) == 0,
        context=context,
        context_start=start if context else 0,
    )


def native_frame(file: str, line: int, function: str) -> Frame:
    """A frame of C, C++, Cython or Rust code."""
    text = linecache.getline(file, line).rstrip("\n") if file.startswith("/") and line else ""
    return Frame(file=file, line=max(0, line), function=function, native=True, source=text.strip())


def module_name(file: str) -> str:
    """How an importer names a file, as far as its path tells: `package/sub/module.py` below site-packages, else its name."""
    for marker in ("/site-packages/", "/dist-packages/"):
        if marker in file:
            return file.rpartition(marker)[2]
    match = places.library_part(file)
    return match or file.rpartition("/")[2]


def qualified_name(file: str, line: int) -> str:
    """The function or method around a line, `Hub.on`; empty outside of any, and where there is no source."""
    best = ""
    for first, last, name in _functions(file):
        if first <= line <= last:
            best = name  # ordered from the outside in: the last that fits is the innermost
    return best


@lru_cache(maxsize=256)
def _functions(file: str) -> tuple[tuple[int, int, str], ...]:
    text = "".join(linecache.getlines(file))
    if not text or not file.endswith(".py"):
        return ()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    found: list[tuple[int, int, str]] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}{child.name}"
                found.append((child.lineno, child.end_lineno or child.lineno, name))
                visit(child, f"{name}.<locals>.")
            elif isinstance(child, ast.ClassDef):
                name = f"{prefix}{child.name}"
                visit(child, f"{name}.")
            else:
                visit(child, prefix)

    visit(tree, "")
    return tuple(found)

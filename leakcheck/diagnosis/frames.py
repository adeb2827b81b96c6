"""Turns file and line into a `Frame`: the function by its qualified name, the text of the line, the lines around it."""

from __future__ import annotations

import ast
import linecache
import re
from functools import lru_cache

from leakcheck.agent import origin
from leakcheck.records import Frame

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
        function=_best_name(qualified_name(file, line), function),
        source=text.strip(),
        user=origin.rank(file) == 0,
        context=context,
        context_start=start if context else 0,
    )


def _best_name(qualified: str, told: str) -> str:
    """A tool may know the bare name only; the source may not tell on whose behalf a line with `def` runs."""
    if told and qualified.rpartition(".")[2] != told.rpartition(".")[2]:
        return told
    return qualified if len(qualified) >= len(told) else told or "?"


def native_frame(file: str, line: int, function: str) -> Frame:
    """A frame of C, C++, Cython or Rust code."""
    text = linecache.getline(file, line).rstrip("\n") if file.startswith("/") and line else ""
    return Frame(file=file, line=max(0, line), function=readable(function), native=True, source=text.strip())


_CYTHON = re.compile(r"__pyx_(?:p[fw]|f|mdef|specialmethod|getprop|setprop|tp_\w+?)_(?=\d)")
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")


def readable(function: str) -> str:
    """The name that the author gave a function: Cython's as `package.module.Class.method`, Rust's without its hash."""
    match = _CYTHON.match(function)
    if match is None:
        return _RUST_HASH.sub("", function)
    rest, parts = function[match.end() :], []
    while (length := re.match(r"\d+", rest)) is not None:
        size = int(length.group())
        part = rest[length.end() : length.end() + size]
        following = rest[length.end() + size :]
        if len(part) < size or (following and not following.startswith("_")):
            break
        parts.append(part)
        rest = following.removeprefix("_")
    return ".".join([*parts, rest.lstrip("0123456789")]).rstrip(".")


def module_name(file: str) -> str:
    """How an importer names a file, as far as its path tells: below site-packages with its folders, else its name."""
    for marker in ("/site-packages/", "/dist-packages/"):
        if marker in file:
            return file.rpartition(marker)[2]
    match = origin.library_part(file)
    return match or file.rpartition("/")[2]


def qualified_name(file: str, line: int) -> str:
    """The function or method around a line, `Hub.on`; empty outside of any, and where there is no source."""
    best = ""
    for first, last, name in _functions(file):
        # Ordered from the outside in: the last that fits is the innermost. The line with `def` runs in the function
        # around it.
        if first < line <= last or first == line == last or (first == line and not best):
            best = name
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

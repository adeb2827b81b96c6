"""Calls that somebody has written down: in docstrings, and in the tests of a package."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

_LONGEST = 400
"""Characters of the arguments of a call: a longer one is a document, and as good as a short one."""
_MOST_OF_A_NAME = 12
"""Calls of one name, or of one target, that are kept."""
_MOST_BYTES = 1 << 20
"""Of a file that is read."""


class Written:
    """Arguments by the name of what is called, the last part of it."""

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[str, ...]]] = {}
        self.recorded: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        """By target, calls that were seen: the expression of what a method was called on, where that is known, and the
        arguments."""

    def read_docstring(self, text: object) -> None:
        """Take the calls of the examples in a docstring."""
        if isinstance(text, str) and ">>>" in text:
            for line in text.splitlines():
                _, prompt, statement = line.partition(">>> ")
                if prompt:
                    self._read(statement)

    def read_files(self, path: str) -> None:
        """Take the calls of a Python file, or of all that lie below a folder."""
        for file in _files(path):
            try:
                if os.path.getsize(file) <= _MOST_BYTES:
                    with open(file, encoding="utf-8", errors="replace") as stream:
                        self._read(stream.read())
            except OSError:
                continue

    def add(self, target: str, receiver: str, arguments: tuple[str, ...]) -> None:
        """Take a call that was seen."""
        kept = self.recorded.setdefault(target, [])
        if len(kept) < _MOST_OF_A_NAME:
            kept.append((receiver, arguments))

    def of(self, name: str) -> list[tuple[str, ...]]:
        """Arguments of calls of what has this name at its end."""
        return self.calls.get(name.rpartition(".")[2], [])

    def _read(self, source: str) -> None:
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                self._take(node)

    def _take(self, call: ast.Call) -> None:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        values = [*call.args, *(keyword.value for keyword in call.keywords)]
        if not name or not values or any(keyword.arg is None for keyword in call.keywords):
            return
        if not all(map(_is_literal, values)):
            return
        arguments = tuple(
            [_fresh(each) for each in call.args]
            + [f"{keyword.arg}={_fresh(keyword.value)}" for keyword in call.keywords]
        )
        kept = self.calls.setdefault(name, [])
        if len(kept) < _MOST_OF_A_NAME and arguments not in kept and sum(map(len, arguments)) <= _LONGEST:
            kept.append(arguments)


def _files(path: str) -> Iterator[str]:
    if os.path.isdir(path):
        for folder, _, names in os.walk(path):
            yield from (os.path.join(folder, name) for name in sorted(names) if name.endswith(".py"))
    else:
        yield path


def _is_literal(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.operand, ast.Constant)
    if isinstance(node, ast.Dict):
        return all(each is not None and _is_literal(each) for each in [*node.keys, *node.values])
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(map(_is_literal, node.elts))
    return isinstance(node, ast.Constant)


class _Fresh(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.expr:  # named so by `ast`
        if isinstance(node.value, str | bytes) and len(node.value) > 1:
            return ast.Call(ast.Name("fresh", ast.Load()), [node], [])
        return node


def _fresh(node: ast.expr) -> str:
    """The expression, with texts that are made anew each time it is evaluated."""
    return ast.unparse(ast.fix_missing_locations(_Fresh().visit(node)))


def of_docstrings(objects: Iterable[object]) -> Written:
    """The calls in the docstrings of some objects."""
    written = Written()
    for each in objects:
        with suppress(Exception):  # a docstring of the package's own making
            written.read_docstring(getattr(each, "__doc__", None))
    return written

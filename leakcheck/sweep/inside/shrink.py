"""Makes a program smaller as long as it goes on to do what it was found for."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

from leakcheck.sweep.inside.values import AFTER

_MOST_TRIES = 80
"""Programs that are tried for one that was found: each takes some milliseconds."""
_VALUES = ("fresh", "int", "float")
"""What makes a fresh object of a constant, which is as simple as can be."""
_SIMPLE = ("None", "0", "''", "b''", "[]")
"""What an argument is replaced by, in this order."""


def shrunk(setup: str, step: str, still: Callable[[str, str], bool]) -> tuple[str, str]:
    """The smallest set-up and step that were found for which `still` holds."""
    if setup and still("", step):
        setup = ""
    tries = 0
    smaller = True
    while smaller and tries < _MOST_TRIES:
        smaller = False
        for candidate in _smaller(step):
            tries += 1
            if len(candidate) < len(step) and still(setup, candidate):
                step, smaller = candidate, True
                break
            if tries >= _MOST_TRIES:
                break
    return setup, step


def _smaller(source: str) -> Iterator[str]:
    """The program with one thing less, large things first."""
    count = len(ast.parse(source).body)
    for index in range(count - 1, -1, -1):
        tree = ast.parse(source)
        if count > 1:
            del tree.body[index]
            yield ast.unparse(tree)
    calls = sum(isinstance(node, ast.Call) for node in ast.walk(ast.parse(source)))
    for which in range(calls):
        yield from _smaller_call(source, which)


def _smaller_call(source: str, which: int) -> Iterator[str]:
    """The program with one of its calls made simpler."""

    def fresh() -> tuple[ast.Module, ast.Call]:
        tree = ast.parse(source)
        return tree, [node for node in ast.walk(tree) if isinstance(node, ast.Call)][which]

    _, call = fresh()
    if isinstance(call.func, ast.Name) and call.func.id in _VALUES:
        return
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call):
        yield _replaced(source, which, lambda call: call.func.value)
    if isinstance(call.func, ast.Name) and call.func.id == AFTER:
        yield _replaced(source, which, lambda call: call.args[0])
        yield _replaced(source, which, _as_method_call)
    for index in range(len(call.keywords)):
        tree, same = fresh()
        del same.keywords[index]
        yield ast.unparse(tree)
    for index in range(len(call.args) - 1, -1, -1):
        tree, same = fresh()
        del same.args[index]
        yield ast.unparse(tree)
        for simple in _SIMPLE:
            tree, same = fresh()
            same.args[index] = ast.parse(simple, mode="eval").body
            yield ast.unparse(tree)


def _as_method_call(call: ast.Call) -> ast.expr:
    """`after(a, 'b', c)` becomes `a.b(c)`."""
    subject, name, *arguments = call.args
    return ast.Call(ast.Attribute(subject, ast.literal_eval(name)), arguments, call.keywords)


def _replaced(source: str, which: int, by: Callable[[Any], ast.expr]) -> str:
    """The program with another expression for one of its calls: `a(...).b(...)` becomes `a(...)`."""
    tree = ast.parse(source)
    outer = [node for node in ast.walk(tree) if isinstance(node, ast.Call)][which]

    class Replace(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.expr:
            if node is outer:
                return by(node)
            self.generic_visit(node)
            return node

    return ast.unparse(Replace().visit(tree))

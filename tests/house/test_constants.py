"""A number that decides has a reason: beneath it as a docstring, or behind it as a comment."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path.relative_to(ROOT) for wing in ("elkyn", "leakcheck") for path in (ROOT / wing).rglob("*.py")
)  # fmt: skip


def without_a_reason(source: str) -> list[str]:
    """The module's numeric constants that say neither what they count nor why they are as large as they are."""
    lines = source.splitlines()
    body = ast.parse(source).body
    found = []
    for node, following in zip(body, [*body[1:], None], strict=True):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(target, ast.Name | ast.Tuple):
            continue
        if node.value is None or not _is_number(node.value):
            continue
        told = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        commented = any("#" in lines[number] for number in range(node.lineno - 1, node.end_lineno or node.lineno))
        above = lines[node.lineno - 2].lstrip().startswith("#") if node.lineno > 1 else False
        if not (told or commented or above):
            found.append(f"line {node.lineno}: {lines[node.lineno - 1]}")
    return found


def _is_number(value: ast.expr) -> bool:
    if isinstance(value, ast.BinOp):
        return _is_number(value.left) and _is_number(value.right)
    if isinstance(value, ast.UnaryOp):
        return _is_number(value.operand)
    if isinstance(value, ast.Tuple):
        return bool(value.elts) and all(map(_is_number, value.elts))
    return (
        isinstance(value, ast.Constant) and isinstance(value.value, int | float) and not isinstance(value.value, bool)
    )


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_each_number_has_its_reason(module):
    assert without_a_reason((ROOT / module).read_text("utf-8")) == []


def test_the_test_sees_a_number_without_one():
    assert without_a_reason("A = 3\nB = 4\n'''Four of them.'''\nC = 5  # five\n# six\nD = 6\nE = 'x'\n") == [
        "line 1: A = 3"
    ]

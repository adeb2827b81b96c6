"""What a user gives to a sweep: recipes, functions marked with `@recipe(MyType)` that make a fresh object each."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from leakcheck.sweep.inside.inventory import NothingToSweepError
from leakcheck.sweep.inside.trials import name_of

Function = TypeVar("Function", bound=Callable[[], Any])

_MARK = "__leakcheck_recipe__"
"""Attribute of a function that carries the type it makes."""


def recipe(kind: type) -> Callable[[Function], Function]:
    """Mark a function without parameters as a way to make an object of a type, for `elkyn-leakcheck sweep --seeds`.

    It must make a fresh object each time, of fresh parts: what is lost of an object that lives anyhow shows nowhere.
    Raises `TypeError` where `kind` is no type.
    """
    if not isinstance(kind, type):
        raise TypeError(f"@recipe takes the type that the function makes, not {kind!r}")

    def mark(function: Function) -> Function:
        setattr(function, _MARK, kind)
        return function

    return mark


def load(path: str) -> dict[str, list[str]]:
    """Expressions by the name of a type, for the recipes of a file, which is the module `seeds` from now on.

    Of a file or folder without recipes nothing is run, and nothing returned. Raises `NothingToSweepError`.
    """
    if os.path.isdir(path) or not _has_recipes(path):
        return {}
    spec = importlib.util.spec_from_file_location("seeds", path)
    if spec is None or spec.loader is None:
        raise NothingToSweepError(f"--seeds {path}: it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["seeds"] = module
    sys.path.insert(0, os.path.dirname(path))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # noqa: BLE001 - whatever the file raises
        raise NothingToSweepError(f"--seeds {path}: {type(error).__name__}: {error}") from None
    found: dict[str, list[str]] = {}
    for name, value in vars(module).items():
        kind: Any = getattr(value, _MARK, None)
        if isinstance(kind, type):
            found.setdefault(name_of(kind), []).append(f"seeds.{name}()")
    return found


def _has_recipes(path: str) -> bool:
    """Whether a function of a file is decorated with `recipe(...)`, as far as its text says."""
    try:
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError) as error:
        raise NothingToSweepError(f"--seeds {path}: cannot be read as Python: {error}") from None
    calls = [
        decorator.func
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
    ]
    return any(getattr(each, "attr", getattr(each, "id", "")) == "recipe" for each in calls)

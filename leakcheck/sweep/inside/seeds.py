"""A user's file of recipes: functions marked with `@recipe(MyType)`, each of which makes a fresh object of it."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

from leakcheck.sweep.inside.inventory import NothingToSweepError
from leakcheck.sweep.inside.trials import name_of

MARK = "__leakcheck_recipe__"
"""Attribute of a function that carries the type it makes."""


def load(path: str) -> dict[str, list[str]]:
    """Expressions by the name of a type, for the recipes of a file, which is the module `seeds` from now on."""
    spec = importlib.util.spec_from_file_location("seeds", path)
    if spec is None or spec.loader is None:
        raise NothingToSweepError(f"--seeds {path}: it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["seeds"] = module
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # noqa: BLE001 - whatever the file raises
        raise NothingToSweepError(f"--seeds {path}: {type(error).__name__}: {error}") from None
    found: dict[str, list[str]] = {}
    for name, value in vars(module).items():
        kind: Any = getattr(value, MARK, None)
        if isinstance(kind, type):
            found.setdefault(name_of(kind), []).append(f"seeds.{name}()")
    return found

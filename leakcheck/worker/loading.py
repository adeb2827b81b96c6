"""Import what the user named, a scenario file or `module:function`, and list the scenarios in it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

from leakcheck.scenario import MARK, Options, Scenario, expand


class TargetError(Exception):
    """The target could be imported, but what was asked for is not in it."""


def load(target: str) -> list[Scenario]:
    """The scenarios of `path/to/file.py` or `package.module:function`, in the order of definition.

    A file's own folder comes first on `sys.path`, as if it were run as a script. Whatever the import raises, passes.
    """
    if target.endswith(".py"):
        return scenarios_in(_import_file(target))
    module_name, _, qualified_name = target.partition(":")
    sys.path.insert(0, os.getcwd())
    found: Any = importlib.import_module(module_name)
    for part in qualified_name.split("."):
        if not hasattr(found, part):
            raise TargetError(f"module {module_name!r} has no {qualified_name!r}")
        found = getattr(found, part)
    if not callable(found):
        raise TargetError(f"{target} is {type(found).__name__}, not a function that can be called")
    return expand(qualified_name, found, getattr(found, MARK, Options()))


def scenarios_in(module: ModuleType) -> list[Scenario]:
    """All functions of a module that carry `@scenario` and were defined in it (not imported from elsewhere)."""
    found = []
    for name, value in vars(module).items():
        options = getattr(value, MARK, None)
        if isinstance(options, Options) and getattr(value, "__module__", None) == module.__name__:
            found += expand(name, value, options)
    return found


def _import_file(path: str) -> ModuleType:
    folder, file_name = os.path.split(os.path.abspath(path))
    sys.path.insert(0, folder)
    name = file_name.removesuffix(".py")
    if not name.isidentifier() or name in sys.modules:
        name = f"scenarios_in_{abs(hash(name))}"
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, file_name))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

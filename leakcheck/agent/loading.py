"""Import what the user named, a scenario file, a script or `module:function`, and list the scenarios in it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

from leakcheck.agent.scenario import MARK, Options, Scenario, expand
from leakcheck.agent.step import CO_COROUTINE, flags


class TargetError(Exception):
    """The target could be imported, but what was asked for is not in it."""


class ScriptFailedError(Exception):
    """A script's `main` ended the interpreter with a code that says failure."""


def load(target: str) -> list[Scenario]:
    """The scenarios of `path/to/file.py` or `package.module:function`, in the order of definition.

    A file's own folder comes first on `sys.path`, as if it were run as a script. A file without a scenario is a script:
    its `main` is the step. `kind://rest` is loaded by `leakcheck.agent.<kind>`. Whatever the import raises, passes.
    """
    kind, separator, rest = target.partition("://")
    if separator:
        found_there: list[Scenario] = importlib.import_module(f"leakcheck.agent.{kind}").load(rest)
        return found_there
    if target.endswith(".py"):
        module = import_file(target)
        return scenarios_in(module) or _script(module)
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


def named(scenarios: list[Scenario], name: str, target: str) -> Scenario:
    """The scenario of that name. Raises `TargetError`."""
    for scenario in scenarios:
        if scenario.name == name:
            return scenario
    raise TargetError(f"{target} has no scenario named {name!r}")


def scenarios_in(module: ModuleType) -> list[Scenario]:
    """All functions of a module that carry `@scenario` and were defined in it (not imported from elsewhere)."""
    found = []
    for name, value in vars(module).items():
        options = getattr(value, MARK, None)
        if isinstance(options, Options) and getattr(value, "__module__", None) == module.__name__:
            found += expand(name, value, options)
    return found


def _script(module: ModuleType) -> list[Scenario]:
    """The `main` of a script, if it has one of its own. That it ends with `sys.exit(0)` is no fault."""
    main = getattr(module, "main", None)
    if getattr(main, "__module__", None) != module.__name__ or not callable(main):
        return []
    sys.argv[0] = module.__file__ or ""
    if flags(main) & CO_COROUTINE:
        return [Scenario("main", main, {}, Options())]

    def run_main() -> None:
        try:
            main()
        except SystemExit as done:
            if done.code not in (None, 0):
                raise ScriptFailedError(f"main() ended with exit code {done.code}") from done

    run_main.__doc__, run_main.__wrapped__ = main.__doc__, main  # type: ignore[attr-defined]
    return [Scenario("main", run_main, {}, Options())]


def import_file(path: str) -> ModuleType:
    """Import a file under its own name, its folder first on `sys.path`."""
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

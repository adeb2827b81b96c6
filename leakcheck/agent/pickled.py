"""A call that another process of the same program asks to measure: function and arguments come as a pickle."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any

from leakcheck.agent.hosts.host import of_call
from leakcheck.agent.scenario import Scenario


def load(path: str) -> list[Scenario]:
    """The one scenario of the file that `leakcheck.check` has written. It trusts the file as it trusts its parent."""
    with open(path, "rb") as file:
        first, own, last = pickle.load(file)  # noqa: S301
        sys.path[:] = [*first, *(sys.path if own else ()), *last]
        function, arguments, raises = pickle.load(file)  # noqa: S301
    _make_visible(function)
    return [of_call(function, arguments, raises)]


def in_file(make: Callable[..., CodeType], parts: tuple[Any, ...], file: str) -> CodeType:
    """The code of a function that came by value, in the file that it was written in."""
    return make(*parts).replace(co_filename=file)


def _make_visible(function: Any) -> None:
    """A function that came by value lives in no module: give its names one, so that what it keeps has a path."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    function = getattr(function, "__func__", function)
    names = getattr(function, "__globals__", None)
    owner = sys.modules.get(getattr(function, "__module__", None) or "")
    if names is None or names is getattr(owner, "__dict__", None):
        return
    file = function.__code__.co_filename.rpartition("/")[2]
    name = file.removesuffix(".py") if file.endswith(".py") and file[:1].isalpha() else "call"
    module = ModuleType(name)
    vars(module).update({key: value for key, value in names.items() if key != "__builtins__"})
    vars(module).setdefault(function.__name__, function)
    sys.modules.setdefault(name, module)

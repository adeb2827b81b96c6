"""What a call or a test asks for, looked at before anything is measured: a typo is one sentence.

The measured process may import this module, where it runs a test that carries a mark: the standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from leakcheck.errors import UsageError

_CHOICES = {
    "expect": ("clean", "leak"),
    "gc": ("collect", "auto", "off", "freeze"),
    "allocator": ("malloc", "pymalloc"),
}
_NUMBERS = {"time_budget": "seconds above 0", "max_iterations": "a whole number above 0", "max_growth": "whole bytes"}
TOOLS = ("auto", "growth", "memray", "valgrind")


def examine(where: str, asked: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise `UsageError`, which begins with `where`, for a name that is not known and a value that cannot be meant."""
    __tracebackhide__ = True  # pytest shows the line of the test
    names = sorted(known)
    for name, value in asked.items():
        if name not in names:
            raise UsageError(f"{where} takes {', '.join(names)} by name, not {name}{guess(name, names)}")
        if problem := _problem(name, value):
            raise UsageError(f"{where}: {problem}")


def unknown_meter(name: str, meters: Iterable[str]) -> str:
    """What is wrong with a budget for a meter that there is not."""
    names = sorted(meters)
    return f"the budget names {name!r}, which is no meter here{guess(name, names)}; there are {', '.join(names)}"


def guess(name: str, names: list[str]) -> str:
    """What a mistyped name may have been meant for, in parentheses after a blank; empty where nothing is near."""
    from difflib import get_close_matches

    close = get_close_matches(name, names, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _problem(name: str, value: Any) -> str:
    if name in _CHOICES:
        choices = _CHOICES[name]
        return "" if value in choices else f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}"
    if name in _NUMBERS:
        fits = value is None or (_is_number(value) and value > 0 and (name == "time_budget" or value == int(value)))
        return "" if fits else f"{name} is {_NUMBERS[name]}, not {value!r}"
    if name == "budget":
        fits = value is None or (isinstance(value, Mapping) and all(map(_is_number, value.values())))
        return "" if fits else f"budget is the accepted growth by meter, {{'heap.bytes': 100}}, not {value!r}"
    if name == "raises":
        kinds = value if isinstance(value, tuple) else (value,)
        fits = value is None or all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)
        return "" if fits else f"raises is a class of exceptions, or a tuple of some, not {value!r}"
    if name == "reason":
        return "" if isinstance(value, str) else f"reason is a text, not {value!r}"
    if name == "tools":
        fits = isinstance(value, Iterable) and not isinstance(value, str) and {*value} <= {*TOOLS}
        return "" if value is None or fits else f"tools is a list of {', '.join(TOOLS)}, not {value!r}"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""What a user may ask for, declared once: names, meanings and checks of every option, wherever it stands.

The decorator, `check`, the pytest mark and fixture, unittest, the command line and `[tool.leakcheck]` are made from
`OPTIONS`, or held to it by a test; so a name means the same everywhere, and a typo is one sentence before anything is
measured. The measured process may import this module, where it runs a test that carries a mark: the standard library
only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from leakcheck.errors import UsageError, guess

Place = Literal["scenario", "check", "test", "call", "command"]
"""`scenario`: the decorator. `check`: `leakcheck.check`. `test`: the marks of pytest and of unittest. `call`: pytest's
fixture and `assertDoesNotLeak`. `command`: the command line and `[tool.leakcheck]`."""

TOOLS = ("auto", "growth", "memray", "valgrind")
_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def size(value: Any) -> int | None:
    """Bytes of `512MiB`, `1GB`, `1000`; None for what is no size."""
    written = str(value).strip()
    digits = written.rstrip("BKMGibkmg ")
    try:
        found = float(digits) * _SIZES[written[len(digits) :].strip().upper()]
    except (ValueError, KeyError):
        return None
    return int(found) if math.isfinite(found) and found > 0 else None


def tool_names(value: Any) -> frozenset[str] | None:
    """The tools in `growth,memray` or in a list; None for what names no tool, or one that there is not."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Iterable):
        return None
    names = frozenset(str(part).strip() for part in parts) - {""}
    return names if names and names <= {*TOOLS} else None


TIMEOUTS: Mapping[str, float] = {"import": 300.0, "setup": 120.0, "call": 60.0, "teardown": 60.0, "diagnosis": 30.0}
"""Seconds of its own time that each may take: far more than most need, and few enough to be waited for where it hangs.
`call` is for a round, beside ten times what its calls took before; `diagnosis` for all looks of all tools together."""


def timeouts(value: Any) -> dict[str, float] | None:
    """The seconds in `import=600,call=60` or in a mapping; None for what is neither, or names what has no limit."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        value = {name.strip(): _seconds(text) for name, _, text in pairs}
    if not isinstance(value, Mapping) or not value.keys() <= TIMEOUTS.keys():
        return None
    return dict(value) if all(_is_number(seconds) and seconds > 0 for seconds in value.values()) else None


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value > 0 and value == int(value)


def _is_budget(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_number, value.values()))


def _is_exceptions(value: Any) -> bool:
    kinds = value if isinstance(value, tuple) else (value,)
    return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)


def _are_made_in_a_function(value: Any) -> bool:
    """Whether the measured process cannot find one of some classes again."""
    return any("<" in kind.__qualname__ for kind in (value if isinstance(value, tuple) else (value,)))


class Option(NamedTuple):
    """One thing that can be asked for."""

    name: str
    places: frozenset[Place]
    meaning: str
    """What a value of it is, as an error says it."""
    fits: Callable[[Any], bool]
    """Whether a value can be meant; None always can."""
    choices: tuple[str, ...] = ()
    default: Any = None
    help: str = ""
    """For the command line."""
    metavar: str = ""


def _choice(name: str, places: frozenset[Place], choices: tuple[str, ...], default: str, help_text: str = "") -> Option:
    meaning = f"one of {', '.join(map(repr, choices))}"
    return Option(name, places, meaning, lambda value: value in choices, choices, default, help_text)


_EVERYWHERE: frozenset[Place] = frozenset({"scenario", "check", "test", "call", "command"})
_IN_CODE: frozenset[Place] = _EVERYWHERE - {"command"}
_OF_A_RUN: frozenset[Place] = frozenset({"check", "command"})

OPTIONS: tuple[Option, ...] = (
    _choice("expect", _IN_CODE, ("clean", "leak"), "clean"),
    Option("budget", _IN_CODE, "the accepted growth by meter, {'heap.bytes': 100}", _is_budget),
    Option(
        "tools", _EVERYWHERE, f"some of {', '.join(TOOLS)}", lambda value: tool_names(value) is not None,
        default="auto", metavar="LIST",
        help="auto, or some of growth,memray,valgrind. auto: growth for all, memray where something grows, valgrind "
        "where it is installed and native code is suspected.",
    ),
    Option(
        "time_budget", _EVERYWHERE, "seconds above 0", lambda value: _is_number(value) and value > 0,
        default=10.0, metavar="S",
        help="Seconds that the step of a suspicious scenario may run; clean ones need far less.",
    ),
    Option(
        "max_iterations", _EVERYWHERE, "a whole number above 0", _is_count,
        metavar="N", help="Never run a step more often.",
    ),
    Option(
        "max_growth", _EVERYWHERE, "whole bytes, or a size such as 64MiB, 1GiB, 500MB",
        lambda value: _is_count(value) if _is_number(value) else isinstance(value, str) and size(value) is not None,
        default="1GiB", metavar="BYTES",
        help="Stop a scenario that has grown by so much (2GiB, 64MiB, 1000000).",
    ),
    Option(
        "timeouts", _EVERYWHERE, f"seconds above 0 for some of {', '.join(TIMEOUTS)}, such as call=60",
        lambda value: timeouts(value) is not None, metavar="LIST",
        help="Seconds, of the process's own time, after which something counts as hanging: "
        f"{','.join(f'{name}={seconds:.0f}' for name, seconds in TIMEOUTS.items())} unless others are given.",
    ),
    _choice(
        "gc", _OF_A_RUN, ("collect", "auto", "off", "freeze"), "collect",
        "collect: before each reading; auto: untouched; off: switched off; freeze: what is alive is put aside.",
    ),
    _choice(
        "allocator", _OF_A_RUN, ("malloc", "pymalloc"), "malloc",
        "malloc puts Python's and native memory on one exact ledger.",
    ),
    _choice(
        "arenas", _OF_A_RUN, ("one", "default"), "one",
        "one: malloc has one arena, and the heap is exact; default: as many as the program has by itself.",
    ),
    Option(
        "values", _OF_A_RUN, "True or False", lambda value: isinstance(value, bool), default=False,
        help="Tell what the program keeps, its keys, messages of exceptions and output, also in files.",
    ),
    Option(
        "errors", frozenset({"scenario", "test", "command"}),
        "True, False, a class of exceptions or a tuple of some, none of them made in a function",
        lambda value: isinstance(value, bool) or (_is_exceptions(value) and not _are_made_in_a_function(value)),
        default=False,
        help="Let each step that leaks nothing also fail, at each call it makes and wherever it waits.",
    ),
    Option(
        "raises", frozenset({"scenario", "check", "call"}), "a class of exceptions, or a tuple of some", _is_exceptions
    ),
)  # fmt: skip


def of_place(place: Place) -> tuple[Option, ...]:
    """The options that are accepted in a place."""
    return tuple(option for option in OPTIONS if place in option.places)


def names(place: Place) -> tuple[str, ...]:
    """The names that are accepted in a place."""
    return tuple(option.name for option in of_place(place))


def examine(where: str, asked: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise `UsageError`, which begins with `where`, for a name that is not known and a value that cannot be meant."""
    __tracebackhide__ = True  # pytest shows the line of the test
    accepted = sorted(known)
    for name, value in asked.items():
        if name not in accepted:
            raise UsageError(f"{where} takes {', '.join(accepted)} by name, not {name}{guess(name, accepted)}")
        if problem := _problem(name, value):
            raise UsageError(f"{where}: {problem}")


def _problem(name: str, value: Any) -> str:
    option = next((each for each in OPTIONS if each.name == name), None)
    if name == "reason":
        return "" if isinstance(value, str) else f"reason is a text, not {value!r}"
    if option is None or (value is None and not option.choices) or option.fits(value):
        return ""
    return f"{name} is {option.meaning}, not {value!r}"


def unknown_meter(name: str, meters: Iterable[str]) -> str:
    """What is wrong with a budget for a meter that there is not."""
    there = sorted(meters)
    return f"the budget names {name!r}, which is no meter here{guess(name, there)}; there are {', '.join(there)}"

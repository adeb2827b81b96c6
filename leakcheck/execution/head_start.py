"""The first processes of a run, started from the bare command line while the tool itself is being imported.

An interpreter takes some 20 ms to start, the user's file may import much, and the tool some 100 ms; on two processors
that is done at once. A guess, no more: whatever the options turn out to be, only a process that was started as it
should have been is taken.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from leakcheck.execution.child import Child

_COMMANDS = ("run", "snippet")
_waiting: list[Child] = []


def begin(arguments: Sequence[str]) -> None:
    """Start what these arguments of the command line are likely to need: the control's process, and a scenario's."""
    if not arguments or arguments[0] not in _COMMANDS or {"-h", "--help"} & set(arguments):
        return
    python = _value_of("--python", arguments, sys.executable)
    if not looks_like_python(python):
        return
    allocator = _value_of("--allocator", arguments, "malloc")
    files = [file for each in arguments if (file := each.partition("::")[0]).endswith(".py") and os.path.isfile(file)]
    try:
        for number in range(1 if "--no-control" in arguments else 2):
            child = Child(python, allocator, os.getcwd())
            _waiting.append(child)
            if number == 0 and len(files) == 1:
                child.list(os.path.realpath(files[0]))
    except OSError:  # said where it is wanted
        return


def take(kind: tuple[str, str, str], target: str) -> Child | None:
    """A process that was started for this interpreter, allocator and folder, if there is one left for this target."""
    for index, child in enumerate(_waiting):
        if child.kind == kind and child.listing in (target, None):
            return _waiting.pop(index)
    return None


def end() -> None:
    """End those that nobody has taken."""
    while _waiting:
        _waiting.pop().discard()


def looks_like_python(path: str) -> bool:
    """Whether it has an interpreter's name: any other program would take what it is given for something else."""
    return os.path.basename(path).startswith("python")


def _value_of(option: str, arguments: Sequence[str], default: str) -> str:
    for index, argument in enumerate(arguments):
        if argument == option and index + 1 < len(arguments):
            default = arguments[index + 1]
        elif argument.startswith(f"{option}="):
            default = argument.partition("=")[2]
    return default

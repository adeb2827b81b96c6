"""The exceptions that are injected, made anew each time."""

from __future__ import annotations

import builtins
import errno
from importlib import import_module
from typing import Any

_MESSAGE = "injected by leakcheck"


def named(name: str) -> type[BaseException]:
    """The class of a built-in name, or of `module:name`. Raises what an import does."""
    module, colon, rest = name.rpartition(":")
    found: Any = import_module(module) if colon else builtins
    for part in rest.split("."):
        found = getattr(found, part)
    kind: type[BaseException] = found
    return kind


def made(kind: type[BaseException]) -> BaseException:
    """An exception of that class, as the system would raise it; where it wants more than a message, without any."""
    arguments: tuple[Any, ...] = (_MESSAGE,)
    if issubclass(kind, OSError):
        arguments = (errno.ETIMEDOUT if issubclass(kind, TimeoutError) else errno.EIO, _MESSAGE)
    try:
        return kind(*arguments)
    except Exception:  # noqa: BLE001 - a class of the user's may want anything
        return kind.__new__(kind)

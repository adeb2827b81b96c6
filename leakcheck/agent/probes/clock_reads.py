"""Inside the measured process: whether the step asks what time it is. What it keeps may then live for a time."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

_CLOCKS = frozenset(
    {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "localtime", "gmtime"}
)
_DATES = frozenset({"now", "utcnow", "today"})
_OWN = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_CALLS = 16


async def probe(conversation: Any, _arguments: dict[str, Any]) -> dict[str, Any]:
    """Runs the step some times; returns whether code that is not the standard library's `reads` a clock in it.

    The library itself looks at clocks wherever it waits or logs, and keeps nothing for a time. Other threads are not
    looked at, nor is native code.
    """
    reads = False

    def look(frame: FrameType, event: str, function: Any) -> None:
        nonlocal reads
        if event == "c_call" and not reads and _is_clock(function):
            reads = not _is_library(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        await conversation.driver.run(_CALLS)
    except Exception:  # noqa: BLE001 - a step that raises now has no answer to give
        return {"reads": False}
    finally:
        sys.setprofile(before)
    return {"reads": reads}


def _is_clock(function: Any) -> bool:
    if getattr(function, "__module__", None) == "time":
        return function.__name__ in _CLOCKS
    return function.__name__ in _DATES and isinstance(getattr(function, "__self__", None), type)


def _is_library(file: str) -> bool:
    return file.startswith((_OWN, "<frozen")) or (file.startswith(_LIBRARY) and "site-packages" not in file)

"""Which of the points by which a step comes are made to fail, and how each is called.

Not what cleans up. Where a failure has left something to be put right, and the call that puts it right fails too, then
even correct code loses something: so no point counts in a `finally`, in an `except` that raises again, in what leaves a
`with`, in a `close`, and in whatever these call.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from leakcheck.agent.faults.messages import Point
from leakcheck.agent.protocol import Fault
from leakcheck.report_names import relative_name

_CLEANERS = frozenset({"__exit__", "__aexit__", "__del__", "close", "aclose"})
"""Names by which the language, and its library, call what gives back."""
_NEVER_FAIL = frozenset({
    "callable", "getattr", "hasattr", "id", "isinstance", "issubclass", "len", "super", "type",
    "time.monotonic", "time.perf_counter", "time.time",
})  # fmt: skip
"""Calls of which nobody need think that they fail."""
_ANYWAY = ("OSError", "MemoryError", "TimeoutError")
"""What is raised where a scenario does not say which exceptions are legal."""
_CANCELLED = "asyncio:CancelledError"
_NAME = 40
"""Characters of a call that are told."""
"""E
date; ls leakcheck/report/; grep -n "def relative" -r leakcheck | head; sed -n 1,60p leakcheck/diagnosis/labels.py; cat changelog.d/* | head -30; ls changelog.d docs

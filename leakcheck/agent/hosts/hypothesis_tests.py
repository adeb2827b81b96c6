"""Tests of Hypothesis: each call has the same few examples, or each would be another test.

What Hypothesis keeps of a run for the next one is taken away after it, as it is with pytest: thousands of entries fit,
and would be what grows in each of its tests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_EXAMPLES = 10
"""Examples of a call: a hundred are as many calls of the user's function, and take as long."""
_KEPT = (
    ("hypothesis.strategies._internal.utils", "_STRATEGY_CACHE"),
    ("hypothesis.internal.conjecture.data", "STRUCTURAL_COVERAGE_CACHE"),
)
"""Module and name of what grows with each strategy that is made, and each value that is drawn."""


def with_the_same_examples(item: Any) -> Callable[[], None] | None:
    """Have a test of pytest's made by Hypothesis draw the same examples in each call, and remember none of them.

    Returns what takes away after each call what is kept of it; None for any other test.
    """
    test: Any = getattr(item, "obj", None)
    if not hasattr(test, "is_hypothesis_test"):
        return None
    from hypothesis import settings

    machine: Any = getattr(item, "cls", None)
    if isinstance(getattr(machine, "settings", None), settings):
        machine.settings = _few(machine.settings, settings)
    function: Any = getattr(test, "__func__", test)
    own = getattr(function, "_hypothesis_internal_use_settings", None)
    if own is not None:
        function._hypothesis_internal_use_settings = _few(own, settings)
    kept: list[Any] = [getattr(sys.modules.get(module), name, None) for module, name in _KEPT]
    clears = [each.clear for each in kept if hasattr(each, "clear")]

    def forget() -> None:
        for clear in clears:
            clear()

    return forget


def _few(own: Any, settings: Any) -> Any:
    return settings(own, max_examples=min(own.max_examples, _EXAMPLES), derandomize=True, database=None, deadline=None)

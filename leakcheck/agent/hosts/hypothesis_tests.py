"""Tests of Hypothesis: each call has the same few examples, or each would be another test."""

from __future__ import annotations

from typing import Any

_EXAMPLES = 10
"""Examples of a call: a hundred are as many calls of the user's function, and take as long."""


def with_the_same_examples(item: Any) -> None:
    """Have a test of pytest's made by Hypothesis draw the same examples in each call, and remember none of them."""
    test: Any = getattr(item, "obj", None)
    if not hasattr(test, "is_hypothesis_test"):
        return
    from hypothesis import settings

    machine: Any = getattr(item, "cls", None)
    if isinstance(getattr(machine, "settings", None), settings):
        machine.settings = _few(machine.settings, settings)
    function: Any = getattr(test, "__func__", test)
    own = getattr(function, "_hypothesis_internal_use_settings", None)
    if own is not None:
        function._hypothesis_internal_use_settings = _few(own, settings)


def _few(own: Any, settings: Any) -> Any:
    return settings(own, max_examples=min(own.max_examples, _EXAMPLES), derandomize=True, database=None, deadline=None)

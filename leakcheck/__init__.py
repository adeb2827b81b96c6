"""Memory-leak tests and diagnostics for Python programs with native parts.

The measured process imports this package, and must carry as little of it as possible: only what a scenario file names
is loaded at once, all else when it is first used.

PYTEST_DONT_REWRITE: pytest finds this package imported already where it hosts a test, and would warn of that. In suites
that take warnings for errors this is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakcheck.agent.scenario import Context, scenario

if TYPE_CHECKING:
    from leakcheck.checking import LeakFoundError, Result, check
    from leakcheck.errors import LeakcheckError
    from leakcheck.monitor import watch
    from leakcheck.sweep.inside.seeds import recipe

__all__ = ["Context", "LeakFoundError", "LeakcheckError", "Result", "check", "recipe", "scenario", "watch"]

_LAZY = {
    "LeakFoundError": "leakcheck.checking",
    "LeakcheckError": "leakcheck.errors",
    "Result": "leakcheck.checking",
    "check": "leakcheck.checking",
    "recipe": "leakcheck.sweep.inside.seeds",
    "watch": "leakcheck.monitor",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'leakcheck' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)

"""One allocation of the interpreter's fails, as where memory is short: by what CPython's own tests have for it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec


def why_not() -> str:
    """Why no allocation can be made to fail in this interpreter; empty where one can."""
    if find_spec("_testcapi") is None:
        return "this interpreter comes without _testcapi, a part of its own tests"
    return "" if hasattr(import_module("_testcapi"), "set_nomemory") else "its _testcapi has no set_nomemory"


def fail_at(allocation: int) -> None:
    """From now on the allocation of this number fails, counted from 0, in whatever thread."""
    import _testcapi

    _testcapi.set_nomemory(allocation, allocation + 1)


def fail_no_more() -> None:
    """Leave the interpreter's allocators as they were."""
    import _testcapi

    _testcapi.remove_mem_hooks()

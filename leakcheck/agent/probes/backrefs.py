"""A picture of what refers to one of the newest objects, drawn by objgraph where that can be imported."""

from __future__ import annotations

import sys
import types
from typing import Any

from leakcheck.agent import origin

_DEPTH = 6
_BREADTH = 8


def draw(value: Any, file: str, folder: str) -> str:
    """Write the back-references of `value` as a graphviz file; returns why not, or nothing.

    `folder` is where objgraph may be imported from as a last resort: it is plain Python, and works in any interpreter.
    """
    sys.path.append(folder)
    try:
        import objgraph
    except ImportError:
        return "objgraph is not installed: python -m pip install objgraph"
    finally:
        sys.path.remove(folder)
    objgraph.show_backrefs(
        [value], max_depth=_DEPTH, too_many=_BREADTH, filter=_is_theirs, shortnames=False, filename=file, refcounts=True
    )
    return ""


def _is_theirs(value: Any) -> bool:
    """Whether an object is no part of the toolkit."""
    kind = type(value)
    if kind is types.FrameType:
        return not origin.own(value.f_code.co_filename)
    if kind is types.ModuleType:
        return not origin.own(getattr(value, "__file__", None) or "")
    return not kind.__module__.startswith("leakcheck") and kind is not types.CoroutineType

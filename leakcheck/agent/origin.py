"""Whose code a file is: the toolkit's own, the interpreter's, an installed package's, or the user's.

By the shape of the path alone, so that the answer is the same in the measured process, in its parent, and for files of
another interpreter.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_OWN = re.compile(r"[/\\]leakcheck[/\\](?:agent|diagnosis|execution)[/\\]|[/\\]memray[/\\]")
_PACKAGES = re.compile(r"[/\\](?:site|dist)-packages[/\\]|[/\\]leakcheck[/\\](?:pytest_plugin[/\\]|unittest\.py)")
"""The toolkit's parts that call the user's tests are a package like any other, also where they are not installed as one
(an editable install)."""
_LIBRARY = re.compile(r"[/\\][Ll]ib(?:64)?[/\\](?:python3\.\d+t?[/\\]|.*\.zip[/\\])")


@lru_cache(maxsize=4096)
def own(file: str) -> bool:
    """The toolkit's own code, which no diagnosis names."""
    return _OWN.search(file) is not None


@lru_cache(maxsize=4096)
def standard(file: str) -> bool:
    """The interpreter's own: the standard library, frozen modules, code without a file."""
    return not file or file.startswith("<") or (_LIBRARY.search(file) is not None and not installed(file))


@lru_cache(maxsize=4096)
def installed(file: str) -> bool:
    """A package in site-packages."""
    return _PACKAGES.search(file) is not None


def rank(file: str) -> int:
    """0 for the user's own code, 1 for installed packages, 2 for the interpreter: the order of naming things."""
    return 2 if standard(file) else 1 if installed(file) else 0


def inside(stack: tuple[Any, ...]) -> tuple[Any, ...]:
    """A stack of `(file, line, ...)`, the innermost first, without what lies outside of the user's outermost frame.

    That is the test runner or event loop by which the user's code was called: the same for whatever it does. Where no
    frame is the user's, all of it.
    """
    for index in range(len(stack) - 1, -1, -1):
        if rank(stack[index][0]) == 0:
            return stack[: index + 1]
    return stack


def library_part(file: str) -> str:
    """The path inside the standard library, or nothing for other files."""
    match = _LIBRARY.search(file)
    return file[match.end() :] if match and not installed(file) else ""

"""Which allocators beside the C library's a process has loaded, by what their libraries say in their messages."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache

_MESSAGES = {b"<jemalloc>: ": "jemalloc", b"mimalloc: ": "mimalloc", b"tcmalloc: ": "tcmalloc"}
"""How an allocator begins what it prints, wherever it is linked into: its functions may be hidden there."""
_PART = 1 << 22
"""Bytes that are looked at together: some libraries have hundreds of megabytes."""


def foreign(libraries: Iterable[str]) -> list[str]:
    """`mimalloc in libarrow.so` for each allocator in one of the files, each once.

    Not the interpreter's own: since 3.13 its library has one for free-threaded builds, which others do not use.
    """
    found: dict[str, str] = {}
    for path in libraries:
        for name in () if os.path.basename(path).startswith("libpython3.") else _inside(path):
            found.setdefault(name, os.path.basename(path))
    return [f"{name} in {file}" for name, file in found.items()]


@cache
def _inside(path: str) -> tuple[str, ...]:
    """The allocators in a file; none where it cannot be read."""
    found = set()
    end = b""
    try:
        with open(path, "rb") as file:
            while part := file.read(_PART):
                text = end + part
                found |= {name for message, name in _MESSAGES.items() if message in text}
                end = part[-max(map(len, _MESSAGES)) :]
    except OSError:
        return ()
    return tuple(sorted(found))

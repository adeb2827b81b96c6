"""A suite of tests of which fifty leak, one way each, from 100 B a call on; the others are their innocent twins.

python benchmarks/planted_suite.py DIR      writes the suite; the names of leaking tests begin with test_leaks
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent, indent

SIZES = (100, 200, 500, 1000, 10_000)
"""Bytes that are lost in each call."""

_HEAD = """
    import asyncio
    import ctypes
    import functools
    import os
    import tempfile
    import threading
    import weakref

    import pytest

    kept, table, handlers, by_number = [], {}, [], {}
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]


    @pytest.fixture(scope="module")
    def pool():
        return []


    @pytest.fixture
    def scratch():
        things = []
        yield things
        things.clear()


    @functools.lru_cache(maxsize=32)
    def cached(number):
        return bytearray(SIZE)


    class Node:
        def __init__(self):
            self.payload = bytearray(SIZE)
            self.me = self


    class Hub:
        listeners = []
"""

_PAIRS = {
    "list": ("kept.append(bytearray(SIZE))", "kept.append(bytearray(SIZE)); kept.pop()"),
    "dict": ("table[len(table)] = bytearray(SIZE)", "table['last'] = bytearray(SIZE)"),
    "closure": (
        "data = bytearray(SIZE); handlers.append(lambda: data)",
        "data = bytearray(SIZE); handlers[:] = [lambda: data]",
    ),
    "native": ("libc.malloc(SIZE)", "libc.free(libc.malloc(SIZE))"),
    "attribute": ("Hub.listeners.append(Node())", "Hub.last = Node()"),
    "module fixture": ("pool.append(bytearray(SIZE))", "pool[:] = [bytearray(SIZE)]"),
    "thread": (
        "t = threading.Thread(target=lambda: kept.append(bytearray(SIZE))); t.start(); t.join()",
        "t = threading.Thread(target=lambda: bytearray(SIZE)); t.start(); t.join()",
    ),
    "reference": (
        "ctypes.pythonapi.Py_IncRef(ctypes.py_object(bytearray(SIZE)))",
        "ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))" if sys.version_info >= (3, 12) else "bytearray(SIZE)",
    ),
    "async": (
        "asyncio.run(asyncio.sleep(0)); kept.append(bytearray(SIZE))",
        "asyncio.run(asyncio.sleep(0))",
    ),
    "cache": ("by_number[object()] = bytearray(SIZE)", "cached(len(scratch) % 32)"),
}
"""A statement that leaks, and one that is like it and does not."""


def write(folder: Path, sizes: Sequence[int] = SIZES) -> None:
    """One file a size."""
    folder.mkdir(parents=True, exist_ok=True)
    for size in sizes:
        text = dedent(_HEAD).replace("SIZE", str(size))
        for name, statements in _PAIRS.items():
            for kind, statement in zip(("leaks", "is_innocent"), statements, strict=True):
                arguments = "pool, scratch"
                body = statement.replace("SIZE", str(size)).replace("; ", "\n")
                text += f"\n\ndef test_{kind}_{name.replace(' ', '_')}({arguments}):\n{indent(body, '    ')}\n"
        (folder / f"test_{size}.py").write_text(text.lstrip())


if __name__ == "__main__":
    write(Path(sys.argv[1]))

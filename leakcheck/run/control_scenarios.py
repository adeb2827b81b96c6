"""Planted scenarios that every run measures first, in the same way as any other: two leaks and a no-op."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from leakcheck.agent.scenario import scenario

_kept: list[bytearray] = []


@scenario(expect="leak")
def one_small_object_per_100_iterations() -> Iterator[Callable[[], None]]:
    """A leak that shows only in long rounds."""
    turn = 0

    def step() -> None:
        nonlocal turn
        turn += 1
        if turn % 100 == 0:
            _kept.append(bytearray())

    yield step


@scenario(expect="leak")
def native_block_per_iteration() -> Iterator[Callable[[], Any]]:
    """A block of the C library that nobody frees: Python knows nothing of it."""
    import ctypes

    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    yield lambda: malloc(64)


@scenario
def no_op() -> None:
    """Nothing at all: whatever grows here is the tool's own or the machine's."""

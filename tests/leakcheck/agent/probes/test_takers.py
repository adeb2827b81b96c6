"""Which line takes a reference that is never given back; that the C function is named too, the planted faults show."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import time
from collections.abc import Callable

from leakcheck.agent.probes.takers import Takers

_increment = ctypes.pythonapi.Py_IncRef
_increment.argtypes = [ctypes.py_object]
_decrement = ctypes.pythonapi.Py_DecRef
_decrement.argtypes = [ctypes.py_object]
GROUP = f"{__name__}.Item"


class Item: ...


class Steps:
    """Runs a function as a driver runs a step."""

    clock = staticmethod(time.perf_counter)

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step

    async def run(self, count: int) -> float:
        for _ in range(count):
            self._step()
        return 0.0


def takers_of(group: str, step: Callable[[], None]) -> list[tuple[str, str, float]]:
    """The functions that take, the text of their lines, and how often."""
    found = asyncio.run(Takers(frozenset({group})).watch(Steps(step), 4))  # type: ignore[arg-type]
    lines, first = inspect.getsourcelines(step)
    return [(each.function, lines[each.stack[0][1] - first].strip(), each.rate) for each in found.get(group, ())]


def test_where_no_c_function_is_seen_the_line_is_named_after_which_the_reference_stays() -> None:
    lost: list[int] = []

    def step() -> None:
        item = Item()
        other = [item]
        lost.append(id(item))
        _increment(item)
        other.clear()

    try:
        assert takers_of(GROUP, step) == [("", "_increment(item)", 1.0)]
    finally:
        for address in lost:
            _decrement(ctypes.cast(address, ctypes.py_object).value)


def test_what_is_given_back_is_not_taken() -> None:
    def step() -> None:
        item = Item()
        _increment(item)
        _decrement(item)
        for each in [item, item]:
            assert each

    assert takers_of(GROUP, step) == []


def test_what_containers_and_variables_hold_is_accounted_for() -> None:
    kept: list[object] = []

    def step() -> None:
        item = Item()
        kept.append(item)
        kept.append(lambda: item)

    assert takers_of(GROUP, step) == []

"""Where interpreters differ in how they keep memory: what `make pythons` measures in each of them.

It needs nothing but the standard library, for nothing is installed in an interpreter that is only measured.
"""

import asyncio
import atexit
import queue
import threading
from collections.abc import Iterator

from leakcheck import scenario

kept: list[object] = []


@scenario
def nothing() -> None:
    """No reading moves by itself."""


@scenario
def made_here_freed_there() -> None:
    """Of a free-threaded build: counts of references are merged, and blocks come back, later."""
    made = [[number] for number in range(50)]
    thread = threading.Thread(target=made.clear)
    thread.start()
    thread.join()


@scenario
def handed_over() -> None:
    """The same by a queue."""
    items: queue.SimpleQueue[dict[int, int] | None] = queue.SimpleQueue()

    def take() -> None:
        while items.get() is not None:
            pass

    thread = threading.Thread(target=take)
    thread.start()
    for number in range(50):
        items.put({number: number})
    items.put(None)
    thread.join()


@scenario
def class_of_its_own() -> None:
    """Types, and the names of their attributes, may be immortal."""

    class Local:
        attribute = 1

        def method(self) -> int:
            return self.attribute

    Local().method()


@scenario
def large_then_small() -> None:
    """Tables that grow are given back late where others may still read them."""
    table = {}
    for number in range(300):
        table[number] = str(number)


@scenario
def cycles() -> None:
    """Garbage that only the collector finds."""
    cycle: list[object] = []
    cycle.append(cycle)


@scenario
async def tasks() -> None:
    """Tasks are listed for each thread since 3.14."""
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(5)))


@scenario
def raises() -> None:
    """Exceptions with their frames."""
    try:
        int("no number")
    except ValueError as error:
        str(error)


@scenario(expect="leak")
def keeps_an_object() -> None:
    """The plainest leak."""
    kept.append([1])


@scenario(expect="leak")
def keeps_bytes() -> None:
    """What the collector does not know."""
    kept.append(bytes(100))


@scenario(expect="leak")
def keeps_one_in_a_hundred() -> Iterator[object]:
    """As rare as the control's."""
    calls = 0

    def step() -> None:
        nonlocal calls
        calls += 1
        if calls % 100 == 0:
            kept.append(bytearray())

    yield step


@scenario(expect="leak")
def keeps_in_a_thread() -> None:
    """Made in a heap of another thread's, which has ended by then."""
    thread = threading.Thread(target=lambda: kept.append([1]))
    thread.start()
    thread.join()


@scenario(expect="leak")
def registers() -> None:
    """The interpreter's own list holds it."""
    atexit.register(print)

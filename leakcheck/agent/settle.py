"""What happens before a reading: background work may end, garbage is collected, free memory handed back."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable

from leakcheck.agent.meters.allocators import release
from leakcheck.agent.meters.heap import trim
from leakcheck.agent.meters.objects import all_in_sight, collect_young, empty_free_lists
from leakcheck.agent.protocol import GcMode
from leakcheck.agent.scenario import Context

_ENDING_S = 0.1
"""How long resources that have just become more may take until one has gone: a thread needs some 0.1 ms to end after
its join. As long as some go, the others are waited for: where the machine is busy, each has to wait for its turn."""
_ENDING_IN_VAIN_S = 0.01
"""The same once waiting has been in vain three times: then they stay, and each round would pay for it."""
_MOST_COLLECTIONS_APART = 2**31 - 1
"""Collections of the middle generation after which the collector walks the old one: the most that it takes."""
_COLLECTIONS_IN_A_ROW = 4
"""Finalizers can free more garbage; what four collections leave is not going."""


class Settler:
    """Settles one scenario; remembers the lowest counts so far, so that it waits only for what has become more."""

    def __init__(self, context: Context, gc_mode: GcMode, counts: Callable[[], list[int]], in_loop: bool) -> None:
        self._context = context
        self.collects = gc_mode in ("collect", "freeze")
        """Whether the collector is ours to run."""
        self._counts = counts
        self._in_loop = in_loop
        self._give_back = trim(), release()
        self._lowest: list[int] | None = None
        self._in_vain = 0
        self._found = 0
        self._threshold = _MOST_COLLECTIONS_APART

    def begin(self) -> None:
        """Another step comes: what is there now is what it may have."""
        self._lowest, self._in_vain = None, 0

    async def settle(self, *, whole: bool = True, give_back: bool = True) -> int:
        """Returns how many objects in cycles the collector found since the last time; 0 where it is not ours to run.

        Where `whole` is false, only the young generations are collected, and so they are until the next reading: what
        has stayed is not walked again, which is most of the cost where a million objects have. Without `give_back` free
        memory stays where it is, which is nothing to the ledgers of what is in use.
        """
        for drain in self._context.settlers:
            waiting = drain()
            if hasattr(waiting, "__await__"):
                await waiting
        await self._wait_for_resources()
        _flush_output()
        forget_lookups()
        sparing = not whole and self.collects and all_in_sight()
        if sparing:
            self._found += collect_young()
        else:
            self.collect()
        self._walk_old_objects(not sparing)
        for hand_back in self._give_back if give_back else ():
            hand_back()
        found, self._found = self._found, 0
        return found

    def collect(self) -> None:
        """Free garbage, and what the interpreter keeps of freed objects to use again."""
        if self.collects:
            for _ in range(_COLLECTIONS_IN_A_ROW):
                collected = gc.collect()
                self._found += collected
                if not collected:
                    break

    def empty_free_lists(self) -> None:
        """The last thing before a reading: what has been freed since the settling began is in no ledger's way then."""
        if self.collects:
            self._found += empty_free_lists()

    def _walk_old_objects(self, wanted: bool) -> None:
        """Whether the collector walks them by itself; what the scenario has set comes back."""
        young, middle, old = gc.get_threshold()
        if wanted and old == _MOST_COLLECTIONS_APART:
            gc.set_threshold(young, middle, self._threshold)
        elif not wanted and old != _MOST_COLLECTIONS_APART:
            self._threshold = old
            gc.set_threshold(young, middle, _MOST_COLLECTIONS_APART)

    async def _wait_for_resources(
        self, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if self._in_loop:
            await self._turn_the_loop(0)
        counts = self._counts()
        if self._lowest is None:
            self._lowest = counts
        patience = _ENDING_S if self._in_vain < 3 else _ENDING_IN_VAIN_S
        deadline = now() + patience
        delay = 0.0005
        waited, fewest = False, counts
        while any(count > low for count, low in zip(counts, self._lowest, strict=True)):
            if now() > deadline:
                self._in_vain += 1
                break
            waited = True
            if self._in_loop:
                await self._turn_the_loop(delay)
            else:
                sleep(delay)
            delay = min(delay * 2, 0.02)
            counts = self._counts()
            if any(count < least for count, least in zip(counts, fewest, strict=True)):
                deadline = now() + patience
            fewest = [min(count, least) for count, least in zip(counts, fewest, strict=True)]
        else:
            if waited:
                self._in_vain = 0
        self._lowest = [min(count, low) for count, low in zip(counts, self._lowest, strict=True)]

    async def _turn_the_loop(self, delay: float) -> None:
        """Let callbacks and tasks of the scenario's loop run."""
        import asyncio

        for _ in range(3):
            await asyncio.sleep(0)
        if delay:
            await asyncio.sleep(delay)


def _flush_output() -> None:
    """What the step has printed waits in Python's buffers, up to 8 KiB: the file's memory, not the step's."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):  # None, closed, or a pipe that nobody reads
            continue


forget_lookups: Callable[[], object] = (
    getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None) or (lambda: None)
)
"""Empties the interpreter's cache of attribute look-ups, whose 4096 entries own the names that were looked up.

C code that looks up an attribute by a C string makes a fresh name each time, as does `getattr(x, "visit_" + name)`, and
so fills the cache at random, by some 60 bytes a call: a saturating growth of up to 300 KB that is nobody's. CPython's
own hunt for reference leaks empties it too. A more general function has done that since 3.13; the older warns now.
"""


def _threads_of_the_system() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:  # not Linux
        return 0


def resource_counts(in_loop: bool) -> Callable[[], list[int]]:
    """The cheap counts of what may still be ending: threads, those of the system too, and tasks of the scenario's loop.

    A thread that has been joined is the system's for a moment longer, and so is its stack.
    """
    if not in_loop:
        return lambda: [threading.active_count(), _threads_of_the_system()]

    import asyncio

    def with_tasks() -> list[int]:
        return [threading.active_count(), _threads_of_the_system(), len(asyncio.all_tasks())]

    return with_tasks


def apply(gc_mode: GcMode) -> None:
    """Put the collector into the state in which this run's rounds want it."""
    if gc_mode in ("auto", "off"):
        getattr(gc, "unfreeze", lambda: None)()  # when the collector runs by itself depends on how much it sees
    if gc_mode == "off":
        gc.disable()
    elif gc_mode == "freeze":
        gc.collect()
        gc.freeze()

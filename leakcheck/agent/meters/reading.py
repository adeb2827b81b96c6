"""Reads all meters of one scenario into an array that was made before the warm-up."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable

from leakcheck.agent.meters import Meter, Unavailable, disk, heap, mapped, objects, system
from leakcheck.agent.scenario import Context

HEADER = ("iterations", "seconds", "spent", "cycles", "lowest")


class Readings:
    """The meters of one process in the order of reading.

    The exact ledgers come first, so that no other meter's temporary objects are on them.
    """

    def __init__(self, context: Context, directories: list[str], in_loop: bool) -> None:
        self.meters: list[Meter] = []
        self.unavailable: dict[str, str] = {}
        makers: list[tuple[str, Callable[[], Meter]]] = [
            ("heap.bytes", heap.heap_bytes),
            ("py.blocks", heap.python_blocks),
            ("mapped.bytes", mapped.mapped_bytes),
            ("anon.bytes", mapped.anonymous_bytes),
            ("shm", mapped.shared_memory),
            ("mappings", mapped.mapping_count),
            ("rss", mapped.resident_bytes),
            ("peak", mapped.peak_bytes),
            ("py.objects", objects.live_objects),
            ("uncollectable", objects.uncollectable),
            ("fds", system.descriptors),
            ("threads", system.system_threads),
            ("py.threads", system.python_threads),
            ("children", system.children),
            ("disk.files", lambda: disk.disk_files(directories)),
            ("disk.bytes", lambda: disk.disk_bytes(directories)),
        ]
        if in_loop:
            makers.append(("tasks", _tasks))
        for name, make in makers:
            try:
                self.meters.append(make())
            except Unavailable as reason:
                self.unavailable[name] = str(reason)
        self.meters += [Meter(name, unit, read) for name, unit, read in context.meters]
        self.numbers = array("d", bytes(8 * (len(HEADER) + len(self.meters))))
        """What is reported: the numbers of `HEADER`, then one value a meter in the order of `meters`."""
        self.iterations = 0
        self.seconds = 0.0
        self.spent = 0.0
        self.lowest = math.nan
        self.cycles = 0

    def read(self) -> None:
        """Read every meter into `numbers`."""
        numbers = self.numbers
        for index, meter in enumerate(self.meters, len(HEADER)):
            numbers[index] = meter.read()
        numbers[0], numbers[1], numbers[2] = self.iterations, self.seconds, self.spent
        numbers[3], numbers[4] = self.cycles, self.lowest

    def ledger(self) -> Callable[[], float]:
        """What reads the bytes in use, in microseconds; a constant where that is not to be had."""
        return next((meter.read for meter in self.meters if meter.name == "heap.bytes"), lambda: math.nan)


def _tasks() -> Meter:
    import asyncio

    return Meter("tasks", "tasks", lambda: len(asyncio.all_tasks()))

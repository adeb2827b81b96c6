"""The meters of the own process, each read as often as its cost allows."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from leakcheck import meters
from leakcheck.agent.meters import READERS, Maker, Place, Read, Unavailable, heap, mapped, objects, system  # noqa: F401 - they register their readers
from leakcheck.monitor.panel import Gauge

SHARE = 0.0002
"""Part of a core that one meter may take: one whose reading is expensive here is read less often."""
MOST_BLOCKS = 100_000
"""Live blocks of Python above which its objects are not counted: that would hold the interpreter for milliseconds."""


class Watched(NamedTuple):
    """One meter and its part in an alert."""

    gauge: Gauge
    """What the panel knows of it."""
    read: Read


def own_meters(custom: Mapping[str, Any], note: Callable[[str], None]) -> list[Watched]:
    """The meters that work here; `note` is called with the reason for each that does not."""
    found = []
    for spec in sorted(meters.CATALOGUE, key=lambda spec: spec.family != "resident"):
        if not spec.in_service:
            continue
        try:
            read = _IN_SERVICE.get(spec.name, READERS[spec.name])(Place((), in_loop=False))
        except Unavailable as reason:
            note(f"{spec.name} is not watched: {reason}")
            continue
        family = "memory" if spec.family in ("resident", "heap") or spec.name == meters.LIVE_OBJECTS else spec.name
        found.append(Watched(Gauge(spec.name, spec.unit, family, spec.in_service == "decisive"), read))
    found.append(Watched(Gauge("garbage", "objects", "garbage", False), _garbage))
    taken = {each.gauge.name for each in found}
    for name, read in custom.items():
        if name in taken:
            raise ValueError(f"watch: there is a meter named {name!r} already; give this one another name")
        if not callable(read):
            kind = type(read).__name__
            raise ValueError(f"watch: meter {name!r} must be a function that returns a number, not {kind}")  # noqa: TRY004
        found.append(Watched(Gauge(name, "", name, True), read))
    return found


class Readings:
    """Reads meters, never raises, and keeps to the share of a core that each may take."""

    def __init__(self, watched: list[Watched], note: Callable[[str], None]) -> None:
        self.watched = watched
        self._note = note
        self._due = dict.fromkeys((each.gauge.name for each in watched), 0.0)
        self._failing: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The meters, in the order of reading."""
        return list(self._due)

    def read(self, now: float) -> dict[str, float]:
        """Values by meter, of those that are due at `now` (monotonic seconds) and could be read."""
        values: dict[str, float] = {}
        for each in self.watched:
            name = each.gauge.name
            if now < self._due[name]:
                continue
            began = time.perf_counter()
            try:
                value = float(each.read())
            except Exception as error:  # noqa: BLE001 - a meter may not take the service's watch with it
                if name not in self._failing:
                    self._failing.add(name)
                    self._note(f"meter {name} cannot be read, and is left out until it can: {error!r}")
                continue
            self._failing.discard(name)
            self._due[name] = now + (time.perf_counter() - began) / SHARE
            if value == value and abs(value) != float("inf"):
                values[name] = value
        return values


def _objects(_: Place) -> Read:
    """Objects of the collector, where counting them is cheap; the list is freed at once."""

    def count() -> float:
        if sys.getallocatedblocks() > MOST_BLOCKS:
            return float("nan")
        return len(gc.get_objects())

    return count


def _garbage() -> float:
    """Objects in cycles that the collector has freed so far: its growth is work, never a leak."""
    return float(sum(each["collected"] for each in gc.get_stats()))


def _tasks(_: Place) -> Read:
    """Tasks of asyncio that are alive, of all loops; zero as long as nobody has imported it."""
    if sys.version_info >= (3, 14):
        raise Unavailable("this Python keeps tasks by thread; give watch() a meter that counts your loop's tasks")

    def count() -> float:
        tasks: Any = sys.modules.get("asyncio.tasks")
        if tasks is None:
            return 0
        known: Any = getattr(tasks, "_scheduled_tasks", getattr(tasks, "_all_tasks", ()))
        return len(known) + len(getattr(tasks, "_eager_tasks", ()))

    return count


_IN_SERVICE: dict[str, Maker] = {meters.LIVE_OBJECTS: _objects, "tasks": _tasks}
"""Meters that a living process reads in a way of its own."""


def process_start() -> float:
    """When this process was started, on the monotonic clock; now where that is not known."""
    now = time.monotonic()
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/uptime", "rb") as file:
            uptime = float(file.read().split()[0])
        return now - max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return now

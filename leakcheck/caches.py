"""Growth that looks like a leak may be a cache that is not full: find such caches, let them fill, or empty them."""

from __future__ import annotations

from typing import NamedTuple

from leakcheck.execution.local import Worker
from leakcheck.residue import Left
from leakcheck.steering import Progress

_PROBE = "leakcheck.probes.bounded_caches"
_BEYOND = 2.2
"""A judge sees that growth has stopped once the last doubling is flat: about twice the iterations until it is full."""

_HEAVY = 4096
"""Bytes that an entry of a container may weigh for the container to explain what grows."""


class Filling(NamedTuple):
    """A container with a limit, at the moment when it was asked."""

    kind: str
    """`lru_cache` or `deque`."""
    name: str
    identity: int
    size: int
    limit: int

    @property
    def title(self) -> str:
        """How a sentence names it."""
        what = f"{self.kind}({'maxsize' if self.kind == 'lru_cache' else 'maxlen'}={self.limit:,})"
        return f"{what} of {self.name}" if self.name else what


def containers(worker: Worker) -> list[Filling]:
    """All containers with a limit in the worker."""
    return [Filling(*each) for each in worker.probe(_PROBE, {"clear": False})["containers"]]


def full(worker: Worker) -> list[Filling]:
    """Those that have reached their limit, largest first: what a bounded growth is likely to be."""
    return sorted((each for each in containers(worker) if each.size >= each.limit), key=lambda each: -each.size)


class CacheDoubt:
    """Asked before a leak is pronounced. Remembers what it found, for the last word."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.filling: list[Filling] = []
        self.needed = 0

    def __call__(self, progress: Progress) -> int | None:
        """How many iterations would show whether the growth stops when the containers that fill now are full."""
        before = {each.identity: each.size for each in containers(self._worker)}
        count = max(32, progress.iterations // 32)
        level = self._worker.run(count).values[0]
        later = containers(self._worker)
        gains = {each.identity: each.size - before.get(each.identity, each.size) for each in later}
        # What the growth weighs is asked only where it decides: a reading of a large heap takes milliseconds.
        slowly = any(0 < gained * 20 < count for gained in gains.values())
        grown = self._worker.run(count).values[0] - level if slowly else 0.0
        for each in later:
            gained = gains[each.identity]
            # A container that takes a twentieth of the calls may explain the growth; so may one that is filled by the
            # clock, or by another thread, where what it takes is as heavy.
            fills = gained * 20 >= count or (gained > 0 and gained * _HEAVY >= grown)
            if fills and each.size < each.limit:
                until_full = (each.limit - each.size) * count // gained
                self.filling.append(each)
                self.needed = max(self.needed, int(_BEYOND * (progress.iterations + count + until_full)))
            elif each.size >= each.limit and each.limit * 8 >= progress.iterations:
                # Full, but within the doublings that were judged: one more shows whether it was that.
                self.filling.append(each)
                self.needed = max(self.needed, int(_BEYOND * progress.iterations))
        return self.needed or None

    def emptied(self, meter_index: int) -> float:
        """How far a meter falls when the caches are emptied. The step is run after this for what stays, no more."""
        before = self._worker.run(0).values[meter_index]
        return before - self.left().values[meter_index]

    def left(self) -> Left:
        """The readings with the caches emptied."""
        self._worker.probe(_PROBE, {"clear": True})
        return Left(self._worker.run(0).values, 0)

"""Growth that looks like a leak may be a cache that is not full: find such caches, let them fill, or empty them."""

from __future__ import annotations

from typing import NamedTuple

from leakcheck.execution.worker import Worker
from leakcheck.verdict.measure import LEDGER
from leakcheck.verdict.residue import Left
from leakcheck.verdict.rounds import Progress

_PROBE = "leakcheck.agent.probes.bounded_caches"
_HOLDING = "leakcheck.agent.probes.holders"
_BEYOND = 2.2
"""A judge sees that growth has stopped once the last doubling is flat: about twice the iterations until it is full."""

_HEAVY = 4096
"""Bytes that an entry of a container may weigh for the container to explain what grows."""

_CALLS = 256
"""Calls whose new objects are looked for: what comes more rarely is not told soon in any case."""

_MANY = 1000
"""Objects that were left for that to be looked at: a few are made once."""

_MORE = 16
"""Things by which those that are held have become more, or a container larger, where that may be a straight line."""

_TEXT_SHARE = 0.1
"""Part of a growth that long texts must have for one of them to be the one that grows."""


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


def containers(worker: Worker, *, in_sight: bool = False) -> list[Filling]:
    """All containers with a limit in the worker; `in_sight` without those that were there before the user's code."""
    return [Filling(*each) for each in worker.probe(_PROBE, {"in_sight": in_sight})["containers"]]


def full(worker: Worker) -> list[Filling]:
    """Those that have reached their limit, largest first: what a bounded growth is likely to be."""
    return sorted((each for each in containers(worker) if each.size >= each.limit), key=lambda each: -each.size)


class _Seen(NamedTuple):
    """How much was in what could be a cache, a buffer or a pool when something began to grow."""

    things: int
    """How many things something refers to."""
    sizes: dict[int, int]
    """By identity."""
    text: int
    """Of long texts altogether."""
    limited: dict[int, int]
    """In containers with a limit, by identity."""
    progress: Progress

    def grown_since(self, meter: str, progress: Progress) -> float:
        """How far a meter has grown from then to `progress`, in its unit."""
        return progress.grown.get(meter, 0.0) - self.progress.grown.get(meter, 0.0)


class CacheDoubt:
    """Asked before a leak is pronounced. Remembers what it found, for the last word."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._seen: _Seen | None = None
        self.filling: list[Filling] = []
        self.full_at = 0
        """Iterations that show whether the growth stops when the containers that fill are full."""

    def look(self, progress: Progress) -> None:
        """Note how much is in all containers, buffers and long texts."""
        answer = self._worker.probe(_HOLDING, {"calls": 0})
        if answer:
            limited = {each.identity: each.size for each in containers(self._worker, in_sight=True)}
            self._seen = _Seen(answer["things"], dict(answer["sizes"]), answer["text"], limited, progress)

    def held(self, progress: Progress) -> bool:
        """Whether something keeps what is new, or has become larger since then."""
        seen = self._seen
        if seen is None:
            return True
        if seen.grown_since("py.objects", progress) > _MANY:
            held = self._worker.probe(_HOLDING, {"calls": _CALLS}).get("held")
            if held is not None:
                return bool(held)
        answer = self._worker.probe(_HOLDING, {"calls": 0})
        if not answer:
            return True
        return (
            answer["things"] - seen.things >= _MORE
            or answer["text"] - seen.text > _TEXT_SHARE * seen.grown_since(LEDGER, progress)
            or any(size - seen.sizes.get(identity, size) >= _MORE for identity, size in answer["sizes"])
        )

    def needed(self, progress: Progress) -> int:
        """How many iterations would show whether the growth stops when the containers that fill now are full."""
        seen, done = self._seen, progress.iterations
        if seen is not None:
            before, count = seen.limited, done - seen.progress.iterations
        else:
            before = {each.identity: each.size for each in containers(self._worker)}
            count = max(32, done // 32)
            level = self._worker.run(count).values[0]
            done += count
        later = containers(self._worker)
        gains = {each.identity: each.size - before.get(each.identity, each.size) for each in later}
        if seen is not None:
            grown = seen.grown_since(LEDGER, progress)
        elif any(0 < gained * 20 < count for gained in gains.values()):
            # What the growth weighs is asked only where it decides: the calls may be slow, the heap large.
            grown = self._worker.run(count).values[0] - level
        else:
            grown = 0.0
        for each in later:
            gained = gains[each.identity]
            # A container that takes a twentieth of the calls may explain the growth; so may one that is filled by the
            # clock, or by another thread, where what it takes is as heavy.
            fills = gained * 20 >= count or (gained > 0 and gained * _HEAVY >= grown)
            if fills and each.size < each.limit:
                until_full = (each.limit - each.size) * count // gained
                self.filling.append(each)
                self.full_at = max(self.full_at, int(_BEYOND * (done + until_full)))
            elif each.size >= each.limit and each.limit * 8 >= progress.iterations:
                # Full, but within the doublings that were judged: one more shows whether it was that.
                self.filling.append(each)
                self.full_at = max(self.full_at, int(_BEYOND * progress.iterations))
        return self.full_at

    def emptied(self, meter_index: int) -> float:
        """How far a meter falls when the caches are emptied. The step is run after this for what stays, no more."""
        before = self._worker.run(0).values[meter_index]
        return before - self.left().values[meter_index]

    def left(self) -> Left:
        """The readings with the caches emptied."""
        self._worker.probe(_PROBE, {"clear": True})
        return Left(self._worker.run(0).values, 0)

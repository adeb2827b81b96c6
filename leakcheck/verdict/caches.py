"""Growth that looks like a leak may be a cache that is not full: find such caches, let them fill, or empty them."""

from __future__ import annotations

from collections.abc import Collection
from math import log2
from typing import NamedTuple

from leakcheck.agent.protocol import (
    Emptied,
    EmptyCaches,
    Held,
    HeldByOld,
    HolderSizes,
    LimitedContainer,
    LimitedContainers,
    LimitedContainersFound,
    NewAreHeld,
)
from leakcheck.meters import LEDGER, LIVE_OBJECTS
from leakcheck.verdict.judge import AMPLE
from leakcheck.verdict.process import Process
from leakcheck.verdict.residue import Left
from leakcheck.verdict.rounds import Progress

_UNTIL_FLAT = 2.2
"""A judge sees that growth has stopped once the last doubling is flat: about twice the iterations until it is full."""
_HEAVY_ENTRY = 4096
"""Bytes that an entry of a container may weigh for the container to explain what grows."""
_LOOKED_AT_CALLS = 256
"""Calls whose new objects are looked for: what comes more rarely has no early verdict in any case."""
_ENOUGH_OBJECTS = 1000
"""Objects that were left for that to be looked at: a few are made once."""
_GAINED = 16
"""Things by which those that are held have become more, or a container larger, where that may be a straight line."""
_TEXT_SHARE = 0.1
"""Part of a growth that long texts must have for one of them to be the one that grows."""
_FILLING_CALLS = 20
"""Of so many calls a container must take one for it to explain growth in each of them."""
_KEYED_CALLS = 262_144
"""Calls after which keys that are all new are believed to be new for ever."""
_LONGEST_S = 8.0
"""Seconds for which they are waited for, more or less, where calls or readings are slow."""


def title(container: LimitedContainer) -> str:
    """How a sentence names it: `lru_cache(maxsize=128) of app.parse`."""
    bound = "maxsize" if container.kind == "lru_cache" else "maxlen"
    what = f"{container.kind}({bound}={container.limit:,})"
    return f"{what} of {container.name}" if container.name else what


def limited(process: Process, *, in_sight: bool = False) -> list[LimitedContainer]:
    """All containers with a limit; `in_sight` without those that were there before the user's code."""
    return process.ask(LimitedContainers(in_sight), LimitedContainersFound).containers


def full(process: Process) -> list[LimitedContainer]:
    """Those that have reached their limit, largest first: what a bounded growth is likely to be."""
    return sorted((each for each in limited(process) if each.size >= each.limit), key=lambda each: -each.size)


def full_by(process: Process, calls: int) -> list[LimitedContainer]:
    """Those of the full ones that the step may have filled: what it does not ask in so many calls was full before."""
    before = {each.identity: each.asked for each in full(process)}
    if not before:
        return []
    process.run(calls)
    return [each for each in full(process) if each.asked is None or each.asked != before.get(each.identity)]


def emptied(process: Process) -> Left:
    """The readings with the caches emptied. The step is run after this for what stays, no more."""
    process.ask(EmptyCaches(), Emptied)
    return Left(process.run(0).values, 0)


def _doublings(times: float) -> int:
    """How many doublings come next to so many times as much: iterations are judged after whole ones."""
    return max(0, round(log2(times)))


class _Seen(NamedTuple):
    """How much was in what could be a cache, a buffer or a pool when something began to grow."""

    held: Held
    limited: dict[int, int]
    """Sizes of containers with a limit, by identity."""
    progress: Progress

    def grown_since(self, meter: str, progress: Progress) -> float:
        """How far a meter has grown from then to `progress`, in its unit."""
        return progress.grown.get(meter, 0.0) - self.progress.grown.get(meter, 0.0)


class CacheSuspicion:
    """Whether what grows may be in a cache. Remembers what it found, for the challenges."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._seen: _Seen | None = None
        self.filling: list[LimitedContainer] = []
        self.full_at = 0
        """Iterations that show whether the growth stops when the containers that fill are full."""

    def look(self, progress: Progress) -> None:
        """Something seems to grow: note how much is in all containers, buffers and long texts."""
        held = self._process.ask(HolderSizes(), Held)
        if held.complete:
            sizes = {each.identity: each.size for each in limited(self._process, in_sight=True)}
            self._seen = _Seen(held, sizes, progress)

    def may_be_cached(self, progress: Progress) -> bool:
        """Whether something keeps what is new, or has become larger since then; true where unknown."""
        seen = self._seen
        if seen is None:
            return True
        if seen.grown_since(LIVE_OBJECTS, progress) > _ENOUGH_OBJECTS:
            held = self._process.ask(NewAreHeld(_LOOKED_AT_CALLS), HeldByOld).held
            if held is not None:
                return held
        now = self._process.ask(HolderSizes(), Held)
        if not now.complete:
            return True
        before = dict(seen.held.sizes)
        return (
            now.things - seen.held.things >= _GAINED
            or now.text - seen.held.text > _TEXT_SHARE * seen.grown_since(LEDGER, progress)
            or any(size - before.get(identity, size) >= _GAINED for identity, size in now.sizes)
        )

    def needed(self, progress: Progress) -> int:
        """How many iterations would show whether the growth stops when the containers that fill now are full.

        What has keys may be a cache without a limit, which is full when all keys have come: that takes the longest, and
        is not waited for once it has taken a lot of memory.
        """
        seen, done = self._seen, progress.iterations
        if seen is not None:
            before, count, held = seen.limited, done - seen.progress.iterations, seen.held
        else:
            before = {each.identity: each.size for each in limited(self._process)}
            held = self._process.ask(HolderSizes(), Held)
            count = max(32, done // 32)
            level = self._process.run(count).values[0]
            done += count
        later = limited(self._process)
        ample = progress.grown.get(LEDGER, 0.0) >= AMPLE
        if not ample and self._keys_are_added(held, count, {each.identity for each in later}):
            self.full_at = min(_KEYED_CALLS, progress.iterations << _doublings(_LONGEST_S / progress.seconds))
        gains = {each.identity: each.size - before.get(each.identity, each.size) for each in later}
        if seen is not None:
            grown = seen.grown_since(LEDGER, progress)
        elif any(0 < gained * _FILLING_CALLS < count for gained in gains.values()):
            # What the growth weighs is asked only where it decides: the calls may be slow, the heap large.
            grown = self._process.run(count).values[0] - level
        else:
            grown = 0.0
        for each in later:
            gained = gains[each.identity]
            # A container that takes a part of the calls may explain the growth; so may one that is filled by the clock,
            # or by another thread, where what it takes is as heavy.
            fills = gained * _FILLING_CALLS >= count or (gained > 0 and gained * _HEAVY_ENTRY >= grown)
            if fills and each.size < each.limit:
                until_full = (each.limit - each.size) * count // gained
                self.filling.append(each)
                self.full_at = max(self.full_at, int(_UNTIL_FLAT * (done + until_full)))
            elif each.size >= each.limit and each.limit * 8 >= progress.iterations:
                # Full, but within the doublings that were judged: one more shows whether it was that.
                self.filling.append(each)
                self.full_at = max(self.full_at, int(_UNTIL_FLAT * progress.iterations))
        return self.full_at

    def _keys_are_added(self, before: Held, count: int, limited: Collection[int]) -> bool:
        """Whether what has keys, and no limit, has taken a part of the last `count` calls.

        What is new counts where it alone has so much in it, for a dict may be replaced by a larger one; many small ones
        are no cache that fills.
        """
        now = self._process.ask(HolderSizes(), Held)
        sizes, known = dict(now.sizes), dict(before.sizes)
        keyed = [each for each in now.keyed if each in sizes and each not in limited]
        gained = sum(
            max(0, sizes[each] - known.get(each, 0))
            for each in keyed
            if each in known or sizes[each] * _FILLING_CALLS >= count
        )
        return gained * _FILLING_CALLS >= count

"""Who missed what while the ring was full: exact, and in fixed memory."""

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elkyn._native import SLOTS, VALUE_BYTES, Event
from elkyn.events.changes import Pending
from elkyn.events.event import Overflow
from elkyn.values import decode

if TYPE_CHECKING:
    from elkyn.events.subscriptions import Core


@dataclass(slots=True)
class _Loss:
    lost: int
    first: int
    last: int


@dataclass(slots=True)
class _Episode:
    """One run of dropped events between two stored ones. The ring bounds how many there can be."""

    first: int
    last: int
    losses: dict["Core", _Loss] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Kept:
    """The latest event of a path, kept outside the full ring for overflow="latest"."""

    event: Event
    cores: tuple["Core", ...]
    only_latest: bool


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What to tell at a gap."""

    losses: list[tuple["Core", Overflow]]
    kept: list[tuple[Event, tuple["Core", ...]]]


class Gaps:
    """Kept by the producer, asked by the consumer when it meets a gap in the sequence numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._episodes: deque[_Episode] = deque()
        self._kept: dict[str, _Kept] = {}
        self._kept_bytes = 0
        self.parked = 0  # events that went into the table instead of being dropped
        self.coalesced = 0

    def dropped(self, seq: int, rev: int, timestamp_ns: int, pending: Pending) -> None:
        """The ring refused `pending`, which had taken the number `seq`."""
        with self._lock:
            if not self._episodes or self._episodes[-1].last != seq - 1:  # the ring has taken an event meanwhile
                self._episodes.append(_Episode(seq, seq))
            episode = self._episodes[-1]
            episode.last = seq
            latest = tuple(core for core in pending.cores if core.options.overflow == "latest")
            if latest and self._keep(seq, rev, timestamp_ns, pending, latest):
                losers = tuple(core for core in pending.cores if core.options.overflow != "latest")
            else:
                losers = pending.cores
            for core in losers:
                loss = episode.losses.get(core)
                if loss is None:
                    episode.losses[core] = _Loss(1, seq, seq)
                else:
                    loss.lost += 1
                    loss.last = seq

    def _keep(self, seq: int, rev: int, timestamp_ns: int, pending: Pending, latest: tuple["Core", ...]) -> bool:
        before = self._kept.get(pending.path)
        if before is None and len(self._kept) >= SLOTS:
            return False
        raw = pending.raw
        size = 0 if raw is None else len(raw)
        room = VALUE_BYTES - self._kept_bytes + (0 if before is None else before.event.size)
        if size > room:
            return False
        event = Event(
            decode,
            deleted=raw is None,
            path=pending.path,
            value=raw,
            old=None,
            rev=rev,
            seq=seq,
            last=pending.last,
            timestamp_ns=timestamp_ns,
            size=size,
            omitted=False,
        )
        if before is not None:
            self._kept_bytes -= before.event.size
            if before.only_latest:
                self.coalesced += 1
            del self._kept[pending.path]
        only_latest = len(latest) == len(pending.cores)
        if only_latest:
            self.parked += 1
        self._kept[pending.path] = _Kept(event, latest, only_latest)
        self._kept_bytes += size
        return True

    def waiting(self) -> int:
        """Return how many events are parked."""
        with self._lock:
            return sum(kept.only_latest for kept in self._kept.values())

    def reckon(self, last: int) -> Reckoning:
        """Settle all up to the sequence number `last`, which the consumer has reached."""
        losses: list[tuple[Core, Overflow]] = []
        reached = last
        with self._lock:
            while self._episodes and self._episodes[0].first <= last:
                episode = self._episodes.popleft()
                # A trailing episode may have grown since the consumer looked; nothing was stored since, so telling
                # of all of it now keeps the order.
                reached = max(reached, episode.last)
                losses.extend(
                    (core, Overflow(loss.lost, loss.first, loss.last)) for core, loss in episode.losses.items()
                )
            kept = sorted(
                (kept for kept in self._kept.values() if kept.event.seq <= reached), key=lambda one: one.event.seq
            )
            for one in kept:
                del self._kept[one.event.path]
                self._kept_bytes -= one.event.size
        return Reckoning(losses, [(one.event, one.cores) for one in kept])

    def forget(self, gone: Any) -> None:
        """Drop what is held for the cores of `gone`, a Run that has ended."""
        with self._lock:
            for episode in self._episodes:
                for core in gone.cores:
                    episode.losses.pop(core, None)
            for path, kept in list(self._kept.items()):
                if any(core.run is gone for core in kept.cores):
                    cores = tuple(core for core in kept.cores if core.run is not gone)
                    if cores:
                        self._kept[path] = _Kept(kept.event, cores, kept.only_latest)
                    else:
                        del self._kept[path]
                        self._kept_bytes -= kept.event.size
                        self.coalesced += kept.only_latest

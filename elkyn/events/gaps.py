"""Who missed what while the ring was full: exact, and in fixed memory."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from elkyn._native import SLOTS, VALUE_BYTES, Event
from elkyn.events.changes import Pending
from elkyn.events.event import Overflow
from elkyn.events.routes import Receivers
from elkyn.events.subscriptions import SubscriptionState, Watcher
from elkyn.locks import Lock, is_mine


@dataclass(slots=True)
class _Loss:
    lost: int
    first: int
    last: int
    watchers: dict[Watcher, None]  # the sources of the subscription that had some of it


@dataclass(slots=True)
class _Episode:
    """One run of dropped events between two stored ones. The ring bounds how many there can be."""

    first: int
    last: int
    losses: dict[SubscriptionState, _Loss] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Kept:
    """The latest event of a path for some of its receivers, kept outside the full ring for overflow="latest"."""

    event: Event
    size: int  # of its values
    receivers: Receivers
    only_latest: bool


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What to tell at a gap."""

    losses: list[tuple[Watcher, Overflow]]
    kept: list[tuple[Event, Receivers]]


class Gaps:
    """Kept by the producer, asked by the consumer when it meets a gap in the sequence numbers."""

    def __init__(self, slots: int = SLOTS, value_bytes: int = VALUE_BYTES) -> None:
        """`slots` and `value_bytes` are the ring's."""
        self._slots = slots
        self._value_bytes = value_bytes
        self._lock = Lock()
        self._episodes: deque[_Episode] = deque()
        # A path may have several: not everyone hears of every event there, or of all of it (old values).
        self._kept: dict[str, list[_Kept]] = {}
        self._kept_count = 0
        self._kept_bytes = 0
        self._waiting = 0
        self.parked = 0  # events that went into the table instead of being dropped
        self.coalesced = 0
        self.omitted = 0  # events that left the table without one of their values

    def dropped(self, seq: int, rev: int, timestamp_ns: int, pending: Pending) -> None:
        """The ring refused `pending`, which had taken the number `seq`."""
        with self._lock:
            # Told again of the same number, after an interruption, it does nothing twice.
            if not self._episodes or self._episodes[-1].last not in (seq, seq - 1):  # the ring has taken an event
                self._episodes.append(_Episode(seq, seq))
            episode = self._episodes[-1]
            episode.last = seq
            latest = tuple(watcher for watcher in pending.receivers if watcher.options.overflow == "latest")
            if latest and self._keep(seq, rev, timestamp_ns, pending, latest):
                losers = tuple(watcher for watcher in pending.receivers if watcher.options.overflow != "latest")
            else:
                losers = pending.receivers
            for watcher in losers:
                loss = episode.losses.get(watcher.state)
                if loss is None:
                    loss = episode.losses[watcher.state] = _Loss(1, seq, seq, {})
                elif loss.last != seq:
                    loss.lost += 1
                    loss.last = seq
                loss.watchers[watcher] = None

    def _keep(self, seq: int, rev: int, timestamp_ns: int, pending: Pending, latest: Receivers) -> bool:
        before = self._kept.get(pending.path, [])
        # What the new event replaces, for those who get it; for others the earlier one stays.
        after = [_without(kept, latest) for kept in before]
        replaced = [kept for kept, left in zip(before, after, strict=True) if not left.receivers]
        size = pending.size(self._value_bytes)
        if self._kept_count - len(replaced) >= self._slots:
            return False
        if size > self._value_bytes - self._kept_bytes + sum(kept.size for kept in replaced):
            return False
        for kept in replaced:
            self._let_go(kept)
            self.coalesced += kept.only_latest
        only_latest = len(latest) == len(pending.receivers)
        self.parked += only_latest
        self._kept[pending.path] = [left for left in after if left.receivers]
        event = pending.event(rev, seq, timestamp_ns, self._value_bytes)
        self._kept[pending.path].append(_Kept(event, size, latest, only_latest))
        self._kept_count += 1
        self._kept_bytes += size
        self._waiting += only_latest
        return True

    def _let_go(self, kept: _Kept) -> None:
        self._kept_count -= 1
        self._kept_bytes -= kept.size
        self._waiting -= kept.only_latest

    def waiting(self) -> int:
        """Return how many events are parked. Takes no lock: the figures are for everyone, at any time."""
        return self._waiting

    def reckon(self, last: int) -> Reckoning:
        """Settle all up to the sequence number `last`, which the consumer has reached."""
        losses: list[tuple[Watcher, Overflow]] = []
        reached = last
        with self._lock:
            while self._episodes and self._episodes[0].first <= last:
                episode = self._episodes.popleft()
                # A trailing episode may have grown since the consumer looked; nothing was stored since, so telling
                # of all of it now keeps the order.
                reached = max(reached, episode.last)
                for loss in episode.losses.values():
                    told = Overflow(loss.lost, loss.first, loss.last)  # one for all sources: merge() knows it again
                    losses.extend((watcher, told) for watcher in loss.watchers)
            due: list[_Kept] = []
            for path, several in list(self._kept.items()):
                due.extend(kept for kept in several if kept.event.seq <= reached)
                self._keep_only(path, [kept for kept in several if kept.event.seq > reached])
            for kept in due:
                self._let_go(kept)
                self.omitted += kept.event.value_omitted or kept.event.old_omitted
        due.sort(key=lambda kept: kept.event.seq)
        return Reckoning(losses, [(kept.event, kept.receivers) for kept in due])

    def _keep_only(self, path: str, left: list[_Kept]) -> None:
        if left:
            self._kept[path] = left
        else:
            del self._kept[path]

    def forget(self, gone: SubscriptionState) -> bool:
        """Drop what is held for `gone`, which has ended. False where the caller is using it."""
        if is_mine(self._lock):
            return False
        with self._lock:
            for episode in self._episodes:
                episode.losses.pop(gone, None)
            for path, several in list(self._kept.items()):
                after = [_without(kept, gone.watchers) for kept in several]
                for kept in after:
                    if not kept.receivers:
                        self._let_go(kept)
                        self.coalesced += kept.only_latest
                self._keep_only(path, [kept for kept in after if kept.receivers])
            return True


def _without(kept: _Kept, gone: Collection[Watcher]) -> _Kept:
    """Return `kept` for those of its receivers that are not `gone`."""
    if not any(watcher in gone for watcher in kept.receivers):
        return kept
    return replace(kept, receivers=tuple(watcher for watcher in kept.receivers if watcher not in gone))

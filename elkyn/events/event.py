"""The records that handlers and callers see: events, gaps, figures."""

from dataclasses import dataclass
from typing import NamedTuple

from elkyn._native import Event

__all__ = ["Event", "LiveSubscription", "Overflow", "QueueStats"]


@dataclass(frozen=True, slots=True)
class Overflow:
    """Events that this subscription missed, told at their place in its stream: read the state again.

    The sequence numbers bound the loss; numbers between them may also belong to events for others.
    """

    lost: int
    first_seq: int
    last_seq: int


class LiveSubscription(NamedTuple):
    """Someone who is still subscribed."""

    pattern: str
    where: str  # "file:line" of the code that subscribed
    start_rev: int
    abandoned: bool  # the handle was garbage-collected without unsubscribe()


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Figures of a store's event queue. At rest: produced == delivered + dropped + coalesced + pending."""

    pending: int
    """Events committed and not yet handed to a subscription."""
    processed: int
    """Events taken out of the ring so far."""
    produced: int
    """Events committed so far, and those handed over by `initial=True`."""
    delivered: int
    """Events that reached every subscription they were for."""
    dropped: int
    """Events that at least one subscription missed, and was told so by an `Overflow` or an error."""
    coalesced: int
    """Events of `overflow="latest"` subscriptions that a later one of the same path replaced."""
    omitted: int
    """Events that travelled without their value, or without the old one that was asked for: they were too large."""
    dropped_at_close: int
    """Events that `close()` gave up on after its `drain_timeout`; part of `dropped`."""
    handler_errors: int
    """Exceptions raised by handlers."""
    overflow_episodes: int
    """Times the ring went from accepting to dropping."""
    capacity: int
    """Slots of the ring."""
    capacity_bytes: int
    """Bytes of the ring's value buffer, which is also the limit for one event's value and old value."""
    bytes: int
    """Value bytes in the ring now."""
    high_water: int
    """Most events ever in the ring."""
    high_water_bytes: int
    """Most value bytes ever in the ring."""
    lag_ns: int
    """Time from commit to delivery of a recent event, in nanoseconds."""

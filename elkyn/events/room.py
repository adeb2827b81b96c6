"""Room for events, for those who would rather have the writer wait: overflow="block"."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from elkyn._native import Queue
from elkyn.errors import CommitTooLarge, EventTimeout, WouldDeadlock
from elkyn.events.changes import Pending
from elkyn.events.subscriptions import SubscriptionState
from elkyn.events.thread import EventThread


@dataclass(frozen=True, slots=True)
class Demand:
    """The room that events need."""

    events: int
    size: int  # bytes of values
    items: Counter[SubscriptionState]  # how many each subscription with overflow="block" gets


class NoRoomError(Exception):
    """A commit's events do not fit and someone with overflow="block" is to have them: try again when they do."""

    def __init__(self, demand: Demand) -> None:
        self.demand = demand


class SplitError(Exception):
    """Not all the calls of a group fit now, but the first `calls` of them do, or shall wait for room alone."""

    def __init__(self, calls: int) -> None:
        self.calls = calls


class Room:
    """Looks for room in the ring and in inboxes, and waits for it."""

    def __init__(self, queue: Queue, thread: EventThread) -> None:
        self._queue = queue
        self._thread = thread
        self._give_up_at = float("inf")  # the time at which close() ends all waiting

    def give_up_in(self, seconds: float) -> None:
        """Have nobody wait for longer: close() begins."""
        self._give_up_at = time.monotonic() + seconds
        self._thread.progressed()

    def require(self, groups: list[list[Pending]]) -> None:
        """Raise unless the events of all calls fit. The mutex is held, so that room that is seen stays.

        `SplitError` where that can be mended by fewer calls, `NoRoomError` by waiting, `CommitTooLarge` by neither.
        """
        demand = self._demand(event for group in groups for event in group)
        if not demand.items or self._is_there_for(demand) or time.monotonic() >= self._give_up_at:
            return
        if len(groups) > 1:
            fitting = 1
            while self._is_there_for(self._demand(event for group in groups[: fitting + 1] for event in group)):
                fitting += 1
            raise SplitError(fitting)
        self._refuse_what_never_fits(demand)
        if self._thread.is_current() or any(
            buffer.is_served_here() for state in demand.items for buffer in state.buffers()
        ):
            raise WouldDeadlock(
                "the write would wait for room in a subscription with overflow='block', which only this thread can "
                "make: its handlers run here, or on the event loop that runs here; nothing was written"
            )
        raise NoRoomError(demand)

    def wait_for(self, demand: Demand, deadline: float | None) -> float:
        """Wait for room and return until when: without the mutex it may be gone again, so the caller tries anew."""
        timeout = min(state.options.timeout for state in demand.items)
        now = time.monotonic()
        deadline = now + timeout if deadline is None else deadline
        give_up_at = self._give_up_at
        if (
            not self._thread.wait_until(
                lambda: self._is_there_for(demand) or self._give_up_at != give_up_at,  # close() has begun
                max(0.0, min(deadline, give_up_at) - now),
            )
            and time.monotonic() < give_up_at
        ):
            raise EventTimeout(f"a subscription with overflow='block' had no room for {timeout} s; nothing was written")
        return deadline

    def _demand(self, events: Iterable[Pending]) -> Demand:
        count = size = 0
        items: Counter[SubscriptionState] = Counter()
        for event in events:
            count += 1
            size += event.size(self._queue.value_bytes)
            # One for each watcher: where two sources of a subscription match, it gets two.
            items.update(watcher.state for watcher in event.receivers if watcher.options.overflow == "block")
        return Demand(count, size, items)

    def _is_there_for(self, demand: Demand) -> bool:
        # In this order: an event that moves on meanwhile is counted twice rather than not at all.
        handled = self._queue.handled
        ring = self._queue.stats()
        if self._queue.slots - ring.pending < demand.events or self._queue.value_bytes - ring.bytes < demand.size:
            return False
        coming = ring.popped + ring.pending - handled  # in the ring, or on its way through filters and maps
        return all(
            len(buffer) + coming * max(1, len(state.watchers)) + items <= state.options.capacity
            for state, items in demand.items.items()
            for buffer in state.buffers()
        )

    def _refuse_what_never_fits(self, demand: Demand) -> None:
        queue = self._queue
        if demand.events > queue.slots or demand.size > queue.value_bytes:
            raise CommitTooLarge(
                f"the commit has {demand.events} events with {demand.size} bytes of values, and a subscription with "
                f"overflow='block' is to have them: {queue.slots} and {queue.value_bytes} are the most; write less at "
                "a time, or open the store with larger slots= and value_bytes=; nothing was written"
            )
        for state, items in demand.items.items():
            if items > state.options.capacity and any(True for _ in state.buffers()):
                raise CommitTooLarge(
                    f"the commit has {items} events for the subscription from {state.where}, which has "
                    f"overflow='block' and a capacity of {state.options.capacity}: write less at a time, or give it a "
                    "larger capacity=; nothing was written"
                )

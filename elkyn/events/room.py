"""Room for events, for those who would rather have the writer wait: overflow="block"."""

import time

from elkyn._native import SLOTS, VALUE_BYTES, Queue
from elkyn.errors import EventTimeout, WouldDeadlock
from elkyn.events.changes import Pending
from elkyn.events.thread import EventThread


class NoRoomError(Exception):
    """A commit's events do not fit and someone with overflow="block" is to have them: try again when they do."""

    def __init__(self, events: list[Pending]) -> None:
        self.events = events


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

    def require(self, events: list[Pending]) -> None:
        """Raise `NoRoomError` where `events` do not fit. The mutex is held, so that room that is seen stays."""
        if not events or self._is_there_for(events) or time.monotonic() >= self._give_up_at:
            return
        if self._thread.is_current():
            raise WouldDeadlock(
                "a write inside a handler would wait for room in a subscription with overflow='block', "
                "which only this thread can make; nothing was written"
            )
        raise NoRoomError(events)

    def wait_for(self, events: list[Pending], deadline: float | None) -> float:
        """Wait for room and return until when: without the mutex it may be gone again, so the caller tries anew."""
        timeout = min(
            watcher.options.timeout
            for event in events
            for watcher in event.receivers
            if watcher.options.overflow == "block"
        )
        now = time.monotonic()
        deadline = now + timeout if deadline is None else deadline
        give_up_at = self._give_up_at
        if (
            not self._thread.wait_until(
                lambda: self._is_there_for(events) or self._give_up_at != give_up_at,  # close() has begun
                max(0.0, min(deadline, give_up_at) - now),
            )
            and time.monotonic() < give_up_at
        ):
            raise EventTimeout(f"a subscription with overflow='block' had no room for {timeout} s; nothing was written")
        return deadline

    def _is_there_for(self, events: list[Pending]) -> bool:
        blocking = {
            watcher.state for event in events for watcher in event.receivers if watcher.options.overflow == "block"
        }
        if not blocking:
            return True
        # More than the ring holds can never fit at once: that much is asked for and the rest overflows.
        count = min(len(events), SLOTS)
        need = min(VALUE_BYTES, sum(event.size for event in events))
        # In this order: an event that moves on meanwhile is counted twice rather than not at all.
        handled = self._queue.handled
        ring = self._queue.stats()
        if SLOTS - ring.pending < count or VALUE_BYTES - ring.bytes < need:
            return False
        coming = ring.popped + ring.pending - handled  # in the ring, or on its way through filters and maps
        return all(
            len(state.buffer) + coming + min(count, state.options.capacity) <= state.options.capacity
            for state in blocking
            if state.buffer is not None
        )

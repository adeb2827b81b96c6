"""From the ring to those who watch: delivery in order, the gaps in it, and its end."""

import time

from elkyn._native import Queue
from elkyn.errors import WouldDeadlock
from elkyn.events.event import Event
from elkyn.events.gaps import Gaps
from elkyn.events.routes import Routes
from elkyn.events.snapshot import Snapshot
from elkyn.events.subscriptions import SubscriptionState, Watcher
from elkyn.events.thread import EventThread

EVENTS_PER_DELIVERY = 256
"""After as many the thread looks after tasks and timers: a quarter of the ring, some 30 us of native delivery."""
FIRST_SNAPSHOT_SEQ = -(2**53)
"""The number of the first event that tells of what was there: far below all live ones, and exact as a float."""
NOTING_TIMEOUT_S = 0.01
"""Seconds to wait for a writer that has lost an event and is about to note whose it was: some microseconds of work."""
CLOSE_GRACE_S = 0.5
"""Seconds that `close()` gives the thread to complete its subscriptions once draining is over."""


class Dispatcher:
    """Takes events out of the ring on a thread of its own, which starts with the first subscription.

    It knows nothing of the store, so that a forgotten store can be collected.
    """

    def __init__(self, queue: Queue, routes: Routes, gaps: Gaps, thread: EventThread) -> None:
        self.queue = queue
        self.routes = routes
        self.gaps = gaps
        self.thread = thread
        self.dropped_at_close = 0
        self.snapshot_events = 0  # those that told of what was there before, not of a commit
        self._snapshots: dict[Snapshot, None] = {}  # those that have something to deliver now
        self._done = 1  # all sequence numbers below it have been delivered
        self._subscriptions: dict[SubscriptionState, None] = {}
        self._stopping = False
        self._deadline = float("inf")

    # --- who is served

    def start(self) -> None:
        """Start to serve, unless it is done already. The caller holds the store's mutex."""
        self.thread.start(self._serve)

    def admit(self, state: SubscriptionState) -> None:
        """Remember a subscription until it ends, so that close() can complete it."""
        self._subscriptions[state] = None
        state.at_end(lambda: self._forget(state))

    def begin(self, snapshot: Snapshot) -> None:
        """Deliver what was there, page by page, between live events."""
        self._snapshots[snapshot] = None
        self.queue.wake()

    def resume(self, snapshot: Snapshot) -> None:
        """Go on with a snapshot that has waited for room; from any thread."""
        self.thread.post(lambda: self.begin(snapshot))

    def _forget(self, state: SubscriptionState) -> None:
        """Let go of one that has ended: now, or soon on the thread where the caller uses the tables (is_mine)."""
        self._subscriptions.pop(state, None)
        routed = [watcher for watcher in state.watchers if not self.routes.remove(watcher)]
        if routed or not self.gaps.forget(state):
            self.thread.post(lambda: self._forget(state))
        else:
            state.watchers.clear()  # a watcher knows its state: else both would wait for the cyclic collector

    def subscriptions(self) -> list[SubscriptionState]:
        """Return who is subscribed."""
        return list(self._subscriptions)

    def flush(self, timeout: float | None) -> bool:
        """Wait until all that has been pushed or posted so far is done; False when the time was over first.

        A snapshot that waits for room in an inbox is not waited for.
        """
        target, thread = self.queue.settled, self.thread
        tasks, snapshots = thread.tasks_posted(), list(self._snapshots)

        def is_done() -> bool:
            return (
                self._done >= target
                and thread.tasks_done >= tasks
                and not any(snapshot in self._snapshots for snapshot in snapshots)
            )

        if is_done() or not thread.started:
            return True
        if thread.is_current():
            raise WouldDeadlock("flush_events() inside a handler would wait for that handler; call it elsewhere")
        return thread.wait_until(lambda: is_done() or not thread.alive(), timeout)

    def stop(self, drain_timeout: float) -> None:
        """Deliver what is there, `drain_timeout` seconds at most, then complete every subscription and end."""
        self._deadline = time.monotonic() + drain_timeout
        self._stopping = True
        self.thread.hurry(object())  # for good
        if not self.thread.started:
            self.queue.close()
            self.queue.discard()
        elif not self.thread.is_current():
            self.thread.join(drain_timeout + CLOSE_GRACE_S)

    # --- on the thread

    def _serve(self) -> None:
        """Serve. No frame of C++ that needs cleaning up lies below a handler when a process exits."""
        queue, thread = self.queue, self.thread
        while True:
            thread.attend()
            # One by one while somebody looks after each.
            events, gap = queue.deliver(1 if thread.hurried_by else EVENTS_PER_DELIVERY, self._failed)
            if events:
                self._done = queue.seq + 1
                thread.progressed()
            if gap is not None:
                thread.attend()
                self._settle_gap(gap)
            if self._snapshots:
                self._advance_snapshots()
            if events or gap is not None or self._snapshots:
                if self._stopping and time.monotonic() >= self._deadline:
                    break
            elif self._stopping:
                break
            else:
                queue.wait(thread.time_to_next_timer())
        self._finish()

    def _advance_snapshots(self) -> None:
        for snapshot in list(self._snapshots):
            try:
                goes_on = snapshot.advance()
            except BaseException as error:  # noqa: BLE001 - what cannot be read is the subscription's error
                goes_on = False
                snapshot.error(error)
            if not goes_on:
                self._snapshots.pop(snapshot, None)
            self.thread.progressed()

    # --- for snapshots

    def deliver_snapshot(self, watcher: Watcher, event: Event) -> None:
        """Hand a node to the watcher's program, outside the ring's order."""
        self.snapshot_events += 1
        self.thread.numbers_begin_anew()
        self.queue.hand_on(event, (watcher,), self._failed)

    def deliver_held(self, watcher: Watcher, event: Event) -> None:
        """Hand a live event that was held to the watcher's program."""
        self.queue.hand_on(event, (watcher,), self._failed)

    def snapshot_seq(self) -> int:
        """Return the number of the next node: below all live ones, and rising."""
        return FIRST_SNAPSHOT_SEQ + self.snapshot_events

    def pushed(self) -> int:
        """Return the number that the next live event will have."""
        return self.queue.settled

    def has_delivered(self, seq: int) -> bool:
        """Whether all live events with numbers below `seq` have been delivered."""
        return self._done >= seq

    def is_wanted(self) -> bool:
        """Whether the thread is to look after something else."""
        return bool(self.thread.hurried_by) or (self._stopping and time.monotonic() >= self._deadline)

    @property
    def value_bytes(self) -> int:
        """Bytes of a value that travels."""
        return self.queue.value_bytes

    def _failed(self, watcher: Watcher, error: BaseException, by_handler: bool) -> None:
        """Take note of what a program raised: a handler, or an operator's function, which ends its chain."""
        if by_handler and watcher.ends_in_handler:
            watcher.state.handler_failed(error)
        else:  # elsewhere a handler's own errors are caught closer to it
            watcher.state.finish(error)

    def _settle_gap(self, gap: tuple[int, int]) -> None:
        """Tell of dropped events, and deliver those that were kept for overflow="latest" instead."""
        # A write that is being dropped just now belongs to the same loss.
        give_up_at = time.monotonic() + NOTING_TIMEOUT_S
        while self.queue.next_seq > self.queue.settled and time.monotonic() < give_up_at:
            time.sleep(0)
        reckoning = self.gaps.reckon(gap[1])
        for event, receivers in reckoning.kept:
            self.queue.hand_on(event, receivers, self._failed)
        for watcher, lost in reckoning.losses:
            self.queue.running = watcher
            if watcher.active:
                watcher.state.guarded(watcher.missed, lost)
        self.queue.running = None
        self._done = gap[1] + 1
        self.thread.progressed()

    def _finish(self) -> None:
        self.queue.close()
        self.dropped_at_close += self.queue.discard()
        for state in self.subscriptions():
            for watcher in state.watchers:
                self.queue.running = watcher
                if watcher.active:
                    state.guarded(watcher.sink.complete)
            if not state.done:
                state.finish()
        self.queue.running = None
        self._done = self.queue.settled
        self.thread.progressed()

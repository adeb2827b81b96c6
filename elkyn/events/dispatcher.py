"""The one thread that takes events out of the ring and hands them on: delivery, timers, tasks, waiting for it."""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from elkyn._native import Queue
from elkyn.errors import WouldDeadlock
from elkyn.events.event import Event
from elkyn.events.gaps import Gaps
from elkyn.events.lock import Lock, is_mine
from elkyn.events.routes import Routes
from elkyn.events.subscriptions import Host, Stop, SubscriptionState, Watcher
from elkyn.progress import Progress

EVENTS_PER_DELIVERY = 256
"""After as many the thread looks after tasks and timers: a quarter of the ring, some 30 us of native delivery."""
LOOK_EVERY_S = 0.01
"""Seconds between two looks of `unsubscribe()` at the running handler: nobody is told of each step to the next one."""
CLOSE_GRACE_S = 0.5
"""Seconds that `close()` gives the thread to complete its subscriptions once draining is over."""

HandlerErrorHook = Callable[[BaseException, str], object]


class Timer:
    """A call that the dispatcher will make, unless cancelled before."""

    __slots__ = ("callback", "state")

    def __init__(self, callback: Callable[[], object], state: SubscriptionState) -> None:
        self.callback: Callable[[], object] | None = callback
        self.state = state


class Dispatcher(Host):
    """Takes events out of the ring on a thread of its own, which starts with the first subscription.

    It knows nothing of the store, so that a forgotten store can be collected.
    """

    def __init__(
        self,
        queue: Queue,
        routes: Routes,
        gaps: Gaps,
        on_handler_error: HandlerErrorHook,
        check_fork: Callable[[], None],
        no_commits: AbstractContextManager[object],
    ) -> None:
        self.queue = queue
        self.routes = routes
        self.gaps = gaps
        self.refuse_if_forked = check_fork
        self.no_commits = no_commits  # the store's mutex
        self.handler_errors = 0
        self.dropped = 0  # events that an inbox had no room for
        self.coalesced = 0  # events that an inbox replaced by a later one
        self.dropped_at_close = 0
        self._on_handler_error = on_handler_error
        self._done = 1  # all sequence numbers below it have been delivered
        self.snapshots = 0  # events that told of what was there before, not of a commit
        self._dropped_seq: int | None = None
        self._coalesced_seq: int | None = None
        self._progress = Progress()
        self._hurried: set[object] = set()  # who looks after each event: threads in unsubscribe(), or in close()
        self._tasks: deque[Callable[[], object]] = deque()  # the first one may be at work
        self._tasks_done = 0
        self._task_count = threading.RLock()
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_lock = Lock()
        self._ticket = itertools.count()
        self._subscriptions: dict[SubscriptionState, None] = {}
        self._thread: threading.Thread | None = None
        self._ended = False
        self._stopping = False
        self._deadline = float("inf")

    # --- who is served

    def start(self) -> None:
        """Start the thread, unless it runs. The caller holds the store's mutex."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="elkyn-events", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                if self._thread.ident is None:  # the system gives us no thread
                    self._thread = None
                raise

    def admit(self, state: SubscriptionState) -> None:
        """Remember a subscription until it ends, so that close() can complete it."""
        self._subscriptions[state] = None

    def forget(self, state: SubscriptionState) -> None:
        """Let go of one that has ended: now, or soon on the thread where the caller uses the tables (is_mine)."""
        self._subscriptions.pop(state, None)
        routed = [watcher for watcher in state.watchers if not self.routes.remove(watcher)]
        if routed or not self.gaps.forget(state):
            self.post(lambda: self.forget(state))
        else:
            state.watchers.clear()  # a watcher knows its state: else both would wait for the cyclic collector

    def subscriptions(self) -> list[SubscriptionState]:
        """Return who is subscribed."""
        return list(self._subscriptions)

    def on_thread(self) -> bool:
        """Whether the caller is the dispatcher's own thread."""
        return self._thread is threading.current_thread()

    # --- what others ask of the thread

    def post(self, task: Callable[[], object]) -> None:
        """Have `task` called on the thread, before any event that is pushed from now on."""
        self._tasks.append(task)
        self.queue.wake()

    def call_later(self, delay: float, callback: Callable[[], object], state: SubscriptionState) -> Stop:
        """Have `callback` called in `delay` seconds, as one of `state`'s calls; return what cancels it.

        Call on the thread.
        """
        timer = Timer(callback, state)
        with self._timer_lock:
            heapq.heappush(self._timers, (time.monotonic() + delay, next(self._ticket), timer))
        return partial(self._cancel, timer)

    def _cancel(self, timer: Timer) -> None:
        """Cancel a timer from any thread, and let go of what it would call."""
        timer.callback = None
        if is_mine(self._timer_lock):
            self.post(lambda: self._cancel(timer))
            return
        with self._timer_lock:
            self._timers = [entry for entry in self._timers if entry[2] is not timer]
            heapq.heapify(self._timers)

    def wait_until(self, reached: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `reached` holds, looking whenever the thread has delivered something."""
        self.queue.wake()  # should it gather a burst just now
        return self._progress.wait_for(reached, timeout)

    def progressed(self) -> None:
        """Wake those who wait for progress."""
        self._progress.tell()

    def flush(self, timeout: float | None) -> bool:
        """Wait until all that has been pushed so far is delivered; False when the time was over first."""
        target = self.queue.settled
        if (self._done >= target and not self._tasks) or self._thread is None:
            return True
        if self.on_thread():
            raise WouldDeadlock("flush_events() inside a handler would wait for that handler; call it elsewhere")
        with self._task_count:
            tasks = self._tasks_done + len(self._tasks)
        return self.wait_until(
            lambda: (self._done >= target and self._tasks_done >= tasks) or not self.alive(), timeout
        )

    def wait_while_running(self, state: SubscriptionState) -> None:
        """Wait for a handler of `state` that is running on the thread; no wait on the thread itself."""
        if self.on_thread() or not self._runs_now(state):
            return
        waiter = object()
        try:
            self._hurried.add(waiter)
            self.queue.wake()
            # Looked at every now and then: from one handler to the next of the same event nobody is notified, and that
            # one may be waiting for a lock that our caller holds.
            self._progress.wait_for(lambda: not self._runs_now(state), look_every=LOOK_EVERY_S)
        finally:
            self._hurried.discard(waiter)

    def _runs_now(self, state: SubscriptionState) -> bool:
        running: Watcher | Timer | None = self.queue.running
        return running is not None and running.state is state

    @property
    def seq(self) -> int:
        """The number of the event being delivered, or of the last one."""
        return self.queue.seq

    def handler_failed(self, error: BaseException, state: SubscriptionState) -> None:
        """Count and report what a handler raised."""
        self.handler_errors += 1
        try:
            self._on_handler_error(error, state.where)
        except BaseException:  # noqa: BLE001, S110 - a reporter that fails has nobody left to tell
            pass

    def inbox_dropped(self) -> None:
        """Count the event being delivered as dropped, once however many inboxes had no room for it."""
        seq = self.seq
        if self._dropped_seq != seq:
            self._dropped_seq = seq
            self.dropped += 1
            if self._coalesced_seq == seq:
                self.coalesced -= 1

    def inbox_coalesced(self) -> None:
        """Count one event as replaced by the one being delivered, once however many inboxes do so."""
        seq = self.seq
        if seq not in (self._coalesced_seq, self._dropped_seq):
            self._coalesced_seq = seq
            self.coalesced += 1

    def stop(self, drain_timeout: float) -> None:
        """Deliver what is there, `drain_timeout` seconds at most, then complete every subscription and end."""
        self._deadline = time.monotonic() + drain_timeout
        self._stopping = True
        self._hurried.add(self)
        self.queue.wake()
        thread = self._thread
        if thread is None:
            self.queue.close()
            self.queue.discard()
        elif not self.on_thread():
            thread.join(drain_timeout + CLOSE_GRACE_S)

    # --- the thread

    def alive(self) -> bool:
        """Whether the thread runs."""
        # Not Thread.is_alive(): before Python 3.13 it says no for ever after a signal's handler has raised inside it.
        return self._thread is not None and not self._ended

    def _serve(self) -> None:
        try:
            self._serve_until_stopped()
        finally:
            self._ended = True
            self.progressed()

    def _serve_until_stopped(self) -> None:
        """Serve. No frame of C++ that needs cleaning up lies below a handler when a process exits."""
        queue = self.queue
        while True:
            self._attend()
            # One by one while somebody looks after each.
            events, gap = queue.deliver(1 if self._hurried else EVENTS_PER_DELIVERY, self._failed)
            if events:
                self._done = queue.seq + 1
                self.progressed()
            if gap is not None:
                self._attend()
                self._settle_gap(gap)
            if events or gap is not None:
                if self._stopping and time.monotonic() >= self._deadline:
                    break
            elif self._stopping:
                break
            else:
                queue.wait(self._time_to_next_timer())
        self._finish()

    def _attend(self) -> None:
        """Do what was posted and what is due."""
        # First: whoever posts a task from here on interrupts deliver(), so that the task is done before any event
        # that is pushed after it.
        self.queue.heed()
        while self._tasks:
            self._tasks[0]()
            with self._task_count:
                self._tasks.popleft()
                self._tasks_done += 1
            self.progressed()
        if self._timers:
            self._call_due()

    def deliver_one(self, watcher: Watcher, event: Event) -> None:
        """Hand an event of a snapshot to one subscription, outside the ring's order. Call on the thread."""
        self.snapshots += 1
        self._dropped_seq = self._coalesced_seq = None  # its number may be one that a commit's event had before
        self.queue.hand_on(event, (watcher,), self._failed)
        self.progressed()

    def _failed(self, watcher: Watcher, error: BaseException, by_handler: bool) -> None:
        """Take note of what a program raised: a handler, or an operator's function, which ends its chain."""
        if by_handler and watcher.ends_in_handler:
            self.handler_failed(error, watcher.state)
        else:  # elsewhere a handler's own errors are caught closer to it
            watcher.state.fail(error)

    def _settle_gap(self, gap: tuple[int, int]) -> None:
        """Tell of dropped events, and deliver those that were kept for overflow="latest" instead."""
        reckoning = self.gaps.reckon(gap[1])
        for event, receivers in reckoning.kept:
            self.queue.hand_on(event, receivers, self._failed)
        for watcher, lost in reckoning.losses:
            self.queue.running = watcher
            if watcher.active:
                watcher.state.guarded(watcher.missed, lost)
        self.queue.running = None
        self._done = gap[1] + 1
        self.progressed()

    def _call_due(self) -> None:
        now = time.monotonic()
        while True:
            with self._timer_lock:
                if not self._timers or self._timers[0][0] > now:
                    break
                timer = heapq.heappop(self._timers)[2]
            self.queue.running = timer
            callback = timer.callback
            if callback is not None and not timer.state.done:
                try:
                    callback()
                except BaseException as error:  # noqa: BLE001 - an operator's function, as in _failed
                    timer.state.fail(error)
            self.queue.running = None
            self.progressed()

    def _time_to_next_timer(self) -> float:
        with self._timer_lock:
            return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1.0

    def _finish(self) -> None:
        self.queue.close()
        self.dropped_at_close += self.queue.discard()
        for state in self.subscriptions():
            for watcher in state.watchers:
                self.queue.running = watcher
                if watcher.active:
                    state.guarded(watcher.sink.complete)
            if not state.done:
                state.complete()
        self.queue.running = None
        self._done = self.queue.settled
        self.progressed()

"""The one thread that handlers run on: what it is asked to do, when it is to do it, and waiting for it."""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from elkyn._native import Queue
from elkyn.locks import Lock, is_mine
from elkyn.progress import Progress
from elkyn.service import Service

LOOK_EVERY_S = 0.01
"""Seconds between two looks of `unsubscribe()` at the running handler: nobody is told of each step to the next one."""

CANCELLED_TIMERS = 64
"""Cancelled timers that may stay in line however few there are: clearing the line costs as much as it is long."""

HandlerErrorHook = Callable[[BaseException, str], object]
Stop = Callable[[], object]


class Timer:
    """A call that the thread will make, unless cancelled before."""

    __slots__ = ("callback", "state")

    def __init__(self, callback: Callable[[], object], state: object) -> None:
        self.callback: Callable[[], object] | None = callback
        self.state = state


class EventThread:
    """Does tasks and timers between events. It knows neither who is subscribed nor the store.

    What runs on it is marked in `queue.running` by an object whose `state` is the subscription that it runs for.
    """

    def __init__(
        self,
        queue: Queue,
        on_handler_error: HandlerErrorHook,
        refuse_if_forked: Callable[[], None],
        no_commits: AbstractContextManager[object],
    ) -> None:
        self.queue = queue
        self.refuse_if_forked = refuse_if_forked
        self.no_commits = no_commits  # the store's mutex
        self.handler_errors = 0
        self.dropped = 0  # events that an inbox had no room for
        self.coalesced = 0  # events that an inbox replaced by a later one
        self.tasks_done = 0
        self._on_handler_error = on_handler_error
        self._dropped_seq: int | None = None
        self._coalesced_seq: int | None = None
        self._progress = Progress()
        self.hurried_by: set[object] = set()  # who looks after each event: threads in unsubscribe(), or in close()
        self._tasks: deque[Callable[[], object]] = deque()  # the first one may be at work
        self._task_count = threading.RLock()
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_lock = Lock()
        self._cancelled = 0  # of the timers in line, about
        self._ticket = itertools.count()
        self._service = Service("elkyn-events")
        self._ended = False

    # --- its life

    def start(self, serve: Callable[[], None]) -> None:
        """Start the thread, unless it runs, to `serve`. The caller holds the store's mutex."""
        self._service.start(partial(self._run, serve))

    def _run(self, serve: Callable[[], None]) -> None:
        try:
            serve()
        finally:
            self._ended = True
            self.progressed()

    @property
    def started(self) -> bool:
        """Whether there has ever been anything to serve."""
        return self._service.started

    def alive(self) -> bool:
        """Whether the thread runs."""
        return self.started and not self._ended

    def is_current(self) -> bool:
        """Whether the caller is the thread."""
        return self._service.is_current()

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread for `timeout` seconds at most."""
        self._service.wait_until_ended(timeout)

    # --- what others ask of it

    def post(self, task: Callable[[], object]) -> None:
        """Have `task` called on the thread, before any event that is pushed from now on."""
        self._tasks.append(task)
        self.queue.wake()

    def tasks_posted(self) -> int:
        """Return how many tasks there have been so far."""
        with self._task_count:
            return self.tasks_done + len(self._tasks)

    def call_later(self, delay: float, callback: Callable[[], object], state: object) -> Stop:
        """Have `callback` called in `delay` seconds for the subscription `state`; return what cancels it.

        Call on the thread; cancel, which lets go of the callback, from any.
        """
        timer = Timer(callback, state)
        with self._timer_lock:
            heapq.heappush(self._timers, (time.monotonic() + delay, next(self._ticket), timer))
        return partial(self._cancel, timer)

    def _cancel(self, timer: Timer) -> None:
        """Let go of the callback. The timer stays in line until it is due, or half of the line, or all, is such."""
        if timer.callback is None:
            return
        timer.callback = None
        if self.queue.running is not timer:
            timer.state = None
        self._cancelled += 1  # two threads at once may count one: so it is counted anew at each clearing
        most = min(len(self._timers) - 1, CANCELLED_TIMERS + len(self._timers) // 2)
        if self._cancelled > most and not is_mine(self._timer_lock):
            with self._timer_lock:
                self._timers = [entry for entry in self._timers if entry[2].callback is not None]
                heapq.heapify(self._timers)
                self._cancelled = 0

    def progressed(self) -> None:
        """Wake those who wait for progress."""
        self._progress.tell()

    def wait_until(self, reached: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `reached` holds, looking whenever the thread has delivered something."""
        self.queue.wake()  # should it gather a burst just now
        return self._progress.wait_for(reached, timeout)

    def caller_holds_up_writes(self) -> bool:
        """Whether the caller holds the store's mutex: in its own transaction, or in the middle of a write."""
        return is_mine(self.no_commits)

    def wait_while_running(self, state: object, timeout: float) -> bool:
        """Wait for a handler of `state` that is running on the thread; no wait on the thread itself.

        False where it still runs after `timeout` seconds.
        """
        if self.is_current() or not self._runs(state):
            return True
        waiter = object()
        try:
            self.hurry(waiter)
            # Looked at every now and then: from one handler to the next of the same event nobody is notified, and that
            # one may be waiting for a lock that our caller holds.
            return self._progress.wait_for(lambda: not self._runs(state), timeout, look_every=LOOK_EVERY_S)
        finally:
            self.hurried_by.discard(waiter)

    def _runs(self, state: object) -> bool:
        running = self.queue.running
        return running is not None and running.state is state

    def hurry(self, waiter: object) -> None:
        """Have events delivered one by one, because `waiter` looks after each."""
        self.hurried_by.add(waiter)
        self.queue.wake()

    # --- what it accounts for

    def handler_failed(self, error: BaseException, where: str) -> None:
        """Count and report what a handler raised that was subscribed at `where`."""
        self.handler_errors += 1
        try:
            self._on_handler_error(error, where)
        except BaseException:  # noqa: BLE001, S110 - a reporter that fails has nobody left to tell
            pass

    def inbox_dropped(self) -> None:
        """Count the event being delivered as dropped, once however many inboxes had no room for it."""
        seq = self.queue.seq
        if self._dropped_seq != seq:
            self._dropped_seq = seq
            self.dropped += 1
            if self._coalesced_seq == seq:
                self.coalesced -= 1

    def inbox_coalesced(self) -> None:
        """Count one event as replaced by the one being delivered, once however many inboxes do so."""
        seq = self.queue.seq
        if seq not in (self._coalesced_seq, self._dropped_seq):
            self._coalesced_seq = seq
            self.coalesced += 1

    def numbers_begin_anew(self) -> None:
        """Forget which event was counted: the next one's number may be one that another had before."""
        self._dropped_seq = self._coalesced_seq = None

    # --- what it does between events

    def attend(self) -> None:
        """Do what was posted and what is due. Call on the thread."""
        # First: whoever posts a task from here on interrupts deliver(), so that the task is done before any event
        # that is pushed after it.
        self.queue.heed()
        while self._tasks:
            self._tasks[0]()
            with self._task_count:
                self._tasks.popleft()
                self.tasks_done += 1
            self.progressed()
        if self._timers:
            self._call_due()

    def _call_due(self) -> None:
        now = time.monotonic()
        while True:
            with self._timer_lock:
                if not self._timers or self._timers[0][0] > now:
                    break
                timer = heapq.heappop(self._timers)[2]
            self.queue.running = timer
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
            self.queue.running = None
            self.progressed()

    def time_to_next_timer(self) -> float:
        """Return for how many seconds there is nothing due; negative where there is no timer."""
        with self._timer_lock:
            while self._timers and self._timers[0][2].callback is None:
                heapq.heappop(self._timers)
            return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1.0

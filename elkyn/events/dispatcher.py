"""The one thread that takes events out of the ring and hands them on: delivery, timers, tasks, waiting for it."""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager

from elkyn._native import Queue
from elkyn.errors import WouldDeadlock
from elkyn.events.event import Event
from elkyn.events.gaps import Gaps
from elkyn.events.lock import Lock, is_mine
from elkyn.events.routes import Routes
from elkyn.events.subscriptions import Core, Run
from elkyn.progress import Progress

_BATCH = 256
_LOOK_EVERY_S = 0.01

HandlerErrorHook = Callable[[BaseException, str], object]


class Timer:
    """A call that the dispatcher will make, unless cancelled before."""

    __slots__ = ("callback", "run")

    def __init__(self, callback: Callable[[], object], run: Run) -> None:
        self.callback: Callable[[], object] | None = callback
        self.run = run


class Dispatcher:
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
        self._runs: dict[Run, None] = {}
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

    def admit(self, run: Run) -> None:
        """Remember a run until it ends, so that close() can complete it."""
        self._runs[run] = None

    def forget(self, run: Run) -> None:
        """Let go of a run that has ended: now, or soon on the thread where the caller uses the tables (is_mine)."""
        self._runs.pop(run, None)
        routed = [core for core in run.cores if not self.routes.remove(core)]
        if routed or not self.gaps.forget(run):
            self.post(lambda: self.forget(run))
        else:
            run.cores.clear()  # a core knows its run: else both would wait for the cyclic collector

    def runs(self) -> list[Run]:
        """Return who is subscribed."""
        return list(self._runs)

    def on_thread(self) -> bool:
        """Whether the caller is the dispatcher's own thread."""
        return self._thread is threading.current_thread()

    # --- what others ask of the thread

    def post(self, task: Callable[[], object]) -> None:
        """Have `task` called on the thread, before any event that is pushed from now on."""
        self._tasks.append(task)
        self.queue.wake()

    def call_later(self, delay: float, callback: Callable[[], object], run: Run) -> Timer:
        """Have `callback` called in `delay` seconds on the thread, as one of `run`'s calls. Call on the thread."""
        timer = Timer(callback, run)
        with self._timer_lock:
            heapq.heappush(self._timers, (time.monotonic() + delay, next(self._ticket), timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        """Cancel a timer from any thread, and let go of what it would call."""
        timer.callback = None
        if is_mine(self._timer_lock):
            self.post(lambda: self.cancel(timer))
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

    def wait_while_running(self, run: Run) -> None:
        """Wait for a handler of `run` that is running on the thread; no wait on the thread itself."""
        if self.on_thread() or not self._runs_now(run):
            return
        waiter = object()
        try:
            self._hurried.add(waiter)
            self.queue.wake()
            # Looked at every now and then: from one handler to the next of the same event nobody is notified, and that
            # one may be waiting for a lock that our caller holds.
            self._progress.wait_for(lambda: not self._runs_now(run), look_every=_LOOK_EVERY_S)
        finally:
            self._hurried.discard(waiter)

    def _runs_now(self, run: Run) -> bool:
        running: Core | Timer | None = self.queue.running
        return running is not None and running.run is run

    def handler_failed(self, error: BaseException, run: Run) -> None:
        """Count and report what a handler raised."""
        self.handler_errors += 1
        try:
            self._on_handler_error(error, run.where)
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
            thread.join(drain_timeout + 0.5)

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
            events, gap = queue.deliver(1 if self._hurried else _BATCH, self._failed)
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

    def deliver_one(self, core: Core, event: Event) -> None:
        """Hand an event of a snapshot to one subscription, outside the ring's order. Call on the thread."""
        self.snapshots += 1
        self._dropped_seq = self._coalesced_seq = None  # its number may be one that a commit's event had before
        self.queue.hand_on(event, (core,), self._failed)
        self.progressed()

    def _failed(self, core: Core, error: BaseException, by_handler: bool) -> None:
        """Take note of what a program raised: a handler, or an operator's function, which ends its chain."""
        if by_handler and core.direct:
            self.handler_failed(error, core.run)
        else:  # where not direct, a handler's own errors are caught closer to it
            core.run.fail(error)

    def _settle_gap(self, gap: tuple[int, int]) -> None:
        """Tell of dropped events, and deliver those that were kept for overflow="latest" instead."""
        reckoning = self.gaps.reckon(gap[1])
        for event, cores in reckoning.kept:
            self.queue.hand_on(event, cores, self._failed)
        for core, lost in reckoning.losses:
            self.queue.running = core
            if core.active:
                core.run.guarded(core.missed, lost)
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
            if callback is not None and not timer.run.done:
                try:
                    callback()
                except BaseException as error:  # noqa: BLE001 - an operator's function, as in _failed
                    timer.run.fail(error)
            self.queue.running = None
            self.progressed()

    def _time_to_next_timer(self) -> float:
        with self._timer_lock:
            return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1.0

    def _finish(self) -> None:
        self.queue.close()
        self.dropped_at_close += self.queue.discard()
        for run in self.runs():
            for core in run.cores:
                self.queue.running = core
                if core.active:
                    run.guarded(core.sink.complete)
            if not run.done:
                run.complete()
        self.queue.running = None
        self._done = self.queue.settled
        self.progressed()

"""The one thread that takes events out of the ring and hands them on: delivery, timers, tasks, waiting for it."""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from elkyn._native import Queue
from elkyn.errors import WouldDeadlock
from elkyn.events.event import Event
from elkyn.events.gaps import Gaps
from elkyn.events.routes import Cores, Routes
from elkyn.events.subscriptions import Core, Run

_BATCH = 256

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
    ) -> None:
        self.queue = queue
        self.routes = routes
        self.gaps = gaps
        self.refuse_if_forked = check_fork
        self.handler_errors = 0
        self.dropped = 0  # events that an inbox had no room for
        self.coalesced = 0  # events that an inbox replaced by a later one
        self.dropped_at_close = 0
        self.handled = 0  # events taken from the ring whose handlers have returned
        self.lag_ns = 0
        self.event: Event | None = None  # the one being delivered
        self._on_handler_error = on_handler_error
        self._done = 1  # all sequence numbers below it have been delivered
        self._running: Core | Timer | None = None  # whose handler is being called
        self._dropped_seq = 0
        self._progress = threading.Condition()
        self._watchers = 0  # threads that wait for progress: notifying costs nothing while there are none
        self._hurried = 0  # things to look at after each event: threads in unsubscribe(), a deadline of close()
        self._tasks: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_lock = threading.Lock()
        self._ticket = itertools.count()
        self._runs: dict[Run, None] = {}
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._deadline = float("inf")

    # --- who is served

    def start(self) -> None:
        """Start the thread, unless it runs. The caller holds the store's mutex."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="elkyn-events", daemon=True)
            self._thread.start()

    def admit(self, run: Run) -> None:
        """Remember a run until it ends, so that close() can complete it."""
        self._runs[run] = None

    def forget(self, run: Run) -> None:
        """Let go of a run that has ended."""
        self._runs.pop(run, None)
        self.gaps.forget(run)

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
        with self._timer_lock:
            self._timers = [entry for entry in self._timers if entry[2] is not timer]
            heapq.heapify(self._timers)

    def wait_until(self, reached: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `reached` holds, looking whenever the thread has delivered something."""
        with self._progress:
            self._watchers += 1
            self.queue.wake()  # should it gather a burst just now
            try:
                return self._progress.wait_for(reached, timeout)
            finally:
                self._watchers -= 1

    def progressed(self) -> None:
        """Wake those who wait for progress."""
        if self._watchers:
            with self._progress:
                self._progress.notify_all()

    def flush(self, timeout: float | None) -> bool:
        """Wait until all that has been pushed so far is delivered; False when the time was over first."""
        target = self.queue.settled
        if self._done >= target or self._thread is None:
            return True
        if self.on_thread():
            raise WouldDeadlock("flush_events() inside a handler would wait for that handler; call it elsewhere")
        return self.wait_until(lambda: self._done >= target or not self.alive(), timeout)

    def wait_while_running(self, run: Run) -> None:
        """Wait for a handler of `run` that is running on the thread; no wait on the thread itself."""
        if self.on_thread() or not self._runs_now(run):
            return
        with self._progress:
            self._hurried += 1
        try:
            self.wait_until(lambda: not self._runs_now(run), None)
        finally:
            with self._progress:
                self._hurried -= 1

    def _runs_now(self, run: Run) -> bool:
        running = self._running
        return running is not None and running.run is run

    def handler_failed(self, error: BaseException, run: Run) -> None:
        """Count and report what a handler raised."""
        self.handler_errors += 1
        try:
            self._on_handler_error(error, run.where)
        except Exception:  # noqa: BLE001, S110 - a reporter that fails has nobody left to tell
            pass

    def inbox_dropped(self) -> None:
        """Count the event being delivered as dropped, once however many inboxes had no room for it."""
        seq = self.seq()
        if self._dropped_seq != seq:
            self._dropped_seq = seq
            self.dropped += 1

    def seq(self) -> int:
        """Return the number of the event being delivered, or of the last one."""
        return self._done - 1 if self.event is None else self.event.seq

    def stop(self, drain_timeout: float) -> None:
        """Deliver what is there, `drain_timeout` seconds at most, then complete every subscription and end."""
        self._deadline = time.monotonic() + drain_timeout
        self._stopping = True
        with self._progress:
            self._hurried += 1
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
        return self._thread is not None and self._thread.is_alive()

    def _serve(self) -> None:
        """Serve until stopped. Pure Python on purpose: no C++ frame lies below a handler when a process exits."""
        queue = self.queue
        while True:
            events, plans, gap = queue.pop(_BATCH)
            # After the pop: a task posted before an event was pushed is done before that event.
            while self._tasks:
                self._tasks.popleft()()
            if self._timers:
                self._call_due()
            if events:
                self._deliver(events, plans)
            if gap is not None:
                self._settle_gap(gap)
            if events or gap is not None:
                if self._stopping and time.monotonic() >= self._deadline:
                    break
            elif self._stopping:
                break
            else:
                queue.wait(self._time_to_next_timer())
        self._finish()

    def _deliver(self, events: list[Event], plans: list[Cores]) -> None:
        """Deliver what was taken from the ring."""
        self.lag_ns = time.time_ns() - events[0].timestamp_ns
        handled = self._hand_on(events, plans)
        self._rest()
        self.handled += handled
        if handled < len(events):
            self.dropped_at_close += len(events) - handled
        self._done = events[-1].seq + 1
        self.progressed()

    def deliver_one(self, core: Core, event: Event) -> None:
        """Hand one event to one subscription, outside the ring's order. Call on the thread."""
        self._hand_on([event], [(core,)])
        self._rest()
        self.progressed()

    def _rest(self) -> None:
        self._running = None
        self.event = None

    def _hand_on(self, events: list[Event], plans: list[Cores]) -> int:
        """Hand each event to all in its plan; return how many were, which is less only at the deadline of close()."""
        for event, plan in zip(events, plans):  # noqa: B905 - equal by construction, and this is the hot loop
            self.event = event
            # Each receiver owns its copy; where nothing in the event can be changed, one copy serves all.
            copies = len(plan) > 1 and not event.shareable
            for core in plan:
                # First the mark, then the look at the program: unsubscribe() empties the program and then looks for
                # the mark, so one of them sees the other.
                self._running = core
                keep, change, take = core.program
                item: Any = event.copy(event.last) if copies else event
                try:
                    if keep is not None and not keep(item):
                        continue
                    if change is not None:
                        item = change(item)
                except BaseException as error:  # noqa: BLE001 - nothing a function raises may end this thread
                    core.run.fail(error)
                    continue
                try:
                    take(item)
                except BaseException as error:  # noqa: BLE001 - nor anything a handler raises
                    if core.direct:
                        self.handler_failed(error, core.run)
                    else:  # an operator's function: a handler's own errors are caught closer to it
                        core.run.fail(error)
            if self._hurried:
                self._running = None
                self.progressed()
                if self._stopping and time.monotonic() >= self._deadline:
                    return events.index(event) + 1
        return len(events)

    def _settle_gap(self, gap: tuple[int, int]) -> None:
        """Tell of dropped events, and deliver those that were kept for overflow="latest" instead."""
        reckoning = self.gaps.reckon(gap[1])
        for event, cores in reckoning.kept:
            self._hand_on([event], [cores])
        for core, lost in reckoning.losses:
            self._running = core
            if core.active:
                core.run.guarded(core.missed, lost)
        self._rest()
        self._done = gap[1] + 1
        self.progressed()

    def _call_due(self) -> None:
        now = time.monotonic()
        while True:
            with self._timer_lock:
                if not self._timers or self._timers[0][0] > now:
                    break
                timer = heapq.heappop(self._timers)[2]
            self._running = timer
            callback = timer.callback
            if callback is not None and not timer.run.done:
                try:
                    callback()
                except BaseException as error:  # noqa: BLE001 - an operator's function, as in _failed
                    timer.run.fail(error)
            self._running = None
            self.progressed()

    def _time_to_next_timer(self) -> float:
        with self._timer_lock:
            return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1.0

    def _finish(self) -> None:
        self.queue.close()
        self.dropped_at_close += self.queue.discard()
        for run in self.runs():
            for core in run.cores:
                self._running = core
                if core.active:
                    run.guarded(core.sink.complete)
            if not run.done:
                run.complete()
        self._running = None
        self._done = self.queue.settled
        self.progressed()

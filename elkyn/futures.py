"""The outcome of a queued write, and the thread on which its callbacks run.

The standard library's future takes a lock to wait and to be set, and an exception that a signal's handler raises in
there leaves it taken: whoever sets the result then waits for ever. Here waiting holds no lock, and the writer calls no
code of the user's: callbacks run on a thread of their own, where they may wait for other writes.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol

from elkyn.errors import ElkynError
from elkyn.progress import Progress
from elkyn.service import Service

_log = logging.getLogger("elkyn")

LOCK_TIMEOUT_S = 1.0
"""Seconds to wait for the lock of a future that `concurrent.futures.wait()` uses: it is held for a few steps only,
unless an interrupted thread has left it taken."""


class Maker(Protocol):
    """Who completes futures."""

    @property
    def completed(self) -> Progress:
        """Tells whenever futures are complete."""

    def require_progress(self) -> None:
        """Raise where waiting would have no end."""

    def call_back(self, future: "WriteFuture") -> None:
        """Have `future.tell()` called on the thread for callbacks."""


class WriteFuture(Future[Any]):
    """What a queued write gives: its revision, or for several a list of these.

    A future of the standard library for all who use it as such. It cannot be cancelled, for it is in line from the
    start. Callbacks run on one thread of the store's, in turn; where it is done already, at once on the caller's.
    """

    # What most futures never need is the class's, until it is made where somebody asks for it.
    _finished = False
    _told = False
    _result: Any = None
    _exception: BaseException | None = None
    _lazy_condition: threading.Condition | None = None
    _callbacks: deque[Callable[[Future[Any]], object]] | None = None

    def __init__(self, maker: Maker) -> None:
        # Not the base's, which makes a lock.
        self._maker = maker

    def __repr__(self) -> str:
        state = "pending" if not self.done() else "done" if self._exception is None else f"raised {self._exception!r}"
        return f"<WriteFuture, {state}>"

    # --- for concurrent.futures.wait() and as_completed(): under the lock they count what is not done, and rely on it

    @property
    def _state(self) -> str:  # type: ignore[override]
        return "FINISHED" if self._told else "RUNNING"

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        if (known := self._lazy_condition) is not None:
            return known
        fresh = threading.Condition()
        self.__dict__.setdefault("_waiters", [])
        with fresh:  # nobody counts before this is over
            made: threading.Condition = self.__dict__.setdefault("_lazy_condition", fresh)
            if made is fresh and self._finished:  # before there was a lock: then nobody is going to tell
                self._told = True
        return made

    # --- for the user

    def done(self) -> bool:
        """Whether the write is committed or has failed."""
        return self._finished

    def running(self) -> bool:
        """Whether it is in line."""
        return not self.done()

    def cancelled(self) -> bool:
        """False: a write in line cannot be cancelled."""
        return False

    def cancel(self) -> bool:
        """False: a write in line cannot be cancelled."""
        return False

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the revision, or raise what the write has raised.

        Raises `TimeoutError` after `timeout` seconds, and `WouldDeadlock` where the write waits for the caller: inside
        one's own transaction.
        """
        self._await(timeout)
        try:
            if self._exception is not None:
                raise self._exception
            return self._result
        finally:
            self = None  # type: ignore[assignment]  # the traceback would hold what holds the exception

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait as `result()` does and return what the write has raised, or None."""
        self._await(timeout)
        return self._exception

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Have `fn(future)` called once it is done."""
        self.__dict__.setdefault("_callbacks", deque()).append(fn)
        if self.done():  # perhaps just now: who takes it out of the line calls it
            self._call_back()

    def _await(self, timeout: float | None) -> None:
        if self.done():
            return
        self._maker.require_progress()
        if not self._maker.completed.wait_for(self.done, timeout):
            raise TimeoutError(f"the write is not committed after {timeout} s; it is still in line")

    # --- for the writer

    def finish(self, result: Any, error: BaseException | None = None) -> None:
        """Set the outcome. Calls nobody, takes no lock; who waits is told by the maker."""
        self._result = result
        if error is not None:
            self._exception = error
        self._finished = True
        if self._callbacks or self._lazy_condition is not None:
            self._maker.call_back(self)

    def tell(self) -> None:
        """Tell those who wait by the standard library's means, and call the callbacks."""
        condition = self._lazy_condition
        if condition is not None:
            taken = condition.acquire(timeout=LOCK_TIMEOUT_S)
            try:
                self._told = True
                for waiter in list(self._waiters):
                    (waiter.add_result if self._exception is None else waiter.add_exception)(self)
                if taken:
                    condition.notify_all()
            finally:
                if taken:
                    condition.release()
        self._call_back()

    def waits_for_caller(self) -> bool:
        """Whether the calling thread holds the lock that `tell()` needs: in a signal's handler, amid `wait()`."""
        condition = self._lazy_condition
        return condition is not None and condition._is_owned()  # type: ignore[attr-defined]

    def _call_back(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.popleft()
            except IndexError:  # another thread has taken it
                return
            try:
                callback(self)
            except Exception:  # noqa: BLE001 - as the standard library does
                _log.exception("a callback of a queued write raised")


class Callbacks:
    """The thread on which callbacks run. One that blocks holds up other callbacks alone."""

    def __init__(self) -> None:
        self._waiting: deque[WriteFuture] = deque()
        self._progress = Progress()
        self._thread = Service("elkyn-callbacks")
        self._closed = False
        self._busy = False
        self._telling: WriteFuture | None = None

    def add(self, future: WriteFuture) -> None:
        """Have `future.tell()` called."""
        self._waiting.append(future)
        try:
            self._thread.start(self._serve)
        except ElkynError:  # the system gives us no thread any more: then here
            self._work_off()
        self._progress.tell()

    def close(self, timeout: float) -> None:
        """Wait `timeout` seconds for callbacks that are due, unless it is one of them that closes.

        Nor where they wait for the caller: they go on when what it has interrupted goes on.
        """
        self._closed = True
        self._progress.tell()
        if self._thread.started and not self._thread.is_current() and not self._waits_for_caller():
            self._progress.wait_for(lambda: not (self._waiting or self._busy), timeout)

    def _waits_for_caller(self) -> bool:
        telling = self._telling
        return any(each.waits_for_caller() for each in [*self._waiting, *([telling] if telling else [])])

    def _serve(self) -> None:
        while True:
            self._progress.wait_for(lambda: bool(self._waiting) or self._closed)
            self._work_off()
            if self._closed and not self._waiting:
                return

    def _work_off(self) -> None:
        self._busy = True
        with suppress(IndexError):
            while True:
                self._telling = self._waiting.popleft()
                self._telling.tell()
        self._telling, self._busy = None, False
        self._progress.tell()

"""The group-commit writer: many queued calls, one commit, one sync."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from elkyn.errors import StoreClosedError, WouldDeadlock
from elkyn.futures import Callbacks, WriteFuture
from elkyn.progress import Progress
from elkyn.service import Service

Commit = Callable[[list[Any]], list[int | BaseException]]

MAX_QUEUED_CALLS = 10_000
"""Calls that wait before a producer is held up: ten full commits, so that the disk is never idle."""
MAX_CALLS_PER_COMMIT = 1_000
"""Calls that share one sync: their events, one each, just fit in the ring's 1024 slots."""


class Entry(WriteFuture):
    """Calls in line, with the store's function that commits them: that keeps the store alive."""

    def __init__(self, writer: "Writer", calls: Sequence[Any], commit: Commit, gathered: "Gathered | None") -> None:
        super().__init__(writer)
        self.calls: Sequence[Any] = calls
        self.commit: Commit | None = commit
        self._gathered = gathered

    def settle(self, results: list[int | BaseException]) -> None:
        """Take the outcome of the calls: of one call its own, of several for what gathers them."""
        self.calls, self.commit = (), None
        if self._gathered is not None:
            self._gathered.settle(results)
            self.finish(None)
        elif isinstance(results[0], BaseException):
            self.finish(None, results[0])
        else:
            self.finish(results[0])


class Gathered(WriteFuture):
    """The outcome of many calls, whose entries follow each other in line."""

    def __init__(self, writer: "Writer") -> None:
        super().__init__(writer)
        self._writer = writer
        self._results: list[int | BaseException] = []
        self._queued = 0  # entries
        self._settled = 0
        self._all_queued = False

    def queued(self) -> None:
        """Another entry is about to be in line."""
        self._queued += 1

    def settle(self, results: list[int | BaseException]) -> None:
        """Take the outcome of the next entry. Called by the writer."""
        self._results += results
        self._settled += 1
        self._finish_at_the_end()

    def all_queued(self) -> "Gathered":
        """No further entry comes. Returns itself."""
        self._all_queued = True
        self._finish_at_the_end()
        return self

    def _finish_at_the_end(self) -> None:
        # Both sides may see the end, and say the same then.
        if self._all_queued and self._settled == self._queued and not self.done():
            error = next((result for result in self._results if isinstance(result, BaseException)), None)
            self.finish(None if error is not None else self._results, error)


class Writer:
    """Takes calls in and commits them in their order, as many at once as have gathered meanwhile.

    `in_own_transaction` says whether the caller holds up every commit itself.
    """

    def __init__(self, in_own_transaction: Callable[[], bool]) -> None:
        self._in_own_transaction = in_own_transaction
        self._queue: deque[Entry] = deque()
        self._work = Progress()
        self.completed = Progress()
        self._callbacks = Callbacks()
        self._serving = threading.Lock()  # one at a time takes calls out
        self._thread = Service("elkyn-writer")
        self._closed = False

    def is_full(self) -> bool:
        """Whether `submit()` would wait."""
        return len(self._queue) >= MAX_QUEUED_CALLS and not self._closed

    def submit(self, calls: Sequence[Any], commit: Commit, *, gathered: Gathered | None = None) -> Entry:
        """Queue calls that belong together, 1,000 at most.

        `commit` is given a list of calls and returns what each future gets: a revision or an error. It is the store's,
        and held only while there is something to commit: a store that is forgotten can be collected.
        Waits while 10,000 such are queued: a producer that is faster than the disk is held back. `WouldDeadlock` where
        that would have no end.
        """
        most = MAX_QUEUED_CALLS if gathered is None else MAX_QUEUED_CALLS // MAX_CALLS_PER_COMMIT
        while len(self._queue) >= most and not self._closed:
            self.require_progress()
            self.completed.wait_for(lambda: len(self._queue) < most or self._closed)
        if self._closed:
            raise _closed()
        self._thread.start(self._serve)
        entry = Entry(self, calls, commit, gathered)
        if gathered is not None:
            gathered.queued()
        try:
            self._queue.append(entry)
            if (
                self._has_closed()
            ):  # by a signal's handler or another thread: either it has been taken, or it never will be
                with suppress(ValueError):
                    self._queue.remove(entry)
                    raise _closed()
        finally:
            self._work.tell()
        return entry

    def require_progress(self) -> None:
        """Raise `WouldDeadlock` where the caller holds up the commits that it would wait for."""
        if self._thread.is_current() or self._in_own_transaction():
            raise WouldDeadlock(
                f"{len(self._queue)} writes are queued, and none is made before your own transaction is over: "
                "write through it (tx.set and so on), or leave the block and wait then"
            )
        if not self._closed:  # an interruption may have prevented both
            self._thread.start(self._serve)
            self._work.tell()

    def call_back(self, future: WriteFuture) -> None:
        """Have `future.tell()` called on the thread for callbacks."""
        self._callbacks.add(future)

    def close(self, timeout: float) -> bool:
        """Commit all that is queued, then end. Nothing is dropped; False where it takes longer. Idempotent."""
        self._closed = True
        self._work.tell()
        self.completed.tell()
        if self._thread.is_current():
            return True
        if not self._thread.started and self._serving.acquire(timeout=timeout):
            try:
                self._work_off()
            finally:
                self._serving.release()
        if not self.completed.wait_for(lambda: not self._queue and not self._serving.locked(), timeout):
            return False
        return self._thread.wait_until_ended(timeout)

    def close_callbacks(self, timeout: float) -> None:
        """Wait for callbacks that are due, `timeout` seconds at most."""
        self._callbacks.close(timeout)

    # --- the thread

    def _has_closed(self) -> bool:
        return self._closed

    def _serve(self) -> None:
        with self._serving:
            while True:
                self._work.wait_for(lambda: bool(self._queue) or self._closed)
                self._work_off()
                if self._closed and not self._queue:
                    break
        self.completed.tell()

    def _work_off(self) -> None:
        while self._queue:
            batch = [self._queue.popleft()]
            calls = list(batch[0].calls)
            with suppress(IndexError):
                while len(calls) + len(self._queue[0].calls) <= MAX_CALLS_PER_COMMIT:
                    entry = self._queue.popleft()
                    batch.append(entry)
                    calls += entry.calls
            self.completed.tell()  # there is room
            _commit(batch, calls)
            del batch, calls
            self.completed.tell()


def _closed() -> StoreClosedError:
    return StoreClosedError("the store is closed; open it again to write")


def _commit(batch: list[Entry], calls: list[Any]) -> None:
    commit = batch[0].commit
    assert commit is not None, "it has not been settled"
    try:
        results = commit(calls)
    except BaseException as error:  # noqa: BLE001 - whoever waits on a future must hear of it
        results = [error] * len(calls)
    at = 0
    for entry in batch:
        entry.settle(results[at : (at := at + len(entry.calls))])

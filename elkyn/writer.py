"""The group-commit writer: many queued calls, one commit, one sync."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from elkyn.errors import StoreClosedError, WouldDeadlock
from elkyn.progress import Progress

Commit = Callable[[list[Any]], list[int | BaseException]]

MAX_QUEUED_CALLS = 10_000
"""Calls that wait before a producer is held up: ten full commits, so that the disk is never idle."""
MAX_CALLS_PER_COMMIT = 1_000
"""Calls that share one sync: their events, one each, just fit in the ring's 1024 slots."""


class Writer:
    """Takes calls in and commits them in their order, as many at once as have gathered meanwhile.

    `commit` is given a list of calls and returns what each future gets: a revision or an error.
    """

    def __init__(self, commit: Commit) -> None:
        # Held only while there is something to commit: a store that is forgotten can be collected.
        self._commit = weakref.WeakMethod(commit)
        self._queue: SimpleQueue[tuple[Commit, Any, Future[int]] | None] = SimpleQueue()  # None is the last
        self._room = Progress()
        self._lock = threading.RLock()  # so that nothing comes after the last
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, call: Any, *, patient: bool = True) -> "Future[int]":
        """Queue a call.

        Waits while 10,000 are queued: a producer that is faster than the disk is held back; `WouldDeadlock` where it is
        not to be `patient`.
        """
        future: Future[int] = Future()
        future.set_running_or_notify_cancel()  # it is in line from here on: cancel() would be a lie
        while not self._put(call, future):
            if not patient:
                raise WouldDeadlock(
                    f"{MAX_QUEUED_CALLS} writes are queued, and none is made before your own transaction is over: "
                    "write through it (tx.set and so on), or leave the block"
                )
            self._room.wait_for(lambda: self._queue.qsize() < MAX_QUEUED_CALLS or self._closed)
        return future

    def _put(self, call: Any, future: "Future[int]") -> bool:
        """Queue a call; False where there is no room."""
        with self._lock:
            if self._closed:
                raise StoreClosedError("the store is closed; open it again to write")
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="elkyn-writer", daemon=True)
                self._thread.start()
            if self._queue.qsize() >= MAX_QUEUED_CALLS:
                return False
            commit = self._commit()
            assert commit is not None, "whoever calls us through the store keeps it alive"
            self._queue.put((commit, call, future))
            return True

    def close(self) -> None:
        """Commit all that is queued, then end. Nothing is dropped. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._room.tell()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _serve(self) -> None:
        more = True
        while more:
            batch = [self._queue.get()]
            with suppress(Empty):
                while len(batch) < MAX_CALLS_PER_COMMIT and batch[-1] is not None:
                    batch.append(self._queue.get_nowait())
            self._room.tell()
            calls = [call for call in batch if call is not None]
            more = len(calls) == len(batch)
            if calls:
                _commit(calls)
            del batch, calls


def _commit(batch: "list[tuple[Commit, Any, Future[int]]]") -> None:
    try:
        results = batch[0][0]([call for _, call, _ in batch])
    except BaseException as error:  # noqa: BLE001 - whoever waits on a future must hear of it
        results = [error] * len(batch)
    for (_, _, future), result in zip(batch, results, strict=True):
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)

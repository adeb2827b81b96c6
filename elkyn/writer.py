"""The group-commit writer: many queued calls, one commit, one sync."""

import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from elkyn.errors import StoreClosedError, WouldDeadlock

Commit = Callable[[list[Any]], list[int | BaseException]]

MOST_QUEUED = 10_000
MOST_PER_COMMIT = 1_000


class Writer:
    """Takes calls in and commits them in their order, as many at once as have gathered meanwhile.

    `commit` is given a list of calls and returns what each future gets: a revision or an error.
    """

    def __init__(self, commit: Commit) -> None:
        # Held only while there is something to commit: a store that is forgotten can be collected.
        self._commit = weakref.WeakMethod(commit)
        self._queue: deque[tuple[Commit, Any, Future[int]]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, call: Any, *, patient: bool = True) -> "Future[int]":
        """Queue a call.

        Waits while 10,000 are queued: a producer that is faster than the disk is held back; `WouldDeadlock` where it is
        not to be `patient`.
        """
        future: Future[int] = Future()
        future.set_running_or_notify_cancel()  # it is in line from here on: cancel() would be a lie
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="elkyn-writer", daemon=True)
                self._thread.start()
            while len(self._queue) >= MOST_QUEUED and not self._closed:
                if not patient:
                    raise WouldDeadlock(
                        f"{MOST_QUEUED} writes are queued, and none is made before your own transaction is over: "
                        "write through it (tx.set and so on), or leave the block"
                    )
                self._changed.wait()
            if self._closed:
                raise StoreClosedError("the store is closed; open it again to write")
            commit = self._commit()
            assert commit is not None, "whoever calls us through the store keeps it alive"
            self._queue.append((commit, call, future))
            del commit
            if len(self._queue) == 1:
                self._changed.notify_all()
        return future

    def close(self) -> None:
        """Commit all that is queued, then end. Nothing is dropped. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if not self._queue:
                    return
                size = min(len(self._queue), MOST_PER_COMMIT)
                batch = [self._queue.popleft() for _ in range(size)]
                self._changed.notify_all()
            try:
                results = batch[0][0]([call for _, call, _ in batch])
            except BaseException as error:  # noqa: BLE001 - whoever waits on a future must hear of it
                results = [error] * len(batch)
            for (_, _, future), result in zip(batch, results, strict=True):
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)
            del batch, results, future, result

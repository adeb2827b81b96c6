"""The face of the store: `open()`, `Store`, `Transaction`.

One mutex is held from the begin of a write transaction over its commit to the push of its events. That is what makes
commit order, event order and "one producer" the same thing.
"""

import atexit
import logging
import os
import secrets
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NoReturn, Self, TypeVar

import lmdb

from elkyn._native import SLOTS, VALUE_BYTES, TransactionScope, Event, Queue, report_leaks
from elkyn.errors import ElkynError, EventTimeout, ForkedStoreError, StorageError, StoreClosedError, WouldDeadlock
from elkyn.events.changes import Pending, Watched
from elkyn.events.dispatcher import Dispatcher, HandlerErrorHook
from elkyn.events.event import LiveSubscription, QueueStats
from elkyn.events.gaps import Gaps
from elkyn.events.observable import POLICIES, Observable
from elkyn.events.operators import Stop
from elkyn.events.routes import Route, Routes
from elkyn.events.subscriptions import Core, Observer, Options, OverflowPolicy, Run, log_handler_error
from elkyn.paths import MAX_BYTES, child_path, is_segment, key_of, path_of, pattern_segments, prefix_of
from elkyn.progress import Progress
from elkyn.storage import SMALL, Database, Tree, storage_error
from elkyn.storage import Transaction as LmdbTransaction
from elkyn.values import MISSING, Leaves, decode, flatten
from elkyn.writer import Writer

Durability = Literal["sync", "async", "none"]

T = TypeVar("T")

_log = logging.getLogger("elkyn")
_CACHED_KEYS = 1024
_SYNC_EVERY_S = 0.25
_MOST_INTERRUPTIONS = 16  # that one commit takes before it gives up


def open(  # noqa: A001 - elkyn.open() reads as it should, like gzip.open()
    path: str | os.PathLike[str],
    *,
    durability: Durability = "sync",
    map_size: int = 64 << 20,
    max_map_size: int = 64 << 30,
    drain_timeout: float = 5.0,
    on_handler_error: HandlerErrorHook = log_handler_error,
) -> "Store":
    """Open the store in the directory `path`, making it where it is missing. Use as a context manager.

    `durability`: "sync" has every commit on the disk before its call returns; "async" syncs every quarter of a second;
    "none" leaves it to the system. A killed process loses nothing in any of them; with the latter two a power failure
    may lose the latest commits and, depending on the file system, damage the file.
    `map_size` is the first size of the database in bytes: it grows by itself up to `max_map_size`.
    `drain_timeout` is how many seconds close() lets handlers work off what is pending.
    `on_handler_error` is called with the exception and the `file:line` that subscribed.

    Raises `StoreInUseError` where the directory is open already, `FormatError` where it holds something else,
    `StorageError` where it cannot be written.
    """
    if durability not in ("sync", "async", "none"):
        raise ValueError(f"durability must be 'sync', 'async' or 'none', not {durability!r}")
    if not 0 < map_size <= max_map_size:
        raise ValueError(f"map_size must be above 0 and at most max_map_size, not {map_size}")
    database = Database(Path(path).absolute(), sync=durability == "sync", map_size=map_size, max_map_size=max_map_size)
    return Store(database, durability, drain_timeout, on_handler_error)


@dataclass(slots=True)
class _Call:
    """One write call, checked and encoded: what it does once it has the mutex."""

    writes: list[tuple[str, bytes, Leaves | None]]  # path, key, leaves; None deletes
    merged: list[str] = field(default_factory=list)  # the path of an update(), which counts as written too


class _NoRoomError(Exception):
    """The call's events do not fit and someone with overflow="block" is to have them: try again when they do."""


class Store:
    """An open store. All methods may be called from any thread; made by `open()`."""

    def __init__(
        self, database: Database, durability: Durability, drain_timeout: float, on_handler_error: HandlerErrorHook
    ) -> None:
        self._database = database
        self._drain_timeout = drain_timeout
        # Re-entrant so that a write inside one's own transaction can be refused instead of hanging.
        self._mutex = threading.RLock()
        self._tree = Tree()
        self._rev = database.rev
        self._keys: dict[str, bytes] = {}
        self._routes = Routes()
        self._gaps = Gaps()
        self._queue = Queue(decode)
        self._push = self._queue.push
        self._dispatcher = Dispatcher(
            self._queue,
            self._routes,
            self._gaps,
            on_handler_error,
            _fork_check(os.getpid(), database.directory),
            self._mutex,
        )
        self._writer = Writer(self._commit_group)
        self._names = _NameMaker()
        self._refusal: Callable[[], NoReturn] | None = None
        self._give_up_at = float("inf")  # the time at which close() ends all waiting for room
        self._closer: int | None = None  # the thread that closes
        self._closed = False
        self._closing = Progress()
        # Bound once: and replaced by a refusal once the store is closed, so that the hot paths need not ask.
        self._begin: Callable[[], LmdbTransaction] = database.env.begin
        self._begin_write: Callable[[], LmdbTransaction] = _write_transactions(database)
        self._syncer = _Syncer(database.env) if durability == "async" else None
        _open_stores.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_refusal", self) is None:
            warnings.warn(f"the store in {self._database.directory} was never closed", ResourceWarning, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        state = "open" if self._refusal is None else "closed"
        return f"<Store in {self._database.directory}, {state}, rev {self._rev}>"

    @property
    def rev(self) -> int:
        """The revision of the latest commit; 0 in a new store."""
        return self._rev

    @property
    def path(self) -> Path:
        """The directory."""
        return self._database.directory

    # --- reading

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value at `path`, or `default` where there is none. The value is the caller's own copy."""
        try:
            key = self._keys.get(path) or self._remember(path)
        except TypeError:  # no str, nor anything else that can be looked up
            key = key_of(path)
        try:
            raw = self._begin().get(key)
        except lmdb.Error:
            raw = None  # the map was being moved: look again below, behind the mutex
        if raw is not None:
            return decode(raw)
        value = self._read(lambda txn: self._tree.value(txn, key))
        return default if value is MISSING else value

    def exists(self, path: str) -> bool:
        """Whether there is a value at `path`; None is one."""
        key = key_of(path)
        return self._read(lambda txn: self._tree.exists(txn, key))

    def keys(
        self, path: str = "/", *, start: str | None = None, end: str | None = None, limit: int | None = None
    ) -> list[str]:
        """Return the names of the children of `path` in byte order.

        From `start` (included) to `end` (not included), `limit` at most.
        """
        key = key_of(path)
        return self._read(lambda txn: list(islice(self._tree.names(txn, key, start, end), limit)))

    def items(
        self, path: str = "/", *, start: str | None = None, end: str | None = None, limit: int | None = None
    ) -> list[tuple[str, Any]]:
        """Return (name, value) of the children of `path`, with ranges as for `keys()`, from one state of the store."""
        key = key_of(path)
        return self._read(lambda txn: _items(self._tree, txn, key, (start, end, limit)))

    def _read(self, read: Callable[[LmdbTransaction], T]) -> T:
        try:
            return read(self._begin())
        except lmdb.Error:
            # A growing map invalidates the reads under way. Behind the mutex nothing grows.
            with self._mutex:
                try:
                    return read(self._begin())
                except lmdb.Error as error:
                    raise storage_error(error, self._database.directory) from error

    def _remember(self, path: str) -> bytes:
        key = key_of(path)
        if len(self._keys) >= _CACHED_KEYS:
            self._keys = {}
        self._keys[path] = key
        return key

    # --- writing

    def set(self, path: str, value: Any) -> int:
        """Replace the whole subtree at `path` by `value`; return the revision.

        Raises `PathError`, `InvalidValueError` or `InvalidTypeError` before anything is written.
        """
        try:
            key = self._keys.get(path) or self._remember(path)
        except TypeError:  # as in get()
            key = key_of(path)
        leaves = flatten(key, value)
        with self._mutex:
            # Looked at behind the mutex: who has subscribed before us is owed this event.
            routes = self._routes
            if routes.empty:
                return self._set_unwatched(key, leaves)
            try:
                route = routes.cache[path]
            except KeyError:
                route = routes.resolve(path)
            if route is None:
                return self._set_unwatched(key, leaves)
            if route.plain and len(leaves) == 1:
                ((leaf_key, raw),) = leaves
                if leaf_key is key:
                    return self._set_leaf(path, key, raw, route)
        return self._commit(_Call([(path, key, leaves)]))

    def _set_unwatched(self, key: bytes, leaves: Leaves) -> int:
        txn = self._begin_write()
        try:
            self._tree.set(txn, key, leaves)
            txn.commit()
        except BaseException as error:  # noqa: BLE001 - _recover() raises it again, or has repeated the call
            self._undo(txn)
            return self._recover(error, _Call([(path_of(key), key, leaves)]))
        self._rev = rev = self._rev + 1
        return rev

    def _set_leaf(self, path: str, key: bytes, raw: bytes, route: Route) -> int:
        """Do what _commit() does, for the commonest write: a leaf, watched at its own path alone."""
        leaf = route.leaf
        old = leaf.raw if leaf is not None else None
        txn = self._begin_write()
        try:
            if old is not None:
                txn.put(key, raw)
            else:
                old = self._tree.raw(txn, key)
                self._tree.set(txn, key, [(key, raw)])
                leaf = route.leaf = self._tree.leaf(key)  # None where it went into an object stored as one value
            if leaf is not None:  # before the commit, so that nothing can come between that and the event
                leaf.raw = raw if len(raw) <= SMALL else None
            txn.commit()
        except BaseException as error:  # noqa: BLE001 - as in _set_unwatched
            self._undo(txn)
            event = Pending(path, raw, old if route.wants_old else None, route.direct, last=True)
            return self._recover(error, _Call([(path, key, [(key, raw)])]), () if old == raw else (event,))
        self._rev = rev = self._rev + 1
        if old != raw:
            kept = old if route.wants_old else None
            try:
                seq = self._push(path, rev, 0, True, raw, kept, route.direct)
                if seq < 0:
                    self._missed(-seq, rev, time.time_ns(), Pending(path, raw, kept, route.direct, last=True))
            except BaseException:  # a signal handler's
                self._settle(Pending(path, raw, kept, route.direct, last=True), rev, time.time_ns())
                raise
        return rev

    def update(self, path: str, values: dict[str, Any]) -> int:
        """Set the children of `path` that `values` names and leave the others; return the revision."""
        return self._commit(_update_call(path, values))

    def delete(self, path: str) -> int:
        """Remove `path` and everything below it; return the revision. Nothing there: nothing happens."""
        return self._commit(_Call([(path, key_of(path), None)]))

    def push(self, path: str, value: Any) -> str:
        """Store `value` under `path` with a new name, and return the name: names sort by the time of their making."""
        key_of(path)
        with self._mutex:
            name = self._names.make()
            self.set(child_path(path, name), value)
            return name

    def set_async(self, path: str, value: Any) -> "Future[int]":
        """Like `set()`, committed together with other calls by a writer thread; the future gives the revision.

        The value is checked and encoded now: these errors are raised here, those of the disk by the future.
        """
        key = key_of(path)
        return self._submit(_Call([(path, key, flatten(key, value))]))

    def update_async(self, path: str, values: dict[str, Any]) -> "Future[int]":
        """Like `update()`, as `set_async()` is to `set()`."""
        return self._submit(_update_call(path, values))

    def delete_async(self, path: str) -> "Future[int]":
        """Like `delete()`, as `set_async()` is to `set()`."""
        return self._submit(_Call([(path, key_of(path), None)]))

    def transaction(self) -> AbstractContextManager["Transaction"]:
        """Group several reads and writes into one commit with one revision and one group of events.

        An exception in the block undoes all of it. Other writers wait meanwhile, so do not wait for them inside.
        """
        return TransactionScope(self._transaction())

    def _transaction(self) -> "Generator[Transaction, None, None]":
        with self._mutex:
            inner: Transaction | None = None
            begin_write = self._begin_write
            try:
                inner = Transaction(self, begin_write)
                self._begin_write = _refuse_nested
                yield inner
                self._begin_write = begin_write
                inner.close()
                if inner.call.writes:
                    self._commit_transaction(inner)
                else:
                    inner.rev = self._rev
            finally:
                # close() inside the block has put its own refusal there, which stays.
                if self._begin_write is _refuse_nested:
                    self._begin_write = begin_write
                if inner is not None:
                    try:
                        inner.abort()
                    finally:
                        inner.txn.abort()  # where a signal's handler has raised before the first step of the other
                    if not inner.committed:
                        self._tree.forget()

    def _commit(self, call: _Call) -> int:
        """Commit one call and push its events."""
        deadline: float | None = None
        while True:
            with self._mutex:
                txn = self._begin_write()
                events: list[Pending] = []
                try:
                    watched = self._watched(call, txn)
                    changed = self._apply(call, txn)
                    if not changed:
                        self._abort(txn)
                        return self._rev
                    if watched:
                        events = watched.events(txn)
                        self._require_room(events)
                    txn.commit()
                    return self._publish(events)
                except _NoRoomError:
                    self._undo(txn)
                except BaseException as error:  # noqa: BLE001 - as in _set_unwatched
                    self._undo(txn)
                    return self._recover(error, call, events)
            deadline = self._wait_for_room(events, deadline)

    def _watched(self, call: _Call, before: LmdbTransaction) -> Watched | None:
        if self._routes.empty:
            return None
        paths = [path for path, _, _ in call.writes]
        watched = Watched(self._tree, self._routes, before, paths, call.merged)
        return watched or None

    def _apply(self, call: _Call, txn: LmdbTransaction) -> bool:
        changed = False
        for _, key, leaves in call.writes:
            if leaves is None:
                changed |= self._tree.delete(txn, key)
            else:
                self._tree.set(txn, key, leaves)
                changed = True
        return changed

    def _publish(self, events: Sequence[Pending]) -> int:
        """Count the commit and push its events. The mutex is held since before the commit."""
        self._rev = rev = self._rev + 1
        first = self._queue.next_seq
        timestamp = 0
        interruption: BaseException | None = None
        interruptions = 0
        while interruptions < _MOST_INTERRUPTIONS:  # from the commit to here nothing is called: so nothing is raised
            try:
                timestamp = timestamp or time.time_ns()
                self._push_all(events, first, rev, timestamp)
                break
            except BaseException as error:  # noqa: BLE001 - a signal handler's, raised again when all is told
                interruption = error
                interruptions += 1
                pushed = self._queue.next_seq - first
                if pushed:
                    self._settle(events[pushed - 1], rev, timestamp)
        if interruption is not None:
            raise interruption
        return rev

    def _push_all(self, events: Sequence[Pending], first: int, rev: int, timestamp: int) -> None:
        # A function of its own: a loop's jump back, at which signals are looked at too, is not always within the `try`
        # that the loop is written in (Python 3.13).
        for pending in events[self._queue.next_seq - first :]:
            seq = self._queue.push(pending.path, rev, timestamp, pending.last, pending.raw, pending.old, pending.cores)
            if seq < 0:
                self._missed(-seq, rev, timestamp, pending)

    def _settle(self, pending: Pending, rev: int, timestamp: int) -> None:
        """After an interruption: where `pending`, the latest event, was dropped, note that if it has not been."""
        if self._queue.settled < self._queue.next_seq:
            self._missed(self._queue.next_seq - 1, rev, timestamp, pending)

    def _missed(self, seq: int, rev: int, timestamp: int, pending: Pending) -> None:
        # Noted before the consumer can see the gap, so that it finds whose events they were.
        self._gaps.dropped(seq, rev, timestamp, pending)
        self._queue.settle()

    def _undo(self, txn: LmdbTransaction) -> None:
        """End a write transaction that has written, without a commit."""
        self._tree.forget()
        self._abort(txn)

    def _abort(self, txn: LmdbTransaction) -> None:
        """End a write transaction. Readers that begin now wait for that.

        For lmdb waits until none of them is inside a call of its own, which with readers that never pause may take
        seconds. The mutex is held.
        """
        begin = self._begin
        self._begin = self._begin_behind_mutex
        try:
            txn.abort()
        finally:
            if self._begin == self._begin_behind_mutex:  # else a finalizer has closed the store
                self._begin = begin

    def _begin_behind_mutex(self) -> LmdbTransaction:
        with self._mutex:
            return self._database.env.begin()

    def _recover(self, error: BaseException, call: _Call, events: Sequence[Pending] = ()) -> int:
        """After a failed or interrupted commit that was undone: retry where growing helps, or raise."""
        if isinstance(error, lmdb.MapFullError):
            self._database.grow()
            return self._commit(call)
        if isinstance(error, lmdb.Error):
            raise storage_error(error, self._database.directory) from error
        # A signal handler may raise anywhere, also right after the commit: then the events are still owed.
        if self._refusal is None and self._database.current_rev() > self._rev:
            self._publish(events)
        raise error

    def _commit_transaction(self, inner: "Transaction") -> None:
        call = inner.call
        while True:
            events: list[Pending] = []
            try:
                if not self._routes.empty:
                    # The state before: what readers still see, since the mutex keeps other writers out.
                    snapshot = self._begin()
                    watched = self._watched(call, snapshot)
                    if watched:
                        events = watched.events(inner.txn)
                    snapshot.abort()
                self._await_room(events)
                inner.txn.commit()
                inner.committed = True
                inner.rev = self._publish(events)
            except lmdb.MapFullError:
                inner.grow_and_replay()
            except lmdb.Error as error:
                raise storage_error(error, self._database.directory) from error
            except BaseException:
                # A signal handler's, as in _recover(): up to _publish()'s first line the events are still owed.
                if self._database.current_rev() > self._rev:
                    inner.committed = True
                    inner.rev = self._publish(events)
                raise
            else:
                return

    def _submit(self, call: _Call) -> "Future[int]":
        self._check()
        # The writer waits for our own transaction: so do not wait for it.
        patient = self._begin_write is not _refuse_nested or not self._mutex_is_mine()
        return self._writer.submit(call, patient=patient)

    def _commit_group(self, calls: list[_Call]) -> list[int | BaseException]:
        """Commit many calls at once; each has its revision and its group of events, in their order."""
        deadline: float | None = None
        while True:
            events: list[list[Pending]] = []
            with self._mutex:
                txn = self._begin_write()
                try:
                    changed = []
                    for call in calls:
                        watched = self._watched(call, txn)
                        changed.append(self._apply(call, txn))
                        events.append(watched.events(txn) if watched and changed[-1] else [])
                    commits = sum(changed)
                    if commits == 0:
                        self._abort(txn)
                        return [self._rev] * len(calls)
                    self._require_room([one for group in events for one in group])
                    if commits > 1:
                        self._database.raise_rev_base(txn, commits - 1)
                    txn.commit()
                    self._database.rev_base += commits - 1
                    return [
                        self._publish(group) if did else self._rev for group, did in zip(events, changed, strict=True)
                    ]
                except _NoRoomError:
                    self._undo(txn)
                except (lmdb.Error, ElkynError) as error:
                    self._undo(txn)
                    if len(calls) > 1:  # one by one, so that each gets its own success or failure
                        return [result for call in calls for result in self._commit_group([call])]
                    if isinstance(error, ElkynError):
                        return [error]
                    if not isinstance(error, lmdb.MapFullError):
                        return [storage_error(error, self._database.directory)]
                    try:
                        self._database.grow()
                    except StorageError as full:
                        return [full]
                    continue
                except BaseException:
                    # An open transaction would keep every later writer waiting, and the error may live long.
                    self._undo(txn)
                    raise
            try:
                deadline = self._wait_for_room([one for group in events for one in group], deadline)
            except EventTimeout as late:
                if len(calls) == 1:
                    return [late]
                return [result for call in calls for result in self._commit_group([call])]

    # --- room for events, for those who would rather have the writer wait

    def _has_room(self, events: list[Pending]) -> bool:
        blocking = {core.run for event in events for core in event.cores if core.options.overflow == "block"}
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
            run.waiting() + coming + min(count, run.options.capacity) <= run.options.capacity
            for run in blocking
            if run.waiting is not None
        )

    def _require_room(self, events: list[Pending]) -> None:
        if not events or self._has_room(events) or time.monotonic() >= self._give_up_at:
            return
        if self._dispatcher.on_thread():
            raise WouldDeadlock(
                "a write inside a handler would wait for room in a subscription with overflow='block', "
                "which only this thread can make; nothing was written"
            )
        raise _NoRoomError

    def _wait_for_room(self, events: list[Pending], deadline: float | None) -> float:
        """Wait without the mutex; room that was seen may be gone again, so the caller tries anew until the deadline."""
        timeout = min(
            core.options.timeout for event in events for core in event.cores if core.options.overflow == "block"
        )
        now = time.monotonic()
        deadline = now + timeout if deadline is None else deadline
        give_up_at = self._give_up_at
        if (
            not self._dispatcher.wait_until(
                lambda: self._has_room(events) or self._give_up_at != give_up_at,  # close() has begun
                max(0.0, min(deadline, give_up_at) - now),
            )
            and time.monotonic() < give_up_at
        ):
            raise EventTimeout(f"a subscription with overflow='block' had no room for {timeout} s; nothing was written")
        return deadline

    def _await_room(self, events: list[Pending]) -> None:
        """Wait with the mutex, in a transaction, whose block cannot be run again."""
        try:
            self._require_room(events)
        except _NoRoomError:
            self._wait_for_room(events, None)

    # --- events

    def watch(
        self,
        pattern: str,
        *,
        children: bool = False,
        old: bool = False,
        initial: bool = False,
        overflow: OverflowPolicy = "gap",
        capacity: int = 1024,
        timeout: float = 5.0,
    ) -> Observable[Event]:
        """Return the changes to come of the nodes that `pattern` names.

        `*` is exactly one segment; a final `**` is the node and everything below it. A node's event comes when a commit
        changed its value by a write at it or above it; with `children=True` also by one below it. A `**` reports each
        node that was written, at the depth at which it was written. `old=True` adds the value before the commit;
        `initial=True` first delivers what is there. The other options are those of `Observable.subscribe()`, which
        matter here for async iteration.
        """
        self._check()
        pattern_segments(pattern)
        if overflow not in POLICIES:
            raise ValueError(f"overflow must be one of {', '.join(POLICIES)}, not {overflow!r}")
        if capacity < 1:
            raise ValueError("capacity must be 1 or more")
        options = Options(
            children=children, old=old, initial=initial, overflow=overflow, capacity=capacity, timeout=timeout
        )

        def connect(run: Run, sink: Observer) -> Stop:
            return self._attach(Core(run, pattern, run.options, children, sink))

        return Observable(self._dispatcher, connect, options, pattern)

    def _attach(self, core: Core) -> Stop:
        routes = self._routes
        with self._mutex:
            self._check()
            if self._begin_write is _refuse_nested:
                raise WouldDeadlock("cannot subscribe inside one's own transaction; subscribe before or after it")
            self._dispatcher.start()
            core.run.cores.append(core)
            core.run.start_rev = self._rev
            routes.add(core)
            if core.run.done:  # by an error of another source of the same run: who ended it saw no more than those
                routes.remove(core)
                core.stop()
            elif core.options.initial:
                self._dispatcher.post(_Snapshot(core, self._snapshot(core)))

        def stop() -> None:
            routes.remove(core)
            core.stop()

        return stop

    def _snapshot(self, core: Core) -> list[Event]:
        found = self._read(lambda txn: list(_existing(self._tree, txn, core.place)))
        first = self._queue.settled - len(found)  # so that they are numbered just below the first live event
        events = []
        for index, (path, raw) in enumerate(found):
            omitted = len(raw) > VALUE_BYTES
            events.append(
                Event(
                    decode,
                    deleted=False,
                    path=path,
                    value=None if omitted else raw,
                    old=None,
                    rev=self._rev,
                    seq=first + index,
                    last=index == len(found) - 1,
                    timestamp_ns=time.time_ns(),
                    size=len(raw),
                    omitted=omitted,
                )
            )
        return events

    def flush_events(self, timeout: float | None = None) -> bool:
        """Return when all that was committed before, and all snapshots of `initial=True`, have been delivered.

        False when `timeout` seconds were over first.

        Delivered means: the handlers on the dispatcher thread have returned, and buffered subscriptions (executor,
        async) have it in their inboxes.
        """
        self._check()
        if self._begin_write is _refuse_nested and self._mutex_is_mine():
            raise WouldDeadlock(
                "flush_events() inside a transaction may wait for a handler that waits for the transaction"
            )
        return self._dispatcher.flush(timeout)

    def _mutex_is_mine(self) -> bool:
        # True only for the thread that holds it: others fail to take it.
        if not self._mutex.acquire(blocking=False):
            return False
        try:
            return self._begin_write is _refuse_nested
        finally:
            self._mutex.release()

    def event_queue_stats(self) -> QueueStats:
        """Return the figures of the event queue. Wait-free."""
        self._check()
        return self._stats()

    def _stats(self) -> QueueStats:
        ring = self._queue.stats()
        dispatcher, gaps = self._dispatcher, self._gaps
        coalesced = gaps.coalesced + dispatcher.coalesced
        dropped = ring.dropped - gaps.parked + dispatcher.dropped + dispatcher.dropped_at_close
        pending = max(0, ring.produced - ring.dropped - self._queue.handled - dispatcher.dropped_at_close)
        pending += gaps.waiting()
        produced = ring.produced + dispatcher.snapshots
        return QueueStats(
            pending=pending,
            processed=ring.popped,
            produced=produced,
            delivered=max(0, produced - dropped - coalesced - pending),
            dropped=dropped,
            coalesced=coalesced,
            omitted=ring.omitted + gaps.omitted,
            dropped_at_close=dispatcher.dropped_at_close,
            handler_errors=dispatcher.handler_errors,
            overflow_episodes=ring.overflow_episodes,
            capacity=SLOTS,
            capacity_bytes=VALUE_BYTES,
            bytes=ring.bytes,
            high_water=ring.high_water,
            high_water_bytes=ring.high_water_bytes,
            lag_ns=self._queue.lag_ns,
        )

    def live_subscriptions(self) -> list[LiveSubscription]:
        """Return who is subscribed, with the line that subscribed."""
        self._check()
        return [
            LiveSubscription(run.pattern, run.where, run.start_rev, run.abandoned)
            for run in self._dispatcher.runs()
            if not run.done
        ]

    # --- the end

    def close(self, drain_timeout: float | None = None) -> None:
        """Commit what is queued, deliver what is pending, complete every subscription, and let go of everything.

        Waits `drain_timeout` seconds at most for handlers, and counts what was not delivered then in
        `dropped_at_close`. Idempotent: where another thread closes already, it waits for that. Inside a handler it
        returns at once; the rest follows when the handler returns. What is queued is committed also where a
        subscription with overflow="block" has no room for its events by then: these are dropped.
        Warns (`ResourceWarning`) of each subscription whose handle was dropped without `unsubscribe()`.
        """
        if self._refusal is _refuse_forked:
            _refuse_forked()
        if self._refusal is not None:
            self._await_closer()
            return
        if self._begin_write is _refuse_nested and self._mutex_is_mine():
            raise WouldDeadlock("cannot close the store inside its own transaction; leave the block first")
        if drain_timeout is None:
            drain_timeout = self._drain_timeout
        # Who waits for a handler waits no longer than close() does; and not at all for the one that calls us.
        self._give_up_at = time.monotonic() + (0.0 if self._dispatcher.on_thread() else drain_timeout)
        self._dispatcher.progressed()
        self._writer.close()
        if not self._refuse_writes():
            self._await_closer()
            return
        abandoned: list[Run] = []
        try:
            _open_stores.discard(self)
            abandoned = [run for run in self._dispatcher.runs() if run.abandoned and not run.done]
            self._dispatcher.stop(drain_timeout)
        finally:
            with self._mutex:
                self._begin = _refuse_closed
                self._keys = {}
                self._tree.forget()
                try:
                    if self._syncer is not None:
                        self._syncer.close()
                except lmdb.Error as error:
                    raise storage_error(error, self._database.directory) from error
                finally:
                    self._database.close()
                    self._closed = True
                    self._closing.tell()
        for run in abandoned:
            _warn_of(run)

    def _refuse_writes(self) -> bool:
        """Begin to close; False where another thread was first."""
        with self._mutex:
            if self._refusal is not None:
                return False
            self._closer = threading.get_ident()
            self._refusal = _refuse_closed
            self._begin_write = _refuse_closed
            return True

    def _await_closer(self) -> None:
        """Wait for another thread's close() to let go of the directory; not in a handler, for which that one waits."""
        if not self._dispatcher.on_thread() and self._closer != threading.get_ident():
            self._closing.wait_for(lambda: self._closed)

    def _check(self) -> None:
        if self._refusal is not None:
            self._refusal()

    def _after_fork(self) -> None:
        """In a forked child: refuse everything, and touch nothing that the parent goes on using."""
        if self._refusal is _refuse_forked:  # in a child's child: what was ours there is somebody else's here
            return
        self._mutex = threading.RLock()  # the old one may be held by a thread that does not exist here
        self._refusal = self._begin = self._begin_write = _refuse_forked
        self._database.forked()


class Transaction:
    """Several reads and writes that become one commit. Made by `Store.transaction()`; for the block's thread only."""

    def __init__(self, store: Store, begin: Callable[[], LmdbTransaction]) -> None:
        self._store = store
        self._open = True
        self._thread = threading.get_ident()
        self.call = _Call([])
        self.committed = False
        self.rev = 0
        self.txn = begin()  # last: what a signal's handler raises before or after finds nothing begun that we hold

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value at `path` as this transaction has left it."""
        value = self._tree().value(self.txn, key_of(path))
        return default if value is MISSING else value

    def exists(self, path: str) -> bool:
        """Whether there is a value at `path`."""
        return self._tree().exists(self.txn, key_of(path))

    def keys(
        self, path: str = "/", *, start: str | None = None, end: str | None = None, limit: int | None = None
    ) -> list[str]:
        """Return the names of the children, as `Store.keys()` does."""
        return list(islice(self._tree().names(self.txn, key_of(path), start, end), limit))

    def items(
        self, path: str = "/", *, start: str | None = None, end: str | None = None, limit: int | None = None
    ) -> list[tuple[str, Any]]:
        """Return the children with their values, as `Store.items()` does."""
        return _items(self._tree(), self.txn, key_of(path), (start, end, limit))

    def set(self, path: str, value: Any) -> None:
        """Replace the whole subtree at `path` by `value`."""
        key = key_of(path)
        self._do(_Call([(path, key, flatten(key, value))]))

    def update(self, path: str, values: dict[str, Any]) -> None:
        """Set the children of `path` that `values` names and leave the others."""
        self._do(_update_call(path, values))

    def delete(self, path: str) -> None:
        """Remove `path` and everything below it."""
        key = key_of(path)
        if self.exists(path):
            self._do(_Call([(path, key, None)]))

    def push(self, path: str, value: Any) -> str:
        """Store `value` under `path` with a new name that sorts by time, and return the name."""
        key_of(path)
        name = self._store._names.make()
        self.set(child_path(path, name), value)
        return name

    def _tree(self) -> Tree:
        if not self._open:
            raise StoreClosedError("the transaction is over; begin another with store.transaction()")
        if self._thread != threading.get_ident():  # two threads at once in one of LMDB's would damage memory
            raise ElkynError("a transaction is for the thread that began it; others write through the store")
        return self._store._tree

    def _do(self, call: _Call) -> None:
        self._tree()
        try:
            self._store._apply(call, self.txn)
        except lmdb.MapFullError:
            self.call.writes += call.writes
            self.grow_and_replay()
        except lmdb.Error as error:
            raise storage_error(error, self._store.path) from error
        except BaseException:
            self._replay()  # without this call, of which a part may be done
            raise
        else:
            self.call.writes += call.writes
        self.call.merged += call.merged

    def grow_and_replay(self) -> None:
        """Give the map more room, which ends the transaction underneath, and do all writes again in a new one."""
        while True:
            self._store._abort(self.txn)
            self._store._database.grow()
            try:
                self._replay()
            except lmdb.MapFullError:
                continue
            return

    def _replay(self) -> None:
        self._store._undo(self.txn)
        self.txn = _write_transactions(self._store._database)()
        self._store._apply(self.call, self.txn)

    def close(self) -> None:
        """Take no more calls."""
        self._open = False

    def abort(self) -> None:
        """Let go of the transaction underneath, undoing what is not committed."""
        self._open = False
        self._store._abort(self.txn)


class _Snapshot:
    """Delivers what was there when a subscription began, before its first live event."""

    def __init__(self, core: Core, events: list[Event]) -> None:
        self._core = core
        self._events = events

    def __call__(self) -> None:
        for event in self._events:
            if not self._core.active:
                break
            self._core.run.dispatcher.deliver_one(self._core, event)


class _NameMaker:
    """Names for push(): 8 characters of milliseconds, 12 of chance that count up within one millisecond."""

    _ALPHABET = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"  # in byte order

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = 0
        self._chance = 0

    def make(self) -> str:
        """Return a name that sorts behind all that were made before, also when the clock is set back."""
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._at:
                self._at = now
                self._chance = secrets.randbits(71)  # one bit less than fits: room to count up
            else:
                self._chance += 1
            number = self._at << 72 | self._chance
        return "".join(self._ALPHABET[number >> shift & 63] for shift in range(114, -6, -6))


class _Syncer:
    """Brings commits to the disk every quarter of a second: durability="async"."""

    def __init__(self, env: lmdb.Environment) -> None:
        self._env = env
        self._stopped = False
        self._stopping = Progress()
        self._thread = threading.Thread(target=self._serve, name="elkyn-sync", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        synced = -1
        while not self._stopping.wait_for(lambda: self._stopped, _SYNC_EVERY_S):
            now = self._env.info()["last_txnid"]
            if now != synced:
                try:
                    self._env.sync(True)
                except lmdb.Error as error:  # perhaps the disk takes it the next time; close() raises if it never does
                    _log.error("a sync of the store in %s failed: %s", self._env.path(), error)
                else:
                    synced = now

    def close(self) -> None:
        self._stopped = True
        self._stopping.tell()
        self._thread.join()
        self._env.sync(True)


def _update_call(path: str, values: dict[str, Any]) -> _Call:
    key_of(path)
    if type(values) is not dict:
        raise TypeError(f"update() takes a dict of children, not {type(values).__name__}; set() stores a value")
    writes: list[tuple[str, bytes, Leaves | None]] = []
    for name, value in values.items():
        child = child_path(path, name)
        key = key_of(child)
        writes.append((child, key, flatten(key, value)))
    return _Call(writes, [path])


def _items(
    tree: Tree, txn: LmdbTransaction, key: bytes, bounds: tuple[str | None, str | None, int | None]
) -> list[tuple[str, Any]]:
    start, end, limit = bounds
    names = islice(tree.names(txn, key, start, end), limit)
    if tree.has_leaves_below(txn, key):
        base = prefix_of(key)
        return [(name, tree.value(txn, base + name.encode())) for name in names]
    # A leaf, or inside an object stored whole: its names need not be ones that a key can be made of.
    value = tree.value(txn, key)
    return [(name, value[name]) for name in names]


def _existing(tree: Tree, txn: LmdbTransaction, place: tuple[str, ...], at: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield the nodes that exist at `place`, a pattern's segments, below the path `at`: paths and encoded values."""
    if len(at.encode()) > MAX_BYTES:
        return  # inside an object stored whole, where no path reaches
    if not place:
        raw = tree.raw(txn, key_of(at or "/"))
        if raw is not None:
            yield at or "/", raw
        return
    if place[0] != "*":
        yield from _existing(tree, txn, place[1:], f"{at}/{place[0]}")
        return
    for name in tree.names(txn, key_of(at or "/"), None, None):
        if is_segment(name):  # an object stored whole may have keys that no path can name
            yield from _existing(tree, txn, place[1:], f"{at}/{name}")


def _write_transactions(database: Database) -> Callable[[], LmdbTransaction]:
    begin = database.env.begin
    directory = database.directory

    def begin_write() -> LmdbTransaction:
        try:
            return begin(None, None, True)  # write=True: without the keyword it is a fifth faster
        except lmdb.Error as error:
            if type(error) is lmdb.Error and "another write" in str(error):
                raise WouldDeadlock(
                    "a write of this thread is under way: a signal handler or a finalizer cannot write meanwhile"
                ) from error
            raise storage_error(error, directory) from error

    return begin_write


def _fork_check(pid: int, directory: Path) -> Callable[[], None]:
    def check() -> None:
        if os.getpid() != pid:
            raise ForkedStoreError(f"the store in {directory} belongs to the parent process; open another here")

    return check


def _refuse_closed() -> NoReturn:
    raise StoreClosedError("the store is closed; open it again to go on")


def _refuse_forked() -> NoReturn:
    raise ForkedStoreError("the store was opened by the parent process; a forked child opens another directory itself")


def _refuse_nested() -> NoReturn:
    raise WouldDeadlock("the store is in your own transaction: write through it (tx.set and so on), or leave the block")


def _warn_of(run: Run) -> None:
    file, _, line = run.where.rpartition(":")
    message = f"the subscription to {run.pattern} was never unsubscribed, and its handle is gone"
    warnings.warn_explicit(message, ResourceWarning, file or "?", int(line) if line.isdigit() else 0)


_open_stores: "weakref.WeakSet[Store]" = weakref.WeakSet()


def _close_all() -> None:
    """At exit: close what is open, waiting a little for handlers, so that no thread outlives the interpreter."""
    for store in list(_open_stores):
        # A daemon thread may be inside a transaction for as long as it likes: it ends there, undone, with the process.
        if not store._mutex.acquire(timeout=0.25):
            report_leaks(False)
            continue
        store._mutex.release()
        try:
            store.close(drain_timeout=0.25)
        except Exception:  # noqa: BLE001, S110 - nobody is left to hear of it, and the exit code is the program's
            pass
        if store._dispatcher.alive():
            # A handler that does not return keeps its event and the queue: its doing, and no leak of ours.
            report_leaks(False)
    if any(thread.daemon for thread in threading.enumerate()):
        report_leaks(False)  # such a thread is stopped wherever it is, and what it holds there is never let go of


def _refuse_in_child() -> None:
    for store in list(_open_stores):
        store._after_fork()
        # What the parent's threads held stays held here for ever, since they do not run here.
        report_leaks(False)


atexit.register(_close_all)
os.register_at_fork(after_in_child=_refuse_in_child)

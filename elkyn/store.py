"""The face of the store: `Store`, which `open()` makes."""

import asyncio
import os
import warnings
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Self

import lmdb

from elkyn._native import (
    ChangeLog,
    Event,
    Queue,
    TransactionScope,
)
from elkyn.commits import Commits
from elkyn.ending import Ending
from elkyn.errors import WouldDeadlock
from elkyn.events.children import ChildEvent, child_event
from elkyn.events.dispatcher import Dispatcher
from elkyn.events.emitter import Emitter
from elkyn.events.event import LiveSubscription, QueueStats
from elkyn.events.gaps import Gaps
from elkyn.events.observable import Observable
from elkyn.events.resume import nodes_since
from elkyn.events.room import Room
from elkyn.events.routes import Routes
from elkyn.events.snapshot import Nodes, Snapshot
from elkyn.events.subscriptions import (
    Observer,
    Options,
    OverflowPolicy,
    SubscriptionState,
    Watcher,
)
from elkyn.events.thread import EventThread, HandlerErrorHook, Stop
from elkyn.expiry import Expirer, deadline_in, next_due
from elkyn.paths import child_path, key_of, pattern_segments, plain
from elkyn.push_names import PushNames
from elkyn.readonly import Reader, readers_of, walk_by_pages
from elkyn.storage import Database, damaged
from elkyn.tools import copy
from elkyn.transaction import Transaction
from elkyn.tree import Tree
from elkyn.values import BAD_BYTES, MISSING, decode, flatten
from elkyn.writer import MAX_CALLS_PER_COMMIT, Gathered, Writer
from elkyn.writes import Call, deleting, setting_at, updating

CACHED_KEYS = 1024
"""Paths whose key is remembered: what a program reads and writes again and again, and 300 kB at most."""
FULL_PAUSE_S = 0.001
"""Seconds that a coroutine pauses where ten thousand writes are in line: some of a commit's time."""


class Store:
    """An open store. All methods may be called from any thread; made by `open()`."""

    def __init__(
        self, database: Database, drain_timeout: float, on_handler_error: HandlerErrorHook, queue: Queue
    ) -> None:
        self._database = database
        self._drain_timeout = drain_timeout
        self._tree = Tree()
        self._keys: dict[str, bytes] = {}
        self._routes = Routes()
        self._gaps = Gaps(queue.slots, queue.value_bytes)
        self._queue = queue
        self._thread = EventThread(self._queue, on_handler_error, database.refuse_if_forked, database.mutex)
        self._dispatcher = Dispatcher(self._queue, self._routes, self._gaps, self._thread)
        self._emitter = Emitter(self._queue, self._gaps, database.current_rev())
        self._room = Room(self._queue, self._thread)
        self._changes = ChangeLog(self._emitter.rev)
        self._commits = Commits(
            database, self._tree, self._routes, self._queue, self._emitter, self._room, self._changes
        )
        self._writer = Writer(database.in_own_transaction)
        self._names = PushNames(database.pushed)
        self._expirer = Expirer(database.read, self._commits.commit)
        if database.read(lambda txn: next_due(txn, 1)):  # of an earlier session
            self._tree.expires = True
            self._expirer.tell()
        self._end = Ending(
            database,
            self._tree,
            self._names,
            self._writer,
            self._expirer,
            self._room,
            self._thread,
            self._dispatcher,
            self._changes,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_end") and self._database.is_open:
            warnings.warn(f"the store in {self._database.directory} was never closed", ResourceWarning, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        state = "open" if self._database.is_open else "closed"
        return f"<Store in {self._database.directory}, {state}, rev {self.rev}>"

    @property
    def rev(self) -> int:
        """The revision of the latest commit; 0 in a new store."""
        return self._emitter.rev

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
            raw = self._database.begin().get(key)
        except lmdb.Error:
            raw = None  # the map was being moved: look again below, behind the mutex
        if raw is not None:
            try:
                return decode(raw)
            except BAD_BYTES as error:
                raise damaged(error, self._database.directory) from error
        value = self._database.read(lambda txn: self._tree.value(txn, key))
        return default if value is MISSING else value

    def exists(self, path: str) -> bool:
        """Whether there is a value at `path`; None is one."""
        key = key_of(path)
        return self._database.read(lambda txn: self._tree.exists(txn, key))

    def keys(
        self, path: str = "/", *, start: str | None = None, end: str | None = None, limit: int | None = None
    ) -> list[str]:
        """Return the names of the children of `path` in byte order.

        From `start` (included) to `end` (not included), `limit` at most.
        """
        key = key_of(path)
        return self._database.read(lambda txn: list(islice(self._tree.names(txn, key, start, end), limit)))

    def items(
        self, path: str = "/", *, start: str | None = None, end: str | None = None, limit: int | None = None
    ) -> list[tuple[str, Any]]:
        """Return (name, value) of the children of `path`, with ranges as for `keys()`, from one state of the store."""
        key = key_of(path)
        return self._database.read(lambda txn: self._tree.items(txn, key, (start, end, limit)))

    def walk(self, path: str = "/") -> Iterator[tuple[str, Any]]:
        """Yield path and value of the leaves at and below `path`, in the order of their keys, in flat memory.

        They are read 256 at a time, each page from one state of the store: what commits meanwhile behind the latest
        page is seen, and nothing comes twice.
        """
        return walk_by_pages(self._database.read, self._tree, path)

    def readers(self) -> list[Reader]:
        """Return who reads the store, in this process and others."""
        self._database.require_open()
        return readers_of(self._database.env, self._database.rev_base)

    def backup(self, to: str | os.PathLike[str], *, compact: bool = False) -> int:
        """Copy the store as it is now to the new directory `to`, while others read and write; return its revision.

        With `compact=True` without its free pages, by way of a plain copy beside it.
        """
        self._database.require_open()
        return copy(self._database.env, Path(to), compact=compact)

    def _remember(self, path: str) -> bytes:
        key = key_of(path)
        if type(path) is not str:  # that of a subclass may change its mind about what it equals
            return key
        if len(self._keys) >= CACHED_KEYS:
            with suppress(KeyError, RuntimeError, StopIteration):  # another thread does the same
                del self._keys[next(iter(self._keys))]
        self._keys[path] = key
        return key

    # --- writing

    def set(self, path: str, value: Any, *, ttl: float | None = None) -> int:
        """Replace the whole subtree at `path` by `value`; return the revision.

        With `ttl` it is deleted that many seconds later, as a write of its own, unless it has been written anew or
        deleted by then, or a node above it; by the wall clock, and in a later session where this one has ended.
        Raises `PathError`, `InvalidValueError` or `InvalidTypeError` before anything is written.
        """
        if ttl is not None:
            rev = self._commits.commit(self._setting(path, value, ttl))
            self._expirer.tell()
            return rev
        if type(path) is not str:
            path = plain(path)
        key = self._keys.get(path) or self._remember(path)
        return self._commits.set(path, key, flatten(key, value))

    def update(self, path: str, values: dict[str, Any]) -> int:
        """Set the children of `path` that `values` names and leave the others; return the revision."""
        return self._commits.commit(updating(path, values))

    def delete(self, path: str) -> int:
        """Remove `path` and everything below it; return the revision. Nothing there: nothing happens."""
        return self._commits.commit(deleting(path))

    def push(self, path: str, value: Any) -> str:
        """Store `value` under `path` with a new name, and return the name: names sort by the time of their making."""
        path = plain(path)
        key = key_of(path)
        with self._database.mutex:
            if not self._names.knows(path):
                self._names.follow(path, self._database.read(lambda txn: self._tree.last_name(txn, key)))
            name = self._names.make()
            self.set(child_path(path, name), value)
            return name

    def set_async(self, path: str, value: Any, *, ttl: float | None = None) -> "Future[int]":
        """Like `set()`, committed together with other calls by a writer thread; the future gives the revision.

        The value is checked and encoded now: these errors are raised here, those of the disk by the future.
        """
        return self._submit(self._setting(path, value, ttl))

    def update_async(self, path: str, values: dict[str, Any]) -> "Future[int]":
        """Like `update()`, as `set_async()` is to `set()`."""
        return self._submit(updating(path, values))

    def delete_async(self, path: str) -> "Future[int]":
        """Like `delete()`, as `set_async()` is to `set()`."""
        return self._submit(deleting(path))

    async def aset(self, path: str, value: Any, *, ttl: float | None = None) -> int:
        """Like `set_async()`, for a coroutine: awaits the commit. Cancelled, it is committed all the same."""
        return await self._asubmit(self._setting(path, value, ttl))

    async def aupdate(self, path: str, values: dict[str, Any]) -> int:
        """Like `update_async()`, as `aset()` is to `set_async()`."""
        return await self._asubmit(updating(path, values))

    async def adelete(self, path: str) -> int:
        """Like `delete_async()`, as `aset()` is to `set_async()`."""
        return await self._asubmit(deleting(path))

    async def aflush_events(self, timeout: float | None = None) -> bool:
        """Like `flush_events()`, with the event loop free to serve its own handlers meanwhile."""
        return await asyncio.to_thread(self.flush_events, timeout)

    async def _asubmit(self, call: Call) -> int:
        self._database.require_open()
        while self._writer.is_full():  # where submit() would wait, and the loop with it
            await asyncio.sleep(FULL_PAUSE_S)
        committed: asyncio.Future[int] = asyncio.wrap_future(self._submit(call))
        return await committed

    def write_many(self, writes: Iterable[tuple[str, Any]]) -> "Future[list[int]]":
        """Queue a `set()` for each (path, value), a thousand at a time; the future gives their revisions.

        As many `set_async()` would do, each with its own revision and events, for a fraction of their cost. `writes` is
        read to its end, waiting where the writer is behind. What it raises, and the error of a value, is raised here:
        whole thousands before it are in line by then. Where a write fails, the future raises the first such error.
        """
        self._database.require_open()
        todo, gathered = iter(writes), Gathered(self._writer)
        while part := [self._setting(path, value) for path, value in islice(todo, MAX_CALLS_PER_COMMIT)]:
            self._writer.submit(part, self._commit_group, gathered=gathered)
        return gathered.all_queued()

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Group several reads and writes into one commit with one revision and one group of events.

        An exception in the block undoes all of it. Other writers wait meanwhile, so do not wait for them inside.
        """
        return TransactionScope(self._transaction())

    def _transaction(self) -> Generator[Transaction, None, None]:
        database = self._database
        with database.mutex:
            inner: Transaction | None = None
            try:
                inner = Transaction(database, self._tree, self._names)
                database.state = "in transaction"
                yield inner
                inner.close()
                if inner.call.writes:
                    self._commits.commit_transaction(inner)
                    if inner.call.ends:
                        self._expirer.tell()
                else:
                    inner.rev = self.rev
            finally:
                if inner is not None:
                    if database.state == "in transaction":  # not in a child that was forked inside the block
                        database.state = "open"
                    try:
                        inner.abort()
                    finally:
                        # Both also where a signal's handler has raised before the first step of the other.
                        if not inner.committed:
                            self._tree.forget()
                        inner.txn.abort()

    def _setting(self, path: str, value: Any, ttl: float | None = None) -> Call:
        if type(path) is not str:
            path = plain(path)
        key = self._keys.get(path) or self._remember(path)
        return setting_at(path, key, value, None if ttl is None else deadline_in(ttl))

    def _submit(self, call: Call) -> "Future[int]":
        self._database.require_open()
        return self._writer.submit((call,), self._commit_group)

    def _commit_group(self, calls: list[Call]) -> list[int | BaseException]:
        results = self._commits.commit_group(calls)  # ours, so that what is queued keeps the store alive
        if any(call.ends for call in calls):
            self._expirer.tell()
        return results

    # --- events

    def watch(
        self,
        pattern: str,
        *,
        children: bool = False,
        old: bool = False,
        initial: bool = False,
        since: int | None = None,
        overflow: OverflowPolicy = "gap",
        capacity: int = 1024,
        timeout: float = 5.0,
    ) -> Observable[Event]:
        """Return the changes to come of the nodes that `pattern` names.

        `*` is exactly one segment; a final `**` is the node and everything below it. A node's event comes when a commit
        changed its value by a write at it or above it; with `children=True` also by one below it. A `**` reports each
        node that was written, at the depth at which it was written. `old=True` adds the value before the commit;
        `initial=True` first delivers what is there; `since=rev` first delivers each of these nodes that was written
        after that revision, once, as it is now, and subscribing raises `HistoryLost` where the store no longer knows
        which they are. The other options are those of `Observable.subscribe()`, which matter here for async iteration.
        """
        self._database.require_open()
        pattern = plain(pattern, "pattern")
        pattern_segments(pattern)
        options = Options(old=old, initial=initial, since=since, overflow=overflow, capacity=capacity, timeout=timeout)

        def connect(state: SubscriptionState, sink: Observer) -> Stop:
            return self._attach(Watcher(state, pattern, children, sink))

        return Observable(self._dispatcher, connect, options, pattern)

    def _attach(self, watcher: Watcher) -> Stop:
        routes, state = self._routes, watcher.state
        with self._database.mutex:
            self._database.require_open()
            if self._database.state == "in transaction":
                raise WouldDeadlock("cannot subscribe inside one's own transaction; subscribe before or after it")
            self._dispatcher.start()
            state.watchers.append(watcher)
            state.start_rev = self.rev
            snapshot = None
            options, listed = watcher.options, None
            if options.since is not None:
                listed = nodes_since(self._changes, options.since, self.rev, watcher)
            if options.initial or listed:
                nodes = Nodes(self._database, self._tree, watcher.place, lambda: self._emitter.rev, listed)
                snapshot = Snapshot(self._dispatcher, watcher, nodes)
            routes.add(watcher)
            if state.done:  # by an error of another source of the same subscription: who ended it saw only those
                routes.remove(watcher)
                watcher.stop()
            elif snapshot is not None:
                self._dispatcher.begin(snapshot)

        def stop() -> None:
            routes.remove(watcher)
            watcher.stop()

        return stop

    def watch_children(self, path: str, *, initial: bool = False, **options: Any) -> Observable[ChildEvent]:
        """Return what happens to the children of `path`: each `ChildEvent` is "added", "changed" or "removed".

        A change below a child changes the child. With `initial=True` those that are there come first, as "added". The
        other options are those of `watch()`, but for `children`, `old` and `since`.
        """
        if "since" in options:
            raise TypeError("watch_children() takes no since=: whether a child was there before is not remembered")
        pattern = "/*" if path == "/" else f"{plain(path)}/*"
        return self.watch(pattern, children=True, old=True, initial=initial, **options).map(child_event)

    def flush_events(self, timeout: float | None = None) -> bool:
        """Return when all that was committed before, and all snapshots of `initial=True`, have been delivered.

        False when `timeout` seconds were over first.

        Delivered means: the handlers on the dispatcher thread have returned, and buffered subscriptions (executor,
        async) have it in their inboxes.
        """
        self._database.require_open()
        if self._database.in_own_transaction():
            raise WouldDeadlock(
                "flush_events() inside a transaction may wait for a handler that waits for the transaction"
            )
        return self._dispatcher.flush(timeout)

    def event_queue_stats(self) -> QueueStats:
        """Return the figures of the event queue. Wait-free."""
        self._database.require_open()
        return self._stats()

    def _stats(self) -> QueueStats:
        ring = self._queue.stats()
        dispatcher, thread, gaps = self._dispatcher, self._thread, self._gaps
        coalesced = gaps.coalesced + thread.coalesced
        dropped = ring.dropped - gaps.parked + thread.dropped + dispatcher.dropped_at_close
        pending = max(0, ring.produced - ring.dropped - self._queue.handled - dispatcher.dropped_at_close)
        pending += gaps.waiting()
        produced = ring.produced + dispatcher.snapshot_events
        return QueueStats(
            pending=pending,
            processed=ring.popped,
            produced=produced,
            delivered=max(0, produced - dropped - coalesced - pending),
            dropped=dropped,
            coalesced=coalesced,
            omitted=ring.omitted + gaps.omitted,
            dropped_at_close=dispatcher.dropped_at_close,
            handler_errors=thread.handler_errors,
            overflow_episodes=ring.overflow_episodes,
            capacity=self._queue.slots,
            capacity_bytes=self._queue.value_bytes,
            bytes=ring.bytes,
            high_water=ring.high_water,
            high_water_bytes=ring.high_water_bytes,
            lag_ns=self._queue.lag_ns,
        )

    def live_subscriptions(self) -> list[LiveSubscription]:
        """Return who is subscribed, with the line that subscribed."""
        self._database.require_open()
        return [
            LiveSubscription(state.pattern, state.where, state.start_rev, state.abandoned)
            for state in self._dispatcher.subscriptions()
            if not state.done
        ]

    # --- the end

    def close(self, drain_timeout: float | None = None) -> None:
        """Commit what is queued, deliver what is pending, complete every subscription, and let go of everything.

        Waits `drain_timeout` seconds at most for handlers, and counts what was not delivered then in
        `dropped_at_close`. Idempotent: where another thread closes already, it waits for that. Inside a handler it
        returns at once; the rest follows when the handler returns. What is queued is committed also where a
        subscription with overflow="block" has no room for its events by then: these are dropped.
        Warns (`ResourceWarning`) of each subscription whose handle was dropped without `unsubscribe()`.
        Raises `WouldDeadlock` inside the caller's own transaction, in a signal's handler that has interrupted a write
        of its thread, and where another thread's transaction has not ended in 30 seconds: then the store takes no more
        queued writes, and may be closed again.
        """
        self._end.close(self._drain_timeout if drain_timeout is None else drain_timeout)
        self._keys.clear()

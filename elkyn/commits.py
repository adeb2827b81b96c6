"""One commit: its writes, its revision, its events; and what follows where it does not succeed at once.

The mutex is held from the begin of a write transaction over its commit to the push of its events. That is what makes
commit order, event order and "one producer" the same thing.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import lmdb

from elkyn._native import ChangeLog, Queue
from elkyn.errors import ElkynError, EventTimeout
from elkyn.events.changes import Pending, Watched
from elkyn.events.emitter import Emitter
from elkyn.events.room import NoRoomError, Room, SplitError
from elkyn.events.routes import Route, Routes
from elkyn.storage import Database, LmdbTransaction, damaged, is_full, storage_error
from elkyn.transaction import Transaction
from elkyn.tree import REMEMBERED_VALUE_BYTES, Tree
from elkyn.values import BAD_BYTES, Leaves
from elkyn.writes import Call

T = TypeVar("T")


class Commits:
    """Commits what is written, by one of three policies: `commit` retries, a transaction waits, a group is split."""

    def __init__(
        self,
        database: Database,
        tree: Tree,
        routes: Routes,
        queue: Queue,
        emitter: Emitter,
        room: Room,
        changes: ChangeLog,
    ) -> None:
        self._database = database
        self._tree = tree
        self._routes = routes
        self._tell = queue.tell
        self._emitter = emitter
        self._room = room
        self._changes = changes
        self._note = changes.note

    # --- the three policies

    def commit(self, call: Call) -> int:
        """Commit one call and return the revision. The call is done again once the map or the ring has room."""
        return self._until_done(self._attempt, (call,), self._database.grow, frees=call.frees)[0]

    def commit_transaction(self, tx: Transaction) -> None:
        """Commit the writes of a block. It cannot be run again, so it waits for room as it is, mutex and all."""
        before = self._emitter.rev
        try:
            self._until_done(self._attempt_transaction, tx, tx.grow_and_replay)
        finally:
            if self._emitter.rev > before:
                tx.committed, tx.rev = True, self._emitter.rev

    def commit_group(self, calls: Sequence[Call]) -> list[int | BaseException]:
        """Commit many calls at once; each has its revision and its group of events, in their order.

        As many together as have room for their events (overflow="block"), and no two where that fails, so that each
        gets its own success or failure. Once one has waited in vain, the others, which have waited behind it, are
        tried without waiting again.
        """
        results: list[int | BaseException] = []
        together = len(calls)
        deadline: float | None = None
        while len(results) < len(calls):
            part = calls[len(results) : len(results) + together]
            try:
                frees = all(call.frees for call in part)
                results += self._until_done(self._attempt, part, self._database.grow, deadline, frees=frees)
            except SplitError as split:
                together = split.calls
            except ElkynError as error:
                if len(part) == 1:
                    results.append(error)
                    if isinstance(error, EventTimeout):
                        deadline = time.monotonic()
                together = 1
            else:
                together *= 2  # there may be room again
        return results

    def _until_done(
        self,
        attempt: Callable[[T], list[int]],
        what: T,
        grow: Callable[[], object],
        deadline: float | None = None,
        *,
        frees: bool = False,
    ) -> list[int]:
        """Repeat `attempt(what)` for as long as a larger map, or waiting for its events to fit, helps.

        Where it only `frees`, it may use what is kept of the disk for that.
        """
        while True:
            with self._database.mutex:
                try:
                    return attempt(what)
                except NoRoomError as full:
                    demand = full.demand
                except lmdb.MapFullError:
                    grow()
                    continue
                except lmdb.Error as error:
                    if frees and is_full(error) and self._database.release_reserve():
                        continue
                    raise storage_error(error, self._database.directory) from error
                except BAD_BYTES as error:
                    raise damaged(error, self._database.directory) from error
            deadline = self._room.wait_for(demand, deadline)

    # --- one commit

    def _attempt(self, calls: Sequence[Call]) -> list[int]:
        """Do `calls` in one commit and return their revisions. The mutex is held; where it raises, nothing is left."""
        rev = self._emitter.rev
        revs: list[int] = []
        groups: list[list[Pending]] = []
        txn = self._database.begin_write()
        try:
            for call in calls:
                watched = None if self._routes.empty else Watched(self._tree, self._routes, txn, call)
                if call.apply(self._tree, txn):
                    rev += 1
                    self._note_writes(rev, call)
                    groups.append([] if watched is None else watched.events(txn))
                revs.append(rev)
            self._commit(txn, groups)
        except BaseException:
            self._undo(txn)
            raise
        return revs

    def _attempt_transaction(self, tx: Transaction) -> list[int]:
        events: list[Pending] = []
        if not self._routes.empty:
            # The state before: what readers still see, since the mutex keeps other writers out.
            snapshot = self._database.begin()
            events = Watched(self._tree, self._routes, snapshot, tx.call).events(tx.txn)
            snapshot.abort()
        self._note_writes(self._emitter.rev + 1, tx.call)
        self._commit(tx.txn, [events])
        return [self._emitter.rev]

    def _note_writes(self, rev: int, call: Call) -> None:
        """Before the commit, so that nothing can come between that and the note."""
        for path, _, _ in call.writes:
            self._note(rev, path, False)
        for path in call.merged:
            self._note(rev, path, True)

    def _commit(self, txn: LmdbTransaction, groups: list[list[Pending]]) -> None:
        """Commit `txn` and push the events of the calls that changed something, or leave `txn` as it is and raise."""
        if not groups:
            self._database.abort(txn)
            return
        self._room.require(groups)
        more = len(groups) - 1
        if more:
            self._database.raise_rev_base(txn, more)
        before = self._emitter.rev
        try:
            txn.commit()
            self._database.rev_base += more
            for group in groups:
                self._emitter.emit(group)
        except BaseException:
            for group in groups[self._emitter.rev - before :]:
                self._emit_if_committed(group)
            raise

    def _emit_if_committed(self, events: Sequence[Pending]) -> None:
        """After an interruption: a signal handler may raise right after the commit, and then the events are owed."""
        if self._database.is_open and self._database.current_rev() > self._emitter.rev:
            self._emitter.emit(events)

    def _undo(self, txn: LmdbTransaction) -> None:
        """End a write transaction that has written, without a commit."""
        self._tree.forget()
        self._database.abort(txn)

    # --- the commonest commits, made shorter

    def set(self, path: str, key: bytes, leaves: Leaves) -> int:
        """Replace the subtree at `path`, whose key is `key`, by `leaves`; return the revision."""
        database, tree, routes, emitter = self._database, self._tree, self._routes, self._emitter
        with database.mutex:
            leaf_key, raw = leaves[0]
            known = tree.known
            is_leaf = leaf_key is key and not tree.expires
            # Looked at behind the mutex: who has subscribed before us is owed this event.
            route: Route | None = None
            if not routes.empty:
                try:
                    route = routes.cache[path]
                except KeyError:
                    route = routes.resolve(path)
            if route is None or (route.plain and is_leaf):  # else it takes a look around, and may have to wait
                old: bytes | None = None
                txn = database.begin_write()
                try:
                    if not is_leaf or key not in known:
                        old = None if route is None else tree.raw(txn, key)
                        tree.set(txn, key, leaves)
                    elif route is None:
                        txn.put(key, raw)
                        known[key] = None
                    else:
                        old = known[key] or tree.raw(txn, key)
                        txn.put(key, raw)
                        # Before the commit, so that nothing can come between that and the event.
                        known[key] = raw if len(raw) <= REMEMBERED_VALUE_BYTES else None
                    rev = emitter.rev + 1
                    if route is None:
                        self._note(rev, path, False)
                    txn.commit()
                except BaseException as error:  # noqa: BLE001 - _recover() raises it again, or has repeated the call
                    events = () if route is None or old == raw else (_event(path, raw, old, route),)
                    return self._recover(txn, error, Call([(path, key, leaves)]), events)
                emitter.rev = rev
                if route is not None:
                    try:  # here, and not in a function: where one begins, a signal's handler may raise
                        seq = self._tell(self._changes, path, rev, raw, old, route.receivers, route.wants_old)
                        if seq < 0:
                            emitter.missed(-seq, rev, time.time_ns(), _event(path, raw, old, route))
                    except BaseException:
                        emitter.settle(_event(path, raw, old, route), rev, time.time_ns())
                        raise
                return rev
        return self.commit(Call([(path, key, leaves)]))

    def _recover(self, txn: LmdbTransaction, error: BaseException, call: Call, events: Sequence[Pending] = ()) -> int:
        """After a short commit that failed or was interrupted: undo it, and do it the long way where growing helps."""
        self._undo(txn)
        if isinstance(error, lmdb.MapFullError):
            self._database.grow()
            return self.commit(call)
        if isinstance(error, lmdb.Error):
            raise storage_error(error, self._database.directory) from error
        self._note_writes(self._emitter.rev + 1, call)  # again, or for a commit that has failed: that does no harm
        self._emit_if_committed(events)
        if isinstance(error, BAD_BYTES):
            raise damaged(error, self._database.directory) from error
        raise error


def _event(path: str, raw: bytes, old: bytes | None, route: Route) -> Pending:
    """Return the event of a leaf that is watched at its own path alone."""
    return Pending(path, raw, old if route.wants_old else None, route.receivers, last=True)

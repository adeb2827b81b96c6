"""The end of a store: by `close()`, at the exit of the process, and in a forked child, where it is another's."""

import _thread
import atexit
import os
import threading
import warnings
import weakref

from elkyn._native import ChangeLog, report_leaks
from elkyn.errors import WouldDeadlock
from elkyn.events.dispatcher import Dispatcher
from elkyn.events.room import Room
from elkyn.events.subscriptions import SubscriptionState
from elkyn.events.thread import EventThread
from elkyn.expiry import Expirer
from elkyn.locks import Lock, is_mine
from elkyn.progress import Progress
from elkyn.push_names import PushNames
from elkyn.storage import Database
from elkyn.tree import Tree
from elkyn.writer import Writer

PATIENCE_S = 30.0
"""Seconds that `close()` waits for writes of other threads, their transactions above all: a disk takes less."""
LOOK_EVERY_S = 0.01
"""Seconds between two looks of `close()` at another thread's transaction, whose end tells nobody."""
EXIT_TIMEOUT_S = 0.25
"""Seconds that the interpreter's exit waits for a store's writers, and then for its handlers: it is not held up."""


class Ending:
    """Ends a store once, whoever asks for it and from wherever."""

    def __init__(
        self,
        database: Database,
        tree: Tree,
        names: PushNames,
        writer: Writer,
        expirer: Expirer,
        room: Room,
        thread: EventThread,
        dispatcher: Dispatcher,
        changes: ChangeLog,
    ) -> None:
        self._database = database
        self._tree = tree
        self._names = names
        self._writer = writer
        self._expirer = expirer
        self._room = room
        self._thread = thread
        self._dispatcher = dispatcher
        self._changes = changes
        self._closing = Lock()
        self._closer: int | None = None  # the thread that holds it
        self._closed = Progress()
        _of_open_stores.add(self)

    def close(self, drain_timeout: float, patience: float | None = None) -> None:
        """As `Store.close()`, which says it all; `patience` is for writes of other threads, `PATIENCE_S` by itself."""
        patience = PATIENCE_S if patience is None else patience
        database = self._database
        if database.state == "forked":
            database.require_open()
        if database.state == "closed" or is_mine(self._closing):  # the latter in a signal's handler, amid it
            return
        if database.is_open:
            if database.in_own_transaction():
                raise WouldDeadlock("cannot close the store inside its own transaction; leave the block first")
            if is_mine(database.mutex):
                raise WouldDeadlock(
                    "a write of this thread is under way: a signal's handler cannot close the store meanwhile; "
                    "let it raise, and close the store where that is caught"
                )
            # Who waits for a handler waits no longer than close() does; and not at all for the one that calls us.
            self._room.give_up_in(0.0 if self._thread.is_current() else drain_timeout)
            if not self._writer.close(patience):
                raise _still_written(patience)
            self._writer.close_callbacks(drain_timeout)
            if not self._expirer.close(patience):
                raise _still_written(patience)
        elif self._thread.is_current():  # another thread closes, and waits for the handler that calls us
            return
        own = threading.get_ident()
        if not self._closed.wait_for(lambda: self._closer in (None, own), drain_timeout + patience):
            raise _still_written(patience)
        abandoned: list[SubscriptionState] = []
        with self._closing:
            try:
                self._closer = own
                if self._begin_to_close(patience):
                    states = self._dispatcher.subscriptions()
                    abandoned = [state for state in states if state.abandoned and not state.done]
                    try:
                        self._dispatcher.stop(drain_timeout)
                    finally:
                        self._let_go()
            finally:
                self._closer = None
                self._closed.tell()
        for state in abandoned:
            _warn_of(state)

    def _begin_to_close(self, patience: float) -> bool:
        """Take no more writes; False where it is closed. Goes on where another close() was interrupted half-way."""
        database = self._database
        # Not by a lock's own time limit: a signal's handler that raises right behind it would leave the lock taken.
        if not self._closed.wait_for(lambda: database.state != "in transaction", patience, look_every=LOOK_EVERY_S):
            raise _still_written(patience)
        with database.mutex:
            if database.state == "closed":
                return False
            database.state = "closing"
        _of_open_stores.discard(self)
        return True

    def _let_go(self) -> None:
        with self._database.mutex:
            self._tree.forget()
            self._changes.discard()  # whoever keeps a closed store keeps little
            self._database.pushed = self._names.latest_ms
            self._database.close()

    def exit(self) -> None:
        """Close it as the process exits, waiting a little for handlers, so that no thread outlives the interpreter."""
        try:
            # A daemon thread may be inside a transaction for as long as it likes: it ends there, undone, with the
            # process.
            self.close(EXIT_TIMEOUT_S, EXIT_TIMEOUT_S)
        except WouldDeadlock:
            report_leaks(False)
        except Exception:  # noqa: BLE001, S110 - nobody is left to hear of it, and the exit code is the program's
            pass
        if self._thread.alive():
            # A handler that does not return keeps its event and the queue: its doing, and no leak of ours.
            report_leaks(False)

    def forked(self) -> None:
        """In a forked child: it belongs to the parent."""
        self._database.forked()
        # What the parent's threads held stays held here for ever, since they do not run here.
        report_leaks(False)


def _still_written(patience: float) -> WouldDeadlock:
    return WouldDeadlock(
        f"another thread has been writing, or in a transaction, for {patience:g} s; end that and close the store again"
    )


def _warn_of(state: SubscriptionState) -> None:
    file, _, line = state.where.rpartition(":")
    message = f"the subscription to {state.pattern} was never unsubscribed, and its handle is gone"
    warnings.warn_explicit(message, ResourceWarning, file or "?", int(line) if line.isdigit() else 0)


_of_open_stores: "weakref.WeakSet[Ending]" = weakref.WeakSet()


def _exit_all() -> None:
    for ending in list(_of_open_stores):
        ending.exit()
    if _thread._count():
        # Daemon threads, and those of ours that have started another and are about to end: they are stopped wherever
        # they are, and what they hold there is never let go of.
        report_leaks(False)


def _refuse_in_child() -> None:
    for ending in list(_of_open_stores):
        ending.forked()


atexit.register(_exit_all)
os.register_at_fork(after_in_child=_refuse_in_child)

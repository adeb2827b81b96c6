"""What a subscription begins with, delivered before its first live event: what is there, or what has changed.

A snapshot is read page by page from one read transaction, without the store's mutex, on the dispatcher's thread. It
stands between its watcher and the chain behind that until all is told: live events are held meanwhile, `capacity` of
them by the subscription's policy. Where the chain ends in an inbox, a page is no longer than what fits, and the next
one waits for room; so memory is bounded, however large the tree is and however slow its reader.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import lmdb

from elkyn.events.changes import Pending
from elkyn.events.event import Event, Overflow
from elkyn.events.streams import NOTHING, Inbox
from elkyn.events.subscriptions import Program, SubscriptionState, Watcher, ignore
from elkyn.events.thread import Stop
from elkyn.paths import key_of
from elkyn.storage import Database
from elkyn.tree import Tree

PATIENCE_S = 1.0
"""Seconds that a reader may leave a snapshot standing before its transaction ends: as long as one is open, no page of
the file is used again, and the file grows with every commit."""
NODES_PER_PAGE = 256
"""Nodes in a row, before other subscriptions have their turn: as many as events in one delivery."""


class Nodes:
    """Nodes in key order, as they are at one revision: those that a pattern names, or those of a list."""

    def __init__(
        self,
        database: Database,
        tree: Tree,
        place: tuple[str, ...],
        rev: Callable[[], int],
        listed: Sequence[str] | None = None,
    ) -> None:
        """The mutex is held. `rev` is asked for the revision of the latest commit; `listed` are paths in key order."""
        self._database = database
        self._tree = tree
        self._place = place
        self._rev = rev
        self._listed = listed if listed is None else dict.fromkeys(listed)
        self._told = b""  # the key of the latest node
        self._later: list[tuple[bytes, int]] = []  # nodes behind a key that are told as of a later revision
        try:
            self._begin()
        except lmdb.ReadersFullError:  # so many snapshots wait to be told: this one begins when it is its turn
            self.let_go()

    def _begin(self) -> None:
        self.rev = self._rev()
        txn = self._database.begin()
        self._nodes: Iterator[tuple[str, bytes | None]] | None = (
            self._tree.matching(txn, self._place)
            if self._listed is None
            else ((path, self._tree.raw(txn, key_of(path))) for path in self._listed)
        )

    def next(self) -> tuple[str, bytes | None] | None:
        """Return the path and the encoded value of the next node, None where a listed one is gone; None at the end."""
        while True:
            if self._nodes is None:
                with self._database.mutex:
                    self._begin()
                    # What is left is told as it is now, and so the commits up to now need not be told of it again.
                    self._later.append((self._told, self.rev))
            assert self._nodes is not None
            try:
                node = next(self._nodes, None)
            except lmdb.Error:  # the map has grown, which ends all reads under way
                self.let_go()
                continue
            key = b"" if node is None else key_of(node[0])
            if node is None or key > self._told:
                self._told = key
                return node

    def let_go(self) -> None:
        """End the transaction; what is left is read as it is by then."""
        self._nodes = None

    def told(self, event: Event) -> bool:
        """Whether the snapshot tells, or has told, what `event` says."""
        if not self._later or (self._listed is not None and event.path not in self._listed):
            return False
        return any(event.rev <= rev and key_of(event.path) > key for key, rev in self._later)


class Desk(Protocol):
    """What a snapshot needs of the dispatcher."""

    def deliver_snapshot(self, watcher: Watcher, event: Event) -> None:
        """Hand a node to the watcher's program."""

    def deliver_held(self, watcher: Watcher, event: Event) -> None:
        """Hand a live event that was held to the watcher's program."""

    def snapshot_seq(self) -> int:
        """Return the number of the next node: below all live ones, and rising."""

    def pushed(self) -> int:
        """Return the number that the next live event will have."""

    def has_delivered(self, seq: int) -> bool:
        """Whether all live events with numbers below `seq` have been delivered."""

    def is_wanted(self) -> bool:
        """Whether the thread is to look after something else."""

    def resume(self, snapshot: "Snapshot") -> None:
        """Go on with a snapshot that has waited."""

    @property
    def value_bytes(self) -> int:
        """Bytes of a value that travels."""


class _Held(Inbox):
    """Live events that wait for the snapshot to be over."""

    def __init__(self, state: SubscriptionState) -> None:
        super().__init__(state, ignore)

    def _refuse(self, error: BaseException) -> None:
        self._state.thread.post(lambda: self._state.finish(error))


class Snapshot:
    """The nodes that `watcher` begins with, on their way to it: an observer in the place of the watcher's own."""

    def __init__(self, desk: Desk, watcher: Watcher, nodes: Nodes) -> None:
        """The mutex is held: no live event can come before this stands in its way."""
        self._desk = desk
        self._watcher = watcher
        self._nodes = nodes
        self._next: tuple[str, bytes | None] | None = None
        self._begun = False
        self._stays_for: int | None = None
        """Live events before that number may be of what the nodes have told; None as long as there are more nodes."""
        self._let_go_later: Stop = ignore  # cancels that
        self._timestamp_ns = time.time_ns()
        self._sink, self._program = watcher.sink, watcher.program
        self._held = watcher.held = _Held(watcher.state)
        watcher.sink = self
        watcher.program = self.program
        watcher.state.at_end(self._end)

    def _end(self) -> None:
        """The subscription has ended: on whatever thread, so that what is read is let go of by the one that reads."""
        self._let_go_later()
        self._watcher.state.thread.post(self._nodes.let_go)

    # --- an observer of the live events

    @property
    def program(self) -> Program:
        """Hold an event."""
        return (self.next,)

    def next(self, item: Any) -> None:
        """Hold an event until the snapshot is told, unless that tells it."""
        if not self._nodes.told(item):
            self._held.next(item)

    def overflow(self, lost: Overflow) -> None:
        """Hold a loss."""
        self._held.overflow(lost)

    def error(self, error: BaseException) -> None:
        """End the subscription."""
        self._watcher.state.finish(error)

    def complete(self) -> None:
        """The store closes before all is told."""
        self._watcher.state.thread.dropped += len(self._held)
        self._sink.complete()

    # --- on the thread

    def advance(self) -> bool:
        """Deliver a page. True as long as there is more to deliver now."""
        watcher = self._watcher
        if not watcher.active:
            return False
        room = self._room()
        if room <= 0:
            return self._waits_in_vain()
        watcher.go_on_with(self._program)
        try:
            if not self._begun:
                self._begun, self._next = True, self._nodes.next()
            while room > 0 and watcher.active and not self._desk.is_wanted() and self._deliver_one():
                room -= 1
        finally:
            if watcher.held is not None:
                watcher.go_on_with(self.program)
        return self._goes_on()

    def _goes_on(self) -> bool:
        return self._watcher.active and self._watcher.held is not None

    def _deliver_one(self) -> bool:
        """Deliver a node, or what was held once there is none; False where there is neither, for now or for good."""
        if self._next is not None:
            (path, raw), self._next = self._next, self._nodes.next()
            node = Pending(path, raw, None, (self._watcher,), last=self._next is None)
            seq = self._desk.snapshot_seq()
            self._desk.deliver_snapshot(
                self._watcher, node.event(self._nodes.rev, seq, self._timestamp_ns, self._desk.value_bytes)
            )
            return True
        if self._stays_for is None:
            self._stays_for = self._desk.pushed()
        item = self._held.take()
        if item is NOTHING:
            if self._desk.has_delivered(self._stays_for):
                self._watcher.sink, self._watcher.held = self._sink, None
            return False
        if isinstance(item, Overflow):
            self._watcher.state.guarded(self._sink.overflow, item)
        elif not self._nodes.told(item):  # looked at again: it may have been told since
            self._desk.deliver_held(self._watcher, item)
        return True

    def _room(self) -> int:
        state = self._watcher.state
        if state.buffer is None:
            return NODES_PER_PAGE
        return min(NODES_PER_PAGE, state.options.capacity - len(state.buffer))

    def _waits_in_vain(self) -> bool:
        """Have the thread told when there is room; True where there is some by then."""
        buffer = self._watcher.state.buffer
        assert buffer is not None, "only an inbox can be full"
        buffer.when_room(self._resume)
        if self._room() > 0:
            return True
        state = self._watcher.state
        self._let_go_later = state.thread.call_later(PATIENCE_S, self._nodes.let_go, state)
        return False

    def _resume(self) -> None:
        self._let_go_later()
        self._desk.resume(self)

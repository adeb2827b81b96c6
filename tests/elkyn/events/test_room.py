"""Room for events: when a writer waits, for how long, and who is refused instead."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import elkyn
from elkyn._native import SLOTS, VALUE_BYTES
from elkyn.events.changes import Pending
from elkyn.events.room import NoRoomError, Room, SplitError
from elkyn.events.subscriptions import NOBODY, Options, SubscriptionState, Watcher


class Scripted:
    """A queue and its thread, with figures that a test sets."""

    def __init__(self) -> None:
        self.pending = self.bytes = self.popped = self.handled = 0
        self.slots, self.value_bytes = SLOTS, VALUE_BYTES
        self.current = False
        self.waited: list[float | None] = []
        self.while_waiting: Callable[[], object] = lambda: None
        self.room = Room(self, self)  # type: ignore[arg-type]

    def stats(self) -> Any:
        return SimpleNamespace(pending=self.pending, bytes=self.bytes, popped=self.popped)

    def is_current(self) -> bool:
        return self.current

    def progressed(self) -> None:
        pass

    def wait_until(self, reached: Callable[[], bool], timeout: float | None) -> bool:
        self.waited.append(timeout)
        self.while_waiting()
        return reached()


class Waiting(list[None]):
    """An inbox with so many items."""

    here = False

    def is_served_here(self) -> bool:
        return self.here


def demand(events: list[Pending]) -> Any:
    return Scripted().room._demand(events)


def events(count: int = 1, size: int = 1, buffered: int | None = None, **options: Any) -> list[Pending]:
    state = SubscriptionState(None, "/n", "?", Options(**{"overflow": "block"} | options))  # type: ignore[arg-type]
    if buffered is not None:
        state.buffer = Waiting([None] * buffered)  # type: ignore[assignment]
    watcher = Watcher(state, "/n", False, NOBODY)
    return [Pending("/n", b"x" * size, None, (watcher,), last=True) for _ in range(count)]


def test_a_full_ring_holds_up_only_those_who_block() -> None:
    full = Scripted()
    full.pending = SLOTS
    full.room.require([events(overflow="gap")])
    full.room.require([[]])
    with pytest.raises(NoRoomError) as caught:
        full.room.require([events()])
    assert caught.value.demand.events == 1


@pytest.mark.parametrize(
    ("pending", "taken", "count", "size", "fits"),
    [
        (SLOTS - 1, 0, 1, 1, True),
        (SLOTS - 1, 0, 2, 1, False),
        (0, VALUE_BYTES - 10, 1, 10, True),
        (0, VALUE_BYTES - 10, 1, 11, False),
        (0, 0, SLOTS, 1, True),
        (0, 0, SLOTS, VALUE_BYTES // SLOTS, True),
    ],
)
def test_there_is_room_for_what_the_ring_can_take(pending: int, taken: int, count: int, size: int, fits: bool) -> None:
    ring = Scripted()
    ring.pending, ring.bytes = pending, taken
    if fits:
        ring.room.require([events(count, size)])
    else:
        with pytest.raises(NoRoomError):
            ring.room.require([events(count, size)])


@pytest.mark.parametrize(("buffered", "coming", "fits"), [(0, 0, True), (1, 0, True), (2, 0, False), (0, 2, False)])
def test_an_inbox_counts_what_is_on_its_way_to_it(buffered: int, coming: int, fits: bool) -> None:
    ring = Scripted()
    ring.popped = coming  # out of the ring, and not handled yet
    if fits:
        ring.room.require([events(buffered=buffered, capacity=2)])
    else:
        with pytest.raises(NoRoomError):
            ring.room.require([events(buffered=buffered, capacity=2)])


def test_the_thread_that_would_make_room_is_refused() -> None:
    full = Scripted()
    full.pending, full.current = SLOTS, True
    with pytest.raises(elkyn.WouldDeadlock):
        full.room.require([events()])


def test_waiting_ends_when_there_is_room_and_tells_until_when_to_try_again() -> None:
    full = Scripted()
    full.pending = SLOTS
    full.while_waiting = lambda: setattr(full, "pending", 0)
    begun = time.monotonic()
    deadline = full.room.wait_for(demand(events(timeout=5)), None)
    assert 5 <= deadline - begun < 6
    assert (
        full.room.wait_for(demand(events(timeout=5)), deadline) == deadline
    )  # a second try does not get the time anew


def test_the_shortest_timeout_counts_and_its_end_is_an_error() -> None:
    full = Scripted()
    full.pending = SLOTS
    with pytest.raises(elkyn.EventTimeout, match=r"0\.5 s"):
        full.room.wait_for(demand(events(timeout=5) + events(timeout=0.5)), None)
    assert full.waited[0] is not None
    assert full.waited[0] <= 0.5


def test_nobody_waits_for_longer_than_close_does() -> None:
    full = Scripted()
    full.pending = SLOTS
    full.while_waiting = lambda: full.room.give_up_in(0)
    full.room.wait_for(demand(events(timeout=5)), None)
    full.room.require([events()])  # from then on what does not fit is dropped


@pytest.mark.parametrize(
    ("count", "size", "options"),
    [(SLOTS + 1, 1, {}), (2, VALUE_BYTES // 2 + 1, {}), (3, 1, {"capacity": 2, "buffered": 0})],
)
def test_what_never_fits_at_once_is_refused(count: int, size: int, options: dict[str, Any]) -> None:
    ring = Scripted()
    with pytest.raises(elkyn.CommitTooLarge):
        ring.room.require([events(count, size, **options)])


def test_of_a_group_as_many_as_fit_are_let_through_and_the_first_waits_for_room_alone() -> None:
    ring = Scripted()
    ring.pending = SLOTS - 10
    with pytest.raises(SplitError) as caught:
        ring.room.require([events(4)] * 4)
    assert caught.value.calls == 2
    ring.pending = SLOTS
    with pytest.raises(SplitError) as caught:
        ring.room.require([events(4)] * 4)
    assert caught.value.calls == 1


def test_an_event_for_two_sources_of_one_subscription_needs_room_for_two_items() -> None:
    ring = Scripted()
    (event,) = events(buffered=0, capacity=1)
    ring.room.require([[event]])
    with pytest.raises(elkyn.CommitTooLarge):
        ring.room.require([[event._replace(receivers=event.receivers * 2)]])


def test_who_alone_takes_items_out_of_a_full_inbox_is_refused_to_wait_for_it() -> None:
    ring = Scripted()
    (event,) = events(buffered=2, capacity=2)
    buffer = event.receivers[0].state.buffer
    assert isinstance(buffer, Waiting)
    buffer.here = True
    with pytest.raises(elkyn.WouldDeadlock):
        ring.room.require([[event]])

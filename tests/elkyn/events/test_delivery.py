"""The hot loop in native code: what it hands on, what it keeps, what it says of errors, and when it stops."""

import gc
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from stalling import eventually

import elkyn
from elkyn._native import ChangeLog, Event, Queue, Receiver
from elkyn.values import decode, encode

Failures = list[tuple[Receiver, BaseException, bool]]


def receiver(*program: Any) -> Receiver:
    made = Receiver()
    made.program = program
    return made


def push(queue: Queue, value: Any, *receivers: Receiver) -> int:
    return queue.push("/n", 1, 2, True, encode(value), None, receivers)


def delivered(queue: Queue, limit: int = 1000) -> tuple[int, Failures]:
    failures: Failures = []
    count, _ = queue.deliver(limit, lambda *failure: failures.append(failure))
    return count, failures


# --- what follows the commit of a leaf


@pytest.mark.parametrize(
    ("before", "wants_old", "told"),
    [
        (None, True, [(5, False, None)]),
        (encode(4), True, [(5, True, 4)]),
        (encode(4), False, [(5, False, None)]),
        (encode(5), True, []),
    ],
)
def test_a_leaf_is_noted_and_told_where_it_has_changed(
    before: bytes | None, wants_old: bool, told: list[tuple[int, bool, int | None]]
) -> None:
    queue, log, got = Queue(decode), ChangeLog(6), []
    receivers = (receiver(lambda event: got.append((event.value, event.existed, event.old))),)
    number = queue.tell(log, "/n", 7, encode(5), before, receivers, wants_old)
    assert bool(number) == bool(told)
    assert log.since(6) == [(7, "/n", False)]
    assert delivered(queue) == (len(told), [])
    assert got == told


def test_a_leaf_for_which_there_is_no_room_has_a_negative_number_and_is_noted() -> None:
    queue, log = Queue(decode, slots=1), ChangeLog(0)
    assert queue.tell(log, "/n", 1, encode(1), None, (), False) == 1
    assert queue.tell(log, "/n", 2, encode(2), encode(1), (), False) == -2
    assert log.since(0) == [(1, "/n", False), (2, "/n", False)]


@pytest.mark.parametrize(
    ("at", "wrong", "error"),
    [
        (0, None, TypeError), (1, b"/n", TypeError), (1, "/" + 256 * "n", ValueError),
        (1, "\udcff", UnicodeEncodeError), (2, "1", TypeError), (2, -1, OverflowError), (3, None, TypeError),
        (4, "4", TypeError), (5, [], TypeError), (6, None, TypeError),
    ],
)  # fmt: skip
def test_what_is_no_leaf_is_refused(at: int, wrong: Any, error: type[Exception]) -> None:
    queue, leaf = Queue(decode), [ChangeLog(0), "/n", 1, b"\x01", None, (), False]
    with pytest.raises(TypeError):
        queue.tell(*leaf[:6])
    leaf[at] = wrong
    with pytest.raises(error):
        queue.tell(*leaf)
    assert delivered(queue) == (0, [])


# --- programs


def test_a_program_is_its_filters_and_maps_in_their_order() -> None:
    queue, got = Queue(decode), []
    chain = receiver(
        True, lambda event: event.value > 1,
        False, lambda event: event.value * 10,
        True, lambda number: number != 30,
        False, str,
        got.append,
    )  # fmt: skip
    for n in range(5):
        push(queue, n, chain)
    assert delivered(queue) == (5, [])
    assert got == ["20", "40"]


def test_a_chain_of_many_stages_is_one_program(store: elkyn.Store) -> None:
    got: list[int] = []
    chain = store.watch("/n").map(lambda event: event.value)
    for step in range(20):
        chain = chain.filter(lambda n, step=step: n != step).map(lambda n: n + 1)
    chain.subscribe(got.append)
    for n in range(-3, 3):
        store.set("/n", n)
    store.flush_events()
    assert got == [n + 20 for n in range(-3, 3) if n != 0]


@pytest.mark.parametrize("program", [(), (True, bool), [print], "f", 1])
def test_what_is_no_program_is_refused(program: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Receiver().program = program


@pytest.mark.parametrize("make", [object, str, Receiver.mro, lambda: Receiver.__new__(Receiver)])
def test_what_is_no_receiver_is_refused_and_the_event_is_gone(make: Any) -> None:
    queue = Queue(decode)
    queue.push("/n", 1, 2, True, b"\x01", None, (make(),))
    with pytest.raises(TypeError, match="receivers"):
        delivered(queue)
    assert delivered(queue) == (0, [])


@pytest.mark.parametrize("arguments", [(), (1,), (-1, print), ("1", print), (1, print, 3)])
def test_wrong_arguments_are_refused(arguments: Any) -> None:
    with pytest.raises(TypeError):
        Queue(decode).deliver(*arguments)
    with pytest.raises(TypeError):
        Queue(decode).hand_on(*arguments)


# --- whose an event is


def test_an_event_that_someone_keeps_stays_what_it_is() -> None:
    queue, kept = Queue(decode), []
    every_third = receiver(True, lambda event: event.seq % 3 == 0, kept.append)
    for n in range(30):
        push(queue, [n], every_third)
    delivered(queue)
    assert [(event.seq, event.value) for event in kept] == [(n + 1, [n]) for n in range(2, 30, 3)]
    assert len({id(event) for event in kept}) == 10


def test_an_event_dies_with_its_delivery_and_takes_its_value_along() -> None:
    class Tracked:
        pass

    queue = Queue(lambda raw: [Tracked()])
    events, values = [], []

    def watch(event: Any) -> None:
        events.append(weakref.ref(event))
        values.append(weakref.ref(event.value[0]))
        assert all(dead() is None for dead in (*events[:-1], *values[:-1]))

    for n in range(10):
        push(queue, n, receiver(watch))
    assert delivered(queue) == (10, [])
    assert len(events) == 10
    assert all(dead() is None for dead in (*events, *values))


def test_an_event_in_a_cycle_with_its_value_is_collected() -> None:
    queue, events = Queue(decode), []

    def tie(event: Any) -> None:
        event.value.append(event)
        events.append(weakref.ref(event))

    push(queue, [1], receiver(tie))
    delivered(queue)
    gc.collect()
    assert events[0]() is None


def test_receivers_that_may_change_the_value_get_one_each_and_others_share() -> None:
    queue, got = Queue(decode), []
    both = (receiver(got.append), receiver(got.append))
    push(queue, [1], *both)
    push(queue, "text", *both)
    delivered(queue)
    assert got[0] is not got[1]
    assert got[0].value is not got[1].value
    assert got[0] == got[1]
    assert got[2] is got[3]


def test_nothing_gains_or_loses_a_reference() -> None:
    queue = Queue(decode)
    gone: list[Any] = []

    def even(event: Any) -> bool:
        return event.seq % 2 == 0

    def fail(item: Any) -> None:
        raise LookupError(item)

    def twice(event: Any) -> tuple[Any, Any]:
        return event, event

    class Sour:
        def __bool__(self) -> bool:
            raise LookupError

    sour = Sour()
    programs = [
        (gone.append,), (fail,), (True, even, gone.append), (False, twice, True, bool, fail), (True, fail, gone.append),
        (False, fail, gone.append), (True, lambda event: sour, gone.append),
    ]  # fmt: skip
    receivers = tuple(receiver(*program) for program in programs)
    watched = [
        even,
        fail,
        twice,
        sour,
        receivers,
        None,
        True,
        False,
        *receivers,
        *programs,
        *(f for p in programs for f in p),
    ]

    def round_trip() -> None:
        for value in (1, [1]):
            for _ in range(50):
                push(queue, value, *receivers)
            count, failures = delivered(queue, 30)
            while count:
                count, more = delivered(queue, 30)
                failures += more
            assert len(failures) == 50 * 5
        gone.clear()
        del failures, more
        gc.collect()  # an error's traceback leads to this very frame

    round_trip()
    before = [sys.getrefcount(one) for one in watched]
    round_trip()
    assert [sys.getrefcount(one) for one in watched] == before
    assert queue.running is None


# --- errors


def test_an_error_is_told_with_who_raised_it_and_the_rest_goes_on() -> None:
    queue, got = Queue(decode), []

    def fail(item: Any) -> None:
        raise LookupError(item)

    receivers = receiver(fail), receiver(True, fail, got.append), receiver(got.append)
    push(queue, 1, *receivers)
    push(queue, 2, *receivers)
    count, failures = delivered(queue)
    assert count == 2
    assert [(who, by_handler) for who, _, by_handler in failures] == [(receivers[0], True), (receivers[1], False)] * 2
    assert all(type(error) is LookupError and error.__traceback__ is not None for _, error, _ in failures)
    assert [event.value for event in got] == [1, 2]


def test_an_error_is_the_one_being_handled_while_it_is_told(tmp_path: Path) -> None:
    told: list[str] = []

    def tell(error: BaseException, where: str) -> None:
        told.append(traceback.format_exc())

    def fail(event: Any) -> None:
        raise LookupError("this one")

    with elkyn.open(tmp_path, durability="none", on_handler_error=tell) as store:
        store.watch("/n").subscribe(fail)
        store.set("/n", 1)
        store.flush_events()
    assert "LookupError: this one" in told[0]


def test_an_error_in_the_telling_ends_the_call_after_its_event() -> None:
    queue = Queue(decode)

    def fail(item: Any) -> None:
        raise LookupError

    def tell(*_: Any) -> None:
        raise ArithmeticError

    for n in range(2):
        push(queue, n, receiver(fail))
    for _ in range(2):
        with pytest.raises(ArithmeticError):
            queue.deliver(10, tell)
    assert queue.deliver(10, tell) == (0, None)
    assert queue.running is None


# --- when it stops


def test_it_stops_at_its_limit_and_before_what_is_pushed_after_a_call_for_attention() -> None:
    queue, got = Queue(decode), []

    def hear(event: Any) -> None:
        got.append(event.value)
        if event.value == 3:
            queue.wake()

    for n in range(8):
        push(queue, n, receiver(hear))
    assert delivered(queue, 2) == (2, [])
    assert delivered(queue) == (2, [])
    assert delivered(queue) == (0, [])
    assert got == [0, 1, 2, 3]
    queue.heed()
    assert delivered(queue) == (4, [])
    assert (queue.handled, queue.seq) == (8, 8)


def test_who_runs_is_told_and_a_receiver_without_a_program_is_passed_over() -> None:
    queue, running = Queue(decode), []
    first = receiver(lambda event: running.append(queue.running))
    second = receiver(lambda event: setattr(third, "program", None))
    third = receiver(lambda event: running.append(queue.running))
    push(queue, 1, first, second, third)
    push(queue, 2, third, first)
    delivered(queue)
    assert running == [first, first]
    assert queue.running is None


def test_a_filter_that_unsubscribes_its_own_chain_ends_it_there(store: elkyn.Store) -> None:
    got: list[Any] = []

    def leave(event: Any) -> bool:
        subscription.unsubscribe()
        return True

    subscription = store.watch("/n").filter(leave).map(lambda event: event.value).subscribe(got.append)
    store.set("/n", 1)
    store.flush_events()
    assert got == []


def test_a_handler_that_is_let_go_of_while_it_runs_returns_first(store: elkyn.Store) -> None:
    class Handler:
        def __init__(self) -> None:
            self.said = ["begun"]

        def hear(self, event: Any) -> None:
            subscription.unsubscribe()
            gc.collect()
            self.said.append(event.value)

    handler = Handler()
    said = handler.said
    subscription = store.watch("/n").subscribe(handler.hear)
    del handler
    store.set("/n", 1)
    store.flush_events()
    assert said == ["begun", 1]


def test_handlers_that_close_the_store_leave_the_rest_uncalled(tmp_path: Path) -> None:
    got: list[Any] = []
    store = elkyn.open(tmp_path, durability="none")
    entered, go = threading.Event(), threading.Event()

    def close(event: Any) -> None:
        entered.set()
        go.wait(10)
        got.append(event.value)
        store.close(drain_timeout=0)

    store.watch("/n").subscribe(close)
    store.set("/n", 0)
    assert entered.wait(10)
    for n in range(1, 10):
        store.set("/n", n)
    go.set()
    service = store._thread._service
    assert service is not None
    assert service.wait_until_ended(10)
    assert got == [0]
    assert store._stats().dropped_at_close == 9


def test_unsubscribe_waits_for_its_own_handler_and_not_for_all_that_is_pending(store: elkyn.Store) -> None:
    entered, go = threading.Event(), threading.Event()
    others: list[float] = []

    def slow(event: Any) -> None:
        others.append(event.value)
        time.sleep(0.01)

    def hold(event: Any) -> None:
        entered.set()
        go.wait(10)

    held = store.watch("/n").subscribe(hold)
    store.watch("/n").subscribe(slow)
    store.set("/n", -1)
    assert entered.wait(10)
    for n in range(200):
        store.set("/n", n)
    ending = threading.Thread(target=held.unsubscribe)
    ending.start()
    go.set()
    ending.join(10)
    assert not ending.is_alive()
    assert len(others) < 100
    store.flush_events()
    assert len(others) == 201


def test_an_event_handed_on_by_itself_goes_the_same_way() -> None:
    queue, got = Queue(decode), []
    event = Event(
        decode, deleted=False, path="/n", value=encode([1]), old=None, rev=1, seq=-4, last=True, timestamp_ns=1, size=2,
        omitted=False,
    )  # fmt: skip
    queue.hand_on(event, (receiver(got.append), receiver(True, lambda _: False, got.append)), pytest.fail)
    assert got == [event]
    assert queue.seq == -4
    assert queue.handled == 0


def test_an_inbox_that_has_no_room_for_mapped_items_tells_the_numbers_of_their_events(store: elkyn.Store) -> None:
    entered, go = threading.Event(), threading.Event()
    got: list[Any] = []

    def hold(item: Any) -> None:
        entered.set()
        go.wait(10)
        got.append(item)

    with ThreadPoolExecutor(1) as pool:
        store.watch("/n").map(lambda event: event.value).subscribe(hold, executor=pool, capacity=2)
        store.set("/n", 1)
        assert entered.wait(10)
        for n in range(2, 7):
            store.set("/n", n)
        store.flush_events()
        go.set()
        eventually(lambda: len(got) == 4)
    assert got == [1, 2, 3, elkyn.Overflow(lost=3, first_seq=4, last_seq=6)]
    assert store.event_queue_stats().dropped == 3

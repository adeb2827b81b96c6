"""Every operator: what it passes, how it ends, that its timers die and its state is bounded."""

import gc
import random
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from stalling import Stall, eventually

import elkyn
from elkyn import Observable, Overflow

Chain = Callable[[Observable[Any]], Observable[Any]]


def value(event: Any) -> Any:
    return event.value


def passed(store: elkyn.Store, chain: Chain, values: list[Any]) -> list[Any]:
    """Return what comes through `chain` for `values` set one after the other, "complete" where it completes."""
    said: list[Any] = []
    subscription = chain(store.watch("/n").map(value)).subscribe(
        said.append, said.append, lambda: said.append("complete")
    )
    for one in values:
        store.set("/n", one)
    store.flush_events()
    subscription.unsubscribe()
    assert store.live_subscriptions() == []
    assert store._routes.watchers() == []
    return said


@pytest.mark.parametrize(
    ("chain", "values", "expected"),
    [
        (lambda o: o.filter(lambda n: n % 2), [1, 2, 3, 4, 5], [1, 3, 5]),
        (lambda o: o.map(lambda n: n * 10), [1, 2], [10, 20]),
        (lambda o: o.filter(lambda n: n > 1).map(lambda n: n * 10), [1, 2, 3], [20, 30]),
        (lambda o: o.map(lambda n: n * 10).filter(lambda n: n > 10), [1, 2, 3], [20, 30]),
        (lambda o: o.take(2), [1, 2, 3], [1, 2, "complete"]),
        (lambda o: o.take(0), [1, 2], ["complete"]),
        (lambda o: o.skip(2), [1, 2, 3, 4], [3, 4]),
        (lambda o: o.skip(0), [1, 2], [1, 2]),
        (lambda o: o.skip(1).take(1), [1, 2, 3], [2, "complete"]),
        (lambda o: o.distinct(), [1, 1.0, 1, 2], [1, 2]),
        (lambda o: o.distinct(key=lambda n: n % 3), [1, 4, 5, 2, 3], [1, 5, 3]),
        (lambda o: o.buffer(count=2), [1, 2, 3], [[1, 2]]),
        (lambda o: o.scan(lambda total, n: total + n), [1, 2, 3], [1, 3, 6]),
        (lambda o: o.scan(lambda total, n: total + n, 100), [1, 2], [101, 103]),
        (lambda o: o.merge(o.map(lambda n: -n)), [1, 2], [1, -1, 2, -2]),
        (lambda o: o.take(1).merge(o.take(2)), [1, 2, 3], [1, 1, 2, "complete"]),
        (lambda o: o.take_until(o.filter(lambda n: n == 3)), [1, 2, 3, 4], [1, 2, "complete"]),
        (lambda o: o.throttle(60), [1, 2, 3], [1]),
        (lambda o: o.debounce(60), [1, 2, 3], []),
    ],
)
def test_22_an_operator_passes_what_it_should(
    store: elkyn.Store, chain: Chain, values: list[Any], expected: list[Any]
) -> None:
    assert passed(store, chain, values) == expected


def test_22_distinct_of_events_is_by_what_they_say_and_safe_from_what_handlers_do(store: elkyn.Store) -> None:
    said: list[Any] = []
    store.watch("/*").distinct().subscribe(lambda event: (said.append(event.path), event.value.append("mine")))
    store.set("/a", [1])
    store.delete("/a")  # another type: passes, and its value has no append
    store.set("/a", [1])
    store.set("/b", [1])
    store.flush_events()
    assert said == ["/a", "/a", "/a", "/b"]


def test_22_debounce_passes_the_last_after_a_quiet_time(store: elkyn.Store) -> None:
    said: list[Any] = []
    with store.watch("/n").debounce(0.03).map(value).subscribe(said.append):
        for n in range(20):
            store.set("/n", n)
        eventually(lambda: said)
        assert said[-1] == 19
        assert len(said) <= 3
        store.set("/n", "again")
        eventually(lambda: said[-1] == "again")


def test_22_throttle_passes_the_first_at_once_and_the_latest_later(store: elkyn.Store) -> None:
    said: list[Any] = []
    with store.watch("/n").throttle(0.1).map(value).subscribe(said.append):
        for n in range(50):
            store.set("/n", n)
        store.flush_events()
        assert said[0] == 0
        eventually(lambda: said[-1] == 49)
        assert len(said) < 10


def test_22_buffer_passes_what_came_in_time(store: elkyn.Store) -> None:
    said: list[Any] = []
    with store.watch("/n").map(value).buffer(seconds=0.05).subscribe(said.append):
        for n in range(10):
            store.set("/n", n)
        eventually(lambda: sum(map(len, said)) == 10)
        assert [n for items in said for n in items] == list(range(10))


def test_22_the_state_of_buffer_is_bounded(store: elkyn.Store) -> None:
    said: list[Any] = []
    with store.watch("/n").buffer(seconds=60).map(len).subscribe(said.append):
        for n in range(1500):
            store.set("/n", n)
            if n % 500 == 0:
                store.flush_events()
        store.flush_events()
    assert said == [1024]


@pytest.mark.parametrize(
    ("chain", "flushed"),
    [
        (lambda o: o.debounce(60), [3]),
        (lambda o: o.throttle(60), [1, 3]),
        (lambda o: o.buffer(count=100), [[1, 2, 3]]),
        (lambda o: o.buffer(seconds=60), [[1, 2, 3]]),
    ],
)
def test_22_timers_flush_on_complete(tmp_path: Path, chain: Chain, flushed: list[Any]) -> None:
    said: list[Any] = []
    store = elkyn.open(tmp_path, durability="none")
    subscription = chain(store.watch("/n").map(value)).subscribe(
        said.append, on_complete=lambda: said.append("complete")
    )
    for n in (1, 2, 3):
        store.set("/n", n)
    store.close()
    assert said == [*flushed, "complete"]
    assert not subscription.active


@pytest.mark.parametrize(
    "chain", [lambda o: o.debounce(0.02), lambda o: o.throttle(0.02), lambda o: o.buffer(seconds=0.02)]
)
def test_22_timers_die_on_unsubscribe(store: elkyn.Store, chain: Chain) -> None:
    said: list[Any] = []
    subscription = chain(store.watch("/n").map(value)).subscribe(said.append)
    store.set("/n", 1)
    store.set("/n", 2)
    store.flush_events()
    subscription.unsubscribe()
    before = list(said)
    assert store._thread._timers == []
    waited = threading.Event()
    with store.watch("/later").debounce(0.05).subscribe(lambda event: waited.set()):
        store.set("/later", 1)
        assert waited.wait(10)  # a later timer has fired, so an earlier one would have
    assert said == before


def test_22_a_pending_item_is_let_go_by_unsubscribe(store: elkyn.Store) -> None:
    events: list[Any] = []
    subscription = (
        store.watch("/n").map(lambda event: events.append(weakref.ref(event)) or event).debounce(60).subscribe(print)
    )
    store.set("/n", {"a": 1})
    store.flush_events()
    assert events[0]() is not None
    subscription.unsubscribe()
    gc.collect()
    assert events[0]() is None


@pytest.mark.parametrize(
    "chain",
    [
        lambda o: o.filter(lambda n: False), lambda o: o.map(str), lambda o: o.skip(5000), lambda o: o.distinct(),
        lambda o: o.debounce(60), lambda o: o.throttle(60), lambda o: o.buffer(count=5000), lambda o: o.take(5000),
        lambda o: o.scan(lambda a, b: b), lambda o: o.take_until(o.filter(lambda n: False)),
    ],
)  # fmt: skip
def test_an_overflow_passes_every_operator(store: elkyn.Store, stalled: Stall, chain: Chain) -> None:
    said: list[Any] = []
    chain(store.watch("/n").map(value)).subscribe(said.append)
    for n in range(1100):
        store.set("/n", n)
    stalled.release()
    store.flush_events()
    losses = [item for item in said if isinstance(item, Overflow)]
    assert [loss.lost for loss in losses] == [1100 - 1024] or sum(loss.lost for loss in losses) >= 1100 - 1024


@pytest.mark.parametrize(
    "chain",
    [
        lambda o: o.filter(lambda n: n.missing), lambda o: o.map(lambda n: 1 // 0), lambda o: o.distinct(key=len),
        lambda o: o.scan(lambda a, b: a[b]), lambda o: o.merge(o.map(len)),
        lambda o: o.buffer(count=1).map(len).map(len),
        lambda o: o.throttle(0.001).map(len), lambda o: o.debounce(0.001).map(len), lambda o: o.take_until(o.map(len)),
    ],
)  # fmt: skip
def test_18_an_error_in_any_operator_ends_the_chain_once(store: elkyn.Store, chain: Chain) -> None:
    said: list[Any] = []
    subscription = chain(store.watch("/n").map(value)).subscribe(
        lambda item: None, lambda error: said.append("error"), lambda: said.append("complete")
    )
    for n in range(5):
        store.set("/n", n)
    store.flush_events()
    eventually(lambda: said)
    store.set("/n", 9)
    store.flush_events()
    assert said == ["error"]
    assert not subscription.active
    assert store._thread._timers == []


def test_operators_refuse_nonsense(store: elkyn.Store) -> None:
    watch = store.watch("/n")
    for call in (
        lambda: watch.take(-1), lambda: watch.skip(-1), lambda: watch.debounce(0), lambda: watch.throttle(-1),
        lambda: watch.buffer(), lambda: watch.buffer(count=0), lambda: watch.buffer(seconds=0),
        lambda: store.watch("/n", overflow="maybe"), lambda: store.watch("/n", capacity=0),
        lambda: watch.subscribe(print, overflow="maybe"), lambda: watch.subscribe(print, capacity=0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"count|time|overflow|capacity"):
            call()
    with pytest.raises(TypeError, match="callable"):
        watch.subscribe(7)  # type: ignore[arg-type]


def test_merge_refuses_another_stores_observable(store: elkyn.Store, tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "other") as other, pytest.raises(ValueError, match="one store"):
        store.watch("/n").merge(other.watch("/n"))


def test_merge_of_two_watches_is_two_native_subscriptions_and_one_handle(store: elkyn.Store) -> None:
    said: list[Any] = []
    merged = store.watch("/a").merge(store.watch("/b"))
    subscription = merged.map(value).subscribe(said.append)
    assert len(store._routes.watchers()) == 2
    store.set("/a", 1)
    store.set("/b", 2)
    store.flush_events()
    subscription.unsubscribe()
    store.set("/a", 3)
    store.flush_events()
    assert said == [1, 2]


def test_an_observable_can_be_subscribed_to_many_times_with_state_of_its_own_each(store: elkyn.Store) -> None:
    first: list[Any] = []
    second: list[Any] = []
    counted = store.watch("/n").scan(lambda count, _: count + 1, 0)
    counted.subscribe(first.append)
    store.set("/n", 1)
    counted.subscribe(second.append)
    store.set("/n", 2)
    store.flush_events()
    assert (first, second) == ([1, 2], [1])


def test_to_reactivex_gives_all_other_operators(store: elkyn.Store) -> None:
    from reactivex import operators

    said: list[Any] = []
    pairs = store.watch("/n").map(value).to_reactivex().pipe(operators.pairwise())
    disposable = pairs.subscribe(said.append, on_completed=lambda: said.append("complete"))
    for n in (1, 2, 3):
        store.set("/n", n)
    store.flush_events()
    disposable.dispose()
    assert said == [(1, 2), (2, 3)]
    assert store.live_subscriptions() == []


@pytest.mark.parametrize("seed", range(20))
def test_a_chain_of_filters_and_maps_does_what_each_says_in_their_order(store: elkyn.Store, seed: int) -> None:
    chance = random.Random(seed)
    steps = [(chance.choice(["filter", "map"]), chance.randrange(2, 5)) for _ in range(seed % 6)]
    watch: Observable[Any] = store.watch("/n")
    expected: list[Any] = list(range(1, 60))
    heard: list[Any] = []

    def number(item: Any) -> int:
        return item if isinstance(item, int) else int(item.value)

    for kind, by in steps:
        if kind == "filter":
            watch = watch.filter(lambda item, by=by: number(item) % by)
            expected = [n for n in expected if n % by]
        else:
            watch = watch.map(lambda item, by=by: number(item) + by)
            expected = [n + by for n in expected]
    watch.subscribe(lambda item: heard.append(number(item)))
    for n in range(1, 60):
        store.set("/n", n)
    store.flush_events()
    assert heard == expected
    assert len(store._routes.watchers()) == 1


def test_an_item_that_a_timer_brings_to_a_full_inbox_is_counted_as_dropped(store: elkyn.Store) -> None:
    go = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        store.watch("/n", capacity=1).debounce(0.001).subscribe(lambda item: go.wait(60), executor=executor)
        n = 0
        while store.event_queue_stats().dropped == 0 and n < 100:  # one is handled, one waits, the next is too much
            n += 1
            store.set("/n", n)
            store.flush_events()
            eventually(lambda: not store._thread._timers)
        go.set()
    assert store.event_queue_stats().dropped == 1


def test_timers_cost_the_same_however_many_there_are(store: elkyn.Store) -> None:
    thread = store._thread

    def steps(count: int) -> int:
        """How many entries are looked at when `count` timers are made and half of them cancelled, in any order."""
        looked = 0

        class Watched(list[Any]):
            def __iter__(self) -> Any:
                nonlocal looked
                looked += len(self)
                return super().__iter__()

        thread._timers, thread._cancelled = Watched(), 0
        stops = [thread.call_later(1000.0 + n * 7919 % count, lambda: None, None) for n in range(count)]
        for n, stop in enumerate(stops):
            if n % 2:
                stop()
                thread._timers = Watched(thread._timers) if not isinstance(thread._timers, Watched) else thread._timers
        assert sum(timer.callback is not None for _, _, timer in list(thread._timers)) == count // 2
        thread._timers = []
        return looked

    assert steps(100_000) <= 10 * 100_000


def test_4000_debouncers_take_an_event_and_end_at_once(store: elkyn.Store) -> None:
    got: list[Any] = []
    begun = time.process_time()
    subscriptions = [store.watch("/n").debounce(0.01).subscribe(got.append) for _ in range(4000)]
    store.set("/n", 1)
    eventually(lambda: len(got) == 4000, 60)
    store.watch("/n").debounce(1000).subscribe(got.append).unsubscribe()
    for subscription in subscriptions:
        subscription.unsubscribe()
    assert time.process_time() - begun < 10  # of processor time; 19.7 s where each cancel looked at all of them
    assert store._thread._timers == []

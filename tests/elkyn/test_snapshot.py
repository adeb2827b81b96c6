"""initial=True: all of what was there, page by page, however slow the reader and whatever commits meanwhile."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from stalling import eventually

import elkyn
from elkyn.events.dispatcher import EVENTS_PER_DELIVERY
from elkyn.events.snapshot import NODES_PER_PAGE, Nodes
from elkyn.storage import MAX_READERS

MANY = 3000


@contextmanager
def following(store: elkyn.Store, how: str, take: Callable[[Any], object], **options: Any) -> Iterator[None]:
    """Follow /n/* from what is there, on one kind of consumer."""
    watch = store.watch("/n/*", initial=True, **options)
    if how == "handler":
        with watch.subscribe(take):
            yield
    elif how == "executor":
        with ThreadPoolExecutor(1) as executor, watch.subscribe(take, executor=executor):
            yield
    else:
        started, over = threading.Event(), threading.Event()

        async def main() -> None:
            async def handle(item: Any) -> None:
                take(item)

            if how == "async handler":
                with watch.subscribe(handle):
                    started.set()
                    await asyncio.to_thread(over.wait, 60)
            else:
                stream = aiter(watch)
                started.set()
                ending = asyncio.ensure_future(asyncio.to_thread(over.wait, 60))
                ending.add_done_callback(lambda _: asyncio.ensure_future(stream.aclose()))
                async for item in stream:
                    take(item)

        thread = threading.Thread(target=asyncio.run, args=(main(),))
        thread.start()
        assert started.wait(10)
        try:
            yield
        finally:
            over.set()
            thread.join(60)


CONSUMERS = ["handler", "executor", "async handler", "async iterator"]


@pytest.mark.parametrize("how", CONSUMERS)
@pytest.mark.parametrize("capacity", [8, 1024])
def test_every_node_arrives_once_in_order_and_the_last_is_marked(store: elkyn.Store, how: str, capacity: int) -> None:
    store.set("/n", {f"{n:05}": n for n in range(MANY)})
    got: list[Any] = []
    with following(store, how, got.append, capacity=capacity):
        eventually(lambda: len(got) >= MANY, 60)
    assert [event.path for event in got] == [f"/n/{n:05}" for n in range(MANY)]
    assert [event.last for event in got] == [False] * (MANY - 1) + [True]
    assert {event.rev for event in got} == {1}
    assert all(before.seq < after.seq for before, after in itertools.pairwise(got))
    stats = store.event_queue_stats()
    assert (stats.produced, stats.dropped) == (MANY, 0)


@pytest.mark.parametrize("how", CONSUMERS)
@pytest.mark.parametrize("growing", [False, True])
def test_what_commits_meanwhile_comes_behind_it_without_gap_or_duplicate(
    tmp_path: Path, how: str, growing: bool
) -> None:
    got: list[Any] = []
    size = (1 if growing else 128) << 20  # what grows under the snapshot ends its transaction
    with elkyn.open(tmp_path / "data", durability="none", map_size=size, slots=1 << 15) as store:
        store.set("/n", {f"{n:05}": 0 for n in range(MANY)})
        with following(store, how, got.append, capacity=1 << 14):
            for count in range(1, MANY):
                place = count * 7919 % (MANY + 200)
                store.set(f"/n/{place:05}", count)
                if count % 10 == 0:
                    store.delete(f"/n/{(place + 1) % MANY:05}")
            store.set("/n/end", 1)
            eventually(lambda: got and got[-1].path == "/n/end", 60)
        mirror: dict[str, Any] = {}
        started = False
        before = 0
        for event in got:
            assert event.rev >= before or not started
            started = started or event.seq > 0
            before = event.rev
            if event.type == "delete":
                assert mirror.pop(event.path, None) is not None, "a delete of what was never told, or told already"
            else:
                assert mirror.get(event.path) != event.value, "told twice"
                mirror[event.path] = event.value
        assert mirror == {f"/n/{name}": value for name, value in store.items("/n")}
        told = [event.rev for event in got if event.seq <= 0]
        live = [event.rev for event in got if event.seq > 0]
        if not growing:
            assert (set(told), len(told)) == ({1}, MANY)
            assert live == list(range(2, store.rev + 1))


def test_what_is_still_in_the_ring_when_all_is_told_is_not_told_again(tmp_path: Path) -> None:
    got: list[Any] = []
    entered, go = threading.Event(), threading.Event()

    def stall(_: Any) -> None:
        entered.set()
        go.wait(30)

    with elkyn.open(tmp_path / "data", durability="none", map_size=1 << 20, slots=1 << 12) as store:
        store.set("/n/a", 0)
        with store.watch("/gate").subscribe(stall):
            store.set("/gate", 1)
            assert entered.wait(30)
            with store.watch("/n/*", initial=True).subscribe(got.append):
                for count in range(1, 3 * EVENTS_PER_DELIVERY):
                    store.set("/n/a", count)
                store.set("/large", b"x" * (4 << 20))  # ends the snapshot's transaction: it is told as of now
                go.set()
                assert store.flush_events(30)
                store.set("/n/a", 0)
                assert store.flush_events(30)
    assert [event.value for event in got] == [3 * EVENTS_PER_DELIVERY - 1, 0]


def test_nodes_go_on_at_a_later_revision_where_their_transaction_is_ended(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data", durability="none", map_size=1 << 20) as store:
        store.set("/n", {"a": 1, "b": 1, "c": 1, "d": 1})
        with store._database.mutex:
            nodes = Nodes(store._database, store._tree, ("n", "*"), lambda: store.rev)
        assert nodes.next() == ("/n/a", b"\x01")
        store.update("/n", {"a": 2, "c": 2})
        store.set("/large", b"x" * (4 << 20))
        assert [nodes.next() for _ in range(4)] == [("/n/b", b"\x01"), ("/n/c", b"\x02"), ("/n/d", b"\x01"), None]
        told = []
        with store.watch("/n/*").subscribe(told.append):
            store.update("/n", {"a": 3, "c": 3})
            store.flush_events()
        late = [nodes.told(event) for event in told]
        assert late == [False, False]  # of a commit after both
        nodes._later = [(b"\0n\0b", told[0].rev)]
        assert [nodes.told(event) for event in told] == [key > "/n/b" for key in ("/n/a", "/n/c")]


@pytest.mark.parametrize("how", CONSUMERS)
def test_no_write_waits_for_a_snapshot(store: elkyn.Store, how: str) -> None:
    store.set("/n", {f"{n:05}": {"a": n} for n in range(20_000)})
    got: list[Any] = []
    slowest = 0.0
    with following(store, how, got.append):
        while len(got) < 20_000:
            begun = time.process_time()  # of all threads: what a set() waits for in here, and not for a processor
            store.set("/elsewhere", len(got))
            slowest = max(slowest, time.process_time() - begun)
    assert slowest < 0.5, f"a set() took {slowest:.3f} s"  # 1.5 s when the whole snapshot was made under the lock


def test_other_subscriptions_have_their_turn_between_the_pages(store: elkyn.Store) -> None:
    store.set("/n", {f"{n:05}": n for n in range(NODES_PER_PAGE * 8)})
    order: list[str] = []
    first = threading.Event()

    def follow(event: Any) -> None:
        order.append("snapshot")
        if len(order) == 1:
            first.wait(10)

    store.watch("/other").subscribe(lambda event: order.append("other"))
    with store.watch("/n/*", initial=True).subscribe(follow):
        store.set("/other", 1)
        first.set()
        store.flush_events()
    assert order.index("other") < len(order) - NODES_PER_PAGE


@pytest.mark.parametrize("policy", ["gap", "latest", "error"])
def test_what_is_held_behind_a_stalled_snapshot_is_bounded_by_the_policy(store: elkyn.Store, policy: str) -> None:
    store.set("/n", {f"{n:05}": 0 for n in range(50)})
    got: list[Any] = []
    errors: list[BaseException] = []
    go, ended = threading.Event(), threading.Event()

    def handle(item: Any) -> None:
        go.wait(60)
        got.append(item)
        if not isinstance(item, elkyn.Overflow) and item.path == "/n/end":
            ended.set()

    def failed(error: BaseException) -> None:
        errors.append(error)
        ended.set()

    with ThreadPoolExecutor(1) as executor:
        watch = store.watch("/n/*", initial=True, overflow=policy, capacity=8)  # type: ignore[arg-type]
        with watch.subscribe(handle, failed, executor=executor):
            for n in range(1, 101):
                store.set("/n/00000", n)
                store.flush_events()
            go.set()
            if policy != "error":
                eventually(lambda: len(got) >= 51)
                store.set("/n/end", 1)
            assert ended.wait(10)
    if policy == "gap":
        assert sum(item.lost for item in got if isinstance(item, elkyn.Overflow)) == 92
        assert [item.value for item in got[50:58]] == list(range(1, 9))
    elif policy == "latest":
        assert [item.value for item in got[50:]] == [100, 1]
    else:
        assert isinstance(errors[0], elkyn.SubscriptionOverflow)


def test_block_holds_the_writer_up_while_a_snapshot_is_told(store: elkyn.Store) -> None:
    store.set("/n", {f"{n:05}": 0 for n in range(500)})
    got: list[Any] = []
    with ThreadPoolExecutor(1) as executor:
        watch = store.watch("/n/*", initial=True, overflow="block", capacity=4, timeout=60)
        with watch.subscribe(got.append, executor=executor):
            for n in range(1, 201):
                store.set("/n/00000", n)
            eventually(lambda: len(got) == 700)
    assert [event.value for event in got] == [0] * 500 + list(range(1, 201))


def test_two_merged_snapshots_rise_in_number_and_both_arrive(store: elkyn.Store) -> None:
    store.update("/", {"a": {str(n): n for n in range(600)}, "b": {str(n): n for n in range(600)}})
    got: list[Any] = []
    both = store.watch("/a/*", initial=True).merge(store.watch("/b/*", initial=True))
    with ThreadPoolExecutor(1) as executor, both.subscribe(got.append, executor=executor, capacity=16, initial=True):
        eventually(lambda: len(got) == 1200)
    assert all(before.seq < after.seq for before, after in itertools.pairwise(got))


def test_a_snapshot_that_nobody_reads_ends_with_its_subscription(store: elkyn.Store) -> None:
    store.set("/n", {f"{n:05}": n for n in range(MANY)})
    with ThreadPoolExecutor(1) as executor:
        go = threading.Event()
        for _ in range(5):
            subscription = store.watch("/n/*", initial=True).subscribe(lambda _: go.wait(60), executor=executor)
            store.flush_events()
            threading.Timer(0.05, go.set).start()
            subscription.unsubscribe()
            go.clear()
    eventually(lambda: not store._dispatcher._snapshots)
    reading = [line for line in store._database.env.readers().splitlines()[1:] if not line.rstrip().endswith("-")]
    assert not reading


def test_a_stalled_reader_keeps_no_pages_from_being_used_again(store: elkyn.Store) -> None:
    store.set("/n", {f"{n:05}": n for n in range(MANY)})

    def reading() -> list[str]:
        return [line for line in store._database.env.readers().splitlines()[1:] if not line.rstrip().endswith("-")]

    got: list[Any] = []
    go = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        watch = store.watch("/n/*", initial=True, capacity=16)
        with watch.subscribe(lambda event: (go.wait(60), got.append(event)), executor=executor):
            assert reading()
            eventually(lambda: not reading())  # it has let go, and goes on with what is there then
            store.update("/n", {"00000": "new", "02999": "new"})
            go.set()
            eventually(lambda: len(got) == MANY + 1)
    assert [event.value for event in got[-3:]] == [2998, "new", "new"]
    assert [event.path for event in got[-2:]] == ["/n/02999", "/n/00000"]


def test_flush_events_does_not_wait_for_a_snapshot_that_waits_for_room(store: elkyn.Store) -> None:
    store.set("/n", {f"{n:05}": n for n in range(MANY)})

    async def main() -> int:
        stream = aiter(store.watch("/n/*", initial=True, capacity=16))
        assert store.flush_events(30)  # on the loop that alone could read on
        count = 0
        async for _ in stream:
            count += 1
            if count == MANY:
                return count
        raise AssertionError("the iteration ended early")

    assert asyncio.run(asyncio.wait_for(main(), 60)) == MANY


def test_a_snapshot_passes_the_operators(store: elkyn.Store) -> None:
    store.set("/n", {f"{n:05}": n for n in range(MANY)})
    got: list[Any] = []
    chain = store.watch("/n/*", initial=True).filter(lambda event: event.value % 2).map(lambda event: event.value)
    with ThreadPoolExecutor(1) as executor, chain.subscribe(got.append, executor=executor, capacity=8):
        eventually(lambda: len(got) == MANY // 2)
    assert got == list(range(1, MANY, 2))
    first: list[Any] = []
    store.watch("/n/*", initial=True).take(3).subscribe(lambda event: first.append(event.value))
    store.flush_events()
    assert first == [0, 1, 2]


def test_more_snapshots_may_wait_than_there_are_readers(store: elkyn.Store) -> None:
    """Each takes a slot as long as it is read; those that find none begin when it is their turn."""
    store.set("/n", {str(number): number for number in range(5)})
    go_on, told = threading.Event(), list[list[Any]]()
    store.watch("/gate").subscribe(lambda _event: go_on.wait(30))
    store.set("/gate", 1)
    for _ in range(MAX_READERS + 20):
        told.append([])
        store.watch("/n/*", initial=True).subscribe(told[-1].append)
    go_on.set()
    eventually(lambda: all(len(events) == 5 for events in told))
    assert all([event.value for event in events] == [0, 1, 2, 3, 4] for events in told)

"""overflow="block" loses nothing, whatever the writes look like; what can never fit is refused before it happens."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from stalling import Stall

import elkyn


def test_a_thousand_large_queued_writes_all_arrive(store: elkyn.Store) -> None:
    got: list[str] = []
    store.watch("/n/*").subscribe(lambda event: got.append(event.path), overflow="block", timeout=60)
    futures = [store.set_async(f"/n/{n}", b"x" * 2048) for n in range(3000)]
    assert [future.result(60) for future in futures] == list(range(1, 3001))
    assert store.flush_events(60)
    assert got == [f"/n/{n}" for n in range(3000)]
    assert store.event_queue_stats().dropped == 0


def test_queued_writes_pass_a_small_inbox_one_part_after_the_other(store: elkyn.Store) -> None:
    got: list[int] = []
    done = threading.Event()

    def handle(event: Any) -> None:
        got.append(event.value)
        if len(got) == 300:
            done.set()

    with ThreadPoolExecutor(1) as executor:
        subscription = store.watch("/n").subscribe(handle, executor=executor, overflow="block", capacity=16, timeout=60)
        futures = [store.set_async("/n", n) for n in range(300)]
        for future in futures:
            future.result(60)
        assert done.wait(60)
        subscription.unsubscribe()
    assert got == list(range(300))


def test_what_is_lost_by_a_timeout_was_not_written_and_those_behind_do_not_wait_again(
    store: elkyn.Store, stalled: Stall
) -> None:
    got: list[int] = []
    with ThreadPoolExecutor(1) as executor:
        store.watch("/n").subscribe(
            lambda event: got.append(event.value), executor=executor, overflow="block", capacity=4, timeout=0.2
        )
        futures = [store.set_async("/n", n) for n in range(100)]
        errors = [future.exception(20) for future in futures]  # 20 s would be for each of them
        stalled.release()
        store.flush_events()
    written = [n for n, error in enumerate(errors) if error is None]
    assert 0 < len(written) <= 4
    assert all(error is None or type(error) is elkyn.EventTimeout for error in errors)
    assert got == written


@pytest.mark.parametrize(
    "write",
    [
        lambda store, many: store.update("/n", many),
        lambda store, many: store.set("/n", many),
        lambda store, many: store.update_async("/n", many).result(10),
    ],
)
def test_a_commit_larger_than_the_ring_is_refused_before_it_happens(
    store: elkyn.Store, write: Callable[[elkyn.Store, dict[str, int]], object]
) -> None:
    got: list[Any] = []
    store.watch("/n/*").subscribe(got.append, overflow="block")
    with pytest.raises(elkyn.CommitTooLarge, match="2000 events"):
        write(store, {str(n): n for n in range(2000)})
    store.flush_events()
    assert (store.rev, got, store.exists("/n")) == (0, [], False)


def test_a_block_whose_events_never_fit_is_undone(store: elkyn.Store) -> None:
    with ThreadPoolExecutor(1) as executor:
        store.watch("/n/*").subscribe(print, executor=executor, overflow="block", capacity=2)
        with pytest.raises(elkyn.CommitTooLarge, match="capacity of 2"), store.transaction() as tx:
            tx.update("/n", {"a": 1, "b": 2, "c": 3})
    assert store.rev == 0


def test_a_larger_ring_takes_a_larger_commit(tmp_path: Path) -> None:
    got: list[Any] = []
    with elkyn.open(tmp_path / "data", durability="none", slots=1500, value_bytes=4_000_000) as store:
        stats = store.event_queue_stats()
        assert (stats.capacity, stats.capacity_bytes) == (2048, 4 << 20)
        store.watch("/n/*").subscribe(got.append, overflow="block")
        store.update("/n", {str(n): b"x" * 2000 for n in range(2000)})
        store.flush_events()
    assert len(got) == 2000
    assert {event.rev for event in got} == {1}
    assert [event.last for event in got] == [False] * 1999 + [True]


@pytest.mark.parametrize(
    "sizes", [{"slots": 0}, {"slots": (1 << 20) + 1}, {"value_bytes": 0}, {"value_bytes": 1 << 32}]
)
def test_sizes_of_the_ring_that_there_are_not_are_refused(tmp_path: Path, sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"slots|value_bytes"):
        elkyn.open(tmp_path / "data", **sizes)  # type: ignore[arg-type]


def test_a_merged_subscription_that_hears_of_each_write_twice_loses_nothing(store: elkyn.Store) -> None:
    got: list[str] = []
    done = threading.Event()

    def handle(event: Any) -> None:
        got.append(event.path)
        if len(got) == 400:
            done.set()

    with ThreadPoolExecutor(1) as executor:
        both = store.watch("/n").merge(store.watch("/**"))
        with both.subscribe(handle, executor=executor, overflow="block", capacity=4, timeout=60):
            for n in range(200):
                store.set("/n", n)
            assert done.wait(60)


def test_what_an_operator_holds_back_finds_room_in_a_full_inbox(store: elkyn.Store) -> None:
    got: list[Any] = []
    go, done = threading.Event(), threading.Event()

    def handle(item: Any) -> None:
        go.wait(60)
        got.append(item)
        if len(got) == 5:
            done.set()

    with ThreadPoolExecutor(1) as executor:
        source = store.watch("/a").merge(store.watch("/b").debounce(0.05))
        with source.subscribe(handle, executor=executor, overflow="block", capacity=4, timeout=60):
            store.set("/b", 1)
            for n in range(4):
                store.set("/a", n)
            store.set_async("/elsewhere", 1).result(60)
            go.set()
            assert done.wait(60)
    assert not any(isinstance(item, elkyn.Overflow) for item in got)


def test_a_write_on_the_loop_that_alone_could_make_room_is_refused_at_once(store: elkyn.Store) -> None:
    async def main() -> None:
        async def handle(_: Any) -> None:
            await asyncio.sleep(3600)

        subscription = store.watch("/n").subscribe(handle, overflow="block", capacity=2, timeout=60)
        stream = aiter(store.watch("/m", overflow="block", capacity=2, timeout=60))
        for path in ("/n", "/m"):
            for n in range(2):
                store.set(path, n)
                store.flush_events()
            with pytest.raises(elkyn.WouldDeadlock):
                store.set(path, 2)
        # From elsewhere the writer waits for the loop, which goes on meanwhile.
        waiting = asyncio.ensure_future(asyncio.to_thread(store.set, "/m", 77))
        values = [(await anext(stream)).value for _ in range(3)]
        await waiting
        assert values[-1] == 77
        subscription.unsubscribe()
        await stream.aclose()

    asyncio.run(asyncio.wait_for(main(), 60))

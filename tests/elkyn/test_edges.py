"""What the contract says, where two of its sentences meet: each test is named after the one that would break."""

import asyncio
import contextlib
import gc
import os
import random
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lmdb
import pytest
from stalling import Stall, eventually

import elkyn
from elkyn.storage import Syncer


def test_04_a_pattern_elsewhere_does_not_disturb_a_write_that_grows_the_map(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data", durability="none", map_size=1 << 20) as store:
        store.watch("/*").subscribe(lambda _: None)
        for n in range(20):
            store.set(f"/a/{n}", "x" * 200_000)
        assert len(store.keys("/a")) == 20


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


DEEP = "/a" + "/k" * 20  # inside an object that is stored whole: 20 levels there and 60 more are too many


def test_08_a_value_that_is_too_deep_where_it_is_put_leaves_the_transaction_as_it_was(store: elkyn.Store) -> None:
    store.set("/a", {"x/y": 0, "keep": 1})
    with store.transaction() as tx:
        with pytest.raises(elkyn.InvalidValueError):
            tx.set(DEEP, _nested(60))
        with pytest.raises(elkyn.InvalidValueError):
            tx.update("/", {"part": 1, "a": {"x/y": 2}} | {"a": {"p/q": _nested(64)}})
        assert tx.get("/a") == {"x/y": 0, "keep": 1}
        tx.set("/other", 1)
    assert store.get("/") == {"a": {"x/y": 0, "keep": 1}, "other": 1}


def test_08_a_queued_write_that_is_refused_late_fails_alone_and_holds_up_nobody(store: elkyn.Store) -> None:
    store.set("/a", {"x/y": 0, "keep": 1})
    with store.transaction():  # so that the three come together
        futures = [store.set_async("/n/1", 1), store.set_async(DEEP, _nested(60)), store.set_async("/n/2", 2)]
    futures[0].result(10)
    with pytest.raises(elkyn.InvalidValueError):
        futures[1].result(10)
    assert futures[2].result(10) == store.rev
    writer = threading.Thread(target=store.set, args=("/later", 1), daemon=True)
    writer.start()
    writer.join(10)
    assert not writer.is_alive()
    assert store.get("/") == {"a": {"x/y": 0, "keep": 1}, "n": {"1": 1, "2": 2}, "later": 1}


def test_15_unsubscribe_does_not_wait_for_another_handler_of_the_same_event(store: elkyn.Store) -> None:
    lock, running, returned = threading.Lock(), threading.Event(), threading.Event()

    def first(_: Any) -> None:
        running.set()
        time.sleep(0.1)

    def second(_: Any) -> None:
        with lock:
            pass

    subscription = store.watch("/n").subscribe(first)
    store.watch("/n").subscribe(second)

    def leave() -> None:
        with lock:
            store.set("/n", 1)
            running.wait(10)
            subscription.unsubscribe()
        returned.set()

    threading.Thread(target=leave, daemon=True).start()
    assert returned.wait(10)


def test_14_a_transaction_refuses_another_thread(store: elkyn.Store) -> None:
    with store.transaction() as tx, ThreadPoolExecutor(1) as other:
        tx.set("/n", 1)
        for call in (
            lambda: tx.set("/n", 2),
            lambda: tx.update("/", {"n": 2}),
            lambda: tx.delete("/n"),
            lambda: tx.push("/n", 2),
            lambda: tx.get("/n"),
            lambda: tx.exists("/n"),
            lambda: tx.keys("/"),
            lambda: tx.items("/"),
        ):
            with pytest.raises(elkyn.ElkynError, match="thread"):
                other.submit(call).result(10)
    assert store.get("/") == {"n": 1}


def _overfill(store: elkyn.Store) -> None:
    """Have events of others fill the ring."""
    store.watch("/fill/*").subscribe(lambda _: None)
    for _ in range(1100):
        store.push("/fill", 0)


def test_10_latest_keeps_an_event_for_each_who_did_not_get_a_later_one(store: elkyn.Store, stalled: Stall) -> None:
    got: dict[str, list[Any]] = {"exact": [], "family": [], "old": []}
    store.set("/n", {"x": 0})
    store.watch("/n").subscribe(lambda event: got["exact"].append(event.value), overflow="latest")
    store.watch("/n", children=True).subscribe(lambda event: got["family"].append(event.value), overflow="latest")
    store.watch("/n", old=True).subscribe(lambda event: got["old"].append((event.old, event.value)), overflow="latest")
    _overfill(store)
    store.set("/n", {"x": 1})
    store.set("/n/x", 2)  # which only one of them hears of
    stalled.release()
    store.flush_events()
    assert got == {"exact": [{"x": 1}], "family": [{"x": 2}], "old": [({"x": 0}, {"x": 1})]}
    stats = store.event_queue_stats()
    assert stats.produced == stats.delivered + stats.dropped + stats.coalesced


def test_24_a_forked_childs_child_keeps_its_files(store: elkyn.Store) -> None:
    child = os.fork()
    if child == 0:
        files = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]  # one of them has the number of the store's lock
        grandchild = os.fork()
        if grandchild == 0:
            try:
                for file in files:
                    os.fstat(file)
            except OSError:
                os._exit(1)
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.set("/n", 1)


def test_24_a_forked_child_is_refused_a_subscription_also_where_the_parent_was_writing(store: elkyn.Store) -> None:
    both = store.watch("/n").merge(store.watch("/m"))
    held, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with store.transaction():
            held.set()
            go_on.wait(30)

    with ThreadPoolExecutor(1) as executor:
        executor.submit(write)
        assert held.wait(10)
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            try:
                both.subscribe(print)
            except elkyn.ForkedStoreError:
                os._exit(0)
            os._exit(1)
        go_on.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class _Interrupted(Exception):
    pass


@contextlib.contextmanager
def _interruptions() -> Iterator[None]:
    """Let the alarm's handler raise, wherever this thread is then."""

    def interrupt(*_: object) -> None:
        raise _Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with contextlib.suppress(_Interrupted):
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it may also raise in a finalizer
@pytest.mark.parametrize("how", ["set", "transaction"])
def test_11_an_exception_of_a_signal_handler_loses_no_event_and_no_revision(store: elkyn.Store, how: str) -> None:
    mirror: dict[str, Any] = {}

    def follow(event: Any) -> None:
        assert isinstance(event, elkyn.Event)
        if event.type == "delete":
            mirror.pop(event.path, None)
        else:
            mirror[event.path] = event.value

    store.watch("/n/*").subscribe(follow)
    for _ in range(60):
        with _interruptions():
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 3e-3))
            for _ in range(100):
                values = {str(name): random.random() for name in range(300)}
                if how == "set":
                    store.set("/n", values)
                else:
                    with store.transaction() as tx:
                        tx.set("/n", values)
                store.flush_events()
        store.flush_events()
        assert store.rev == store._database.current_rev()
        assert mirror == {f"/n/{name}": value for name, value in (store.get("/n") or {}).items()}


def test_11_after_an_exception_of_a_signal_handler_the_old_value_is_a_change_again(
    store: elkyn.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Any] = []
    store.watch("/n").subscribe(lambda event: got.append(event.value))
    store.set("/n", 1)
    store.set("/n", 2)  # from here on the store knows what is there without looking
    tell = store._commits._tell

    def tell_and_raise(*event: Any) -> int:
        tell(*event)
        raise _Interrupted

    monkeypatch.setattr(store._commits, "_tell", tell_and_raise)
    with pytest.raises(_Interrupted):
        store.set("/n", 3)
    monkeypatch.undo()
    store.set("/n", 2)
    store.flush_events()
    assert got == [1, 2, 3, 2]


def test_10_block_loses_nothing_that_is_on_its_way_through_a_slow_filter(store: elkyn.Store) -> None:
    got: list[Any] = []
    taken, filtering, go_on = threading.Event(), threading.Event(), threading.Event()

    def slow(event: elkyn.Event) -> bool:
        if event.value == 1:
            filtering.set()
            time.sleep(0.2)
        return True

    def handle(item: Any) -> None:
        got.append(item)
        taken.set()
        go_on.wait(10)

    with ThreadPoolExecutor(2) as executor:
        store.watch("/n").filter(slow).subscribe(handle, executor=executor, overflow="block", capacity=1)
        store.set("/n", 0)
        assert taken.wait(10)
        store.set("/n", 1)
        assert filtering.wait(10)
        late = executor.submit(store.set, "/n", 2)
        time.sleep(0.4)
        go_on.set()
        late.result(10)
        eventually(lambda: len(got) == 3)
    assert [item.value for item in got] == [0, 1, 2]


def test_23_an_iterator_may_be_collected_at_any_moment(store: elkyn.Store) -> None:
    before = gc.get_threshold()

    async def main() -> None:
        for n in range(1500):
            gc.set_threshold(random.randrange(60, 200), 1, 1)
            stream = aiter(store.watch(f"/n/{n % 7}").debounce(60))
            cycle: list[Any] = [stream]
            cycle.append(cycle)
            del stream, cycle
            store.set(f"/n/{n % 7}", n)
            store.watch(f"/m/{n}/a/b/c/d/e/f/g").subscribe(print).unsubscribe()

    try:
        asyncio.run(main())
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert store.live_subscriptions() == []
    eventually(lambda: store._routes.empty and not store._thread._timers)


@pytest.mark.parametrize("where", ["elsewhere", "in the handler"])
def test_17_close_waits_for_a_blocking_subscription_no_longer_than_for_others(tmp_path: Path, where: str) -> None:
    store = elkyn.open(tmp_path / "data", durability="none", drain_timeout=0.3)
    entered, queued, go_on = threading.Event(), threading.Event(), threading.Event()

    def hold(_: Any) -> None:
        if not entered.is_set():
            entered.set()
            queued.wait(60)
            if where == "in the handler":
                store.close()
                go_on.set()
            go_on.wait(60)

    store.watch("/n/*").subscribe(hold, overflow="block", timeout=60)
    futures = [store.set_async("/n/first", 0)]
    assert entered.wait(10)
    futures += [store.set_async(f"/n/{n}", n) for n in range(2500)]
    begun = time.monotonic()
    queued.set()
    if where == "elsewhere":
        store.close()
    else:
        assert go_on.wait(30)
        store._thread.join(30)
    assert time.monotonic() - begun < 30, "the subscription would have waited for a minute"
    go_on.set()
    assert [future.result(0) for future in futures] == list(range(1, 2502))
    with elkyn.open(tmp_path / "data") as again:
        assert len(again.keys("/n")) == 2501


def test_19_queueing_more_than_fits_inside_ones_own_transaction_raises(store: elkyn.Store) -> None:
    def flood() -> None:
        with store.transaction():
            for n in range(20_000):
                store.set_async("/n", n)

    with pytest.raises(elkyn.WouldDeadlock):
        flood()
    store.set_async("/n", "last").result(10)
    assert store.get("/n") == "last"


def test_21_a_loop_that_is_closed_while_its_handler_waits_ends_the_subscription(store: elkyn.Store) -> None:
    ends: list[Any] = []

    async def main() -> elkyn.Subscription:
        entered = asyncio.Event()

        async def wait(_: Any) -> None:
            entered.set()
            await asyncio.sleep(100)

        subscription = store.watch("/n").subscribe(wait, ends.append, lambda: ends.append("complete"))
        store.set("/n", 1)
        await entered.wait()
        return subscription

    subscription = asyncio.run(main())
    store.set("/n", 2)
    store.flush_events()
    assert not subscription.active
    assert [type(end) for end in ends] == [RuntimeError]


def test_21_a_handler_whose_task_is_cancelled_is_called_again(store: elkyn.Store) -> None:
    async def main() -> list[Any]:
        got: list[Any] = []

        async def handle(event: Any) -> None:
            got.append(event.value)
            if event.value == 1:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)

        store.watch("/n").subscribe(handle)
        for n in (1, 2):
            store.set("/n", n)
            store.flush_events()
            await asyncio.sleep(0.05)
        return got

    assert asyncio.run(main()) == [1, 2]


def test_21_an_executor_that_drops_its_work_ends_the_subscription(store: elkyn.Store) -> None:
    ends: list[Any] = []
    release = threading.Event()
    executor = ThreadPoolExecutor(1)
    executor.submit(release.wait, 10)
    subscription = store.watch("/n").subscribe(print, ends.append, executor=executor)
    store.set("/n", 1)
    store.flush_events()
    executor.shutdown(wait=False, cancel_futures=True)
    release.set()
    assert not subscription.active
    assert [type(end) for end in ends] == [RuntimeError]


def test_25_the_figures_add_up_where_several_inboxes_coalesce(store: elkyn.Store) -> None:
    go_on = threading.Event()
    with ThreadPoolExecutor(3) as executor:
        for _ in range(3):
            store.watch("/n/*").subscribe(lambda _: go_on.wait(10), executor=executor, overflow="latest", capacity=4)
        for n in range(500):
            store.set(f"/n/{n % 5}", n)
        store.flush_events()
        stats = store.event_queue_stats()
        go_on.set()
    assert stats.coalesced > 0
    assert stats.dropped > 0
    assert stats.produced == stats.delivered + stats.dropped + stats.coalesced + stats.pending


def test_25_the_figures_add_up_where_a_snapshot_waits_for_room(store: elkyn.Store) -> None:
    store.set("/n", {str(n): n for n in range(2000)})
    go_on: threading.Event = threading.Event()
    got: list[Any] = []

    def handle(item: Any) -> None:
        got.append(item)
        go_on.wait(10)

    with ThreadPoolExecutor(1) as executor:
        store.watch("/n/*").subscribe(handle, executor=executor, initial=True)
        assert store.flush_events(10)
        assert 1024 <= store.event_queue_stats().produced < 2000
        go_on.set()
        eventually(lambda: len(got) == 2000)
    stats = store.event_queue_stats()
    assert (stats.produced, stats.dropped) == (2000, 0)
    assert stats.produced == stats.delivered + stats.dropped + stats.coalesced + stats.pending


@pytest.mark.parametrize("operator", ["debounce", "throttle", "buffer"])
def test_11_nothing_older_comes_after_an_overflow(store: elkyn.Store, stalled: Stall, operator: str) -> None:
    got: list[Any] = []
    watch = store.watch("/n")
    chain = watch.buffer(seconds=0.1) if operator == "buffer" else getattr(watch, operator)(0.1)
    chain.subscribe(got.append)
    _overfill_after(store, "/n", ["first", "second"])
    store.set("/n", "lost")
    stalled.release()
    store.flush_events()
    time.sleep(0.3)
    assert isinstance(got[-1], elkyn.Overflow)
    items = [item for one in got[:-1] for item in (one if isinstance(one, list) else [one])]
    assert items[-1].value == "second"


def _overfill_after(store: elkyn.Store, path: str, values: list[Any]) -> None:
    for value in values:
        store.set(path, value)
    _overfill(store)


def test_11_distinct_starts_anew_after_an_overflow(store: elkyn.Store, stalled: Stall) -> None:
    mirror: list[Any] = []

    def follow(item: Any) -> None:
        mirror.append(store.get("/n") if isinstance(item, elkyn.Overflow) else item.value)

    store.watch("/n").distinct().subscribe(follow)
    _overfill_after(store, "/n", ["a"])
    store.set("/n", "b")
    stalled.release()
    store.flush_events()
    assert mirror == ["a", "b"]
    store.set("/n", "a")
    store.flush_events()
    assert mirror == ["a", "b", "a"]


def test_16_no_timer_is_left_by_a_chain_that_is_unsubscribed_while_it_runs(store: elkyn.Store) -> None:
    filtering, go_on = threading.Event(), threading.Event()

    def slow(_: Any) -> bool:
        filtering.set()
        return go_on.wait(10)

    def handler(_: Any) -> None:
        pass

    subscription = store.watch("/n").filter(slow).debounce(3600).subscribe(handler)
    reference = weakref.ref(handler)
    del handler
    store.set("/n", 1)
    assert filtering.wait(10)
    with ThreadPoolExecutor(1) as executor:
        left = executor.submit(subscription.unsubscribe)
        eventually(lambda: not subscription.active)
        go_on.set()
        left.result(10)
    store.flush_events()
    gc.collect()
    assert store._thread._timers == []
    assert reference() is None


@contextlib.contextmanager
def _writing(store: elkyn.Store, path: str) -> Iterator[None]:
    """Have another thread write to `path` all the time."""
    over = threading.Event()

    def write() -> None:
        n = 0
        while not over.is_set():
            n += 1
            store.set(path, n)

    with ThreadPoolExecutor(1) as executor:
        writing = executor.submit(write)
        try:
            yield
        finally:
            over.set()
            writing.result(10)


def test_20_all_sources_of_a_merge_begin_at_one_revision(store: elkyn.Store) -> None:
    others = [store.watch(f"/other/{n}") for n in range(30)]
    with _writing(store, "/n"):
        for _ in range(200):
            got: list[Any] = []
            with store.watch("/n").merge(*others).subscribe(got.append) as subscription:
                store.flush_events()
            assert all(event.rev > subscription.start_rev for event in got if isinstance(event, elkyn.Event))


def test_16_a_merge_that_fails_while_it_is_made_leaves_no_source_behind(store: elkyn.Store) -> None:
    others = [store.watch(f"/other/{n}") for n in range(30)]
    failing = store.watch("/n").map(lambda _: 1 / 0).merge(*others)
    store.watch("/n").subscribe(lambda _: None)
    with _writing(store, "/n"):
        for _ in range(200):
            failing.subscribe(print, lambda _: None)
    store.flush_events()  # so that the ring has room for the last one
    store.set("/n", "last")
    store.flush_events()
    eventually(lambda: len(store._routes.watchers()) == 1)


def test_14_items_of_an_object_inside_one_that_is_stored_whole_are_its_values(store: elkyn.Store) -> None:
    inside = {"nul\0": 1, "": 2, "slash/": {"x": 3}, "long" * 200: 4, "plain": 5}
    store.set("/a", {"x/y": 0, "in": inside})
    store.set("/", {"a": {"x/y": 0, "in": inside}})
    for reader in (store.items, store.get):
        assert dict(reader("/a/in")) == inside
    with store.transaction() as tx:
        assert dict(tx.items("/a/in")) == inside
    assert store.items("/a/in/plain") == []
    assert store.items("/nowhere") == []
    assert store.items("/") == [("a", {"x/y": 0, "in": inside})]
    store.set("/", "a leaf")
    assert store.items("/") == []


@pytest.mark.parametrize("pattern", ["/*/*", "/*/" + "b" * 100])
def test_20_initial_passes_over_names_that_no_path_reaches(store: elkyn.Store, pattern: str) -> None:
    store.set("/" + "a" * 200, {"b" * 100: 1, "c": 2})
    store.set("/d", {"b" * 100: 3})
    got: list[Any] = []
    with store.watch(pattern, initial=True).subscribe(lambda event: got.append(event.value)):
        eventually(lambda: len(got) == (2 if pattern == "/*/*" else 1))
    assert got == ([2, 3] if pattern == "/*/*" else [3])


def test_20_flush_events_waits_for_the_snapshot_too(store: elkyn.Store) -> None:
    store.set("/n", {"a": 1, "b": 2})
    for _ in range(50):
        got: list[Any] = []
        with store.watch("/n/*", initial=True).subscribe(got.append):
            store.flush_events()
            assert len(got) == 2


def test_18_a_reporter_that_raises_anything_stops_nobody(tmp_path: Path) -> None:
    def report(_error: BaseException, _where: str) -> None:
        raise SystemExit

    got: list[Any] = []
    with elkyn.open(tmp_path / "data", durability="none", on_handler_error=report) as store:
        store.watch("/n").subscribe(lambda _: 1 / 0)
        store.watch("/n").subscribe(got.append)
        for n in range(3):
            store.set("/n", n)
            store.flush_events()
    assert len(got) == 3


def test_16_a_forgotten_store_is_collected_also_where_it_has_a_writer(tmp_path: Path) -> None:
    stores = [elkyn.open(tmp_path / "data", durability="none")]
    stores[0].set_async("/n", 1).result(10)
    reference = weakref.ref(stores[0])

    def collected() -> bool:
        stores.clear()
        gc.collect()
        return reference() is None

    with pytest.warns(ResourceWarning, match="never closed"):
        eventually(collected)
    with elkyn.open(tmp_path / "data") as again:
        assert again.get("/n") == 1


def test_16_the_line_of_a_program_whose_name_begins_like_ours_is_told(store: elkyn.Store) -> None:
    file = os.path.dirname(elkyn.__file__) + "_app/main.py"
    names: dict[str, Any] = {"store": store}
    exec(compile("\nstore.watch('/n').subscribe(print)", file, "exec"), names)
    assert store.live_subscriptions()[0].where == f"{file}:2"


@pytest.mark.parametrize("path", [["/n"], {}, {"/n"}, bytearray(b"/n")])
def test_07_a_path_that_cannot_be_hashed_is_refused_as_any_other(store: elkyn.Store, path: Any) -> None:
    for call in (store.get, store.exists, store.delete, store.keys, store.items, store.watch):
        with pytest.raises(elkyn.PathError):
            call(path)
    with pytest.raises(elkyn.PathError):
        store.set(path, 1)


def test_24_a_sync_that_fails_at_close_lets_go_of_the_directory(tmp_path: Path) -> None:
    class Broken:
        def close(self) -> None:
            raise lmdb.DiskError("no space")

    store = elkyn.open(tmp_path / "data", durability="async")
    assert store._database.syncer is not None
    store._database.syncer.close()
    store._database.syncer = Broken()  # type: ignore[assignment]
    with pytest.raises(elkyn.StorageError, match="disk"):
        store.close()
    elkyn.open(tmp_path / "data").close()


def test_17_a_terminal_handler_that_could_not_be_awaited_is_refused(store: elkyn.Store) -> None:
    async def ending(*_: object) -> None:
        pass

    for handlers in ({"on_error": ending}, {"on_complete": ending}):
        with pytest.raises(TypeError, match="plain function"):
            store.watch("/n").subscribe(print, **handlers)
    assert store.live_subscriptions() == []


def test_19_a_write_in_the_middle_of_ones_own_write_raises(store: elkyn.Store) -> None:
    errors: list[BaseException] = []

    def write(*_: object) -> None:
        try:
            store.set("/signal", 1)
        except elkyn.ElkynError as error:
            errors.append(error)

    before = signal.signal(signal.SIGALRM, write)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        deadline = time.monotonic() + 10
        while not errors and time.monotonic() < deadline:
            store.set("/n", {str(n): n for n in range(100)})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert {type(error) for error in errors} == {elkyn.WouldDeadlock}  # a slow write is interrupted more than once
    assert store.get("/n") == {str(n): n for n in range(100)}


def test_25_a_second_close_returns_when_the_first_is_done(tmp_path: Path) -> None:
    store = elkyn.open(tmp_path / "data", durability="none")
    entered = threading.Event()

    def slow(_: Any) -> None:
        entered.set()
        time.sleep(0.3)

    store.watch("/n").subscribe(slow)
    store.set("/n", 1)
    assert entered.wait(10)

    def close_and_open() -> None:
        store.close()
        elkyn.open(tmp_path / "data").close()

    first = threading.Thread(target=store.close)
    first.start()
    eventually(lambda: not store._database.is_open)
    close_and_open()
    first.join()


@pytest.mark.parametrize("map_size", [1, 4096, 1 << 15])
def test_a_tiny_map_grows_like_any_other(tmp_path: Path, map_size: int) -> None:
    with elkyn.open(tmp_path / "data", durability="none", map_size=map_size) as store:
        store.set("/n", "x" * 500_000)
    with elkyn.open(tmp_path / "data", map_size=map_size) as store:
        assert len(store.get("/n")) == 500_000


def test_a_sync_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[bool] = []

    class Disk:
        def info(self) -> dict[str, int]:
            return {"last_txnid": 1}

        def path(self) -> str:
            return str(tmp_path)

        def sync(self, force: bool) -> None:
            tries.append(force)
            if len(tries) < 3:
                raise lmdb.DiskError("no space")

    monkeypatch.setattr("elkyn.storage.SYNC_EVERY_S", 0.001)
    syncer = Syncer(Disk())  # type: ignore[arg-type]
    eventually(lambda: len(tries) == 3)
    syncer.close()
    assert len(tries) == 4


def test_04_a_node_that_is_made_and_deleted_again_takes_an_empty_object_along(store: elkyn.Store) -> None:
    got: list[tuple[str, str]] = []
    store.watch("/a", children=True).subscribe(lambda event: got.append((event.type, event.path)))  # type: ignore[union-attr]
    store.set("/a", {})
    with store.transaction() as tx:
        tx.set("/a/b", 1)
        tx.delete("/a/b")
    store.flush_events()
    assert not store.exists("/a")
    assert got == [("change", "/a"), ("delete", "/a")]


class Place(str):
    """A path of a subclass of str, as enums have them."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


def test_07_a_subclass_of_str_is_the_path_of_its_characters_wherever_one_is_taken(store: elkyn.Store) -> None:
    got: list[Any] = []
    store.watch(Place("/a/*")).subscribe(got.append)
    for _ in range(2):  # looked up, and looked up again
        store.set(Place("/a/b"), 1)
        store.set("/a/b", 2)
        store.set(Place("/a/b"), 3)
        assert (store.get(Place("/a/b")), store.exists(Place("/a/b")), store.keys(Place("/a"))) == (3, True, ["b"])
        store.update(Place("/a"), {Place("c"): 4})
        store.set_async(Place("/a/d"), 5).result(10)
        store.push(Place("/log"), 6)
        with store.transaction() as tx:
            tx.set(Place("/a/e"), 7)
            tx.push(Place("/log"), 8)
        store.delete(Place("/a"))
    store.flush_events()
    assert {type(event.path) for event in got} == {str}
    assert store.items("/a") == []
    with pytest.raises(elkyn.PathError, match="must be a str, not int"):
        store.set(1, 1)  # type: ignore[arg-type]


def test_10_one_loss_of_a_merged_subscription_is_told_once(store: elkyn.Store, stalled: Stall) -> None:
    got: list[Any] = []
    store.watch("/n").map(lambda event: event.seq).merge(store.watch("/*").debounce(60), store.watch("/m")).subscribe(
        got.append
    )
    for n in range(1100):
        store.set("/n", n)
        store.set("/m", n)
    stalled.release()
    store.flush_events()
    losses = [item for item in got if isinstance(item, elkyn.Overflow)]
    assert [loss.lost for loss in losses] == [store.event_queue_stats().dropped]


@pytest.mark.parametrize("how", ["iterator", "handler"])
def test_23_the_loop_has_its_turn_while_items_wait(store: elkyn.Store, how: str) -> None:
    async def main() -> list[int]:
        turns = 0
        seen: list[int] = []

        async def count_turns() -> None:
            nonlocal turns
            while len(seen) < 1000:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count_turns())
        if how == "iterator":
            stream = aiter(store.watch("/n"))
            for n in range(1000):
                store.set("/n", n)
            store.flush_events()
            async for _ in stream:
                seen.append(turns)
                if len(seen) == 1000:
                    break
        else:

            async def handle(_: Any) -> None:
                seen.append(turns)

            store.watch("/n").subscribe(handle)
            for n in range(1000):
                store.set("/n", n)
            store.flush_events()
        await counting
        return seen

    seen = asyncio.run(asyncio.wait_for(main(), 60))
    assert len(set(seen)) > 30

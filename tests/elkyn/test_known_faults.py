"""Faults of the design that this store re-creates: each one happened once, and none may happen again.

Those of the ring itself are in elkyn/native/tests/, those that a contract sentence names in test_contract.py.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from stalling import Stall

import elkyn
from elkyn import Overflow
from elkyn._native import SLOTS, Event, Queue, Receiver
from elkyn.values import decode, encode


class Ring:
    """A ring whose events go to one receiver, which keeps them."""

    def __init__(self) -> None:
        self.queue = Queue(decode)
        self._kept: list[Event] = []
        self._keeper = Receiver()
        self._keeper.program = (self._kept.append,)

    def push(self, path: str, value: Any) -> int:
        """Push one event."""
        return self.queue.push(path, 1, 2, True, encode(value), None, (self._keeper,))

    def take(self, limit: int) -> tuple[list[Event], tuple[int, int] | None]:
        """Have up to `limit` events delivered; return them and the gap behind them."""
        self._kept.clear()
        _, gap = self.queue.deliver(limit, pytest.fail)
        return self._kept.copy(), gap


# --- the ring, through its bridge


def test_values_are_not_overwritten_while_the_consumer_lags(store: elkyn.Store, stalled: Stall) -> None:
    events: list[Any] = []
    store.watch("/n/*").subscribe(events.append)
    for n in range(3000):
        store.set(f"/n/{n % 10}", {"n": n, "pad": str(n) * 100})
    stalled.release()
    store.flush_events()
    kept = [event for event in events if not isinstance(event, Overflow)]
    assert len(kept) > 100
    for event in kept:
        n = event.value["n"]
        assert event.value["pad"] == str(n) * 100
        assert event.path == f"/n/{n % 10}"


def test_what_is_handed_out_is_not_touched_by_the_next_push_or_delivery() -> None:
    ring = Ring()
    ring.push("/first", ["first"])
    ring.push("/second", ["second"])
    (event, _), _ = ring.take(10)
    for n in range(SLOTS):
        ring.push("/other", [n])
    assert len(ring.take(SLOTS)[0]) == SLOTS
    assert (event.path, event.value) == ("/first", ["first"])


def test_a_path_is_not_cut_at_256_bytes_nor_inside_a_character() -> None:
    ring = Ring()
    longest = "/" + "ä" * 127 + "x"
    ring.push(longest, 1)
    with pytest.raises(ValueError, match="256 bytes"):
        ring.push("/" + "ä" * 128, 1)
    (event,), _ = ring.take(10)
    assert event.path == longest
    assert ring.queue.settled == 2  # the refused one has taken no number


def test_a_full_ring_leaves_a_trace() -> None:
    ring = Ring()
    numbers = [ring.push("/n", n) for n in range(SLOTS + 3)]
    assert numbers[-3:] == [-1025, -1026, -1027]
    ring.queue.settle()
    events, _ = ring.take(SLOTS)
    assert [event.seq for event in events] == list(range(1, SLOTS + 1))
    assert ring.take(10) == ([], (1025, 1027))
    assert ring.take(10) == ([], None)


def test_a_second_producer_or_consumer_is_refused_or_waits_its_turn_but_never_corrupts(store: elkyn.Store) -> None:
    events: list[Any] = []
    store.watch("/**").subscribe(events.append)
    threads = [
        threading.Thread(target=lambda t=t: [store.set(f"/t/{t}", [t, n]) for n in range(200)]) for t in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.flush_events()
    got = [event for event in events if not isinstance(event, Overflow)]
    for t in range(5):
        mine = [event.value[1] for event in got if event.value[0] == t]
        assert mine == sorted(mine)
    assert all(event.path == f"/t/{event.value[0]}" for event in got)


def test_a_waiting_consumer_keeps_others_from_consuming() -> None:
    ring = Ring()
    waiting = threading.Thread(target=ring.queue.wait, args=(30.0,))
    waiting.start()
    refused = False
    while waiting.is_alive() and not refused:
        try:
            ring.take(1)
        except ValueError:
            refused = True
    ring.queue.close()
    waiting.join(10)
    assert refused


def test_nul_ends_nothing(store: elkyn.Store) -> None:
    events: list[Any] = []
    store.watch("/n").subscribe(events.append)
    for value in ("a\0b", b"\0\0x", {"k\0": "\0"}):
        store.set("/n", value)
        assert store.get("/n") == value
    store.flush_events()
    assert [event.value for event in events] == ["a\0b", b"\0\0x", {"k\0": "\0"}]


# --- the store


def test_old_is_the_value_right_before_this_commit_however_many_write(store: elkyn.Store) -> None:
    events: list[Any] = []
    store.watch("/n", old=True, overflow="block", timeout=60).subscribe(events.append)
    threads = [
        threading.Thread(target=lambda t=t: [store.set("/n", t * 1000 + n) for n in range(200)]) for t in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.flush_events()
    assert len(events) == 800
    assert [event.old for event in events] == [None, *(event.value for event in events[:-1])]


def test_arrays_nested_and_empty_objects_read_back_right(store: elkyn.Store) -> None:
    value = {"array": [1, [2, {"three": []}]], "empty": {}, "nested": {"a": {"b": {"c": {}}}}, "list": []}
    store.set("/v", value)
    assert store.get("/v") == value
    assert store.get("/v/nested/a/b/c") == {}
    assert store.get("/v/array") == [1, [2, {"three": []}]]
    assert store.get("/v/array/0") is None  # an array is one value: it has no children


def test_set_replaces_and_update_merges(store: elkyn.Store) -> None:
    store.set("/u", {"a": 1, "b": 2})
    store.set("/u", {"c": 3})
    assert store.get("/u") == {"c": 3}
    store.update("/u", {"d": {"x": 1}})
    store.update("/u", {"d": {"y": 2}, "c": 4})
    assert store.get("/u") == {"c": 4, "d": {"y": 2}}


def test_updates_from_many_threads_lose_no_write(store: elkyn.Store) -> None:
    threads = [
        threading.Thread(target=lambda t=t: [store.update("/u", {f"{t}-{n}": n}) for n in range(100)]) for t in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.get("/u")) == 400


def test_a_scalar_and_a_subtree_do_not_hide_each_other(store: elkyn.Store) -> None:
    store.set("/a/b/c", 1)
    store.set("/a", 5)
    assert store.get("/") == {"a": 5}
    assert store.get("/a/b/c") is None
    store.set("/a/b/c", 2)
    assert store.get("/") == {"a": {"b": {"c": 2}}}
    store.set("/a/b", {})
    store.set("/a/bb", 3)  # a neighbour whose name begins alike
    store.set("/a/b", 4)
    assert store.get("/a") == {"b": 4, "bb": 3}
    store.delete("/a/b")
    assert store.get("/a") == {"bb": 3}
    store.delete("/a/bb")
    assert not store.exists("/a")  # an object that loses its last child goes with it
    store.set("/", 7)
    assert store.get("/") == 7
    store.set("/x", 1)
    assert store.get("/") == {"x": 1}


def test_neighbours_in_key_order_are_told_apart(store: elkyn.Store) -> None:
    names = ["a", "a b", "a!", "a-", "a.", "a0", "aa", "ab", "ä", "A"]
    for name in names:
        store.set(f"/{name}/x", name)
    for name in names:
        assert store.get(f"/{name}") == {"x": name}
    assert store.keys("/") == sorted(names, key=str.encode)
    store.delete("/a")
    assert sorted(store.get("/")) == sorted(set(names) - {"a"})


def test_an_object_stored_whole_can_be_read_and_written_inside(store: elkyn.Store) -> None:
    store.set("/o", {"a/b": 1, "in": {"side": 2, "": 3}})
    assert store.get("/o/in/side") == 2
    store.set("/o/in/side", 5)
    store.update("/o", {"new": {"k": 1}})
    assert store.get("/o") == {"a/b": 1, "in": {"side": 5, "": 3}, "new": {"k": 1}}
    assert store.delete("/o/in/side") > 0
    assert store.get("/o") == {"a/b": 1, "in": {"": 3}, "new": {"k": 1}}
    assert not store.exists("/o/in/side")
    assert store.keys("/o/in") == [""]


def test_no_page_of_the_database_is_handed_out(store: elkyn.Store) -> None:
    store.set("/blob", b"x" * 100_000)
    before = store.get("/blob")
    for n in range(50):
        store.set("/blob", bytes([n]) * 100_000)
    assert type(before) is bytes
    assert before == b"x" * 100_000


def test_an_unknown_queued_write_is_refused_rather_than_waited_for_for_ever(tmp_path: Path) -> None:
    store = elkyn.open(tmp_path)
    future = store.set_async("/n", 1)
    store.close()
    assert future.result(0) == 1
    with pytest.raises(elkyn.StoreClosedError):
        store.set_async("/n", 2)


# --- bridge and observables


def test_the_table_of_subscriptions_may_change_while_an_event_is_delivered(store: elkyn.Store) -> None:
    calls: list[str] = []
    subscriptions: list[elkyn.Subscription] = []

    def churn(event: Any) -> None:
        calls.append("churn")
        for subscription in subscriptions:
            subscription.unsubscribe()
        subscriptions[:] = [store.watch("/n").subscribe(lambda event: calls.append("new")) for _ in range(3)]

    first = store.watch("/n").subscribe(churn)
    subscriptions.extend(store.watch("/n").subscribe(lambda event: calls.append("old")) for _ in range(3))
    store.set("/n", 1)
    store.flush_events()
    assert calls == ["churn"]  # the old ones were unsubscribed before their turn, the new ones begin later
    first.unsubscribe()
    store.set("/n", 2)
    store.flush_events()
    assert calls == ["churn", "new", "new", "new"]


def test_filter_then_map_keeps_the_filter(store: elkyn.Store) -> None:
    said: list[Any] = []
    store.watch("/n").filter(lambda event: event.value > 2).map(lambda event: event.value * 10).subscribe(said.append)
    for n in range(5):
        store.set("/n", n)
    store.flush_events()
    assert said == [30, 40]


@pytest.mark.parametrize("text", ["123", "true", "null", "1.5", "", "[]", "{}", "NaN"])
def test_a_string_that_looks_like_something_else_stays_a_string(store: elkyn.Store, text: str) -> None:
    events: list[Any] = []
    store.watch("/s").subscribe(events.append)
    store.set("/s", text)
    store.flush_events()
    assert store.get("/s") == text
    assert events[0].value == text
    assert type(events[0].value) is str


def test_observables_are_not_cached_per_path(store: elkyn.Store) -> None:
    import gc
    import weakref

    alive = [weakref.ref(store.watch(f"/n/{n}")) for n in range(100)]
    gc.collect()
    assert not any(ref() for ref in alive)
    for n in range(5000):
        store.set(f"/n/{n}", n)
        store.get(f"/n/{n}")
    assert len(store._routes.cache) <= 1024
    assert len(store._keys) <= 1024


def test_push_makes_names_that_sort_by_time(store: elkyn.Store) -> None:
    names = [store.push("/log", n) for n in range(500)]
    with store.transaction() as tx:
        names += [tx.push("/log", n) for n in range(500, 600)]
    assert names == sorted(names)
    assert len(set(names)) == 600
    assert [value for _, value in store.items("/log")] == list(range(600))
    assert all(len(name) == 20 for name in names)


def test_keys_and_items_know_ranges_and_limits(store: elkyn.Store) -> None:
    store.set("/n", {f"{n:03}": {"v": n} for n in range(100)})
    assert store.keys("/n", start="010", end="013") == ["010", "011", "012"]
    assert store.keys("/n", limit=2) == ["000", "001"]
    assert store.items("/n", start="098") == [("098", {"v": 98}), ("099", {"v": 99})]
    assert store.items("/n", start="050", limit=1) == [("050", {"v": 50})]
    assert store.keys("/missing") == []
    assert store.keys("/n/000/v") == []
    with store.transaction() as tx:
        tx.delete("/n/000")
        assert tx.keys("/n", limit=1) == ["001"]
        assert tx.items("/n", start="099") == [("099", {"v": 99})]


def test_a_range_that_is_no_range_of_names_raises_a_clear_error(store: elkyn.Store) -> None:
    store.set("/n", {"a": 1, "b/c": 2})
    with store.transaction() as tx:
        for reader in (store, tx):
            for read in (reader.keys, reader.items):
                for which in ("start", "end"):
                    for path in ("/n", "/missing"):
                        with pytest.raises(TypeError, match=f"{which} must be a str or None, not int"):
                            read(path, **{which: 5})
                        with pytest.raises(elkyn.PathError, match=f"{which} .* surrogate"):
                            read(path, **{which: "\ud800"})
                assert len(read("/n", start="b/c")) == 1  # no segment of a path, but a key of an object stored whole


@pytest.mark.slow
def test_the_bridge_is_clean_under_valgrind(tmp_path: Path) -> None:
    """The extension's own errors only: valgrind knows nothing of Python's arenas, so malloc is used throughout."""
    import shutil

    if shutil.which("valgrind") is None:
        pytest.skip("valgrind not found, install it with: apt-get install valgrind")
    program = f"""
import elkyn
with elkyn.open({str(tmp_path / "data")!r}, durability="none") as store:
    events = []
    store.watch("/**", old=True).subscribe(events.append)
    for n in range(300):
        store.set(f"/n/{{n % 5}}", {{"n": [n, "x" * (n * 50)]}})
    store.set("/big", b"x" * (2 << 20))
    store.flush_events()
    [(event.value, event.old, repr(event), hash(event)) for event in events if hasattr(event, "value")]
"""
    environment = os.environ | {"PYTHONMALLOC": "malloc"}
    done = subprocess.run(
        ["valgrind", "--error-exitcode=99", "--undef-value-errors=no", "-q", sys.executable, "-c", program],
        capture_output=True, text=True, check=False, env=environment, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]

"""The contract of the store and its events: one or more tests for each of its 25 sentences, numbered as they are."""

import asyncio
import contextlib
import gc
import itertools
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from stalling import Stall, eventually, paths

import elkyn
from elkyn import Overflow

# 1 Order


def test_01_each_call_has_one_revision_and_it_persists(tmp_path: Path) -> None:
    with elkyn.open(tmp_path) as store:
        assert store.rev == 0
        assert store.set("/a", 1) == 1
        assert store.update("/a", {"x": 1, "y": 2}) == 2
        assert store.delete("/a") == 3
        assert store.delete("/a") == 3  # nothing there: no commit
        assert store.set_async("/b", 1).result(10) == 4
        with store.transaction() as tx:
            tx.set("/c", 1)
            tx.set("/d", 1)
        assert (tx.rev, store.rev) == (5, 5)
    with elkyn.open(tmp_path) as store:
        assert store.rev == 5
        assert store.set("/a", 2) == 6


def test_01_grouped_commits_count_one_revision_per_call_also_after_reopening(tmp_path: Path) -> None:
    with elkyn.open(tmp_path, durability="none") as store:
        revs = [future.result(10) for future in [store.set_async("/n", n) for n in range(500)]]
        assert revs == list(range(1, 501))
    with elkyn.open(tmp_path, durability="none") as store:
        assert store.rev == 500


def test_01_every_subscription_sees_revisions_in_order_however_many_threads_write(store: elkyn.Store) -> None:
    seen: list[list[Any]] = [[], [], []]
    for pattern, events in zip(("/**", "/a/*", "/*/1"), seen, strict=True):
        store.watch(pattern).subscribe(events.append)

    def write(thread: int) -> None:
        for n in range(150):
            store.set(f"/{'abc'[n % 3]}/{n % 4}", [thread, n])
            store.set_async(f"/a/{n % 4}", [thread, n, n])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.set_async("/last", 1).result(10)
    store.flush_events()
    for events in seen:
        assert len(events) > 50
        told = [event for event in events if not isinstance(event, Overflow)]  # on a busy machine some may be lost
        assert all(a.rev <= b.rev for a, b in itertools.pairwise(told))
        seqs = [event.seq for event in told]
        assert all(a < b for a, b in itertools.pairwise(seqs))


# 2 After commit only


def test_02_a_handler_reads_its_revision_or_a_later_one_from_any_thread(store: elkyn.Store) -> None:
    late: list[Any] = []
    with ThreadPoolExecutor(1) as elsewhere:

        def check(event: Any) -> None:
            here = store.get("/n")
            there = elsewhere.submit(store.get, "/n").result(10)
            if here < event.value or there < event.value:
                late.append((event.value, here, there))

        store.watch("/n").subscribe(check)
        for n in range(200):
            store.set("/n", n)
        store.flush_events()
    assert late == []


def test_02_a_call_that_raised_made_no_event_and_no_revision(store: elkyn.Store) -> None:
    events: list[Any] = []
    store.watch("/**").subscribe(events.append)
    for call in (
        lambda: store.set("/a//b", 1),
        lambda: store.set("/a", object()),
        lambda: store.update("/a", {"ok": 1, "bad": {1, 2}}),
        lambda: store.update("/a", {"x/y": 1}),
        lambda: store.delete("a"),
    ):
        with pytest.raises((ValueError, TypeError)):
            call()
    with pytest.raises(LookupError), store.transaction() as tx:  # noqa: PT012
        tx.set("/a", 1)
        raise LookupError
    store.flush_events()
    assert events == []
    assert store.rev == 0
    assert store.get("/") is None


# 3 Groups


def test_03_a_group_shares_its_revision_and_only_its_last_event_is_marked(store: elkyn.Store) -> None:
    everything: list[Any] = []
    some: list[Any] = []
    store.watch("/**").subscribe(everything.append)
    store.watch("/a/*").subscribe(some.append)
    with store.transaction() as tx:
        tx.set("/a/1", 1)
        tx.set("/a/2", 2)
        tx.set("/b", 3)
    store.flush_events()
    assert paths(everything) == ["/a/1", "/a/2", "/b"]
    assert [event.last for event in everything] == [False, False, True]
    assert paths(some) == ["/a/1", "/a/2"]
    assert [event.last for event in some] == [False, True]  # the last that this subscription sees
    assert {event.rev for event in everything + some} == {tx.rev}


def test_03_a_set_of_a_subtree_is_one_group_for_those_who_watch_its_parts(store: elkyn.Store) -> None:
    events: list[Any] = []
    store.watch("/users/*/name").subscribe(events.append)
    rev = store.set("/users", {"1": {"name": "Ada"}, "2": {"name": "Bob"}, "3": {"age": 7}})
    store.flush_events()
    assert [(e.path, e.value, e.rev, e.last) for e in events] == [
        ("/users/1/name", "Ada", rev, False),
        ("/users/2/name", "Bob", rev, True),
    ]


# 4 Who fires


def heard(store: elkyn.Store, pattern: str, write: Any, **options: Any) -> list[tuple[str, str]]:
    events: list[Any] = []
    with store.watch(pattern, **options).subscribe(events.append):
        write()
        store.flush_events()
    return [(event.type, event.path) for event in events]


def test_04_a_write_at_the_node_fires(store: elkyn.Store) -> None:
    assert heard(store, "/a/b", lambda: store.set("/a/b", 1)) == [("change", "/a/b")]
    assert heard(store, "/a/*", lambda: store.delete("/a/b")) == [("delete", "/a/b")]


def test_04_a_write_above_fires_where_the_node_changed(store: elkyn.Store) -> None:
    store.set("/a", {"b": 1, "c": 2})
    assert heard(store, "/a/*", lambda: store.set("/a", {"b": 1, "c": 3, "d": 4})) == [
        ("change", "/a/c"),
        ("change", "/a/d"),
    ]
    assert heard(store, "/a/b", lambda: store.delete("/a")) == [("delete", "/a/b")]
    assert heard(store, "/a/b", lambda: store.set("/", {"a": {"b": 5}})) == [("change", "/a/b")]


def test_04_a_write_below_fires_only_with_children_or_a_double_star(store: elkyn.Store) -> None:
    assert heard(store, "/a", lambda: store.set("/a/b/c", 1)) == []
    assert heard(store, "/a", lambda: store.set("/a/b/c", 2), children=True) == [("change", "/a")]
    assert heard(store, "/*", lambda: store.set("/a/b/c", 3), children=True) == [("change", "/a")]
    assert heard(store, "/a/**", lambda: store.set("/a/b/c", 4)) == [("change", "/a/b/c")]
    assert heard(store, "/**", lambda: store.set("/a/b/c", 5)) == [("change", "/a/b/c")]
    assert heard(store, "/", lambda: store.set("/a/b/c", 6), children=True) == [("change", "/")]


def test_04_a_double_star_hears_of_a_write_above_at_its_own_place(store: elkyn.Store) -> None:
    assert heard(store, "/a/b/**", lambda: store.set("/a", {"b": {"c": 1}})) == [("change", "/a/b")]
    assert heard(store, "/a/*/**", lambda: store.set("/a", {"b": 1, "d": 2})) == [
        ("change", "/a/b"),
        ("change", "/a/d"),
    ]


def test_04_an_update_is_a_write_at_its_path_and_at_the_children_it_names(store: elkyn.Store) -> None:
    assert heard(store, "/a", lambda: store.update("/a", {"x": 1, "y": 2})) == [("change", "/a")]
    assert heard(store, "/a/x", lambda: store.update("/a", {"x": 2})) == [("change", "/a/x")]
    assert heard(store, "/a/*", lambda: store.update("/a", {"x": 2, "y": 3})) == [("change", "/a/y")]
    assert heard(store, "/a/**", lambda: store.update("/a", {"x": 3, "y": 3})) == [("change", "/a/x")]
    assert heard(store, "/a", lambda: store.update("/a", {"x": 3})) == []


def test_04_an_equal_value_and_a_delete_of_nothing_fire_nothing(store: elkyn.Store) -> None:
    value = {"b": [1, {"c": None}], "d": math.nan, "e": -0.0}
    store.set("/a", value)
    assert heard(store, "/**", lambda: store.set("/a", value)) == []
    assert heard(store, "/a/*", lambda: store.set("/a/b", [1, {"c": None}])) == []
    assert heard(store, "/**", lambda: store.delete("/missing")) == []
    assert heard(store, "/a/e", lambda: store.set("/a/e", 0.0)) == [("change", "/a/e")]  # another value after all
    assert heard(store, "/a/d", lambda: store.set("/a/d", True)) == [("change", "/a/d")]
    assert heard(store, "/a/d", lambda: store.set("/a/d", 1)) == [("change", "/a/d")]


def test_04_at_most_one_event_per_commit_and_node(store: elkyn.Store) -> None:
    def many() -> None:
        with store.transaction() as tx:
            for n in range(5):
                tx.set("/a/b", n)
            tx.update("/a", {"b": 9})
            tx.set("/a", {"b": 10})

    assert heard(store, "/a/*", many) == [("change", "/a/b")]
    assert heard(store, "/a", many, children=True) == []  # the same again: nothing changed in sum


def test_04_a_transaction_that_changes_and_restores_fires_nothing(store: elkyn.Store) -> None:
    store.set("/a", {"b": 1})

    def there_and_back() -> None:
        with store.transaction() as tx:
            tx.delete("/a")
            tx.set("/a/b", 2)
            tx.set("/a/b", 1)

    assert heard(store, "/**", there_and_back) == []


# 5 Old and new


def test_05_value_and_old_are_what_get_returned_after_and_before(store: elkyn.Store) -> None:
    events: list[Any] = []
    for pattern in ("/**", "/a", "/a/*", "/a/b/c"):
        store.watch(pattern, old=True, children=pattern == "/a").subscribe(lambda e, p=pattern: events.append((p, e)))
    states: dict[int, Any] = {0: None}
    writes: list[Any] = [
        lambda: store.set("/a", {"b": {"c": 1}, "d": [1]}),
        lambda: store.set("/a/b/c", 2),
        lambda: store.update("/a", {"d": {"e": 1}}),
        lambda: store.set("/a/b", 7),
        lambda: store.delete("/a/d"),
        lambda: store.set_async("/a/b/c", 3).result(10),
        lambda: store.delete("/a"),
    ]
    for write in writes:
        rev = write()
        states[rev] = store.get("/")
    store.flush_events()

    def at(state: Any, path: str) -> Any:
        for name in path.split("/")[1:]:
            state = state.get(name) if isinstance(state, dict) else None
        return state

    assert len(events) > 15
    for pattern, event in events:
        assert event.value == at(states[event.rev], event.path), (pattern, event)
        assert event.old == at(states[event.rev - 1], event.path), (pattern, event)


def test_05_old_is_none_for_those_who_did_not_ask(store: elkyn.Store) -> None:
    with_old: list[Any] = []
    without: list[Any] = []
    store.watch("/n", old=True).subscribe(with_old.append)
    store.watch("/n").subscribe(without.append)
    store.set("/n", 1)
    store.set("/n", 2)
    store.flush_events()
    assert [event.old for event in with_old] == [None, 1]
    assert [event.old for event in without] == [None, None]


def test_05_old_is_right_after_writes_that_nobody_watched_or_that_did_not_happen(store: elkyn.Store) -> None:
    events: list[Any] = []
    store.watch("/n/leaf", old=True).subscribe(lambda event: events.append((event.old, event.value)))

    def undone() -> None:
        with contextlib.suppress(elkyn.PathError), store.transaction() as tx:
            tx.set("/n/leaf", "undone")
            tx.set("no path", 0)

    for write in (
        lambda: store.set("/n/leaf", 1),
        lambda: store.set("/n/leaf", 2),
        undone,
        lambda: store.set("/n/leaf", 3),
        lambda: store.set("/n/leaf", 3),
        lambda: store.set("/n", {"leaf": 4}),
        lambda: store.set("/n/leaf", 5),
        lambda: store.set("/n/leaf", "x" * 1000),
        lambda: store.set("/n/leaf", 6),
        lambda: store.set_async("/n/leaf", 7).result(10),
        lambda: store.set("/n/leaf", 8),
        lambda: store.delete("/n/leaf"),
        lambda: store.set("/n/leaf", 9),
        lambda: store.set("/n/leaf", {"a": 1}),
        lambda: store.set("/n/leaf", 10),
    ):
        write()
    store.flush_events()
    states = [1, 2, 3, 4, 5, "x" * 1000, 6, 7, 8, None, 9, {"a": 1}, 10]
    assert events == list(zip([None, *states[:-1]], states, strict=True))


MIB = 1 << 20
BLOB_HEAD = 5  # bytes of msgpack before those of a large `bytes`


@pytest.mark.parametrize("how", ["dispatcher", "executor", "operators"])
def test_05_an_old_value_that_does_not_fit_beside_the_new_one_is_omitted_alone(store: elkyn.Store, how: str) -> None:
    events: list[Any] = []
    source = store.watch("/b", old=True)
    with ThreadPoolExecutor(1) as pool:
        if how == "operators":
            source.filter(lambda _: True).map(lambda event: event).distinct().buffer(count=1).subscribe(events.extend)
        else:
            source.subscribe(events.append, executor=pool if how == "executor" else None)
        states: list[tuple[Any, bool]] = [  # with whether the old value is omitted
            (1, False),
            (b"x" * (MIB - BLOB_HEAD), True),  # fills the buffer: not even the 1 of before fits beside it
            (2, True),
            (b"x" * (MIB - BLOB_HEAD - 1), False),  # leaves room for one byte
            (b"y" * 600_000, True),
            (b"z" * 600_000, True),
            (b"z" * 400_000, False),
            (b"x" * (2 * MIB), False),  # omitted itself, so that there is room
            (3, True),
            (b"x" * (2 * MIB), False),
            (None, True),  # deleted
            ({"a": [b"x" * 600_000], "b": [b"y" * 600_000]}, False),
            ({"a": [1]}, True),
        ]
        written = []
        for state, _ in states:
            rev = store.delete("/b") if state is None else store.set("/b", state)
            written.append((rev, store.get("/b")))
            store.flush_events()  # so that each finds the buffer empty
        eventually(lambda: len(events) == len(states))
    before: Any = None
    for event, (rev, now), (_, old_omitted) in zip(events, written, states, strict=True):
        assert event.rev == rev
        assert event.size == encoded_size(now)
        assert event.value_omitted == (event.size > MIB)
        assert event.value == (None if event.value_omitted else now)
        assert event.old_omitted == old_omitted
        assert event.old == (None if event.old_omitted else before)
        before = now
    omitted = sum(event.value_omitted or event.old_omitted for event in events)
    assert store.event_queue_stats().omitted == omitted
    assert store.event_queue_stats().dropped == 0


def encoded_size(value: Any) -> int:
    """Return how many bytes an event carries for `value`, none for one that is not there."""
    return 0 if value is None else len(msgspec.msgpack.encode(value))


def test_05_who_did_not_ask_for_the_old_value_hears_nothing_of_its_omission(store: elkyn.Store) -> None:
    store.set("/b", b"x" * (2 * MIB))
    events: list[Any] = []
    store.watch("/b").subscribe(events.append)
    store.watch("/b", initial=True, old=True).subscribe(events.append)
    store.flush_events()
    store.set("/b", 1)
    store.flush_events()
    snapshot, *changes = events
    assert (snapshot.value_omitted, snapshot.old_omitted, snapshot.old) == (True, False, None)
    assert {(event.value, event.value_omitted, event.old_omitted) for event in changes} == {
        (1, False, False),
        (1, False, True),
    }


# 6 One grammar


@pytest.mark.parametrize(
    "pattern",
    ["", "a", "/a/", "//", "/a//b", "/**/a", "/a*", "/*a", "/***", "/a/**/b", "/\0", "/" + "x" * 256, 7, None],
)
def test_06_an_invalid_pattern_raises_at_watch(store: elkyn.Store, pattern: Any) -> None:
    with pytest.raises(elkyn.PathError):
        store.watch(pattern)


@pytest.mark.parametrize("pattern", ["/", "/*", "/**", "/a/*/b", "/*/*/**", "/ä/ö", "/a b/~"])
def test_06_a_valid_pattern_does_not(store: elkyn.Store, pattern: str) -> None:
    store.watch(pattern)


# 7 Paths


@pytest.mark.parametrize(
    "path",
    [
        "", "a", "/a/", "//", "/a//b", "/a/*", "/**", "/a\0b", "/a\nb", "/\x7f", "/\x85", "/\ud800",
        "/" + "x" * 256, "/" + "ä" * 128, "/a" * 33, 7, None, b"/a",
    ],
)  # fmt: skip
def test_07_an_illegal_path_raises_before_any_write(store: elkyn.Store, path: Any) -> None:
    for call in (
        lambda: store.set(path, 1),
        lambda: store.get(path),
        lambda: store.update(path, {"a": 1}),
        lambda: store.delete(path),
        lambda: store.set_async(path, 1),
        lambda: store.exists(path),
        lambda: store.keys(path),
        lambda: store.push(path, 1),
    ):
        with pytest.raises(elkyn.PathError):
            call()
    assert store.rev == 0


@pytest.mark.parametrize("path", ["/x", "/" + "x" * 255, "/a" * 32, "/ä/日本/🎈", "/ !\"#$%&'()+,-.:;<=>?@[\\]^_`{|}~"])
def test_07_a_legal_path_arrives_byte_for_byte(store: elkyn.Store, path: str) -> None:
    events: list[Any] = []
    store.watch("/**").subscribe(events.append)
    store.set(path, "here")
    assert store.get(path) == "here"
    store.flush_events()
    assert paths(events) == [path]


# 8 Values

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.5, math.inf, -math.inf, math.nan,
    "", "a\0b", "日本", "123", "true", b"", b"\0\xff", [], {}, [[]], [{}], {"a": {}}, {"a": []},
    [1, "x", None, [True, {"k": b"v"}]], {"1": [1, 2], "2": {"3": None}}, {"a/b": 1, "*": {"": 2}}, {"": {"x": [0]}},
]  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Equal and of the same type, all the way down; NaN is itself and -0.0 is not 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return bool(a == b)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_08_a_value_reads_back_equal_and_of_the_same_type(store: elkyn.Store, value: Any) -> None:
    events: list[Any] = []
    store.watch("/a/v").subscribe(events.append)
    for path in ("/v", "/a/v", "/"):
        store.set(path, value)
        assert same(store.get(path), value)
        assert store.exists(path)
    store.set("/", {"list": [value], "object": {"key": value}})
    assert same(store.get("/"), {"list": [value], "object": {"key": value}})
    assert same(store.get("/object/key"), value)
    store.flush_events()
    assert same(events[0].value, value)


def test_08_nesting_up_to_64_is_fine_and_no_more(store: elkyn.Store) -> None:
    def nested(levels: int, kind: type) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value] if kind is list else {"k": value}
        return value

    for kind in (list, dict):
        store.set("/deep", nested(64, kind))
        assert store.get("/deep") == nested(64, kind)
        with pytest.raises(ValueError, match="64"):
            store.set("/deep", nested(65, kind))
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        store.set("/deep", loop)


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1, 2}, 1j, object(), 2**63, -(2**63) - 1, 2**70, {1: 2}, bytearray(b"x"), [(1,)], {"a": {None: 1}}],
)
def test_08_anything_else_raises_before_any_write(store: elkyn.Store, value: Any) -> None:
    class Text(str):
        __slots__ = ()

    for bad in (value, [value], {"deep": {"er": value}}, Text("x")):
        for call in (
            lambda bad=bad: store.set("/v", bad),
            lambda bad=bad: store.set_async("/v", bad),
            lambda bad=bad: store.update("/v", {"k": bad}),
        ):
            with pytest.raises((TypeError, ValueError)):
                call()
    assert store.rev == 0


@pytest.mark.parametrize("value", ["\ud800", ["a\udfff"], {"\ud800": 1}, {"a": {"b": [{"\ud800": 1}]}}])
def test_08_a_str_with_lone_surrogates_is_refused_by_the_documented_error(store: elkyn.Store, value: Any) -> None:
    for call in (
        lambda: store.set("/v", value),
        lambda: store.set_async("/v", value),
        lambda: store.update("/v", {"k": value}),
        lambda: store.push("/v", value),
    ):
        with pytest.raises(elkyn.InvalidValueError, match="surrogates"):
            call()
    with pytest.raises(elkyn.PathError, match="surrogate"):
        store.update("/v", {"\ud800": 1})
    assert store.rev == 0


# 9 Fixed memory


@pytest.mark.parametrize("events", [100_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_09_a_stalled_consumer_costs_no_memory(tmp_path: Path, events: int) -> None:
    """In a process of its own, whose memory nobody else moves."""
    program = f"""
import gc, sys, threading, elkyn, psutil
store = elkyn.open({str(tmp_path / "data")!r}, durability="none", drain_timeout=0)
go, entered = threading.Event(), threading.Event()
def stall(_):
    entered.set()
    go.wait()
store.watch("/n").subscribe(stall)
store.set("/n", -1)
entered.wait()
for n in range(5000):  # the file's and the allocator's working set
    store.set("/n", n)
gc.collect()
before = psutil.Process().memory_info().rss
for n in range({events}):
    store.set("/n", n % 1000)
gc.collect()
grown = psutil.Process().memory_info().rss - before
stats = store.event_queue_stats()
assert stats.produced == stats.delivered + stats.dropped + stats.pending, stats
assert stats.dropped > {events} * 0.9
go.set()
store.close()
print(grown)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=3000)
    assert int(done.stdout) < 1 << 20


# 10 Overflow policies


def test_10_gap_drops_the_newest_and_tells_so_once_in_its_place(store: elkyn.Store, stalled: Stall) -> None:
    events: list[Any] = []
    store.watch("/n").subscribe(events.append)
    for n in range(1100):
        store.set("/n", n)
    stalled.release()
    store.flush_events()
    store.set("/n", "after")
    store.flush_events()
    kept = events[:1024]
    assert [event.value for event in kept] == list(range(1024))
    first = kept[-1].seq + 1
    assert events[1024] == Overflow(lost=76, first_seq=first, last_seq=first + 75)
    assert [event.value for event in events[1025:]] == ["after"]


def test_10_gap_goes_only_to_those_who_missed_something(store: elkyn.Store, stalled: Stall) -> None:
    others: list[Any] = []
    store.watch("/other").subscribe(others.append)
    store.watch("/n").subscribe(lambda event: None)
    store.set("/other", 1)
    for n in range(1100):
        store.set("/n", n)
    stalled.release()
    store.flush_events()
    store.set("/other", 2)
    store.flush_events()
    assert [event.value for event in others] == [1, 2]


def test_10_error_ends_the_subscription(store: elkyn.Store, stalled: Stall) -> None:
    events: list[Any] = []
    errors: list[BaseException] = []
    subscription = store.watch("/n").subscribe(events.append, errors.append, overflow="error")
    for n in range(1100):
        store.set("/n", n)
    stalled.release()
    store.flush_events()
    assert len(events) == 1024
    assert [type(error) for error in errors] == [elkyn.SubscriptionOverflow]
    assert not subscription.active


def test_10_latest_keeps_the_last_event_of_each_path(store: elkyn.Store, stalled: Stall) -> None:
    events: list[Any] = []
    store.watch("/n/*").subscribe(events.append, overflow="latest")
    for n in range(3000):
        store.set(f"/n/{n % 10}", n)
    stalled.release()
    store.flush_events()
    assert not any(isinstance(event, Overflow) for event in events)
    assert all(a.seq < b.seq for a, b in itertools.pairwise(events))
    last = {event.path: event.value for event in events}
    assert last == {f"/n/{n}": 2990 + n for n in range(10)}
    stats = store.event_queue_stats()
    assert stats.dropped == 0
    assert stats.coalesced == 3000 - len(events)


def test_10_latest_omits_of_what_it_keeps_what_the_ring_would(store: elkyn.Store, stalled: Stall) -> None:
    store.set("/big", b"x" * (2 * MIB))
    store.set("/two", b"x" * 600_000)
    events: list[Any] = []
    store.watch("/*", old=True).subscribe(events.append, overflow="latest")
    for n in range(1024):  # the ring has no slot left
        store.set("/n", n)
    store.set("/big", 1)
    store.set("/large", 1)
    store.set("/large", b"x" * (2 * MIB))
    store.set("/two", b"y" * 600_000)
    stalled.release()
    store.flush_events()
    last = {event.path: event for event in events}
    assert (last["/big"].value, last["/big"].value_omitted, last["/big"].old_omitted) == (1, False, True)
    assert last["/two"].value == b"y" * 600_000
    assert (last["/two"].old, last["/two"].old_omitted) == (None, True)
    assert (last["/large"].value, last["/large"].value_omitted, last["/large"].size > MIB) == (None, True, True)
    assert (last["/large"].old, last["/large"].old_omitted) == (1, False)
    stats = store.event_queue_stats()
    assert (stats.dropped, stats.omitted) == (0, 3)
    assert stats.produced == stats.delivered + stats.coalesced


def test_10_latest_in_a_fixed_table_overflows_beyond_it(store: elkyn.Store, stalled: Stall) -> None:
    events: list[Any] = []
    store.watch("/n/*").subscribe(events.append, overflow="latest")
    for n in range(1024 + 1024 + 5):
        store.set(f"/n/{n}", n)
    stalled.release()
    store.flush_events()
    assert sum(event.lost for event in events if isinstance(event, Overflow)) == 5


def test_10_block_has_the_writer_wait_and_loses_nothing(store: elkyn.Store) -> None:
    events: list[Any] = []

    def slow(event: Any) -> None:
        events.append(event.value)
        if event.value % 100 == 0:
            time.sleep(0.001)

    store.watch("/n").subscribe(slow, overflow="block", timeout=30)
    for n in range(5000):
        store.set("/n", n)
    store.flush_events()
    assert events == list(range(5000))


def test_10_block_waits_for_room_only_for_the_values_that_travel(store: elkyn.Store, stalled: Stall) -> None:
    store.set("/n", b"x" * 700_000)
    store.set("/big", b"x" * (2 * MIB))
    events: list[Any] = []
    store.watch("/*", old=True).subscribe(events.append, overflow="block", timeout=0.05)
    store.set("/n", b"y" * 700_000)  # the old value stays behind
    with pytest.raises(elkyn.EventTimeout):
        store.set("/n", b"z" * 400_000)  # 700,000 bytes are waiting, and they and it are over the buffer
    store.set("/big", b"z" * (3 * MIB))  # neither value travels
    stalled.release()
    store.flush_events()
    assert [(event.value_omitted, event.old_omitted) for event in events] == [(False, True), (True, True)]


def test_10_block_times_out_and_then_nothing_was_written(store: elkyn.Store, stalled: Stall) -> None:
    store.watch("/n").subscribe(lambda event: None, overflow="block", timeout=0.05)
    with pytest.raises(elkyn.EventTimeout):  # noqa: PT012
        for n in range(1100):
            store.set("/n", n)
    rev = store.rev
    value = store.get("/n")
    with pytest.raises(elkyn.EventTimeout):
        store.set("/n", "never")
    with pytest.raises(elkyn.EventTimeout):
        store.set_async("/n", "never").result(10)
    with pytest.raises(elkyn.EventTimeout), store.transaction() as tx:
        tx.set("/n", "never")
    assert (store.rev, store.get("/n")) == (rev, value)
    store.set("/elsewhere", 1)  # nobody who blocks watches it


@pytest.mark.parametrize("policy", ["gap", "latest", "error", "block"])
def test_10_the_policies_hold_for_buffered_subscriptions_too(store: elkyn.Store, policy: Any) -> None:
    go = threading.Event()
    events: list[Any] = []
    errors: list[BaseException] = []

    def slow(event: Any) -> None:
        go.wait(10)
        events.append(event)

    with ThreadPoolExecutor(1) as executor:
        store.watch("/n/*").subscribe(
            slow, errors.append, overflow=policy, capacity=10, executor=executor, timeout=0.05
        )
        store.set("/n/0", -1)
        store.flush_events()
        written = 0
        try:
            for n in range(100):
                store.set(f"/n/{n % 4}", n)
                store.flush_events()
                written += 1
        except elkyn.EventTimeout:
            assert policy == "block"
        go.set()
        eventually(lambda: errors or store.event_queue_stats().pending == 0)
        eventually(lambda: errors or policy == "error" or (events and _settled(events, policy, written)))
    if policy == "error":
        assert [type(error) for error in errors] == [elkyn.SubscriptionOverflow]
        assert len(events) <= 11


def _settled(events: list[Any], policy: str, written: int) -> bool:
    lost = sum(event.lost for event in events if isinstance(event, Overflow))
    values = [event.value for event in events if not isinstance(event, Overflow)]
    if policy == "latest":
        return values[-4:] == [96, 97, 98, 99] and lost == 0
    return len(values) + lost == written + 1


# 11 No silent loss


def test_11_what_overflows_tell_is_what_was_dropped_and_what_the_numbers_lack(store: elkyn.Store) -> None:
    state: dict[str, Any] = {}
    seqs: list[int] = []
    lost = 0
    go = threading.Semaphore(0)

    def follow(event: Any) -> None:
        nonlocal lost, state
        if isinstance(event, Overflow):
            lost += event.lost
            state = store.get("/n", {})
            return
        seqs.append(event.seq)
        if event.value == "wait":
            assert go.acquire(timeout=30)
        state[event.path.rpartition("/")[2]] = event.value

    store.watch("/n/*").subscribe(follow)
    for episode in range(5):
        store.set("/n/wait", "wait")
        for n in range(1500 + 100 * episode):
            store.set(f"/n/{n % 7}", n)
        go.release()
        store.flush_events()
        store.set("/n/wait", "on")
        store.flush_events()
        assert state == store.get("/n")
    stats = store.event_queue_stats()
    assert stats.dropped >= 5 * 400, "the test did not overflow the ring"
    assert stats.overflow_episodes >= 5
    assert lost == stats.dropped
    assert lost == stats.produced - len(seqs)
    assert stats.produced == stats.delivered + stats.dropped + stats.pending


# 12 Isolation


def test_12_a_stalled_buffered_subscription_changes_nothing_for_others(store: elkyn.Store) -> None:
    go = threading.Event()
    events: list[Any] = []
    with ThreadPoolExecutor(1) as executor:
        store.watch("/n").subscribe(lambda event: go.wait(10), executor=executor)
        store.watch("/n").subscribe(events.append)
        for n in range(3000):
            store.set("/n", n)
            if n % 500 == 0:
                store.flush_events()
        store.flush_events()
        go.set()
    assert [event.value for event in events if not isinstance(event, Overflow)][-1] == 2999
    assert sum(1 for event in events if isinstance(event, Overflow)) == 0


@pytest.mark.parametrize("kind", ["executor", "async handler", "async iterator"])
def test_12_others_get_every_event_while_one_is_stalled_which_is_told_what_it_missed(
    store: elkyn.Store, kind: str
) -> None:
    go = threading.Event()
    seen: list[Any] = []
    flowing: list[int] = []

    def stall(item: Any) -> None:
        seen.append(item)
        go.wait(60)

    async def take(item: Any) -> None:
        seen.append(item)

    def told() -> bool:
        return bool(seen) and isinstance(seen[-1], Overflow)

    async def write_while_stalled(executor: ThreadPoolExecutor) -> None:
        watch = store.watch("/n", capacity=10)
        stream = aiter(watch) if kind == "async iterator" else None
        if kind == "executor":
            watch.subscribe(stall, executor=executor)
        elif kind == "async handler":
            watch.subscribe(take)
        store.watch("/n").subscribe(lambda event: flowing.append(event.value))
        store.set("/n", 0)
        if kind == "executor":
            eventually(lambda: seen)
        for n in range(1, 500):  # on the loop's own thread, so that nothing on the loop gets a turn
            store.set("/n", n)
        assert store.flush_events(60)
        assert flowing == list(range(500))
        go.set()
        while not told():
            if stream is not None:
                seen.append(await anext(stream))
            else:
                await asyncio.sleep(0.001)

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(write_while_stalled(executor))
    received = 11 if kind == "executor" else 10  # one in the hands of the handler, ten in the inbox
    assert [event.value for event in seen[:-1]] == list(range(received))
    assert seen[-1] == Overflow(500 - received, seen[-2].seq + 1, seen[-2].seq + 500 - received)
    assert store.event_queue_stats().dropped == 500 - received


# 13 Big values


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, (1 << 20) - 5, (1 << 20) - 4, 1 << 20, 2 << 20, 5 << 20])
def test_13_a_value_over_the_limit_is_flagged_and_any_other_arrives_whole(store: elkyn.Store, size: int) -> None:
    events: list[Any] = []
    store.watch("/blob").subscribe(events.append)
    value = b"x" * size
    store.set("/blob", value)
    store.flush_events()  # so that a value which fills the whole buffer leaves room for the next
    store.set("/blob", 1)
    store.flush_events()
    big, after = events
    assert big.value_omitted == (big.size > 1 << 20)
    assert big.size >= size
    assert big.value == (None if big.value_omitted else value)
    assert big.type == "change"
    assert store.event_queue_stats().omitted == int(big.value_omitted)
    assert after.value == 1
    assert not after.value_omitted


@pytest.mark.parametrize("size", [MIB - 5, MIB - 4, 2 << 20, 5 << 20])
def test_13_a_small_value_after_one_over_the_limit_arrives_also_where_the_old_one_is_asked_for(
    store: elkyn.Store, size: int
) -> None:
    events: list[Any] = []
    store.watch("/blob", old=True).subscribe(events.append)
    value = b"x" * size
    for write in (lambda: store.set("/blob", value), lambda: store.set("/blob", 1), lambda: store.delete("/blob")):
        write()
        store.flush_events()
    big, after, gone = events
    assert (big.value_omitted, big.old_omitted) == (size + BLOB_HEAD > MIB, False)
    assert (after.value, after.value_omitted, after.size) == (1, False, 1)
    assert (after.old, after.old_omitted) == (None, True)
    assert (gone.type, gone.value_omitted, gone.old, gone.old_omitted) == ("delete", False, 1, False)


# 14 Owned data


def test_14_whatever_is_handed_out_is_the_callers_own(store: elkyn.Store) -> None:
    first: list[Any] = []
    second: list[Any] = []
    store.watch("/a").subscribe(lambda event: (event.value["list"].append("mine"), first.append(event)))
    store.watch("/a").subscribe(second.append)
    value = {"list": [1], "blob": b"x"}
    store.set("/a", value)
    value["list"].append("changed after set")
    store.flush_events()
    assert first[0].value["list"] == [1, "mine"]
    assert second[0].value["list"] == [1]
    got = store.get("/a")
    got["list"].clear()
    assert store.get("/a/list") == [1]


def test_14_an_event_outlives_the_ring_and_the_store(tmp_path: Path) -> None:
    events: list[Any] = []
    with elkyn.open(tmp_path, durability="none") as store:
        store.watch("/n").subscribe(events.append)
        for n in range(3000):
            store.set("/n", ["value", n])
            store.flush_events()
    assert [event.value for event in events] == [["value", n] for n in range(3000)]


def test_14_an_event_is_frozen(store: elkyn.Store) -> None:
    events: list[Any] = []
    store.watch("/n").subscribe(events.append)
    store.set("/n", 1)
    store.flush_events()
    with pytest.raises(AttributeError):
        events[0].value = 2
    with pytest.raises(AttributeError):
        Overflow(1, 2, 3).lost = 4  # type: ignore[misc]


# 15 unsubscribe()


def test_15_unsubscribe_is_idempotent_and_nothing_starts_after_it(store: elkyn.Store) -> None:
    events: list[Any] = []
    subscription = store.watch("/n").subscribe(events.append)
    store.set("/n", 1)
    store.flush_events()
    subscription.unsubscribe()
    subscription.unsubscribe()
    store.set("/n", 2)
    store.flush_events()
    assert len(events) == 1


def test_15_unsubscribe_from_another_thread_waits_for_the_running_handler(store: elkyn.Store) -> None:
    entered, go = threading.Event(), threading.Event()
    finished: list[int] = []

    def slow(event: Any) -> None:
        entered.set()
        go.wait(10)
        finished.append(1)

    subscription = store.watch("/n").subscribe(slow)
    store.set("/n", 1)
    assert entered.wait(10)
    ending = threading.Thread(target=subscription.unsubscribe)
    ending.start()
    ending.join(0.05)
    assert ending.is_alive()
    go.set()
    ending.join(10)
    assert not ending.is_alive()
    assert finished == [1]


def test_15_handlers_that_end_each_other_by_way_of_other_threads_both_end(store: elkyn.Store) -> None:
    both = threading.Barrier(2)
    subscriptions: list[elkyn.Subscription] = []
    enders: list[threading.Thread] = []

    def end_the_other(index: int) -> None:
        both.wait(10)
        ender = threading.Thread(target=lambda: subscriptions[1 - index].unsubscribe())
        ender.start()
        enders.append(ender)

    with ThreadPoolExecutor(2) as pool:
        for index in range(2):
            subscriptions.append(
                store.watch("/n").subscribe(lambda _, index=index: end_the_other(index), executor=pool)
            )
        store.set("/n", 1)
        eventually(lambda: len(enders) == 2)
    for ender in enders:
        ender.join(10)
        assert not ender.is_alive()
    assert store.live_subscriptions() == []


def test_15_unsubscribe_inside_its_own_handler_returns_at_once(store: elkyn.Store) -> None:
    calls: list[Any] = []

    def once(event: Any) -> None:
        subscription.unsubscribe()
        calls.append(event)

    subscription = store.watch("/n").subscribe(once)
    for n in range(5):
        store.set("/n", n)
    assert store.flush_events(10)
    assert len(calls) == 1


def test_15_threads_that_unsubscribe_and_write_at_once_agree(store: elkyn.Store) -> None:
    stop = threading.Event()
    broken: list[str] = []

    def write() -> None:
        for n in itertools.count():
            if stop.is_set():
                return
            store.set("/n", n)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(300):
        ended = threading.Event()

        def check(event: Any, ended: threading.Event = ended) -> None:
            if ended.is_set():
                broken.append("a handler started after unsubscribe() had returned")

        subscription = store.watch("/n").subscribe(check)
        subscription.unsubscribe()
        ended.set()
    stop.set()
    writer.join()
    store.flush_events()
    assert broken == []


# 16 Nothing stays


def test_16_handler_event_and_observable_die_with_their_subscription(store: elkyn.Store) -> None:
    class Handler:
        def __init__(self) -> None:
            self.event: weakref.ref[Any] | None = None

        def __call__(self, event: Any) -> None:
            self.event = weakref.ref(event)

    handler = Handler()
    observable = store.watch("/n").filter(lambda event: True).debounce(60)
    direct = store.watch("/n").subscribe(handler)
    chained = observable.subscribe(handler)
    store.set("/n", {"a": 1})
    store.flush_events()
    held = [weakref.ref(handler), weakref.ref(observable)]
    assert handler.event is not None
    event = handler.event
    direct.unsubscribe()
    chained.unsubscribe()
    del handler, observable
    gc.collect()
    assert [ref() for ref in held] == [None, None]
    assert event() is None


def test_16_threads_and_descriptors_are_back_after_close(tmp_path: Path) -> None:
    process = psutil.Process()

    def use() -> None:
        with elkyn.open(tmp_path, durability="async") as store:
            store.watch("/n").debounce(60).subscribe(lambda event: None)
            store.set_async("/n", 1).result(10)
            store.flush_events()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        use()
        before = process.num_fds(), threading.active_count()
        for _ in range(20):
            use()
    assert (process.num_fds(), threading.active_count()) == before


def test_16_no_reader_slot_stays_in_use(store: elkyn.Store) -> None:
    store.set("/a", {"b": 1})
    for _ in range(1000):
        store.get("/a")
        store.keys("/a")
        store.items("/")
        store.exists("/x")
    busy = [line for line in store._database.env.readers().splitlines()[1:] if not line.rstrip().endswith("-")]
    assert busy == []


@pytest.mark.parametrize("cycles", [3000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_16_many_cycles_leave_memory_flat(tmp_path: Path, cycles: int) -> None:
    program = f"""
import gc, threading, elkyn, psutil
store = elkyn.open({str(tmp_path / "data")!r}, durability="none")
def cycles(n, every=10):
    for i in range(n):
        store.watch("/a/*").filter(bool).subscribe(print).unsubscribe()
        with store.watch("/n").subscribe(lambda event: event.value):
            if i % every == 0:
                store.set("/n", i)
# A full ring, with a subscription of its own to each event, is the most that can be alive: as large as that grow tables
# that never shrink.
go = threading.Event()
store.watch("/hold").subscribe(lambda event: go.wait())
store.set("/hold", 1)
cycles(2000, every=1)
go.set()
store.flush_events()
cycles(2000)
store.flush_events()
gc.collect()
before = psutil.heap_info().heap_used
cycles({cycles})
store.flush_events()
gc.collect()
print(psutil.heap_info().heap_used - before)
store.close()
"""
    environment = os.environ | {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, timeout=600
    )
    assert int(done.stdout) < 16 * 1024


def test_16_an_ended_subscription_does_not_wait_for_the_cyclic_collector(store: elkyn.Store) -> None:
    def cycle() -> "weakref.ref[Any]":
        with store.watch("/n").filter(bool).subscribe(lambda event: None):
            return weakref.ref(store._dispatcher.subscriptions()[0])

    gc.collect()
    gc.disable()
    try:
        assert cycle()() is None
    finally:
        gc.enable()


# 17 One terminal signal


def test_17_complete_comes_once_at_close_and_nothing_after_it(tmp_path: Path) -> None:
    said: list[Any] = []
    store = elkyn.open(tmp_path, durability="none")
    store.watch("/n").subscribe(
        lambda event: said.append(event.value), lambda error: said.append("error"), lambda: said.append("complete")
    )
    for n in range(100):
        store.set("/n", n)
    store.close()
    store.close()
    assert said == [*range(100), "complete"]


def test_17_close_counts_what_it_did_not_deliver(tmp_path: Path) -> None:
    go, entered = threading.Event(), threading.Event()
    said: list[str] = []

    def stall(event: Any) -> None:
        entered.set()
        go.wait(10)

    store = elkyn.open(tmp_path, durability="none")
    store.watch("/n").subscribe(stall, on_complete=lambda: said.append("complete"))
    store.set("/n", 0)
    assert entered.wait(10)
    for n in range(50):
        store.set("/n", n + 1)
    threading.Timer(0.2, go.set).start()
    store.close(drain_timeout=0.05)
    stats = store._stats()
    assert stats.dropped_at_close == 50
    assert stats.produced == stats.delivered + stats.dropped + stats.pending
    assert said == ["complete"]


def test_17_an_error_is_terminal_too(store: elkyn.Store) -> None:
    said: list[Any] = []
    store.watch("/n").map(lambda event: 1 // event.value).subscribe(
        said.append, lambda error: said.append(type(error)), lambda: said.append("complete")
    )
    for n in (1, 0, 1):
        store.set("/n", n)
    store.flush_events()
    store.close()
    assert said == [1, ZeroDivisionError]


# 18 Handler errors


def test_18_a_handlers_error_is_counted_reported_and_reaches_nobody_else(tmp_path: Path) -> None:
    reported: list[tuple[BaseException, str]] = []
    with elkyn.open(
        tmp_path, durability="none", on_handler_error=lambda e, where: reported.append((e, where))
    ) as store:
        events: list[Any] = []

        def fail(event: Any) -> None:
            raise SystemExit if event.value == 2 else LookupError(event.value)

        store.watch("/n").subscribe(fail)
        store.watch("/n").subscribe(events.append)
        store.watch("/n").filter(lambda event: True).subscribe(fail)
        for n in range(4):
            store.set("/n", n)
        store.flush_events()
        assert len(events) == 4
        assert store.event_queue_stats().handler_errors == 8
        assert len(reported) == 8
        assert all("test_contract.py:" in where for _, where in reported)


def test_18_the_default_is_logging(store: elkyn.Store, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Any) -> None:
        raise LookupError("here")

    store.watch("/n").subscribe(fail)
    with caplog.at_level(logging.ERROR, "elkyn"):
        store.set("/n", 1)
        store.flush_events()
    assert "test_contract.py" in caplog.text
    assert "LookupError: here" in caplog.text


def test_18_an_operators_error_ends_its_chain_once(store: elkyn.Store) -> None:
    errors: list[BaseException] = []
    subscription = store.watch("/n").filter(lambda event: event.value.missing).subscribe(print, errors.append)
    store.set("/n", 1)
    store.set("/n", 2)
    store.flush_events()
    assert [type(error) for error in errors] == [AttributeError]
    assert not subscription.active


# 19 Re-entrancy


def test_19_everything_is_legal_inside_a_handler(tmp_path: Path) -> None:
    said: list[Any] = []
    store = elkyn.open(tmp_path, durability="none")

    def handler(event: Any) -> None:
        said.append(("begin", event.path))
        if event.path == "/start" and event.type == "change":
            store.set("/more", 1)
            store.delete("/start")
            inner = store.watch("/more").subscribe(lambda event: said.append("inner"))
            store.set("/more", 2)
            inner.unsubscribe()
        elif event.value == 2:
            store.close()
        said.append(("end", event.path))

    store.watch("/*").subscribe(handler, on_complete=lambda: said.append("complete"))
    store.set("/start", 1)
    eventually(lambda: "complete" in said)
    assert said == [
        ("begin", "/start"), ("end", "/start"),
        ("begin", "/more"), ("end", "/more"),
        ("begin", "/start"), ("end", "/start"),
        ("begin", "/more"), ("end", "/more"),
        "complete",
    ]  # fmt: skip
    with pytest.raises(elkyn.StoreClosedError):
        store.set("/a", 1)


@pytest.mark.parametrize("steps", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_19_a_self_trigger_neither_recurses_nor_deadlocks(store: elkyn.Store, steps: int) -> None:
    done = threading.Event()

    def again(event: Any) -> None:
        if event.value < steps:
            store.set("/n", event.value + 1)
        else:
            done.set()

    store.watch("/n").subscribe(again)
    store.set("/n", 0)
    assert done.wait(120)


def test_19_block_from_the_dispatcher_thread_raises(store: elkyn.Store) -> None:
    refused: list[BaseException] = []

    def flood(event: Any) -> None:
        try:
            for n in range(2000):
                store.set("/n", n)
        except elkyn.WouldDeadlock as error:
            refused.append(error)

    store.watch("/n").subscribe(lambda event: None, overflow="block")
    store.watch("/go").subscribe(flood)
    store.set("/go", 1)
    store.flush_events()
    assert len(refused) == 1


def test_19_waiting_for_oneself_raises(store: elkyn.Store) -> None:
    refused: list[type[BaseException]] = []

    def wait(event: Any) -> None:
        try:
            store.flush_events()
        except elkyn.WouldDeadlock as error:
            refused.append(type(error))

    store.watch("/n").subscribe(wait)
    store.set("/n", 1)
    store.flush_events()
    assert refused == [elkyn.WouldDeadlock]
    with store.transaction() as tx:
        tx.set("/n", 2)
        for call in (lambda: store.set("/n", 3), store.flush_events, store.close, lambda: store.delete("/n")):
            with pytest.raises(elkyn.WouldDeadlock):
                call()
    assert store.get("/n") == 2


# 20 Start point


def test_20_exactly_the_commits_after_start_rev_are_delivered(store: elkyn.Store) -> None:
    stop = threading.Event()

    def write() -> None:
        for n in itertools.count():
            if stop.is_set():
                return
            store.set("/n", n)

    writer = threading.Thread(target=write)
    writer.start()
    runs = []
    for _ in range(30):
        events: list[Any] = []
        runs.append((store.watch("/n").subscribe(events.append), events))
        time.sleep(0.001)
    stop.set()
    writer.join()
    store.flush_events()
    for subscription, events in runs:
        revs: list[int] = []
        for event in events:
            before = revs[-1] if revs else subscription.start_rev
            revs += [event.rev] if not isinstance(event, Overflow) else range(before + 1, before + 1 + event.lost)
        assert revs == list(range(subscription.start_rev + 1, store.rev + 1))


def test_20_initial_delivers_the_snapshot_without_gap_or_duplicate(store: elkyn.Store) -> None:
    stop = threading.Event()
    store.set("/n", {str(n): 0 for n in range(50)})

    def write() -> None:
        for n in itertools.count(1):
            if stop.is_set():
                return
            store.set(f"/n/{n % 50}", n)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            state: dict[str, Any] = {}
            seqs: list[int] = []
            revs: list[int] = []

            def follow(event: Any, state: Any = state, seqs: Any = seqs, revs: Any = revs) -> None:
                if isinstance(event, Overflow):
                    return
                state[event.path[3:]] = event.value
                seqs.append(event.seq)
                revs.append(event.rev)

            subscription = store.watch("/n/*").subscribe(follow, initial=True)
            eventually(lambda revs=revs: len(revs) > 100)
            subscription.unsubscribe()
            assert revs[:50] == [subscription.start_rev] * 50
            assert revs[50] == subscription.start_rev + 1
            assert all(a < b for a, b in itertools.pairwise(seqs))
    finally:
        stop.set()
        writer.join()


def test_20_initial_knows_every_kind_of_pattern(store: elkyn.Store) -> None:
    store.set("/a", {"x": {"n": 1}, "y": {"n": 2}, "z": 3})
    for pattern, expected in {
        "/a/x": {"/a/x": {"n": 1}},
        "/a/*/n": {"/a/x/n": 1, "/a/y/n": 2},
        "/a/**": {"/a": {"x": {"n": 1}, "y": {"n": 2}, "z": 3}},
        "/missing/*": {},
    }.items():
        events: list[Any] = []
        store.watch(pattern, initial=True).subscribe(events.append)
        store.set("/tick", object.__hash__(events) % 1000)
        store.flush_events()
        eventually(lambda events=events, expected=expected: len(events) == len(expected))
        assert {event.path: event.value for event in events} == expected
        assert [event.last for event in events] == [False] * (len(events) - 1) + [True] * bool(events)


# 21 Affinity


def test_21_sync_handlers_run_on_the_dispatcher_or_the_executor_and_never_overlap(store: elkyn.Store) -> None:
    inside = 0
    overlaps = 0
    names: dict[str, set[str]] = {"direct": set(), "executor": set()}

    def handler(kind: str) -> Any:
        def handle(event: Any) -> None:
            nonlocal inside, overlaps
            names[kind].add(threading.current_thread().name)
            if kind == "executor":
                inside += 1
                overlaps += inside > 1
                time.sleep(0.0005)
                inside -= 1

        return handle

    with ThreadPoolExecutor(4, thread_name_prefix="pool") as executor:
        store.watch("/n").subscribe(handler("direct"))
        subscription = store.watch("/n").subscribe(handler("executor"), executor=executor)
        for n in range(200):
            store.set("/n", n)
        store.flush_events()
        subscription.unsubscribe()
    assert names["direct"] == {"elkyn-events"}
    assert all(name.startswith("pool") for name in names["executor"])
    assert overlaps == 0


def test_21_async_handlers_run_on_the_loop_that_subscribed(store: elkyn.Store) -> None:
    async def main() -> None:
        seen: list[Any] = []
        inside = 0

        async def handler(event: Any) -> None:
            nonlocal inside
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1
            seen.append((event.value, threading.current_thread() is threading.main_thread()))

        subscription = store.watch("/n").subscribe(handler)
        for n in range(20):
            store.set("/n", n)
        while len(seen) < 20:
            await asyncio.sleep(0.001)
        subscription.unsubscribe()
        assert seen == [(n, True) for n in range(20)]

    asyncio.run(asyncio.wait_for(main(), 10))


def test_21_a_closed_loop_ends_the_subscription_with_an_error(store: elkyn.Store) -> None:
    errors: list[BaseException] = []

    async def main() -> elkyn.Subscription:
        async def handler(event: Any) -> None: ...

        return store.watch("/n").subscribe(handler, errors.append)

    subscription = asyncio.run(main())
    store.set("/n", 1)
    store.flush_events()
    assert [type(error) for error in errors] == [RuntimeError]
    assert not subscription.active


# 22 Operators: the rest is in events/test_operators.py


def test_22_a_chain_of_three_is_one_native_subscription(store: elkyn.Store) -> None:
    with store.watch("/n").filter(bool).map(str).skip(1).subscribe(print):
        assert len(store._routes.watchers()) == 1
        assert len(store.live_subscriptions()) == 1
    assert store._routes.watchers() == []


def test_22_take_unsubscribes_before_it_completes(store: elkyn.Store) -> None:
    live_at_complete: list[int] = []
    values: list[Any] = []
    store.watch("/n").map(lambda event: event.value).take(2).subscribe(
        values.append, on_complete=lambda: live_at_complete.append(len(store._routes.watchers()))
    )
    for n in range(5):
        store.set("/n", n)
    store.flush_events()
    assert values == [0, 1]
    assert live_at_complete == [0]


def test_22_take_0_completes_at_once(store: elkyn.Store) -> None:
    said: list[str] = []
    subscription = store.watch("/n").take(0).subscribe(print, on_complete=lambda: said.append("complete"))
    assert said == ["complete"]
    assert not subscription.active


# 23 Async iteration


def test_23_iteration_begins_when_the_iterator_is_made(store: elkyn.Store) -> None:
    async def main() -> list[Any]:
        store.set("/n", 0)
        stream = aiter(store.watch("/n"))
        store.set("/n", 1)
        store.set("/n", 2)
        return [(await anext(stream)).value, (await anext(stream)).value]  # type: ignore[union-attr]

    assert asyncio.run(main()) == [1, 2]


def test_23_iteration_is_bounded_and_tells_of_its_losses(store: elkyn.Store) -> None:
    async def main() -> list[Any]:
        stream = aiter(store.watch("/n", capacity=5))
        for n in range(20):
            store.set("/n", n)
        store.flush_events()
        store.set("/end", 1)
        got = [await anext(stream) for _ in range(6)]
        await stream.aclose()
        return got

    got = asyncio.run(main())
    assert [event.value for event in got[:5]] == [0, 1, 2, 3, 4]
    assert got[5] == Overflow(15, 6, 20)
    assert store.event_queue_stats().dropped == 15


def test_23_iteration_ends_soon_after_close(tmp_path: Path) -> None:
    async def main() -> float:
        store = elkyn.open(tmp_path, durability="none")
        seen: list[Any] = []

        async def listen() -> float:
            async for event in store.watch("/n"):
                seen.append(event)
            return time.monotonic()

        task = asyncio.create_task(listen())
        await asyncio.sleep(0)
        store.set("/n", 1)
        while not seen:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(store.close)
        closed = time.monotonic()
        return await task - closed

    assert asyncio.run(asyncio.wait_for(main(), 10)) < 1.0


@pytest.mark.parametrize("how", ["break", "cancel", "collect", "aclose"])
def test_23_iteration_lets_go(store: elkyn.Store, how: str) -> None:
    async def main() -> None:
        async def listen() -> None:
            async for _ in store.watch("/n"):
                break

        if how == "break":
            task = asyncio.create_task(listen())
            await asyncio.sleep(0)
            store.set("/n", 1)
            await task
        elif how == "cancel":
            task = asyncio.create_task(listen())
            await asyncio.sleep(0)
            assert len(store.live_subscriptions()) == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "collect":
            stream = aiter(store.watch("/n"))
            del stream
        else:
            stream = aiter(store.watch("/n"))
            await stream.aclose()
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        gc.collect()
        assert store.live_subscriptions() == []

    asyncio.run(main())


# 24 Process life: the rest is in test_process_life.py


def test_24_opening_one_directory_twice_raises(tmp_path: Path) -> None:
    with elkyn.open(tmp_path):
        with pytest.raises(elkyn.StoreInUseError):
            elkyn.open(tmp_path)
        link = tmp_path.parent / "link"
        link.symlink_to(tmp_path)
        with pytest.raises(elkyn.StoreInUseError):
            elkyn.open(link)
    elkyn.open(tmp_path).close()


# 25 Statistics


def test_25_the_figures_add_up_at_rest(store: elkyn.Store) -> None:
    store.watch("/a/*").subscribe(lambda event: None)
    store.watch("/**").subscribe(lambda event: None)
    for n in range(500):
        store.set(f"/a/{n % 3}", n)
    store.flush_events()
    stats = store.event_queue_stats()
    assert stats.produced == stats.delivered == stats.processed == 500
    assert (stats.pending, stats.dropped, stats.coalesced, stats.overflow_episodes) == (0, 0, 0, 0)
    assert (stats.capacity, stats.capacity_bytes, stats.bytes) == (1024, 1 << 20, 0)
    assert 1 <= stats.high_water <= 1024
    assert stats.high_water_bytes >= stats.high_water
    assert stats.lag_ns > 0


def test_25_statistics_do_not_wait_for_a_writer(store: elkyn.Store) -> None:
    with store.transaction() as tx, ThreadPoolExecutor(1) as elsewhere:
        tx.set("/n", 1)
        assert elsewhere.submit(store.event_queue_stats).result(10).produced == 0


def test_25_after_close_every_call_raises(tmp_path: Path) -> None:
    store = elkyn.open(tmp_path)
    observable = store.watch("/n")
    subscription = observable.subscribe(print)
    store.close()
    store.close()
    for call in (
        lambda: store.get("/n"), lambda: store.set("/n", 1), lambda: store.update("/n", {"a": 1}),
        lambda: store.delete("/n"), lambda: store.push("/n", 1), lambda: store.exists("/n"), lambda: store.keys("/"),
        lambda: store.items("/"), lambda: store.set_async("/n", 1), lambda: store.watch("/n"),
        lambda: observable.subscribe(print), store.flush_events, store.event_queue_stats, store.live_subscriptions,
        lambda: store.transaction().__enter__(),
    ):  # fmt: skip
        with pytest.raises(elkyn.StoreClosedError):
            call()
    subscription.unsubscribe()
    assert re.search("closed", repr(store))


def test_a_subscription_whose_handle_is_lost_is_warned_of_with_its_line(tmp_path: Path) -> None:
    store = elkyn.open(tmp_path)
    store.watch("/n").subscribe(print)
    line = sys._getframe().f_lineno - 1
    kept = store.watch("/m").subscribe(print)
    assert [(s.pattern, s.abandoned) for s in store.live_subscriptions()] == [("/n", True), ("/m", False)]
    with pytest.warns(ResourceWarning, match="/n was never unsubscribed") as warned:
        store.close()
    assert [(Path(w.filename).name, w.lineno) for w in warned] == [("test_contract.py", line)]
    assert not kept.active


def test_a_signal_ends_a_blocking_wait(store: elkyn.Store, stalled: Stall) -> None:
    store.watch("/n").subscribe(lambda event: None)
    store.set("/n", 1)

    class Alarm(Exception):
        pass

    def ring(*_: Any) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Alarm):
            store.flush_events()
    finally:
        signal.signal(signal.SIGALRM, before)

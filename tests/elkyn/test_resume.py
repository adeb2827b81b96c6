"""since=: what was written after a revision, once each, and then what commits; or a clear word that it is not known."""

import itertools
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from stalling import eventually

import elkyn
from elkyn._native import ChangeLog


def told(store: elkyn.Store, pattern: str, since: int, **options: Any) -> list[Any]:
    """What a subscription begins with, and nothing else."""
    got: list[Any] = []
    with store.watch(pattern, since=since, **options).subscribe(got.append):
        store.flush_events()
    return got


def test_each_node_is_told_once_as_it_is_now(store: elkyn.Store) -> None:
    store.set("/n", {"a": 1, "b": 2, "c": 3, "d": 4})
    since = store.rev
    store.set("/n/b", 20)
    store.set("/n/a", 10)
    store.delete("/n/c")
    store.set("/n/b", 21)
    got = told(store, "/n/*", since)
    assert [(event.type, event.path, event.value) for event in got] == [
        ("change", "/n/a", 10),
        ("change", "/n/b", 21),
        ("delete", "/n/c", None),
    ]
    assert [event.last for event in got] == [False, False, True]
    assert {event.rev for event in got} == {store.rev}
    assert all(before.seq < after.seq for before, after in itertools.pairwise(got))
    assert told(store, "/n/*", store.rev) == []


@pytest.mark.parametrize(
    ("pattern", "children", "paths"),
    [
        ("/n/b", False, ["/n/b"]),
        ("/n/b", True, ["/n/b"]),
        ("/n", False, []),
        ("/n", True, ["/n"]),
        ("/n/*", False, ["/n/b"]),
        ("/n/b/x", False, ["/n/b/x"]),  # it was written above
        ("/n/b/x", True, ["/n/b/x"]),
        ("/n/**", False, ["/n/b"]),
        ("/**", False, ["/n/b"]),
        ("/n/b/**", False, ["/n/b"]),
        ("/n/b/x/**", False, ["/n/b/x"]),
        ("/", True, ["/"]),
        ("/", False, []),
        ("/m/*", False, []),
    ],
)
def test_a_write_concerns_whom_it_would_fire_for(
    store: elkyn.Store, pattern: str, children: bool, paths: list[str]
) -> None:
    store.set("/n", {"a": 1, "b": {"x": 1}})
    live: list[Any] = []
    with store.watch(pattern, children=children).subscribe(live.append):
        since = store.set("/m", 1)
        store.flush_events()
        live.clear()
        store.set("/n/b", {"x": 2})
        store.flush_events()
    assert [event.path for event in live] == paths
    assert [event.path for event in told(store, pattern, since, children=children)] == paths


def test_an_update_is_a_write_of_each_child_it_names(store: elkyn.Store) -> None:
    store.set("/n", {"a": 1, "b": 2})
    since = store.rev
    store.update("/n", {"a": 5, "c": 6})
    for pattern, paths in (("/n/*", ["/n/a", "/n/c"]), ("/n", ["/n"]), ("/n/**", ["/n/a", "/n/c"]), ("/*/b", [])):
        assert [event.path for event in told(store, pattern, since)] == paths


def test_what_was_removed_below_a_write_is_not_known(store: elkyn.Store) -> None:
    store.set("/n", {"a": 1, "b": 2})
    since = store.rev
    store.set("/n", {"a": 1})
    with pytest.raises(elkyn.HistoryLost, match=r"^/n was written as a whole, .* follows /n/\*; read the state anew"):
        told(store, "/n/*", since)
    assert [event.type for event in told(store, "/n/b", since)] == ["delete"]


def test_what_is_too_long_ago_is_refused(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data", durability="none") as store:
        first = store.set("/a", 1)
        while store._changes.complete_since <= first:
            store.set_async(f"/{'long' * 50}", 1).result()
        with pytest.raises(elkyn.HistoryLost, match=rf"after revision \d+, not after {first}; read the state anew"):
            told(store, "/a", first)
        assert not store.live_subscriptions()
        last = store.rev
    with elkyn.open(tmp_path / "data", durability="none") as store:
        store.set("/a", 2)
        assert [event.value for event in told(store, "/a", last)] == [2]
        with pytest.raises(elkyn.HistoryLost):
            told(store, "/a", last - 1)


def test_what_cannot_be_asked_is_said(store: elkyn.Store) -> None:
    with pytest.raises(ValueError, match="since=7 is not there yet: the latest revision is 0"):
        told(store, "/a", 7)
    with pytest.raises(ValueError, match="give one of them"):
        store.watch("/a", since=0, initial=True)
    with pytest.raises(TypeError, match="no since="):
        store.watch_children("/a", since=0)
    with pytest.raises(ValueError, match="the path is too long"):
        ChangeLog(0).note(1, "x" * 257, False)
    with pytest.raises(TypeError, match="a revision, a path and a bool"):
        ChangeLog(0).note(1, b"x", False)  # type: ignore[arg-type]


def test_a_closed_store_keeps_no_log(tmp_path: Path) -> None:
    store = elkyn.open(tmp_path / "data", durability="none")
    log = store._changes
    assert log.since(store.set("/a", 1) - 1) == [(1, "/a", False)]
    store.close()
    assert log.since(2) is None


def test_a_failed_block_is_no_write(store: elkyn.Store) -> None:
    since = store.set("/a", 1)
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.set("/b", 1 // 0)
    assert told(store, "/**", since) == []
    with store.transaction() as tx:
        tx.set("/b", 1)
        tx.delete("/a")
    assert [(event.path, event.type) for event in told(store, "/*", since)] == [("/a", "delete"), ("/b", "change")]


def state(store: elkyn.Store) -> dict[str, Any]:
    """The names below /n with their values."""
    return dict(store.items("/n")) if store.exists("/n") else {}


def follow(mirror: dict[str, Any], event: Any) -> None:
    name = event.path.rpartition("/")[2]
    if event.type == "delete":
        mirror.pop(name, None)
    else:
        mirror[name] = event.value


@pytest.mark.parametrize("seed", range(4))
def test_a_mirror_of_any_revision_comes_up_to_date(store: elkyn.Store, seed: int) -> None:
    chance = random.Random(seed)
    states = {store.rev: state(store)}
    calls = [
        lambda name: store.set(f"/n/{name}", chance.random()),
        lambda name: store.set(f"/n/{name}/deep", chance.random()),
        lambda name: store.delete(f"/n/{name}"),
        lambda name: store.delete(f"/n/{name}/deep"),
        lambda name: store.update("/n", {name: chance.random(), "other": 1}),
        lambda name: store.set_async(f"/n/{name}", chance.random()).result(),
        lambda name: store.set("/elsewhere", name),
    ]
    for _ in range(150):
        chance.choice(calls)(chance.choice("abcdef"))
        states[store.rev] = state(store)
    for rev, mirror in states.items():
        for event in told(store, "/n/*", rev, children=True):
            follow(mirror, event)
        assert mirror == state(store), rev


def test_no_commit_is_missed_between_what_changed_and_what_comes(store: elkyn.Store) -> None:
    store.set("/n", dict.fromkeys("abcdefgh", 0))
    over = threading.Event()

    def write() -> None:
        for count in range(1, 4000):
            store.set(f"/n/{'abcdefgh'[count % 8]}", count)
        over.set()

    mirror = state(store)
    rev = store.rev
    thread = threading.Thread(target=write)
    thread.start()
    resumed = 0
    while not over.is_set():
        seen: list[Any] = []
        with store.watch("/n/*", since=rev).subscribe(seen.append):
            eventually(lambda: bool(seen) or over.is_set(), 60)  # noqa: B023 - called here
        resumed += 1
        for event in seen:
            assert event.seq < 0 or event.rev > rev
            follow(mirror, event)
            rev = event.rev if event.last else rev
    thread.join()
    for event in told(store, "/n/*", rev):
        follow(mirror, event)
    assert mirror == state(store)
    assert resumed > 1


def test_an_overflow_needs_no_full_read(store: elkyn.Store) -> None:
    """As in the guide: where events were lost, a new subscription goes on from the last commit seen whole."""
    store.set("/prices", {f"{n:03}": n for n in range(100)})
    mirror = {**store.get("/prices")}
    lost, go_on = threading.Event(), threading.Event()
    rev = store.rev

    def slow(item: Any) -> None:
        nonlocal rev
        if isinstance(item, elkyn.Overflow):
            lost.set()
        elif not lost.is_set():
            go_on.wait(30)
            follow(mirror, item)
            rev = item.rev if item.last else rev

    with store.watch("/prices/*").subscribe(slow):
        for count in range(3000):
            store.set(f"/prices/{count % 7:03}", count)
        go_on.set()
        assert lost.wait(30)
    again = told(store, "/prices/*", rev)
    assert len(again) == 7
    for event in again:
        follow(mirror, event)
    assert mirror == store.get("/prices")

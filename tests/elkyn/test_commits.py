"""One commit and its three policies: what each does where a commit does not succeed at once."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lmdb
import pytest
from stalling import Stall, eventually

import elkyn
from elkyn.commits import Commits
from elkyn.storage import Database
from elkyn.writes import Call, deleting, setting, updating


@pytest.fixture
def commits(store: elkyn.Store) -> Commits:
    return store._commits


def failing(times: int, error: Exception, then: Callable[..., Any]) -> Callable[..., Any]:
    """A method that raises `error` a number of times, and then does what it did."""
    left = iter(range(times))

    def method(*arguments: Any) -> Any:
        if next(left, None) is not None:
            raise error
        return then(*arguments)

    return method


@pytest.fixture
def grown(store: elkyn.Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes that the map has grown to."""
    sizes: list[int] = []
    grow = Database.grow

    def note(database: Database) -> None:
        grow(database)
        sizes.append(database.env.info()["map_size"])

    monkeypatch.setattr(Database, "grow", note)
    return sizes


# --- one leaf, the short way


def test_what_is_remembered_of_a_leaf_goes_when_an_object_overwrites_it(store: elkyn.Store) -> None:
    got: list[Any] = []
    store.watch("/o/a").subscribe(lambda event: got.append(event.value))
    for write in (1, 2):
        store.set("/o/a", write)
    store.set("/o", {"a": 1, "b": 1})  # the same shape or not
    store.set("/o/a", 2)  # what it was two writes ago
    store.set("/o", {"a": 1, "b": 1})
    store.set("/o/a", 2)
    store.flush_events()
    assert got == [1, 2, 1, 2, 1, 2]


def test_a_watched_leaf_inside_an_object_stored_whole_is_not_taken_for_a_row_of_its_own(store: elkyn.Store) -> None:
    got: list[Any] = []
    store.set("/o", {"a": 1, "no segment/": 1})
    store.watch("/o/a").subscribe(lambda event: got.append(event.value))
    for write in (2, 3, 3):
        store.set("/o/a", write)
    store.flush_events()
    assert got == [2, 3]
    assert store.get("/o") == {"a": 3, "no segment/": 1}


# --- retry: one call


def test_a_call_is_one_revision_and_one_group(store: elkyn.Store, commits: Commits) -> None:
    got: list[Any] = []
    store.watch("/n/*").subscribe(got.append)
    assert commits.commit(updating("/n", {"a": 1, "b": 2})) == 1
    store.flush_events()
    assert [(event.path, event.rev, event.last) for event in got] == [("/n/a", 1, False), ("/n/b", 1, True)]


def test_a_call_that_changes_nothing_has_no_revision(store: elkyn.Store, commits: Commits) -> None:
    store.set("/n", 1)
    assert commits.commit(deleting("/elsewhere")) == 1
    assert store._database.current_rev() == 1


def test_a_call_is_done_again_in_a_larger_map(
    store: elkyn.Store, commits: Commits, grown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Call, "apply", failing(2, lmdb.MapFullError("full"), Call.apply))
    assert commits.commit(setting("/n", 1)) == 1
    assert grown == [128 << 20, 256 << 20]
    assert store.get("/n") == 1


def test_a_call_that_the_database_refuses_raises_once_and_leaves_nothing(
    store: elkyn.Store, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Call, "apply", failing(1, lmdb.DiskError("no space"), Call.apply))
        with pytest.raises(elkyn.StorageError, match="disk"):
            commits.commit(setting("/n", {"a": 1}))
    assert store.get("/") is None
    assert store.set("/n", 1) == 1


def test_a_call_that_waits_for_room_lets_others_write(store: elkyn.Store, stalled: Stall) -> None:
    with ThreadPoolExecutor(1) as executor:
        store.watch("/n/*").subscribe(lambda _: None, overflow="block")
        store.set("/n", {str(n): n for n in range(1000)})  # all but 24 slots of the ring
        late = executor.submit(store.set, "/n", {str(n): -n for n in range(1000)})
        eventually(lambda: store._thread._progress._waiting)
        assert store.set("/other", 1) == store.rev  # nobody watches it
        assert not late.done()
        stalled.release()
        assert late.result(10) == store.rev


def test_waiting_for_room_ends_with_its_timeout_and_nothing_is_written(store: elkyn.Store, stalled: Stall) -> None:
    store.watch("/n/*").subscribe(lambda _: None, overflow="block", timeout=0.01)
    store.set("/n", {str(n): n for n in range(1000)})
    before = store.rev
    with pytest.raises(elkyn.EventTimeout) as caught:
        store.set("/n", {str(n): -n for n in range(1000)})
    assert caught.value.__context__ is None
    assert (store.rev, store.get("/n/1")) == (before, 1)


# --- wait: a transaction


def test_a_transaction_waits_for_room_and_keeps_others_out(store: elkyn.Store, stalled: Stall) -> None:
    store.watch("/n/*").subscribe(lambda _: None, overflow="block")
    store.set("/n", {str(n): n for n in range(1000)})

    def block() -> int:
        with store.transaction() as tx:
            tx.set("/n", {str(n): -n for n in range(1000)})
        return tx.rev

    with ThreadPoolExecutor(2) as executor:
        blocked = executor.submit(block)
        eventually(lambda: store._thread._progress._waiting)
        later = executor.submit(store.set, "/other", 1)  # nobody watches it
        time.sleep(0.1)
        assert not later.done()
        stalled.release()
        assert later.result(10) == blocked.result(10) + 1
    assert store.get("/n/1") == -1


def test_a_transaction_is_replayed_in_a_larger_map(
    store: elkyn.Store, grown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Any] = []
    store.watch("/**").subscribe(lambda event: got.append((event.path, event.value)))
    with store.transaction() as tx:
        tx.set("/a", 1)
        monkeypatch.setattr(Call, "apply", failing(1, lmdb.MapFullError("full"), Call.apply))
        tx.set("/b", 2)
        assert tx.get("/a") == 1
    store.flush_events()
    assert len(grown) == 1
    assert got == [("/a", 1), ("/b", 2)]
    assert tx.rev == store.rev == 1


# --- group: the writer's calls


def test_a_group_is_one_commit_with_a_revision_for_each_call_that_changed_something(
    store: elkyn.Store, commits: Commits
) -> None:
    got: list[Any] = []
    store.watch("/**").subscribe(lambda event: got.append((event.path, event.rev, event.last)))
    before = store._database.env.info()["last_txnid"]
    assert commits.commit_group([setting("/a", 1), deleting("/nothing"), setting("/b", 2)]) == [1, 1, 2]
    assert store._database.env.info()["last_txnid"] == before + 1
    assert store._database.current_rev() == store.rev == 2
    store.flush_events()
    assert got == [("/a", 1, True), ("/b", 2, True)]


def test_a_group_that_changes_nothing_is_no_commit(store: elkyn.Store, commits: Commits) -> None:
    assert commits.commit_group([deleting("/a"), deleting("/b")]) == [0, 0]
    assert store._database.current_rev() == 0


def test_a_group_grows_the_map_together(
    store: elkyn.Store, commits: Commits, grown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Call, "apply", failing(1, lmdb.MapFullError("full"), Call.apply))
    before = store._database.env.info()["last_txnid"]
    assert commits.commit_group([setting("/a", 1), setting("/b", 2)]) == [1, 2]
    assert len(grown) == 1
    assert store._database.env.info()["last_txnid"] == before + 1


def test_a_group_that_fails_is_split_so_that_each_call_has_its_own_end(store: elkyn.Store, commits: Commits) -> None:
    store.set("/a", {"x/y": 0})  # stored whole: what is put 21 levels into it may be too deep
    too_deep: Any = 1
    for _ in range(60):
        too_deep = [too_deep]
    first, refused, last = commits.commit_group(
        [setting("/b", 1), setting("/a" + "/k" * 20, too_deep), setting("/c", 2)]
    )
    assert (first, last) == (2, 3)
    assert isinstance(refused, elkyn.InvalidValueError)
    assert store.get("/") == {"a": {"x/y": 0}, "b": 1, "c": 2}


def test_a_group_in_a_full_map_fails_where_it_does_not_fit_and_only_there(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data", durability="none", map_size=1 << 20, max_map_size=1 << 20) as store:
        done, full = store._commits.commit_group([setting("/small", 1), setting("/large", "x" * (2 << 20))])
        assert done == 1
        assert isinstance(full, elkyn.MapFullError)
        assert store.keys("/") == ["small"]

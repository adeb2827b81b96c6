"""Values with an end: deleted when they are due, as a write like any other, unless something came before."""

import asyncio
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from stalling import eventually

import elkyn
from elkyn import tools
from elkyn.expiry import next_due


def ends(store: elkyn.Store) -> int:
    return len(store._database.read(lambda txn: next_due(txn, 1000)))


def test_a_value_ends_and_those_who_watch_hear_of_it(store: elkyn.Store) -> None:
    got: list[Any] = []
    store.watch("/session/*", old=True).subscribe(lambda event: got.append((event.type, event.path, event.old)))
    store.set("/session/1", {"user": "Ada"}, ttl=0.05)
    store.set("/session/2", "stays")
    eventually(lambda: not store.exists("/session/1"))
    store.flush_events()
    assert got == [
        ("change", "/session/1", None),
        ("change", "/session/2", None),
        ("delete", "/session/1", {"user": "Ada"}),
    ]
    assert (store.rev, store.keys("/session"), ends(store)) == (3, ["2"], 0)


@pytest.mark.parametrize("how", ["set", "set_async", "transaction", "aset"])
def test_every_way_to_write_gives_an_end(store: elkyn.Store, how: str) -> None:
    if how == "set":
        store.set("/n", 1, ttl=0.05)
    elif how == "set_async":
        store.set_async("/n", 1, ttl=0.05).result(10)
    elif how == "aset":
        asyncio.run(store.aset("/n", 1, ttl=0.05))
    else:
        with store.transaction() as tx:
            tx.set("/n", 1, ttl=0.05)
    assert store.get("/n") == 1
    eventually(lambda: not store.exists("/n"))


def test_what_is_written_or_deleted_before_does_not_end_later(store: elkyn.Store) -> None:
    writes = {
        "/again": lambda: store.set("/again", 2),
        "/deleted": lambda: (store.delete("/deleted"), store.set_async("/deleted", 2).result(10)),
        "/above/it": lambda: store.set("/above", {"it": 2}),
        "/updated": lambda: store.update("/", {"updated": 2}),
        "/longer": lambda: store.set("/longer", 2, ttl=1000),
        "/in": lambda: _in_transaction(store),
    }
    for path in writes:
        store.set(path, 1, ttl=0.3)
    for write in writes.values():
        write()
    assert ends(store) == 1  # the longer one
    store.set("/last", 1, ttl=0.35)
    eventually(lambda: not store.exists("/last"))
    assert [store.get(path) for path in writes] == [2] * len(writes)


def _in_transaction(store: elkyn.Store) -> None:
    with store.transaction() as tx:
        tx.set("/in", 3, ttl=0.1)
        tx.set("/in", 2)


def test_a_write_below_leaves_the_end_of_what_is_above(store: elkyn.Store) -> None:
    store.set("/n", {"a": 1}, ttl=0.2)
    store.set("/n/b", 2)
    eventually(lambda: not store.exists("/n"))


def test_a_node_that_went_with_its_last_child_ends_all_the_same(store: elkyn.Store) -> None:
    store.set("/n", {"a": 1}, ttl=0.1)
    store.delete("/n/a")
    assert (store.exists("/n"), ends(store)) == (False, 1)
    eventually(lambda: ends(store) == 0)
    store.set("/n", 1)
    assert store.get("/n") == 1


def test_an_end_outlives_its_session_and_what_was_due_goes_at_the_next(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data", durability="none") as store:
        store.set("/soon", 1, ttl=0.05)
        store.set("/later", 1, ttl=1000)
        store.set("/n", 1)
    time.sleep(0.1)
    assert tools.verify(tmp_path / "data") == []
    with elkyn.open(tmp_path / "data", durability="none") as store:
        eventually(lambda: not store.exists("/soon"))
        assert (store.keys("/"), ends(store)) == (["later", "n"], 1)
        store.set("/later", 2)
        assert ends(store) == 0
        assert [path for path, _ in store.walk()] == ["/later", "/n"]


def test_many_values_end_in_parts(store: elkyn.Store) -> None:
    with store.transaction() as tx:
        for n in range(1000):
            tx.set(f"/n/{n}", n, ttl=0.05)
    eventually(lambda: store.keys("/") == [])
    assert ends(store) == 0


def test_an_undone_write_leaves_no_end(store: elkyn.Store) -> None:
    with suppress(LookupError), store.transaction() as tx:
        tx.set("/n", 1, ttl=0.01)
        raise LookupError
    assert ends(store) == 0


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 10**9])
def test_a_time_that_is_none_is_refused(store: elkyn.Store, ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        store.set("/n", 1, ttl=ttl)
    assert store.rev == 0


def test_a_delete_that_is_refused_is_tried_again(store: elkyn.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elkyn.expiry.RETRY_S", 0.02)
    commit, refusals = store._commits.commit, []

    def refuse(call: Any) -> int:
        refusals.append(call)
        if len(refusals) < 3:
            raise elkyn.EventTimeout("no room")
        return commit(call)

    class Refusing:
        def commit(self, call: Any) -> int:
            return refuse(call)

    refusing = Refusing()
    store._expirer._commit = weakref.WeakMethod(refusing.commit)
    store.set("/n", 1, ttl=0.01)
    eventually(lambda: not store.exists("/n"))
    assert len(refusals) == 3

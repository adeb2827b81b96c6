"""The file under a store: what it refuses in which state, and how its transactions begin and end."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import pytest

import elkyn
from elkyn.storage import Database, State


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "data", "none", map_size=1 << 20, max_map_size=4 << 20)
    yield opened
    if opened.state != "closed":
        opened.close()


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("in transaction", elkyn.WouldDeadlock),
        ("closing", elkyn.StoreClosedError),
        ("closed", elkyn.StoreClosedError),
        ("forked", elkyn.ForkedStoreError),
    ],
)
def test_a_write_is_refused_in_every_state_but_open(
    database: Database, state: State, error: type[elkyn.ElkynError]
) -> None:
    database.begin_write().abort()
    database.state = state
    with pytest.raises(error):
        database.begin_write()
    assert database.is_open == (state == "in transaction")
    database.state = "open"


def test_reads_go_on_while_the_store_closes_and_end_with_it(database: Database) -> None:
    database.state = "closing"
    database.begin().abort()
    database.close()
    with pytest.raises(elkyn.StoreClosedError):
        database.begin()


def test_a_read_that_a_growing_map_disturbs_is_done_again_behind_the_mutex(database: Database) -> None:
    held: list[bool] = []

    def read(_: object) -> int:
        with ThreadPoolExecutor(1) as other:
            free = other.submit(database.mutex.acquire, blocking=False).result(10)
            if free:
                other.submit(database.mutex.release).result(10)
        held.append(not free)
        if len(held) == 1:
            raise lmdb.BadTxnError("the map has moved")
        return 1

    assert database.read(read) == 1
    assert held == [False, True]


def test_readers_wait_for_an_abort_and_begin_freely_after_it(database: Database) -> None:
    class Aborting:
        def abort(self) -> None:
            with ThreadPoolExecutor(1) as executor:
                waiting = executor.submit(lambda: database.begin().abort())
                with pytest.raises(TimeoutError):
                    waiting.result(0.1)
                database.mutex.release()
                waiting.result(10)
                database.mutex.acquire()

    with database.mutex:
        database.abort(Aborting())  # type: ignore[arg-type]
    assert database.begin == database.env.begin


def test_only_the_thread_that_is_in_the_transaction_is_in_its_own(database: Database) -> None:
    with database.mutex, ThreadPoolExecutor(1) as other:
        assert not database.in_own_transaction()
        database.state = "in transaction"
        assert database.in_own_transaction()
        assert not other.submit(database.in_own_transaction).result(10)
        database.state = "open"


def test_a_second_write_transaction_of_a_thread_is_refused_instead_of_hanging(database: Database) -> None:
    txn = database.begin_write()
    with pytest.raises(elkyn.WouldDeadlock, match="under way"):
        database.begin_write()
    txn.abort()


def test_the_map_doubles_up_to_its_limit_and_says_so_then(database: Database) -> None:
    database.grow()
    database.grow()
    with pytest.raises(elkyn.MapFullError, match="max_map_size"):
        database.grow()
    assert database.env.info()["map_size"] == 4 << 20


def test_the_syncer_is_there_for_async_alone_and_ends_with_the_database(tmp_path: Path) -> None:
    for durability, there in (("sync", False), ("async", True), ("none", False)):
        database = Database(tmp_path / durability, durability, map_size=1 << 20, max_map_size=1 << 20)  # type: ignore[arg-type]
        assert (database.syncer is not None) == there
        database.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "elkyn-sync"]

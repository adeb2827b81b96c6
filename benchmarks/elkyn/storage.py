"""Reading and writing, against the databases that one would use otherwise."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import msgspec

from benchmarks.elkyn.comparing import Row, compare, each, opened, raw

encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode
LEAF = 12345


def leaves(memory: Path) -> Iterator[Row]:
    """One value: against the database below the store, and against others."""
    path, key, encoded = "/users/42/age", b"/users/42/age", encode(LEAF)
    with opened(memory, "a") as store, raw(memory, "b") as env:
        store.set("/users/42", {"name": "Ada", "age": 36})

        def raw_put() -> None:
            with env.begin(write=True) as txn:
                txn.put(key, encoded)

        def raw_get() -> Any:
            with env.begin() as txn:
                return decode(txn.get(key))

        raw_put()
        get, put = each(500, lambda: store.get(path)), each(100, lambda: store.set(path, LEAF))
        yield compare("get of a leaf", "py-lmdb get + msgspec", get, each(500, raw_get), 1.5)
        yield compare("set of a leaf, unsynced", "py-lmdb put + commit", put, each(100, raw_put), 1.5)
        with closing(sqlite(memory / "s", synchronous="OFF")) as table:
            sqlite_set(table, path)
            yield compare("get of a leaf", "sqlite3", get, each(500, lambda: sqlite_get(table, path)), None)
            yield compare("set of a leaf, unsynced", "sqlite3, WAL, synchronous=OFF", put,
                          each(100, lambda: sqlite_set(table, path)), None)  # fmt: skip
        with diskcache.Cache(str(memory / "d"), sqlite_synchronous=0, eviction_policy="none") as cache:
            cache[path] = LEAF
            yield compare("get of a leaf", "diskcache", get, each(100, lambda: cache[path]), None)
            yield compare("set of a leaf, unsynced", "diskcache, synchronous=0", put,
                          each(20, lambda: cache.set(path, LEAF)), None)  # fmt: skip


def sqlite(file: Path, synchronous: str) -> sqlite3.Connection:
    """Open a table of paths and values, which commits each statement by itself."""
    table = sqlite3.connect(file, isolation_level=None)
    table.execute("PRAGMA journal_mode = WAL")
    table.execute(f"PRAGMA synchronous = {synchronous}")
    table.execute("CREATE TABLE leaves (path TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
    return table


def sqlite_set(table: sqlite3.Connection, path: str) -> None:
    table.execute("INSERT OR REPLACE INTO leaves VALUES (?, ?)", (path, encode(LEAF)))


def sqlite_get(table: sqlite3.Connection, path: str) -> Any:
    return decode(table.execute("SELECT value FROM leaves WHERE path = ?", (path,)).fetchone()[0])


def objects(memory: Path) -> Iterator[Row]:
    """Objects, against the same rows by hand."""
    with opened(memory, "o") as store, raw(memory, "p") as env:
        for count, bound, times, rounds in ((10, 2, 50, 101), (10_000, 3, 1, 15)):
            value = {f"leaf{n}": n for n in range(count)}
            path = f"/{count}"
            prefix = path.encode() + b"/"

            def write(value: dict[str, int] = value, prefix: bytes = prefix) -> None:
                with env.begin(write=True) as txn:
                    for name, n in value.items():
                        txn.put(prefix + name.encode(), encode(n))

            def read(prefix: bytes = prefix) -> dict[str, Any]:
                found = {}
                with env.begin() as txn:
                    cursor = txn.cursor()
                    cursor.set_range(prefix)
                    for key, row in cursor.iternext():
                        if not key.startswith(prefix):
                            break
                        found[key[len(prefix) :].decode()] = decode(row)
                return found

            def ours(path: str = path, value: dict[str, int] = value) -> int:
                return store.set(path, value)

            what = f"an object of {count:,} leaves"
            yield compare(
                f"set of {what}",
                "the same rows by py-lmdb",
                each(times, ours),
                each(times, write),
                bound,
                rounds=rounds,
            )
            assert read() == store.get(path) == value
            get: Callable[[], Any] = lambda path=path: store.get(path)  # noqa: E731
            yield compare(f"get of {what}", "the same by raw cursor", each(times, get), each(times, read), bound,
                          rounds=rounds)  # fmt: skip

        def delete() -> float:
            store.set(path, value)
            begin = time.perf_counter()
            store.delete(path)
            return time.perf_counter() - begin

        def raw_delete() -> float:
            write()
            begin = time.perf_counter()
            with env.begin(write=True) as txn:
                cursor = txn.cursor()
                cursor.set_range(prefix)
                while cursor.key().startswith(prefix):
                    cursor.delete()
            return time.perf_counter() - begin

        yield compare(f"delete of {what}", "the same by raw cursor", delete, raw_delete, 2, rounds=7)


def durable(disk: Path) -> Iterator[Row]:
    """Writes that are on the disk when they return."""
    with opened(disk, "f", "sync") as store, closing(sqlite(disk / "s", synchronous="FULL")) as table:
        numbers = iter(range(10**9))
        one_by_one = each(100, lambda: store.set(f"/n/{next(numbers) % 100}", 1))

        def queued() -> float:
            begin = time.perf_counter()
            futures = [store.set_async(f"/n/{next(numbers) % 100}", 1) for _ in range(2000)]
            for future in futures:
                future.result()
            return (time.perf_counter() - begin) / 2000

        yield compare("set_async, durable", "set, durable, one by one", queued, one_by_one, 15, faster=True, rounds=7)
        yield compare("set, durable", "sqlite3, WAL, synchronous=FULL", one_by_one,
                      each(100, lambda: sqlite_set(table, f"/n/{next(numbers) % 100}")), None, rounds=15)  # fmt: skip

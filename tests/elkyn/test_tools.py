"""What one expects of a store beside reading and writing: from other processes, from coroutines, as a whole."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest
from click.testing import CliRunner
from stalling import Stall, eventually

import elkyn
from elkyn import tools
from elkyn.cli import main

TREE = {
    "users": {"1": {"name": "Ada", "tags": ["x", "y"]}, "2": {"name": "Bob", "whole": {"a/b": 1}}},
    "odd": {"bytes": b"\0\xff", "nan": math.nan, "none": None, "empty": {}, "nested": [b"x"], "float": 1.0},
}


@contextmanager
def writing_elsewhere(directory: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the store open, and runs `code` for each line that it is sent."""
    program = f"""
import sys, elkyn
with elkyn.open({str(directory)!r}, durability="none", map_size=1 << 20) as store:
    print("open", flush=True)
    for line in sys.stdin:
        {code}
        print("done", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdout.close()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    assert process.stdout.readline() == "done\n"


# --- reading beside a writer


def test_another_process_reads_what_is_committed_also_when_the_map_grows(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with elkyn.open(directory, durability="none") as store:
        store.set("/", TREE)
    code = 'store.set("/large", b"x" * (store.rev << 21)); store.set("/n", store.rev)'
    with writing_elsewhere(directory, code) as writer, elkyn.open(directory, readonly=True) as reader:
        assert isinstance(reader, elkyn.ReadOnlyStore)
        assert reader.get("/users") == TREE["users"]
        assert (reader.rev, reader.exists("/n"), reader.get("/n", 7)) == (1, False, 7)
        assert reader.keys("/users", start="2") == ["2"]
        assert reader.items("/users/1", limit=1) == [("name", "Ada")]
        for n in range(3):
            go(writer)
            assert (reader.get("/n"), reader.rev) == (2 + 2 * n, 3 + 2 * n)
            assert len(reader.get("/large")) == (1 + 2 * n) << 21
        assert all(one.rev is None for one in reader.readers())  # it keeps no transaction between two reads
        with pytest.raises(elkyn.StoreInUseError):
            elkyn.open(directory)
        child = os.fork()
        if child == 0:
            try:
                reader.get("/n")
            except elkyn.ForkedStoreError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    assert "closed" in repr(reader)
    with pytest.raises(elkyn.StoreClosedError):
        reader.get("/n")


def test_what_is_no_store_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(elkyn.StorageError, match="no store"):
        elkyn.open(tmp_path, readonly=True)
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    with pytest.raises(elkyn.FormatError):
        elkyn.open(tmp_path, readonly=True)


def test_a_stores_readers_are_told_with_their_revision(store: elkyn.Store) -> None:
    store.set("/n", {str(n): n for n in range(3000)})
    with ThreadPoolExecutor(1) as executor:
        go_on = threading.Event()
        stalled = store.watch("/n/*", initial=True, capacity=4).subscribe(lambda _: go_on.wait(60), executor=executor)
        store.flush_events()
        store.set("/m", 1)
        assert elkyn.Reader(os.getpid(), 1) in store.readers()
        go_on.set()
        stalled.unsubscribe()


# --- walking


def test_a_walk_tells_each_leaf_once_in_order_in_flat_memory(store: elkyn.Store) -> None:
    for part in range(20):
        store.set(f"/n/{part:02}", {f"{n:04}": "x" * 100 for n in range(1000)})
    tracemalloc.start()
    paths = 0
    before = ""
    for path, value in store.walk():
        assert path > before
        assert value == "x" * 100
        before = path
        paths += 1
        if paths == 100:
            store.delete("/n/19")  # behind the page that is being read
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert paths == 19_000
    assert peak < 1 << 20
    assert list(store.walk("/n/03/0007")) == [("/n/03/0007", "x" * 100)]
    assert list(store.walk("/nothing")) == []
    store.set("/whole", {"a/b": {"c": 1}})
    assert list(store.walk("/whole")) == [("/whole", {"a/b": {"c": 1}})]
    store.set("/deep", {"k" * 200: {"x" * 100: 1}})
    assert list(store.walk("/deep/" + "k" * 200)) == [("/deep/" + "k" * 200, {"x" * 100: 1})]


# --- children


def test_children_are_added_changed_and_removed(store: elkyn.Store) -> None:
    store.set("/users", {"1": {"name": "Ada"}, "none": None})
    got: list[Any] = []
    with store.watch_children("/users", initial=True).subscribe(
        lambda item: got.append((item.type, item.name, item.value, item.old))  # type: ignore[union-attr]
    ):
        store.set("/users/2", 2)
        store.set("/users/1/name", "Bea")
        store.set("/users/none", 0)
        store.delete("/users/2")
        store.set("/users", {"1": {"name": "Bea"}, "3": None})
        store.flush_events()
    assert got == [
        ("added", "1", {"name": "Ada"}, None),
        ("added", "none", None, None),
        ("added", "2", 2, None),
        ("changed", "1", {"name": "Bea"}, {"name": "Ada"}),
        ("changed", "none", 0, None),
        ("removed", "2", None, 2),
        ("added", "3", None, None),
        ("removed", "none", None, 0),
    ]
    with store.watch_children("/").subscribe(lambda item: got.append(item)):
        store.set("/top", 1)
        store.flush_events()
    assert (got[-1].name, got[-1].event.rev) == ("top", store.rev)


# --- many writes


def test_many_writes_have_revisions_and_events_of_their_own(store: elkyn.Store) -> None:
    got: list[Any] = []
    store.watch("/n/*").subscribe(got.append, overflow="block", timeout=60)
    assert store.write_many((f"/n/{n}", n) for n in range(5500)).result(60) == list(range(1, 5501))
    store.flush_events()
    assert [event.rev for event in got] == list(range(1, 5501))
    assert store.write_many([]).result(10) == []
    with pytest.raises(elkyn.PathError):
        store.write_many([("/ok", 1), ("no path", 1)])
    assert not store.exists("/ok")


def test_of_many_writes_one_that_fails_is_told_and_the_others_are_made(store: elkyn.Store, stalled: Stall) -> None:
    with ThreadPoolExecutor(1) as executor:
        store.watch("/blocked").subscribe(print, executor=executor, overflow="block", capacity=1, timeout=0.05)
        future = store.write_many([("/a", 1), ("/blocked", 2), ("/b", 3)])
        with pytest.raises(elkyn.EventTimeout):
            future.result(20)
        stalled.release()
    assert (store.get("/a"), store.get("/blocked"), store.get("/b")) == (1, None, 3)


def test_many_writes_wait_for_the_writer_and_end_with_the_store(tmp_path: Path) -> None:
    store = elkyn.open(tmp_path / "data", durability="none")
    started = threading.Event()

    def endless() -> Iterator[tuple[str, int]]:
        n = 0
        while True:
            n += 1
            if n == 30_000:
                started.set()
            yield f"/n/{n % 100}", n

    with ThreadPoolExecutor(1) as executor:
        writing = executor.submit(store.write_many, endless())
        assert started.wait(60)
        assert len(store._writer._queue) <= 11
        store.close()
        with pytest.raises(elkyn.StoreClosedError):
            writing.result(60)


# --- coroutines


def test_a_store_for_coroutines(tmp_path: Path) -> None:
    async def run() -> None:
        async with elkyn.open_async(tmp_path / "data", durability="none") as store:
            got: list[Any] = []

            async def handle(event: Any) -> None:
                got.append(event.value)

            store.watch("/n").subscribe(handle)
            assert await asyncio.gather(*(store.aset("/n", n) for n in range(100))) == list(range(1, 101))
            assert await store.aupdate("/m", {"a": 1, "b": 2}) == 101
            assert await store.adelete("/m/a") == 102
            assert await store.aflush_events(10)
            assert store.get("/m") == {"b": 2}
            with pytest.raises(elkyn.PathError):
                await store.aset("no path", 1)
        assert got == list(range(100))
        again = await elkyn.open_async(tmp_path / "data")
        assert again.rev == 102
        again.close()
        with pytest.raises(elkyn.StoreClosedError):
            await again.aset("/n", 1)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_coroutine_leaves_the_loop_free_while_the_writer_is_behind(store: elkyn.Store) -> None:
    async def run() -> None:
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            with store.transaction():
                held.set()
                over.wait(60)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(10)
        writes = [asyncio.ensure_future(store.aset("/n", n)) for n in range(12_000)]
        try:
            await asyncio.sleep(0.05)
            assert store._writer.is_full()
        finally:
            over.set()
        await asyncio.gather(*writes)
        thread.join(10)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert store.rev == 12_000


# --- as a whole


@pytest.mark.parametrize("compact", [False, True])
def test_a_backup_is_the_store_as_it_was_while_others_write(store: elkyn.Store, tmp_path: Path, compact: bool) -> None:
    store.set("/", TREE)
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            with store.transaction() as tx:
                tx.set("/a", tx.get("/a", 0) + 1)
                tx.set("/b", tx.get("/a"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for n in range(5):
            rev = store.backup(tmp_path / f"copy-{n}", compact=compact)
            with elkyn.open(tmp_path / f"copy-{n}") as copy:
                assert (copy.rev, copy.get("/a")) == (rev, copy.get("/b"))
                assert copy.get("/users") == TREE["users"]
                assert copy.set("/n", 1) == rev + 1
    finally:
        over.set()
        writer.join(10)
    with pytest.raises(elkyn.StorageError, match="exists already"):
        store.backup(tmp_path / "copy-0")
    assert tools.verify(tmp_path / "copy-1") == []


def cli(*arguments: object, source: str | None = None, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], input=source)
    assert done.exit_code == code, done.output
    return done.output


def test_the_command_line_reads_and_writes(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    assert cli("set", directory, "/users/1", '{"name": "Ada"}') == "1\n"
    assert json.loads(cli("get", directory)) == {"users": {"1": {"name": "Ada"}}}
    assert cli("get", directory, "/users/1/name") == '"Ada"\n'
    assert "nothing at /x" in cli("get", directory, "/x", code=1)
    assert "no JSON" in cli("set", directory, "/x", "text", code=1)
    assert "must start with" in cli("set", directory, "x", "1", code=1)
    assert "no store" in cli("get", tmp_path / "missing", code=1)
    told = cli("info", directory)
    assert "revision    1" in told
    assert "leaves      1" in told


def test_a_dump_loads_equal_whatever_is_in_it(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data", durability="none") as store:
        store.set("/", TREE)
        store.set("/many", {str(n): n for n in range(2500)})
    lines = cli("dump", tmp_path / "data")
    assert json.loads(lines.splitlines()[0]) == {"elkyn": 1, "rev": 2}
    assert cli("load", tmp_path / "again", source=lines) == f"{len(lines.splitlines()) - 1} leaves\n"
    with elkyn.open(tmp_path / "again") as store, elkyn.open(tmp_path / "data", readonly=True) as first:
        assert repr(store.get("/")) == repr(first.get("/"))
    assert "line 2" in cli("load", tmp_path / "again", source='{"elkyn": 1}\nnonsense\n', code=1)
    assert "line 1" in cli("load", tmp_path / "again", source='{"elkyn": 99}\n', code=1)


def test_verify_finds_what_is_wrong(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with elkyn.open(directory, durability="none") as store:
        store.set("/", TREE)
    assert cli("verify", directory) == "sound\n"
    with lmdb.open(str(directory)) as env, env.begin(write=True) as txn:
        txn.put(b"\0a", b"\x01")
        txn.put(b"\0a\0b", b"\xc1")
        txn.put(b"wrong", b"\x01")
    told = cli("verify", directory, code=1)
    assert "'/a/b' lies below a leaf" in told
    assert "the value at '/a/b' cannot be read" in told
    assert "'wrong' is the key of no path" in told
    with elkyn.open(directory) as store:
        store.delete("/a")
    data = bytearray((directory / "data.mdb").read_bytes())
    at = data.index(b"Ada")
    data[at] ^= 1
    (directory / "data.mdb").write_bytes(data)
    assert "not as it was when it was closed" in cli("verify", directory, code=1)


def test_backup_and_compaction_from_the_command_line(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with elkyn.open(directory, durability="none") as store:
        store.set("/n", {str(n): "x" * 1000 for n in range(2000)})
        store.delete("/n")
        store.set("/kept", 1)
    assert cli("backup", directory, tmp_path / "copy", "--compact") == "revision 3\n"
    assert (tmp_path / "copy" / "data.mdb").stat().st_size < 100_000
    assert "now" in cli("compact", directory)
    assert (directory / "data.mdb").stat().st_size < 100_000
    assert cli("verify", directory) == "sound\n"
    with elkyn.open(directory) as store:
        assert (store.rev, store.get("/")) == (3, {"kept": 1})
    with writing_elsewhere(directory, "store.set('/n', 1)") as writer:
        go(writer)
        assert "open already" in cli("compact", directory, code=1)
        assert cli("backup", directory, tmp_path / "beside") == "revision 4\n"
        assert cli("verify", directory) == "sound\n"


def test_watching_another_process_write(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with elkyn.open(directory, durability="none") as store:
        store.set("/n", {"a": 1})
    code = "store.update('/n', {'b': store.rev}); store.delete('/n/a')"
    with writing_elsewhere(directory, code) as writer:
        watching = subprocess.Popen(
            [sys.executable, "-m", "elkyn", "watch", str(directory), "/n/**", "--initial"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline()) == {"type": "change", "path": "/n/a", "value": 1}
        go(writer)
        assert json.loads(watching.stdout.readline()) == {"type": "change", "path": "/n/b", "value": 1}
        assert json.loads(watching.stdout.readline()) == {"type": "delete", "path": "/n/a"}
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
        watching.stdout.close()
    eventually(lambda: watching.returncode == 0)

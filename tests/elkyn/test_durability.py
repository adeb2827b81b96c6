"""What survives: kill -9 at any moment, a full map, a full disk, and directories that are not ours to write."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lmdb
import pytest

import elkyn
from elkyn.storage import META
from elkyn.values import encode

WRITER = """
import sys, elkyn
store = elkyn.open(sys.argv[1], durability="sync", map_size=1 << 20)
n = store.get("/n", 0)
print("open", store.rev, n, flush=True)
while True:
    n += 1
    if n % 3 == 0:
        rev = store.set_async("/n", n).result()
    elif n % 3 == 1:
        with store.transaction() as tx:
            tx.set("/n", n)
            tx.set(f"/log/{n % 50}", {"n": n, "pad": "x" * (n % 400)})
        rev = tx.rev
    else:
        rev = store.set("/n", n)
    print("ack", rev, n, flush=True)
"""


@pytest.mark.parametrize("kills", [10, pytest.param(300, marks=pytest.mark.slow)])
def test_every_acknowledged_write_survives_kill_9(tmp_path: Path, kills: int) -> None:
    chance = random.Random(9)
    rev = number = 0
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            opened = writer.stdout.readline().split()
            assert opened[0] == "open"
            assert int(opened[1]) >= rev, "the revision went back"
            assert int(opened[2]) >= number, "an acknowledged write is gone"
            time.sleep(chance.random() * 0.05)
            writer.send_signal(signal.SIGKILL)
            # A line that was cut short by the kill has no end.
            lines = writer.stdout.read().splitlines(keepends=True)
            acknowledged = [line.split() for line in lines if line.endswith("\n")]
        if acknowledged:
            rev, number = int(acknowledged[-1][1]), int(acknowledged[-1][2])
        with elkyn.open(tmp_path) as store:
            assert store.rev in (rev, rev + 1) or not acknowledged
            assert store.get("/n", 0) in (number, number + 1) or not acknowledged
            for name, entry in store.items("/log"):
                assert entry["n"] % 50 == int(name)
                assert entry["pad"] == "x" * (entry["n"] % 400)


def test_the_map_grows_by_itself(tmp_path: Path) -> None:
    with elkyn.open(tmp_path, durability="none", map_size=1 << 20) as store:
        for n in range(40):
            store.set(f"/direct/{n}", bytes(100_000))
        futures = [store.set_async(f"/queued/{n}", bytes(100_000)) for n in range(40)]
        for future in futures:
            future.result(10)
        with store.transaction() as tx:
            for n in range(40):
                tx.set(f"/grouped/{n}", bytes(100_000))
            assert len(tx.keys("/grouped")) == 40
        assert [len(store.keys(f"/{kind}")) for kind in ("direct", "queued", "grouped")] == [40, 40, 40]
        assert store.rev == 81
    with elkyn.open(tmp_path) as store:
        assert store.rev == 81
        assert store.get("/queued/39") == bytes(100_000)


def test_a_reader_is_not_disturbed_by_growth(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with elkyn.open(tmp_path, durability="none", map_size=1 << 20) as store, ThreadPoolExecutor(2) as readers:
        store.set("/a", {"b": {"c": 1}, "d": 2})
        done = False

        def read() -> int:
            count = 0
            while not done:
                assert store.get("/a/b/c") == 1
                assert store.get("/a") == {"b": {"c": 1}, "d": 2}
                assert store.keys("/a") == ["b", "d"]
                count += 1
            return count

        reading = [readers.submit(read) for _ in range(2)]
        try:
            for n in range(60):  # five doublings; each write waits some times for two readers that never pause
                store.set(f"/blob/{n}", bytes(500_000))
        finally:
            done = True
        assert all(future.result(10) > 10 for future in reading)


def test_a_full_map_is_a_clear_error_and_nothing_is_damaged(tmp_path: Path) -> None:
    with elkyn.open(tmp_path, durability="none", map_size=1 << 20, max_map_size=1 << 20) as store:
        store.set("/kept", "here")
        events: list[Any] = []
        store.watch("/**").subscribe(events.append)
        rev = store.rev
        for write in (
            lambda: store.set("/big", bytes(2 << 20)),
            lambda: store.set_async("/big", bytes(2 << 20)).result(10),
            lambda: store.update("/", {"big": bytes(2 << 20)}),
        ):
            with pytest.raises(elkyn.MapFullError, match="max_map_size"):
                write()
        with pytest.raises(elkyn.MapFullError), store.transaction() as tx:  # noqa: PT012
            tx.set("/small", 1)
            tx.set("/big", bytes(2 << 20))
        small = store.set_async("/fits", 1)  # queued beside one that does not fit
        assert small.result(10) == rev + 1
        store.flush_events()
        assert [event.path for event in events] == ["/fits"]
        assert store.get("/") == {"kept": "here", "fits": 1}
        assert store.delete("/kept") == rev + 2
    with elkyn.open(tmp_path) as store:
        assert store.get("/") == {"fits": 1}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, where we may mount one."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount_point)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield mount_point
    subprocess.run(["umount", str(mount_point)], check=True)


def fill(store: elkyn.Store) -> int:
    """Write until the disk refuses; return how many writes it took."""
    for n in range(10_000):
        try:
            store.set(f"/fill/{n}", bytes(50_000))
        except elkyn.StorageError as error:
            assert "nothing was changed" in str(error)  # noqa: PT017 - the loop is the point
            return n
    raise AssertionError("the disk never filled")


def test_a_full_disk_is_a_clear_error_and_nothing_is_damaged(tiny_disk: Path) -> None:
    with elkyn.open(tiny_disk / "data") as store:
        store.set("/kept", "here")
        count = fill(store)
        assert count > 5
        assert store.rev == count + 1
        assert store.get("/kept") == "here"
        assert len(store.keys("/fill")) == count
        with pytest.raises(elkyn.StorageError):
            store.set_async("/more", bytes(500_000)).result(10)
    with elkyn.open(tiny_disk / "data") as store:
        assert store.get("/kept") == "here"
        assert store.get(f"/fill/{count - 1}") == bytes(50_000)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_delete_succeeds_on_a_disk_that_others_have_filled(tiny_disk: Path, asynchronous: bool) -> None:
    with elkyn.open(tiny_disk / "data") as store:
        store.set("/kept", {str(n): bytes(50) for n in range(3000)})
        store.set("/fill", {str(n): bytes(50) for n in range(6000)})
        with suppress(OSError), (tiny_disk / "other").open("wb", buffering=0) as other:
            while True:
                other.write(bytes(4096))
        with pytest.raises(elkyn.StorageError):
            store.set("/more", {str(n): bytes(50) for n in range(10)})
        store.delete("/kept/77")
        if asynchronous:
            store.delete_async("/fill").result(10)
        else:
            store.delete("/fill")
        store.delete("/kept/78")
        store.set("/more", {str(n): bytes(50) for n in range(10)})  # in what has become free
    with elkyn.open(tiny_disk / "data") as store:
        assert (len(store.keys("/kept")), store.keys("/fill"), len(store.keys("/more"))) == (2998, [], 10)


def test_a_file_size_limit_is_a_clear_error_and_nothing_is_damaged(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with elkyn.open(tmp_path) as store:
        store.set("/kept", "here")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        try:
            count = fill(store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        assert store.rev == count + 1
        assert store.get("/kept") == "here"
    with elkyn.open(tmp_path) as store:
        assert len(store.keys("/fill")) == count


def test_a_read_only_directory_is_a_clear_error(tmp_path: Path) -> None:
    program = f"""
import os, elkyn
os.setgid(65534); os.setuid(65534)  # root may write anywhere
try:
    elkyn.open({str(tmp_path / "data")!r})
except elkyn.StorageError as error:
    print(error)
"""
    if os.getuid() != 0:
        tmp_path.chmod(0o500)
        program = program.replace("os.setgid(65534); os.setuid(65534)", "")
    else:
        tmp_path.chmod(0o755)
        for parent in tmp_path.parents:
            if parent.owner() == "root" and parent != Path("/") and not parent.stat().st_mode & 1:
                parent.chmod(parent.stat().st_mode | 0o11)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "writable directory" in done.stdout


def test_a_path_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(elkyn.StorageError, match="not a directory"):
        elkyn.open(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "not a directory"


def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign = b"this is no database at all" * 1000
    (tmp_path / "data.mdb").write_bytes(foreign)
    with pytest.raises(elkyn.FormatError, match="not an LMDB database"):
        elkyn.open(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == foreign


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(elkyn.FormatError, match="did not make"):
        elkyn.open(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == before


@pytest.mark.parametrize(
    ("mark", "message"),
    [(encode({"format": 99, "rev_base": 0}), "format 99"), (b"\xc1 damaged", "damaged"), (encode([1]), "damaged")],
)
def test_a_newer_or_damaged_format_is_refused(tmp_path: Path, mark: bytes, message: str) -> None:
    elkyn.open(tmp_path).close()
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        txn.put(META, mark)
    with pytest.raises(elkyn.FormatError, match=message):
        elkyn.open(tmp_path)
    with lmdb.open(str(tmp_path)) as env, env.begin() as txn:
        assert txn.get(META) == mark


@pytest.mark.parametrize("durability", ["sync", "async", "none"])
def test_each_durability_survives_a_plain_close(tmp_path: Path, durability: Any) -> None:
    with elkyn.open(tmp_path, durability=durability) as store:
        for n in range(50):
            store.set("/n", n)
    with elkyn.open(tmp_path, durability=durability) as store:
        assert (store.get("/n"), store.rev) == (49, 50)


def test_an_unknown_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="durability"):
        elkyn.open(tmp_path, durability="maybe")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="map_size"):
        elkyn.open(tmp_path, map_size=0)


def test_close_commits_all_that_is_queued(tmp_path: Path) -> None:
    with elkyn.open(tmp_path) as store:
        futures = [store.set_async(f"/n/{n}", n) for n in range(2000)]
    assert all(future.done() for future in futures)
    with elkyn.open(tmp_path) as store:
        assert len(store.keys("/n")) == 2000

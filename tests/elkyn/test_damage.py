"""A damaged file is an error with its path, whatever is wrong with it, and never the end of the process."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import pytest

import elkyn
from elkyn import pages
from elkyn.pages import SUM_FILE, check_pages, check_sum, leave_sum, read_meta
from elkyn.push_names import name_of, number_of


def fill(directory: Path, seed: int = 0, steps: int = 300) -> None:
    """Make a store with leaves, large values, deep branches and free pages."""
    chance = random.Random(seed)
    with elkyn.open(directory, durability="none", map_size=1 << 20) as store:
        for step in range(steps):
            place = f"/{chance.randrange(5)}/{chance.randrange(40)}"
            kind = chance.random()
            if kind < 0.2:
                store.delete(place)
            elif kind < 0.4:
                store.set(place, chance.randbytes(chance.choice([10, 3000, 20_000])))
            else:
                store.set(place, {str(n): step for n in range(chance.randrange(1, 60))})


@pytest.mark.parametrize("seed", range(5))
def test_what_lmdb_writes_has_nothing_wrong_with_it(tmp_path: Path, seed: int) -> None:
    fill(tmp_path / "data", seed)
    assert check_pages(tmp_path / "data" / "data.mdb") > 20
    assert check_sum(tmp_path / "data")
    with elkyn.open(tmp_path / "data") as store:
        assert len(store.keys("/")) == 5
        assert not (tmp_path / "data" / SUM_FILE).exists()  # it is in use: a process that is killed now leaves none
        assert check_pages(tmp_path / "data" / "data.mdb") > 20


@pytest.mark.parametrize("part", [0.99, 0.9, 0.5, 0.1])
@pytest.mark.parametrize("closed", [True, False])
def test_a_file_that_was_cut_is_an_error(tmp_path: Path, part: float, closed: bool) -> None:
    directory = tmp_path / "data"
    fill(directory)
    if not closed:
        (directory / SUM_FILE).unlink()
    file = directory / "data.mdb"
    with file.open("r+b") as opened:
        opened.truncate(int(file.stat().st_size * part))
    before = file.read_bytes()
    with pytest.raises(elkyn.StorageError, match=r"data\.mdb is damaged"):
        elkyn.open(directory)
    assert file.read_bytes() == before


READER = """
import sys
from pathlib import Path
import elkyn
for line in sys.stdin:
    directory = Path(line.strip())
    try:
        with elkyn.open(directory, durability="none") as store:
            def walk(path):
                for name in store.keys(path):
                    walk(("" if path == "/" else path) + "/" + name)
            store.get("/"); walk("/"); store.items("/")
            store.watch("/**", old=True, initial=True).subscribe(lambda event: None)
            store.set("/new", 1); store.update("/0", {"a": 1}); store.delete("/1"); store.push("/log", 1)
            store.flush_events(10)
        print("opened", flush=True)
    except elkyn.PathError:  # of a name that no path has
        print("refused", flush=True)
    except elkyn.StorageError as error:
        assert str(directory) in str(error), error
        print("refused", flush=True)
"""


@pytest.mark.parametrize("closed", [True, False])
def test_flipped_bits_are_an_error_and_kill_nobody(tmp_path: Path, closed: bool) -> None:
    fill(tmp_path / "whole", steps=120)
    if not closed:
        (tmp_path / "whole" / SUM_FILE).unlink()
    whole = (tmp_path / "whole" / "data.mdb").read_bytes()
    chance = random.Random(7)
    places = []
    for trial in range(60):
        directory = tmp_path / f"flipped-{trial}"
        shutil.copytree(tmp_path / "whole", directory)
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 20])):
            # Heads of pages and of entries as often as all the rest.
            at = (
                chance.randrange(len(whole))
                if trial % 2
                else chance.randrange(len(whole) // 4096) * 4096 + chance.randrange(64)
            )
            damaged[at] ^= 1 << chance.randrange(8)
        (directory / "data.mdb").write_bytes(damaged)
        places.append(directory)
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input="\n".join(map(str, places)),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    said = done.stdout.split()
    assert (done.returncode, len(said)) == (0, len(places)), done.stderr[-2000:]
    if closed:
        assert set(said) == {"refused"}


def test_a_value_that_is_none_of_ours_is_an_error_with_the_path(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with elkyn.open(directory) as store:
        store.update("/", {"a": 1, "b": {"c": 2}})
    with lmdb.open(str(directory)) as env, env.begin(write=True) as txn:
        txn.put(b"\0a", b"\xc1")
        txn.put(b"\0b\0c", b"\xa5cut")
        txn.put(b"\0d", b"")
        txn.put(b"\0e", b"\x91" * 5000)
    with elkyn.open(directory) as store:
        for read in (
            lambda: store.get("/a"),
            lambda: store.get("/b"),
            lambda: store.items("/b"),
            lambda: store.get("/d"),
            lambda: store.get("/e"),
            lambda: store.get("/"),
        ):
            with pytest.raises(elkyn.StorageError, match=str(directory)):
                read()
        with (
            store.watch("/a/x", old=True).subscribe(print),
            pytest.raises(elkyn.StorageError, match="cannot be read"),
        ):
            store.set("/a", 2)
        store.set("/a", 2)
        assert store.get("/a") == 2


# --- revisions and names


def compact(directory: Path, to: Path) -> None:
    to.mkdir()
    with lmdb.open(str(directory)) as env:
        env.copy(str(to), compact=True)


def test_the_revision_survives_a_compaction_by_another_program(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data", durability="none") as store:
        for n in range(100):
            store.set("/n", n)
        [future.result() for future in [store.set_async("/n", n) for n in range(50)]]
        assert store.rev == 150
    compact(tmp_path / "data", tmp_path / "smaller")
    for _ in range(3):
        with elkyn.open(tmp_path / "smaller") as store:
            assert (store.rev, store.get("/n")) == (150, 49)
    with elkyn.open(tmp_path / "smaller") as store:
        assert store.set("/n", 1) == 151
    for directory in ("smaller", "data"):
        with elkyn.open(tmp_path / directory) as store:
            assert store.rev == (151 if directory == "smaller" else 150)


def test_no_revision_comes_twice_where_a_file_is_compacted_that_was_not_closed(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data", durability="none") as store:
        for n in range(10):
            store.set("/n", n)
    with elkyn.open(tmp_path / "data", durability="none") as store:
        for n in range(100):
            store.set("/n", n)
        (tmp_path / "smaller").mkdir()
        store._database.env.copy(str(tmp_path / "smaller"), compact=True)
        rev = store.rev
    with elkyn.open(tmp_path / "smaller") as store:
        assert store.rev > rev


def test_opening_and_reading_writes_nothing(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data", durability="none") as store:
        store.set("/n", 1)
    before = (tmp_path / "data" / "data.mdb").read_bytes()
    with elkyn.open(tmp_path / "data", durability="none") as store:
        assert (store.get("/n"), store.rev) == (1, 1)
    assert (tmp_path / "data" / "data.mdb").read_bytes() == before


def test_names_sort_behind_those_of_an_earlier_session_whose_clock_was_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = time.time_ns() + 10**15
    names: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: ahead)
        with elkyn.open(tmp_path / "data", durability="none") as store:
            names += [store.push("/log", n) for n in range(3)]
    with elkyn.open(tmp_path / "data", durability="none") as store:
        names += [store.push("/log", n) for n in range(3)]
        with store.transaction() as tx:
            names.append(tx.push("/log", 9))
    with elkyn.open(tmp_path / "data", durability="none") as store:
        store._names._number = 0  # as after a session that was killed: its names are there, and nothing else
        names.append(store.push("/log", 10))
        assert names == sorted(names) == store.keys("/log")
        store.set("/mixed", {"zz": 1, "z" * 20: 2})
        assert number_of(store.push("/mixed", 1)) is not None
        store.set("/leaf", 1)
        assert store.keys("/leaf") == [] != [store.push("/leaf", 1)]


def test_a_name_is_its_number() -> None:
    for number in (0, 1 << 72, (1 << 116) - 1):
        assert number_of(name_of(number)) == number
    assert number_of("short") is number_of("z" * 20) is number_of("ü" * 20) is None


def test_a_large_file_is_not_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages.leave_sum, "__kwdefaults__", {"limit": 10})
    fill(tmp_path / "data", steps=10)
    assert not (tmp_path / "data" / SUM_FILE).exists()
    assert read_meta(tmp_path / "data" / "data.mdb") is not None
    leave_sum(tmp_path / "data", limit=None)
    assert check_sum(tmp_path / "data", limit=None)


def test_the_sum_has_one_length_whatever_the_revision(tmp_path: Path) -> None:
    lengths = set()
    for commits in (1, 10, 100):
        with elkyn.open(tmp_path / "data", durability="none") as store:
            for n in range(commits):
                store.set("/n", n)
        assert check_sum(tmp_path / "data")
        lengths.add((tmp_path / "data" / SUM_FILE).stat().st_size)
    assert len(lengths) == 1

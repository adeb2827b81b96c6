"""A store that another process may be writing to, opened for reading alone."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import lmdb

from elkyn.errors import ForkedStoreError, FormatError, StorageError, StoreClosedError
from elkyn.pages import check_sum
from elkyn.paths import key_of
from elkyn.storage import FORMAT, MAX_READERS, META, LmdbTransaction, damaged, storage_error
from elkyn.tree import LEAVES_PER_PAGE, Tree
from elkyn.values import BAD_BYTES, MISSING, decode

T = TypeVar("T")


class Reader(NamedTuple):
    """A process that reads a store, or has: LMDB keeps its place for the next time."""

    pid: int
    rev: int | None
    """The revision that it is reading; None where it is between two reads. As long as it reads, no page that was in
    use then is used again, so one that never ends lets the file grow."""


def readers_of(env: "lmdb.Environment", rev_base: int) -> list[Reader]:
    """Return who reads an environment, after letting go of the places of processes that have ended."""
    env.reader_check()
    found = []
    for line in env.readers().splitlines()[1:]:
        pid, _, transaction = line.split()
        found.append(Reader(int(pid), None if transaction == "-" else rev_base + int(transaction)))
    return found


class ReadOnlyStore:
    """The reading half of a store, beside the process that writes to it. Made by `open(..., readonly=True)`.

    Each call sees the latest commit. All methods may be called from any thread; in a forked child open another.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises `StorageError` where there is no store, or none that can be read; `FormatError` for a foreign one."""
        self._directory = Path(path).absolute()
        if not (self._directory / "data.mdb").exists():
            raise StorageError(f"there is no store in {self._directory}; open it without readonly= to make one")
        check_sum(self._directory)
        self._pid = os.getpid()
        self._tree = Tree()
        try:
            self._env: lmdb.Environment | None = lmdb.open(
                str(self._directory), readonly=True, max_readers=MAX_READERS, max_dbs=0
            )
        except lmdb.Error as error:
            raise storage_error(error, self._directory) from error
        try:
            self._read(self._rev_base)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ReadOnlyStore in {self._directory}, {'closed' if self._env is None else 'open'}>"

    @property
    def path(self) -> Path:
        """The directory."""
        return self._directory

    @property
    def rev(self) -> int:
        """The revision of the latest commit."""
        return self._read(lambda txn: self._rev_base(txn) + txn.id())

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value at `path`, or `default`."""
        key = key_of(path)
        value = self._read(lambda txn: self._tree.value(txn, key))
        return default if value is MISSING else value

    def exists(self, path: str) -> bool:
        """Whether there is a value at `path`."""
        key = key_of(path)
        return self._read(lambda txn: self._tree.exists(txn, key))

    def keys(
        self, path: str = "/", *, start: str | None = None, end: str | None = None, limit: int | None = None
    ) -> list[str]:
        """Return the names of the children, as `Store.keys()` does."""
        key = key_of(path)
        return self._read(lambda txn: list(islice(self._tree.names(txn, key, start, end), limit)))

    def items(
        self, path: str = "/", *, start: str | None = None, end: str | None = None, limit: int | None = None
    ) -> list[tuple[str, Any]]:
        """Return the children with their values, as `Store.items()` does."""
        key = key_of(path)
        return self._read(lambda txn: self._tree.items(txn, key, (start, end, limit)))

    def matching(self, place: tuple[str, ...]) -> list[tuple[str, Any]]:
        """Return path and value of the nodes that the segments of a pattern name, from one state of the store."""
        return self._read(lambda txn: [(path, decode(raw)) for path, raw in self._tree.matching(txn, place)])

    def walk(self, path: str = "/") -> Iterator[tuple[str, Any]]:
        """Yield the leaves at and below `path`, as `Store.walk()` does."""
        return walk_by_pages(self._read, self._tree, path)

    def readers(self) -> list[Reader]:
        """Return who reads the store."""
        base = self._read(self._rev_base)
        return readers_of(self._environment(), base)

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def _environment(self) -> lmdb.Environment:
        if os.getpid() != self._pid:
            raise ForkedStoreError(f"the store in {self._directory} was opened by the parent process; open it here too")
        if self._env is None:
            raise StoreClosedError("the store is closed; open it again to read")
        return self._env

    def _read(self, read: Callable[[LmdbTransaction], T]) -> T:
        env = self._environment()
        try:
            try:
                with env.begin() as txn:
                    return read(txn)
            except lmdb.MapResizedError:  # by the process that writes
                env.set_mapsize(0)
                with env.begin() as txn:
                    return read(txn)
        except lmdb.Error as error:
            raise storage_error(error, self._directory) from error
        except BAD_BYTES as error:
            raise damaged(error, self._directory) from error

    def _rev_base(self, txn: LmdbTransaction) -> int:
        mark = txn.get(META)
        try:
            meta = decode(mark)  # type: ignore[arg-type]  # None is no mark either
            form, base = meta["format"], int(meta["rev_base"])
        except Exception as error:
            raise FormatError(f"{self._directory} holds no store of elkyn's, or its mark is damaged") from error
        if form != FORMAT:
            raise FormatError(f"{self._directory} is in format {form}, and this elkyn reads format {FORMAT}")
        return base


def walk_by_pages(
    read: Callable[[Callable[[LmdbTransaction], list[tuple[str, Any]]]], list[tuple[str, Any]]], tree: Tree, path: str
) -> Iterator[tuple[str, Any]]:
    """Yield the leaves at and below `path`, a page of them from one state of the store."""
    key = key_of(path)
    after: str | None = None
    while True:
        page = read(lambda txn, after=after: tree.leaves(txn, key, after))  # type: ignore[misc]
        yield from page
        if len(page) < LEAVES_PER_PAGE:
            return
        after = page[-1][0]

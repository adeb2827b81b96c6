"""The tree in the database: leaves by key, and the moves that keep a leaf and a subtree from hiding each other.

The invariant: no leaf has anything below it. So a node is missing, a leaf, or the object made of the leaves below it.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import lmdb

from elkyn.errors import FormatError, MapFullError, StorageError, StoreInUseError
from elkyn.paths import ROOT, SEPARATOR, bound_of, prefix_of
from elkyn.values import MISSING, Leaves, decode, encode, flatten, is_object, unflatten

FORMAT = 1
# 0xff is in no UTF-8 text, so it is above every key of the tree: a search in the tree always stops at it.
META = b"\xffelkyn"
_REMEMBERED_LEAVES = 4096
_LEAST_MAP = 1 << 16  # bytes: what an empty store needs, and a little
SMALL = 64  # bytes of a value that may be remembered with its key

Transaction: TypeAlias = "lmdb.Transaction[bytes]"
Cursor: TypeAlias = "lmdb.Cursor[bytes]"


class Leaf:
    """A key known to be a leaf. `raw` is its committed value where that is small and watched, else None."""

    __slots__ = ("raw",)

    def __init__(self) -> None:
        self.raw: bytes | None = None


class Tree:
    """Reads and writes nodes inside transactions that its caller begins and ends.

    Not thread-safe for writers: the store's mutex is held around them.
    """

    def __init__(self) -> None:
        # Keys known to be leaves, so that setting them again needs no look around; with their values, so that an event
        # needs no look at what was there. Forgotten by every move that might make it untrue.
        self._leaves: dict[bytes, Leaf] = {}

    def leaf(self, key: bytes) -> Leaf | None:
        """Return what is known of the leaf at `key`. Whoever keeps it sees `raw` go when it may be true no more."""
        return self._leaves.get(key)

    def forget(self) -> None:
        """Drop what is remembered: after an aborted transaction it may not be so."""
        for leaf in self._leaves.values():
            leaf.raw = None
        self._leaves.clear()

    def _forget_leaf(self, key: bytes) -> None:
        leaf = self._leaves.pop(key, None)
        if leaf is not None:
            leaf.raw = None

    def set(self, txn: Transaction, key: bytes, leaves: Leaves) -> None:
        """Replace whatever is at `key` by `leaves`."""
        plain = len(leaves) == 1 and leaves[0][0] == key
        leaf = self._leaves.get(key) if plain else None
        if leaf is not None:
            leaf.raw = None
        else:
            if self._write_inside_opaque(txn, key, leaves):
                return
            self._make_way(txn, key, keep_leaf=plain)
            if len(self._leaves) >= _REMEMBERED_LEAVES:
                self.forget()
            if plain:
                self._leaves[key] = Leaf()
        for leaf_key, raw in leaves:
            txn.put(leaf_key, raw)

    def delete(self, txn: Transaction, key: bytes) -> bool:
        """Remove the node at `key`; False where there was none. An object that loses its last child goes too."""
        if txn.delete(key):
            self._forget_leaf(key)
            return True
        if self._delete_below(txn, key):
            return True
        return self._write_inside_opaque(txn, key, None)

    def raw(self, txn: Transaction, key: bytes) -> bytes | None:
        """Return the encoded value of the node at `key`; None where it is missing."""
        raw = txn.get(key)
        if raw is not None:
            return raw
        value = self.value(txn, key)
        return None if value is MISSING else encode(value)

    def value(self, txn: Transaction, key: bytes) -> Any:
        """Return the value of the node at `key`, or MISSING."""
        raw = txn.get(key)
        if raw is not None:
            return decode(raw)
        cursor = txn.cursor()
        prefix = prefix_of(key)
        if cursor.set_range(prefix) and cursor.key().startswith(prefix):
            return unflatten(prefix, cursor.iternext())
        opaque = _leaf_above(cursor, key)
        if opaque is None or not is_object(opaque[1]):
            return MISSING
        return _walk(decode(opaque[1]), _names(opaque[0], key))

    def exists(self, txn: Transaction, key: bytes) -> bool:
        """Whether there is a node at `key`."""
        if txn.get(key) is not None or self.has_leaves_below(txn, key):
            return True
        return self.value(txn, key) is not MISSING

    def has_leaves_below(self, txn: Transaction, key: bytes) -> bool:
        """Whether the node at `key` is an object whose parts are stored one by one."""
        cursor = txn.cursor()
        prefix = prefix_of(key)
        return cursor.set_range(prefix) and cursor.key().startswith(prefix) and cursor.key() != key

    def names(self, txn: Transaction, key: bytes, start: str | None, end: str | None) -> Iterator[str]:
        """Yield the names of the children in key order, from `start` (included) to `end` (not included)."""
        cursor = txn.cursor()
        prefix = prefix_of(key)
        at = len(prefix)
        first = bound_of(start, "start") or b""
        stop = bound_of(end, "end")
        found = cursor.set_range(prefix + first)
        any_below = False
        while found:
            child = cursor.key()
            if not child.startswith(prefix):
                break
            name = child[at:].split(SEPARATOR, 1)[0]
            if not name:  # the root's own leaf
                found = cursor.next()
                continue
            if stop is not None and name >= stop:
                return
            any_below = True
            yield name.decode()
            # Over the child's whole subtree in one step: \x01 is above the separator and in no segment.
            found = cursor.set_range(prefix + name + b"\x01")
        if not any_below and isinstance(value := self.value(txn, key), dict):
            yield from (
                name
                for name in sorted(value, key=str.encode)
                if name.encode() >= first and (stop is None or name.encode() < stop)
            )

    def _make_way(self, txn: Transaction, key: bytes, *, keep_leaf: bool) -> None:
        """Remove what would hide, or be hidden by, a write at `key`: the node itself and a leaf above it."""
        cursor = txn.cursor()
        if cursor.set_key(key):  # a leaf: so nothing is below it and no leaf above
            if not keep_leaf:
                txn.delete(key)
                self._forget_leaf(key)
            return
        if self._delete_below(txn, key):
            return
        above = _leaf_above(cursor, key)
        if above is not None:
            txn.delete(above[0])
            self._forget_leaf(above[0])

    def _delete_below(self, txn: Transaction, key: bytes) -> bool:
        cursor = txn.cursor()
        prefix = prefix_of(key)
        if not cursor.set_range(prefix) or not cursor.key().startswith(prefix):
            return False
        self.forget()
        while cursor.key().startswith(prefix):
            cursor.delete()  # moves to the next key
        return True

    def _write_inside_opaque(self, txn: Transaction, key: bytes, leaves: Leaves | None) -> bool:
        """Write at a `key` that lies inside an object stored whole, by storing that object anew."""
        cursor = txn.cursor()
        if cursor.set_key(key) or key == ROOT:
            return False
        above = _leaf_above(cursor, key)
        if above is None or not is_object(above[1]) or above[1] == b"\x80":
            return False
        top = decode(above[1])
        names = _names(above[0], key)
        if leaves is None:
            if not _remove(top, names):
                return False
        else:
            prefix = prefix_of(key)
            plain = len(leaves) == 1 and leaves[0][0] == key
            _place(top, names, decode(leaves[0][1]) if plain else unflatten(prefix, leaves))
        rebuilt = flatten(above[0], top) if top else []  # may raise: before anything is touched
        txn.delete(above[0])
        self.forget()
        for leaf_key, raw in rebuilt:
            txn.put(leaf_key, raw)
        return True


def _leaf_above(cursor: Cursor, key: bytes) -> tuple[bytes, bytes] | None:
    """Return the leaf above `key`, which can only be the key just before it, since no leaf has anything below."""
    if key == ROOT or not (cursor.set_range(key) and cursor.prev()):
        return None
    found = cursor.key()
    if found == ROOT or key.startswith(found + SEPARATOR):
        return found, cursor.value()
    return None


def _names(above: bytes, key: bytes) -> list[str]:
    return [name.decode() for name in key[len(prefix_of(above)) :].split(SEPARATOR)]


def _walk(value: Any, names: list[str]) -> Any:
    for name in names:
        if type(value) is not dict or name not in value:
            return MISSING
        value = value[name]
    return value


def _place(top: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        child = top.get(name)
        if type(child) is not dict:
            child = top[name] = {}
        top = child
    top[names[-1]] = value


def _remove(top: dict[str, Any], names: list[str]) -> bool:
    """Remove the node at `names`, with the objects above it that become empty by that."""
    if len(names) == 1:
        return top.pop(names[0], MISSING) is not MISSING
    child = top.get(names[0])
    if type(child) is not dict or not _remove(child, names[1:]):
        return False
    if not child:
        del top[names[0]]
    return True


class Database:
    """One open LMDB environment, owned exclusively: the file, its lock, its growth, its format mark."""

    def __init__(self, directory: Path, *, sync: bool, map_size: int, max_map_size: int) -> None:
        self.directory = directory
        self._max_map_size = max_map_size
        self._owner = _own(directory)
        try:
            self.env = _open_environment(directory, sync=sync, map_size=map_size)
            try:
                self.rev_base = self._read_or_make_format()
            except BaseException:
                self.env.close()
                raise
        except BaseException:
            self._disown()
            raise
        self.rev = self.current_rev()

    def current_rev(self) -> int:
        """Return the revision as the file has it."""
        return self.rev_base + int(self.env.info()["last_txnid"])

    def _read_or_make_format(self) -> int:
        with self.env.begin() as txn:
            mark = txn.get(META)
            entries = txn.stat()["entries"]
        if mark is None:
            if entries:
                raise FormatError(
                    f"{self.directory} holds an LMDB database that elkyn did not make; choose another directory"
                )
            # LMDB counts write transactions, and keeps the count on disk for nothing: that is the revision. This
            # one is number 1, so a new store starts at revision 0.
            try:
                with self.env.begin(write=True) as txn:
                    txn.put(META, encode({"format": FORMAT, "rev_base": -1}))
            except lmdb.Error as error:
                raise storage_error(error, self.directory) from error
            return -1
        try:
            meta = decode(mark)
            form, rev_base = meta["format"], meta["rev_base"]
        except Exception as error:
            raise FormatError(f"the format mark in {self.directory} is damaged: {mark[:40]!r}") from error
        if form != FORMAT:
            raise FormatError(
                f"{self.directory} is in format {form}, and this elkyn reads format {FORMAT}; use a newer elkyn"
            )
        return int(rev_base)

    def raise_rev_base(self, txn: Transaction, by: int) -> None:
        """Count `by` revisions more than the transactions do: those of calls that share one transaction."""
        txn.put(META, encode({"format": FORMAT, "rev_base": self.rev_base + by}))

    def grow(self) -> None:
        """Double the map up to the limit. The caller holds the store's mutex and has no transaction open."""
        size = self.env.info()["map_size"]
        if size >= self._max_map_size:
            raise MapFullError(
                f"the store in {self.directory} is full at {size} bytes (max_map_size); "
                "open it with a larger max_map_size or delete something"
            )
        self.env.set_mapsize(min(size * 2, self._max_map_size))

    def close(self) -> None:
        """Close the environment and give the directory free."""
        self.env.close()
        self._disown()

    def forked(self) -> None:
        """In a forked child: let go of the lock's descriptor without unlocking what the parent owns."""
        os.close(self._owner)

    def _disown(self) -> None:
        fcntl.flock(self._owner, fcntl.LOCK_UN)
        os.close(self._owner)


def storage_error(error: lmdb.Error, directory: Path) -> StorageError:
    """Turn LMDB's error into ours, in one sentence."""
    if isinstance(error, lmdb.DiskError) or "No space left" in str(error):
        return StorageError(f"the disk refused a write to {directory}: {error}; nothing was changed")
    return StorageError(f"the database in {directory} refused: {error}; nothing was changed")


def _own(directory: Path) -> int:
    """Take the directory for this store alone. A lock of the system: it goes when the process goes, however it ends."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        owner = os.open(directory / "elkyn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise StorageError(f"{directory} is not a directory; a store needs one of its own") from error
        raise StorageError(
            f"cannot write in {directory}: {error.strerror}; a store needs a writable directory"
        ) from error
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(owner)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise StoreInUseError(
                f"{directory} is open already, here or in another process; share that store or close it first"
            ) from None
        raise StorageError(f"cannot lock {directory}: {error.strerror}") from error
    return owner


def _open_environment(directory: Path, *, sync: bool, map_size: int) -> lmdb.Environment:
    used = (directory / "data.mdb").stat().st_size if (directory / "data.mdb").exists() else 0
    try:
        return lmdb.open(
            str(directory),
            map_size=max(map_size, used, _LEAST_MAP),
            subdir=True,
            metasync=sync,
            sync=sync,
            max_dbs=0,
            max_readers=512,
            # Pages of a committed transaction go to the file by write(), never through a writable map: a stray
            # pointer anywhere in the process cannot damage the store.
            writemap=False,
        )
    except lmdb.InvalidError as error:
        raise FormatError(f"{directory}/data.mdb is not an LMDB database; choose another directory") from error
    except lmdb.VersionMismatchError as error:
        raise FormatError(f"{directory}/data.mdb was made by another version of LMDB: {error}") from error
    except lmdb.Error as error:
        raise storage_error(error, directory) from error

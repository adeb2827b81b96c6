"""The tree in the database: leaves by key, and the moves that keep a leaf and a subtree from hiding each other.

The invariant: no leaf has anything below it. So a node is missing, a leaf, or the object made of the leaves below it.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeAlias

import lmdb

from elkyn._native import MAX_PATH_BYTES
from elkyn.paths import ROOT, SEPARATOR, bound_of, is_segment, key_of, path_of, prefix_of
from elkyn.storage import BY_DEADLINE, BY_KEY, LmdbTransaction
from elkyn.values import EMPTY_OBJECT, MISSING, Leaves, decode, encode, flatten, is_object, unflatten

LEAVES_PER_PAGE = 256
"""Leaves that a walk reads from one state of the store: few enough to be read in less than a millisecond."""
REMEMBERED_LEAVES = 4096
"""Keys that are known to be leaves: some 400 kB at most, and enough for what a program writes again and again."""
REMEMBERED_VALUE_BYTES = 64
"""Size of a value that may be remembered with its key: numbers, flags and short names, which are compared fastest."""

_NO_LEAVES: Leaves = []

Cursor: TypeAlias = "lmdb.Cursor[bytes]"
Bounds: TypeAlias = tuple[str | None, str | None, int | None]
"""The first name (included), the last (not included) and the number of names at most."""


class Tree:
    """Reads and writes nodes inside transactions that its caller begins and ends.

    Not thread-safe for writers: the store's mutex is held around them.
    """

    def __init__(self) -> None:
        # Keys known to be leaves, so that setting them again needs no look around; with their committed values where
        # these are small and watched, so that an event needs no look at what was there. Forgotten by every move that
        # might make it untrue.
        self.known: dict[bytes, bytes | None] = {}
        self.expires = False  # whether any value has an end: else no write need look

    def forget(self) -> None:
        """Drop what is remembered: after an aborted transaction it may not be so."""
        self.known = {}  # in one step: a signal's handler may raise, or write, between any two

    def _forget_leaf(self, key: bytes) -> None:
        self.known.pop(key, None)

    def expire(self, txn: LmdbTransaction, key: bytes, deadline: int) -> None:
        """Note that the node at `key` ends at `deadline`, in milliseconds since 1970."""
        self.expires = True
        self._keep(txn, key)
        when = deadline.to_bytes(8, "big")
        txn.put(BY_DEADLINE + when + key, b"")
        txn.put(BY_KEY + key, when)

    def expires_at(self, txn: LmdbTransaction, key: bytes) -> int | None:
        """Return when the node at `key` ends; None where it does not."""
        when = txn.get(BY_KEY + key)
        return None if when is None else int.from_bytes(when, "big")

    def _keep(self, txn: LmdbTransaction, key: bytes) -> None:
        """Forget the ends of the node at `key` and of what is below it, which is replaced or deleted."""
        cursor = txn.cursor()
        below = BY_KEY + prefix_of(key)
        if cursor.set_key(BY_KEY + key):
            self._forget_end(txn, cursor)
        found = cursor.set_range(below)
        while found and cursor.key().startswith(below):
            self._forget_end(txn, cursor)
            found = cursor.set_range(below)

    def _forget_end(self, txn: LmdbTransaction, cursor: Cursor) -> None:
        key = cursor.key()[len(BY_KEY) :]
        txn.delete(BY_DEADLINE + cursor.value() + key)
        cursor.delete()

    def set(self, txn: LmdbTransaction, key: bytes, leaves: Leaves) -> None:
        """Replace whatever is at `key` by `leaves`."""
        if self.expires:
            self._keep(txn, key)
        if len(leaves) != 1 or (leaf := leaves[0])[0] != key:
            if self._make_way(txn, key, leaves, plain=False):
                txn.cursor().putmulti(leaves)
            return
        known = self.known
        if key not in known:
            if not self._make_way(txn, key, leaves, plain=True):
                return
            if len(known) >= REMEMBERED_LEAVES:
                self._forget_leaf(next(iter(known)))
        known[key] = None
        txn.put(key, leaf[1])

    def delete(self, txn: LmdbTransaction, key: bytes) -> bool:
        """Remove the node at `key`; False where there was none. An object that loses its last child goes too."""
        if self.expires:
            self._keep(txn, key)
        if txn.delete(key):
            self._forget_leaf(key)
            return True
        cursor = txn.cursor()
        if self._delete_below(cursor, key):
            return True
        above = _leaf_above(cursor, key)
        return above is not None and self._write_inside(txn, above, key, None)

    def raw(self, txn: LmdbTransaction, key: bytes) -> bytes | None:
        """Return the encoded value of the node at `key`; None where it is missing."""
        raw = txn.get(key)
        if raw is not None:
            return raw
        value = self.value(txn, key)
        return None if value is MISSING else encode(value)

    def value(self, txn: LmdbTransaction, key: bytes) -> Any:
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

    def exists(self, txn: LmdbTransaction, key: bytes) -> bool:
        """Whether there is a node at `key`."""
        if txn.get(key) is not None or self.has_leaves_below(txn, key):
            return True
        return self.value(txn, key) is not MISSING

    def has_leaves_below(self, txn: LmdbTransaction, key: bytes) -> bool:
        """Whether the node at `key` is an object whose parts are stored one by one."""
        cursor = txn.cursor()
        prefix = prefix_of(key)
        return cursor.set_range(prefix) and cursor.key().startswith(prefix) and cursor.key() != key

    def names(self, txn: LmdbTransaction, key: bytes, start: str | None, end: str | None) -> Iterator[str]:
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

    def leaves(self, txn: LmdbTransaction, key: bytes, after: str | None) -> list[tuple[str, Any]]:
        """Return path and value of the leaves at and below `key`: one page, behind the path `after`."""
        page: list[tuple[str, Any]] = []
        cursor = txn.cursor()
        prefix = prefix_of(key)
        if after is None:
            raw = txn.get(key)
            if raw is not None:
                return [(path_of(key), decode(raw))]
            found = cursor.set_range(prefix)
        else:
            last = key_of(after)
            found = cursor.set_range(last) and (cursor.key() != last or cursor.next())
        while found and len(page) < LEAVES_PER_PAGE and (leaf := cursor.key()).startswith(prefix):
            page.append((path_of(leaf), decode(cursor.value())))
            found = cursor.next()
        if not page and after is None and (value := self.value(txn, key)) is not MISSING:
            page.append((path_of(key), value))  # inside an object stored whole
        return page

    def last_name(self, txn: LmdbTransaction, key: bytes) -> str | None:
        """Return the last child's name of an object that is stored part by part."""
        cursor = txn.cursor()
        prefix = prefix_of(key)
        behind = prefix[:-1] + b"\x01"  # just above the separator, which ends the prefix
        if not (cursor.prev() if cursor.set_range(behind) else cursor.last()):
            return None
        found = cursor.key()
        name = found[len(prefix) :].split(SEPARATOR, 1)[0]
        return name.decode() if found.startswith(prefix) and name else None

    def items(self, txn: LmdbTransaction, key: bytes, bounds: Bounds) -> list[tuple[str, Any]]:
        """Return (name, value) of the children within `bounds`."""
        start, end, limit = bounds
        names = islice(self.names(txn, key, start, end), limit)
        if self.has_leaves_below(txn, key):
            base = prefix_of(key)
            return [(name, self.value(txn, base + name.encode())) for name in names]
        # A leaf, or inside an object stored whole: its names need not be ones that a key can be made of.
        value = self.value(txn, key)
        return [(name, value[name]) for name in names]

    def matching(self, txn: LmdbTransaction, place: tuple[str, ...], at: str = "") -> Iterator[tuple[str, bytes]]:
        """Yield path and encoded value of the nodes that `place`, a pattern's segments, names below the path `at`."""
        if len(at.encode()) > MAX_PATH_BYTES:
            return  # inside an object stored whole, where no path reaches
        if not place:
            raw = self.raw(txn, key_of(at or "/"))
            if raw is not None:
                yield at or "/", raw
            return
        if place[0] != "*":
            yield from self.matching(txn, place[1:], f"{at}/{place[0]}")
            return
        for name in self.names(txn, key_of(at or "/"), None, None):
            if is_segment(name):  # an object stored whole may have keys that no path can name
                yield from self.matching(txn, place[1:], f"{at}/{name}")

    def _make_way(self, txn: LmdbTransaction, key: bytes, leaves: Leaves, *, plain: bool) -> bool:
        """Remove what would hide, or be hidden by, `leaves` at `key`, and leave what they overwrite.

        False where they have been written already: `key` lies inside an object stored whole.
        """
        cursor = txn.cursor()
        if cursor.set_key(key):  # a leaf: so nothing is below it and no leaf above
            if not plain:
                txn.delete(key)
                self._forget_leaf(key)
        elif not self._delete_below(cursor, key, leaves):
            above = _leaf_above(cursor, key)
            if above is not None:
                if self._write_inside(txn, above, key, leaves):
                    return False
                txn.delete(above[0])
                self._forget_leaf(above[0])
        return True

    def _delete_below(self, cursor: Cursor, key: bytes, leaves: Leaves = _NO_LEAVES) -> bool:
        """Delete the leaves below `key` but for those that `leaves` overwrite; False where there is none."""
        prefix = prefix_of(key)
        if not cursor.set_range(prefix) or not cursor.key().startswith(prefix):
            return False
        keep = dict(leaves)
        there = list(islice(cursor.iternext(values=False), len(keep) + 1))
        if all(map(keep.__contains__, there[:-1])) and not there[-1].startswith(prefix):
            # An object of the same shape: the common case, found out without a step of Python's for each leaf.
            for below in there if self.known else ():
                self._forget_leaf(below)
            return True
        found = cursor.set_range(prefix)
        while found and (below := cursor.key()).startswith(prefix):
            if self.known:
                self._forget_leaf(below)
            if below in keep:
                found = cursor.next()
            else:
                cursor.delete()  # moves to the next key
        return True

    def _write_inside(
        self, txn: LmdbTransaction, above: tuple[bytes, bytes], key: bytes, leaves: Leaves | None
    ) -> bool:
        """Write at a `key` that lies inside the leaf `above`, by storing that anew; False where it is no object."""
        if not is_object(above[1]) or above[1] == EMPTY_OBJECT:
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
        self._forget_leaf(above[0])
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

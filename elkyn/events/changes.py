"""What a commit changed, node by node, for those who watch: the step from writes to events."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from elkyn._native import MAX_PATH_BYTES, Event
from elkyn.events.routes import Node, Receivers, Route, Routes
from elkyn.events.subscriptions import Watcher
from elkyn.paths import is_segment, key_of
from elkyn.storage import LmdbTransaction
from elkyn.tree import Tree
from elkyn.values import MISSING, decode, encode
from elkyn.writes import Call


class Pending(NamedTuple):
    """One event that will exist once its commit has succeeded. `raw` is None for a delete."""

    path: str
    raw: bytes | None
    old: bytes | None
    receivers: Receivers
    last: bool

    def size(self, value_bytes: int) -> int:
        """Bytes of the values that travel through a ring that holds `value_bytes`, as the ring reckons them."""
        size = len(self.raw) if self.raw is not None and len(self.raw) <= value_bytes else 0
        return size + (len(self.old) if self.old is not None and len(self.old) <= value_bytes - size else 0)

    def event(self, rev: int, seq: int, timestamp_ns: int, value_bytes: int) -> Event:
        """Return it as an event outside the ring, with what a ring that holds `value_bytes` would have let travel."""
        size = 0 if self.raw is None else len(self.raw)
        omitted = size > value_bytes
        old_omitted = self.old is not None and len(self.old) > value_bytes - (0 if omitted else size)
        return Event(
            decode,
            deleted=self.raw is None,
            path=self.path,
            value=None if omitted else self.raw,
            old=None if old_omitted else self.old,
            rev=rev,
            seq=seq,
            last=self.last,
            timestamp_ns=timestamp_ns,
            size=size,
            omitted=omitted,
            old_omitted=old_omitted,
        )


@dataclass(slots=True)
class _Touched:
    receivers: dict[Watcher, None]
    new: Any  # the encoded value, None where the node is missing, MISSING where not read yet
    old: Any


class Watched:
    """The nodes that one commit writes and somebody watches, with their values before it.

    Made before the writes (or over a snapshot of the state before them), asked after them.
    """

    def __init__(self, tree: Tree, routes: Routes, before: LmdbTransaction, call: Call) -> None:
        """Read what was there before."""
        self._tree = tree
        self._routes: dict[str, Route] = {}
        self._merged: dict[str, Receivers] = {}
        self._before: dict[str, bytes | None] = {}
        # A node that is made and deleted again takes an `{}` above it along.
        undoing = len(call.writes) > 1 and any(leaves is None for _, _, leaves in call.writes)
        for path, _, _ in call.writes:
            route = routes.route(path)
            if route is not None:
                self._routes[path] = route
                self._read_before(before, path)
                for ancestor, receivers in route.above:
                    if any(watcher.old for watcher in receivers) or (undoing and self._before[path] is None):
                        self._read_before(before, ancestor)
        for path in call.merged:
            route = routes.route(path)
            if route is not None and route.at:
                self._merged[path] = route.at
                self._read_before(before, path)

    def _read_before(self, before: LmdbTransaction, path: str) -> None:
        if path not in self._before:
            self._before[path] = self._tree.raw(before, key_of(path))

    def events(self, after: LmdbTransaction) -> list[Pending]:
        """Compare with the state after the writes and return the events, in the order of the writes."""
        touched: dict[str, _Touched] = {}
        for path, route in self._routes.items():
            old = self._before[path]
            new = self._tree.raw(after, key_of(path))
            if old == new:
                for ancestor, receivers in route.above if new is None else ():
                    if ancestor in self._before and self._before[ancestor] != self._tree.raw(after, key_of(ancestor)):
                        _touch(touched, ancestor, receivers, MISSING, self._before[ancestor])
                continue
            _touch(touched, path, route.receivers, new, old)
            if route.below:
                values = (MISSING if raw is None else decode(raw) for raw in (old, new))
                for child, receivers, old_value, new_value in _changed_below(route.below, path, *values):
                    _touch(touched, child, receivers, _raw(new_value), _raw(old_value))
            for ancestor, receivers in route.above:
                _touch(touched, ancestor, receivers, MISSING, self._before.get(ancestor, MISSING))
        for path, receivers in self._merged.items():
            new = self._tree.raw(after, key_of(path))
            if self._before[path] != new:
                _touch(touched, path, receivers, new, self._before[path])
        for path, node in touched.items():
            if node.new is MISSING:
                node.new = self._tree.raw(after, key_of(path))
        return list(_marked_last(touched)) if touched else []


def _raw(value: Any) -> bytes | None:
    return None if value is MISSING else encode(value)


def _touch(touched: dict[str, _Touched], path: str, receivers: Receivers, new: Any, old: Any) -> None:
    if not receivers:
        return
    node = touched.get(path)
    if node is None:
        touched[path] = _Touched(dict.fromkeys(receivers), new, old)
        return
    node.receivers.update(dict.fromkeys(receivers))
    if node.new is MISSING:
        node.new = new
    if node.old is MISSING:
        node.old = old


def _changed_below(
    places: tuple[Node, ...], path: str, old: Any, new: Any
) -> Iterator[tuple[str, Receivers, Any, Any]]:
    """Yield the nodes below `path` that differ and that a longer pattern names, with their old and new values."""
    base = "" if path == "/" else path
    old_children = old if type(old) is dict else {}
    new_children = new if type(new) is dict else {}
    names = {segment for place in places for segment in place.children}
    if "*" in names:
        # An object stored whole may have keys that no path can name.
        names = {name for name in (*old_children, *new_children) if is_segment(name)}
    else:
        names = {name for name in names if name in old_children or name in new_children}
    for name in sorted(names):
        was = old_children.get(name, MISSING)
        now = new_children.get(name, MISSING)
        if _raw(was) == _raw(now):
            continue
        inner = tuple(
            place.children[segment] for place in places for segment in (name, "*") if segment in place.children
        )
        child = f"{base}/{name}"
        if len(child.encode()) > MAX_PATH_BYTES:
            continue
        receivers = tuple(watcher for place in inner for watcher in (*place.exact, *place.family, *place.deep))
        if receivers:
            yield child, receivers, was, now
        longer = tuple(place for place in inner if place.children)
        if longer:
            yield from _changed_below(longer, child, was, now)


def _marked_last(touched: dict[str, _Touched]) -> Iterator[Pending]:
    """Yield the group's events, each split where only some of its receivers see their last one, or the old value."""
    last_path: dict[Any, str] = {watcher: path for path, node in touched.items() for watcher in node.receivers}
    for path, node in touched.items():
        for wants_old in (False, True):
            for last in (False, True):
                receivers = tuple(
                    watcher
                    for watcher in node.receivers
                    if watcher.old == wants_old and (last_path[watcher] == path) == last
                )
                if receivers:
                    old = node.old if wants_old and node.old is not MISSING else None
                    yield Pending(path, node.new, old, receivers, last)

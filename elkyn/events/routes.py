"""Who wants to know: patterns in a tree, and the cached answer per written path."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from elkyn.errors import WouldDeadlock
from elkyn.events.subscriptions import Watcher
from elkyn.locks import Lock, is_mine

CACHED_PATHS = 1024
"""Written paths whose route is remembered: what a program writes again and again, and 300 kB at most."""

Receivers = tuple[Watcher, ...]
"""Who gets one event, in the order in which they get it. The ring carries the tuple along with the event."""
Members = dict[Watcher, None]


@dataclass(slots=True)
class Node:
    """One place in the tree of patterns. `*` is a child like any other: no path segment can hold it."""

    children: dict[str, "Node"] = field(default_factory=dict)
    # Dictionaries as ordered sets: one more or less costs the same however many there are.
    exact: Members = field(default_factory=dict)  # fire for a write at the node or above
    family: Members = field(default_factory=dict)  # children=True: fire for a write below too
    deep: Members = field(default_factory=dict)  # "**": fire for every node written at the place or below it

    def members(self, slot: Literal["exact", "family", "deep"]) -> Members:
        """Return those who are here for one of the three reasons."""
        return self.exact if slot == "exact" else self.family if slot == "family" else self.deep

    def is_empty(self) -> bool:
        """Whether nobody needs this place any more."""
        return not (self.children or self.exact or self.family or self.deep)


@dataclass(frozen=True, slots=True)
class Route:
    """Who may have to hear of a write at one path. Replaced, never changed."""

    at: Receivers  # patterns that name the path itself
    above: tuple[tuple[str, Receivers], ...]  # ancestors, with those who watch them with children=True
    below: tuple[Node, ...]  # places of patterns that are longer than the path
    receivers: Receivers  # who gets the event of the path itself: `at`, and "**" from the path or above it
    plain: bool  # nobody above or below, nobody to wait for, all or none want the old value: the fast path
    wants_old: bool


class _Written:
    """A segment of paths whose routes are remembered."""

    __slots__ = ("children", "path")

    def __init__(self) -> None:
        self.children: dict[str, _Written] = {}
        self.path: str | None = None

    def everything(self) -> Iterator[str]:
        """Yield the paths here and below."""
        if self.path is not None:
            yield self.path
        for child in self.children.values():
            yield from child.everything()


class Routes:
    """The table of subscriptions. Changes replace; what a commit has looked up stays as it was."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._root = Node()
        self._watchers: dict[Watcher, None] = {}
        # None means that nobody cares: most writes stop here, after one look into a dictionary.
        self.cache: dict[str, Route | None] = {}
        self._written = _Written()  # its paths, to find those that a subscription concerns
        self.empty = True

    def watchers(self) -> list[Watcher]:
        """Return a copy of who is subscribed."""
        with self._lock:
            return list(self._watchers)

    def add(self, watcher: Watcher) -> None:
        """Enter a subscription. `WouldDeadlock` where the caller has interrupted this very table's use."""
        if is_mine(self._lock):
            raise WouldDeadlock("a signal's handler cannot subscribe in the middle of a write; subscribe elsewhere")
        with self._lock:
            node = self._root
            for segment in watcher.place:
                node = node.children.setdefault(segment, Node())
            node.members(watcher.slot)[watcher] = None
            self._watchers[watcher] = None
            self.empty = False
            self._forget_routes_of(watcher)

    def remove(self, watcher: Watcher) -> bool:
        """Take a subscription out, with the places that it leaves empty. False where the caller is using it."""
        if is_mine(self._lock):
            return False
        with self._lock:
            if watcher not in self._watchers:
                return True
            way = [self._root]
            for segment in watcher.place:
                if segment not in way[-1].children:
                    break  # a signal's handler has raised in an attempt before this
                way.append(way[-1].children[segment])
            else:
                way[-1].members(watcher.slot).pop(watcher, None)
            for parent, segment in reversed(list(zip(way, watcher.place, strict=False))):
                if segment in parent.children:
                    if not parent.children[segment].is_empty():
                        break
                    del parent.children[segment]
            self._forget_routes_of(watcher)
            del self._watchers[watcher]  # last: where this was interrupted it can be done again
            self.empty = not self._watchers
            return True

    def resolve(self, path: str) -> Route | None:
        """Work out the route of `path` and remember it. The tree cannot change meanwhile."""
        if is_mine(self._lock):
            return self._find(path)  # a signal's handler, which has interrupted a change of what is remembered
        with self._lock:
            route = self._find(path)
            if len(self.cache) >= CACHED_PATHS:
                self._forget(next(iter(self.cache)))
            written = self._written
            for segment in _segments(path):
                written = written.children.setdefault(segment, _Written())
            written.path = path
            self.cache[path] = route  # last: what is remembered can be found when it is to be forgotten
            return route

    def _forget_routes_of(self, watcher: Watcher) -> None:
        """Forget the routes that `watcher` has a part in, and no other: most writes never hear of it."""
        concerned: list[str] = []
        frontier = [self._written]
        for segment in watcher.place:
            concerned += [written.path for written in frontier if written.path is not None]  # above its place
            frontier = [
                child
                for written in frontier
                for child in (
                    written.children.values()
                    if segment == "*"
                    else (written.children[segment],)
                    if segment in written.children
                    else ()
                )
            ]
        for written in frontier:
            if watcher.slot != "exact":
                concerned += written.everything()
            elif written.path is not None:
                concerned.append(written.path)
        for path in concerned:
            self._forget(path)

    def _forget(self, path: str) -> None:
        self.cache.pop(path, None)
        way = [self._written]
        segments = _segments(path)
        for segment in segments:
            way.append(way[-1].children[segment])
        way[-1].path = None
        for parent, segment in zip(reversed(way[:-1]), reversed(segments), strict=True):
            child = parent.children[segment]
            if child.children or child.path is not None:
                break
            del parent.children[segment]

    def route(self, path: str) -> Route | None:
        """Return the route of `path`."""
        try:
            return self.cache[path]
        except KeyError:
            return self.resolve(path)

    def _find(self, path: str) -> Route | None:
        segments = _segments(path)
        frontier = [self._root]
        deep = list(self._root.deep)
        above: list[tuple[str, Receivers]] = []
        for depth, segment in enumerate(segments):
            family = tuple(watcher for node in frontier for watcher in node.family)
            if family:
                above.append(("/" + "/".join(segments[:depth]), family))
            frontier = [
                child
                for node in frontier
                for child in (node.children.get(segment), node.children.get("*"))
                if child is not None
            ]
            if not frontier:
                break
            deep.extend(watcher for node in frontier for watcher in node.deep)
        at = tuple(watcher for node in frontier for watcher in (*node.exact, *node.family))
        below = tuple(node for node in frontier if node.children)
        if not (at or deep or above or below):
            return None
        receivers = (*at, *deep)
        return Route(
            at=at,
            above=tuple(above),
            below=below,
            receivers=receivers,
            plain=not (above or below)
            and len({watcher.old for watcher in receivers}) == 1
            and all(watcher.options.overflow != "block" for watcher in receivers),
            wants_old=any(watcher.old for watcher in receivers),
        )


def _segments(path: str) -> tuple[str, ...]:
    return () if path == "/" else tuple(path[1:].split("/"))

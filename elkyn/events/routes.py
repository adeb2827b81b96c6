"""Who wants to know: patterns in a tree, and the cached answer per written path."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from elkyn.events.lock import Lock, is_mine
from elkyn.storage import Leaf

if TYPE_CHECKING:
    from elkyn.events.subscriptions import Core

_CACHED_PATHS = 1024

Cores = tuple["Core", ...]
Members = dict["Core", None]


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


@dataclass(slots=True)
class Route:
    """Who may have to hear of a write at one path. Replaced, never changed, but for `leaf`."""

    at: Cores  # patterns that name the path itself
    deep: Cores  # "**" patterns whose base is the path or above it
    above: tuple[tuple[str, Cores], ...]  # ancestors, with those who watch them with children=True
    below: tuple[Node, ...]  # places of patterns that are longer than the path
    direct: Cores  # at + deep
    plain: bool  # nobody above or below, nobody to wait for, all or none want the old value: the fast path
    wants_old: bool
    leaf: Leaf | None = None  # where the path is one, for its next write; the store's


class Routes:
    """The table of subscriptions. Changes replace; what a commit has looked up stays as it was."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._root = Node()
        self._cores: dict[Core, None] = {}
        # None means that nobody cares: most writes stop here, after one look into a dictionary.
        self.cache: dict[str, Route | None] = {}
        self.empty = True

    def cores(self) -> list["Core"]:
        """Return a copy of who is subscribed."""
        with self._lock:
            return list(self._cores)

    def add(self, core: "Core") -> None:
        """Enter a subscription."""
        with self._lock:
            node = self._root
            for segment in core.place:
                node = node.children.setdefault(segment, Node())
            node.members(core.slot)[core] = None
            self._cores[core] = None
            self.empty = False
            self.cache = {}

    def remove(self, core: "Core") -> bool:
        """Take a subscription out, with the places that it leaves empty. False where the caller is using it."""
        if is_mine(self._lock):
            return False
        with self._lock:
            if core not in self._cores:
                return True
            del self._cores[core]
            self.empty = not self._cores
            way = [self._root]
            for segment in core.place:
                way.append(way[-1].children[segment])
            node = way[-1]
            del node.members(core.slot)[core]
            for parent, segment in zip(reversed(way[:-1]), reversed(core.place), strict=True):
                if not parent.children[segment].is_empty():
                    break
                del parent.children[segment]
            self.cache = {}
            return True

    def resolve(self, path: str) -> Route | None:
        """Work out the route of `path` and remember it. The tree cannot change meanwhile."""
        with self._lock:
            route = self._find(path)
            if len(self.cache) >= _CACHED_PATHS:
                self.cache = {}
            self.cache[path] = route
            return route

    def route(self, path: str) -> Route | None:
        """Return the route of `path`."""
        try:
            return self.cache[path]
        except KeyError:
            return self.resolve(path)

    def _find(self, path: str) -> Route | None:
        segments = () if path == "/" else tuple(path[1:].split("/"))
        frontier = [self._root]
        deep = list(self._root.deep)
        above: list[tuple[str, Cores]] = []
        for depth, segment in enumerate(segments):
            family = tuple(core for node in frontier for core in node.family)
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
            deep.extend(core for node in frontier for core in node.deep)
        at = tuple(core for node in frontier for core in (*node.exact, *node.family))
        below = tuple(node for node in frontier if node.children)
        if not (at or deep or above or below):
            return None
        direct = (*at, *deep)
        return Route(
            at=at,
            deep=tuple(deep),
            above=tuple(above),
            below=below,
            direct=direct,
            plain=not (above or below)
            and len({core.old for core in direct}) == 1
            and all(core.options.overflow != "block" for core in direct),
            wants_old=any(core.old for core in direct),
        )

"""Walks the object graph from its roots, breadth first, and merges objects by the path on which they are reached.

Nothing of the user's runs: no `__eq__`, `__hash__`, `__repr__`, property or `__getattr__` (`referents.py`). The walker
keeps numbers by path only, in dictionaries that the collector does not track, so that an earlier walk is no part of a
later one.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from leakcheck.agent.probes.referents import (
    KEYS,
    LEAVES,
    MAPPINGS,
    NAMED_KEYS,
    SEQUENCES,
    TRANSPARENT,
    code_of,
    derives,
    elements_of,
    forget_types,
    full_name,
    is_leaf,
    module_file,
    namespace_of,
    references,
    values_of,
    weigher_of,
)
from leakcheck.agent.probes.sizes import LEAF_WEIGHTS, LIGHT

_NAMED_GROUP = 32
"""Up to so many objects at a node are opened one by one, with the names of what they refer to; more in bulk."""
_READS_OF_A_CHANGING = 3
"""How often a container is read again that changes under the walk."""
_DEEP = 128
"""Levels after which a chain is followed to its end at once: a level for each link costs some 20 us and more."""
_MOST_OBJECTS = 5_000_000
"""Objects that a walk may come to: it keeps some 170 bytes for each."""
_MOST_S = 25.0
"""Seconds of processor time that a walk may take: a diagnosis makes three, of what is alive before the step too."""
_STACKS: Final = frozenset(
    map(id, (types.FrameType, types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType))
)
FOLD_PERIOD = 4
"""A stretch of up to so many steps that is repeated at once is folded: `node.next.next` into `node.next…`."""

_processor_time = time.thread_time


class TooLargeError(Exception):
    """There is more than can be walked; the message says how much was."""


class Node:
    """All objects that are reached by one path."""

    __slots__ = ("bytes", "children", "fold", "key", "label", "objects", "parent", "references", "stretch", "type")

    def __init__(self, parent: Node | None, label: str, kind: str, key: int) -> None:
        self.parent = parent
        self.label = label
        self.type = kind
        self.key = key
        self.objects = 0
        self.references = 0
        self.bytes = 0
        """What objects weigh that grow without referring to more."""
        self.fold = False
        self.stretch: dict[int, Node] = {}
        """Of a node in a folded stretch: the nodes of that stretch, by the `id` of the type of their objects."""
        self.children: dict[tuple[str, int], Node] = {}

    def above(self) -> Iterator[Node]:
        """The nodes from this one up to its root."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


class Root:
    """Where a walk begins: a named object."""

    __slots__ = ("kind", "label", "value")

    def __init__(self, label: str, kind: str, value: Any) -> None:
        self.label = label
        self.kind = kind
        self.value = value


class Walk:
    """One walk. `skip` says which frames and modules are the toolkit's own.

    `only` restricts the walk to paths that lead to the given nodes (by key); below them everything is walked and handed
    to `on_object`, whose objects are those that no walk has seen before (`known`).
    """

    def __init__(self, own: Callable[[str], bool]) -> None:
        self.own = own
        self.seen: set[int] = set()
        self.nodes: dict[int, Node] = {}
        self.members: dict[int, list[Any]] = {}
        """Objects at the nodes that were asked for in `keep`."""
        self.keep: frozenset[int] = frozenset()
        self.only: frozenset[int] | None = None
        self.through: frozenset[int] = frozenset()
        """Nodes of `keep` that are entered even so: chains, and what others of them lie below."""
        self.fresh: list[Any] | None = None
        """New objects, where of a deep chain at a node of `keep` only these matter: to pass all the old ones takes
        minutes under `tracemalloc`."""
        self.cut: set[int] = set()
        """Nodes of chains that were not followed: their members are some of the first links, and the new ones."""
        self.owners: dict[int, list[Any]] = {}
        """For the leaves among `members`, the objects that refer to them."""

    def hide(self, objects: Iterable[Any]) -> None:
        """Objects that the walk does not enter: the toolkit's own."""
        self.seen.update(map(id, objects))

    def run(self, roots: Iterable[Root]) -> Walk:
        """Walk from the roots, the first named first; an object belongs to the shortest path, then to the first.

        Raises `TooLargeError`.
        """
        try:
            self._run(roots)
        finally:
            forget_types()
        return self

    def _run(self, roots: Iterable[Root]) -> None:
        depth, began = 0, _processor_time()
        level: dict[int, tuple[Node, list[Any]]] = {}
        for root in roots:
            if id(root.value) in self.seen or is_leaf(root.value):
                continue
            self.seen.add(id(root.value))
            key = hash(("", root.label, root.kind))
            if self.only is not None and key not in self.only:
                continue
            node = self.nodes.get(key)
            if node is None:
                node = self.nodes[key] = Node(None, root.label, root.kind, key)
            level.setdefault(key, (node, []))[1].append(root.value)
        while level:
            following: dict[int, tuple[Node, list[Any]]] = {}
            depth += 1
            if _processor_time() - began > _MOST_S:
                raise TooLargeError(f"more objects than can be walked in {_MOST_S:.0f} s ({len(self.seen):,} were)")
            for node, objects in level.values():
                if depth > _DEEP and node.stretch:
                    self._follow(node, objects, following)
                node.objects += len(objects)
                weigh = weigher_of(type(objects[0]))
                if weigh is not None:
                    node.bytes += sum(map(weigh, objects))
                if node.key in self.keep:
                    self.members.setdefault(node.key, []).extend(objects)
                    if self.only is not None and node.key not in self.through:
                        continue
                self._expand(node, objects, following)
            level = following

    def _follow(self, node: Node, objects: list[Any], following: dict[int, tuple[Node, list[Any]]]) -> None:
        """Add the rest of a chain to its nodes, whatever its length: one level then has all the links of a node."""
        stretch = node.stretch
        links: dict[int, tuple[Node, list[Any]]] = {node.key: (node, objects)}
        new_only = self.fresh is not None and any(each.key in self.keep for each in stretch.values())
        for each in self._new_links(stretch) if new_only else self._links_behind(objects, stretch):
            at = stretch[id(type(each))]
            links.setdefault(at.key, (at, []))[1].append(each)
        for key, (at, group) in links.items():
            if at is not node and (self.only is None or key in self.only):
                following.setdefault(key, (at, []))[1].extend(group)

    def _links_behind(self, objects: list[Any], stretch: dict[int, Node]) -> Iterator[Any]:
        seen, waiting = self.seen, list(objects)
        while waiting:
            link = waiting.pop()
            found = [each for each in gc.get_referents(link) if id(type(each)) in stretch and id(each) not in seen]
            if not found and type(link) is not dict and (names := namespace_of(link)) is not None:
                seen.add(id(names))
                found = [each for each in values_of(names) if id(type(each)) in stretch and id(each) not in seen]
            for each in found:
                if id(each) not in seen:  # the link may refer to it twice
                    seen.add(id(each))
                    waiting.append(each)
                    yield each
            if len(seen) > _MOST_OBJECTS:
                raise TooLargeError(f"more than {_MOST_OBJECTS:,} objects")

    def _new_links(self, stretch: dict[int, Node]) -> Iterator[Any]:
        self.cut.update(node.key for node in stretch.values())
        for each in self.fresh or ():
            if id(type(each)) in stretch and id(each) not in self.seen:
                self.seen.add(id(each))
                yield each

    def _expand(self, node: Node, objects: list[Any], following: dict[int, tuple[Node, list[Any]]]) -> None:
        kind = type(objects[0])
        if len(objects) > _NAMED_GROUP:
            if id(kind) in SEQUENCES:
                node.references += sum(map(len, objects))
                self._add(node, "[*]", elements_of(*objects), following)
            elif id(kind) in MAPPINGS:
                node.references += sum(map(dict.__len__, objects))
                self._add_many(node, "[*]", lambda: chain.from_iterable(map(dict.values, objects)), following)
                self._add_many(node, KEYS, lambda: chain.from_iterable(map(dict.keys, objects)), following)
            elif kind is types.FunctionType:
                for each in objects:
                    self._add_named(node, each, following)
            elif id(kind) not in _STACKS or not self._all_own(objects):
                referents = gc.get_referents(*objects)
                node.references += len(referents)
                self._add(node, ".*", referents, following)
            return
        for each in objects:
            self._add_named(node, each, following)

    def _all_own(self, objects: list[Any]) -> bool:
        return all(self.own(code_of(each)) for each in objects)

    def _add_named(self, node: Node, value: Any, following: dict[int, tuple[Node, list[Any]]]) -> None:
        kind = type(value)
        if id(kind) in _STACKS:
            if self.own(code_of(value)):
                return
        elif derives(kind, types.ModuleType) and self.own(module_file(value)):
            return
        count = 0
        for label, values in references(value):
            if label is not TRANSPARENT and label != KEYS:
                count += len(values)
            self._add(node, label, values, following, value)
        node.references += count

    def _add_many(
        self,
        node: Node,
        label: str,
        values: Callable[[], Iterable[Any]],
        following: dict[int, tuple[Node, list[Any]]],
    ) -> None:
        """As `_add`, in passes that run at the speed of C; another thread may change a container meanwhile."""
        for _ in range(_READS_OF_A_CHANGING):
            try:
                if LEAVES.issuperset(map(id, map(type, values()))):
                    return
                self._add(node, label, list(values()), following)
            except RuntimeError:
                continue
            return

    def _add(
        self,
        node: Node,
        label: str,
        values: list[Any],
        following: dict[int, tuple[Node, list[Any]]],
        owner: Any = None,
    ) -> None:
        seen, leaves = self.seen, LEAVES
        if label is TRANSPARENT:
            seen.update(map(id, values))
            return
        groups: dict[int, list[Any]] = {}
        if len(values) > _NAMED_GROUP:
            if len(values) + len(seen) > _MOST_OBJECTS:
                raise TooLargeError(f"more than {_MOST_OBJECTS:,} objects")
            for kind in set(map(id, map(type, values))) - leaves:
                fresh = {id(each): each for each in values if id(type(each)) == kind and id(each) not in seen}
                if fresh:
                    seen.update(fresh)
                    groups[kind] = list(fresh.values())
        else:
            for value in values:
                kind = id(type(value))
                if kind in leaves:
                    if kind in LEAF_WEIGHTS and label != KEYS:
                        self._weigh_leaf(node, label, value, owner)
                    continue
                if id(value) in seen:
                    continue
                seen.add(id(value))
                groups.setdefault(kind, []).append(value)
        for kind, group in groups.items():
            child = node.children.get((label, kind)) or self._child(node, label, type(group[0]))
            if (self.only is not None and child.key not in self.only) or child.key in self.cut:
                continue
            entry = following.get(child.key)
            if entry is None:
                following[child.key] = (child, group)
            else:
                entry[1].extend(group)

    def _weigh_leaf(self, node: Node, label: str, value: Any, owner: Any) -> None:
        weight = LEAF_WEIGHTS[id(type(value))](value)
        if weight <= LIGHT or id(value) in self.seen:
            return
        self.seen.add(id(value))
        child = self._child(node, label, type(value))
        if child is node or (self.only is not None and child.key not in self.only):
            return
        child.objects += 1
        child.bytes += weight
        if child.key in self.keep:
            self.members.setdefault(child.key, []).append(value)
            self.owners.setdefault(child.key, []).append(owner)

    def _child(self, node: Node, label: str, kind: Any) -> Node:
        name = full_name(kind)
        trail = [(label, name), *((above.label, above.type) for above in islice(node.above(), 2 * FOLD_PERIOD))]
        for period in range(1, len(trail) // 2 + 1):
            if trail[:period] == trail[period : 2 * period]:
                above = next(islice(node.above(), period - 1, None))
                if above.parent is None:
                    break
                above.fold = True
                node.children[label, id(kind)] = above
                _fold(list(islice(node.above(), period)), id(kind))
                return above
        key = hash((node.key, label, name))
        child = self.nodes.get(key)
        if child is None:
            child = self.nodes[key] = Node(node, label, name, key)
        node.children[label, id(kind)] = child
        return child


def _fold(nodes: list[Node], first: int) -> None:
    """Let the nodes of a folded stretch, the last first, know each other; `first` is the type that begins it again."""
    stretch = {first: nodes[-1]}
    for node in nodes[:-1]:
        assert node.parent is not None
        kind = next(kind for (_, kind), child in node.parent.children.items() if child is node)
        stretch.setdefault(kind, node)
    for node in nodes:
        node.stretch = node.stretch or stretch


def roots(own: Callable[[str], bool], rank: Callable[[str], int], scenario: Iterable[Root]) -> list[Root]:
    """All places from which objects are kept alive: modules (the user's first), threads, contexts, event loop."""
    modules: list[tuple[int, Root]] = []
    for name, module in list(sys.modules.items()):
        if not derives(type(module), types.ModuleType):
            continue
        file = module_file(module)
        if own(file):
            continue
        modules.append((rank(file), Root(name, "module", module)))
    modules.sort(key=lambda pair: pair[0])
    found = [*scenario, *(root for _, root in modules)]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        current: types.FrameType | None = frame
        while current is not None:
            if not own(current.f_code.co_filename):
                thread = "" if ident == threading.main_thread().ident else f" of thread {names.get(ident, ident)}"
                found.append(Root(f"<frame {current.f_code.co_qualname}{thread}>", "frame", current))
            current = current.f_back
    del frame  # its own was among them: that and what it holds, all that a walk makes, would be left to the collector
    asyncio = sys.modules.get("asyncio.events")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    if loop is not None:
        found.append(Root("<event loop>", full_name(type(loop)), loop))
    return found + _handlers() + _context()


def _handlers() -> list[Root]:
    """What was registered with `signal.signal`: the interpreter's own table leads to it, and no module."""
    signals: Any = sys.modules["_signal"]  # `signal.getsignal` looks a handler up in an enumeration, by its `__hash__`
    names = {value: name for name, value in vars(signals).items() if name.startswith("SIG") and "_" not in name}
    handlers = ((names.get(number, number), signals.getsignal(number)) for number in signals.valid_signals())
    return [
        Root(f"<handler of {name}>", full_name(type(handler)), handler)
        for name, handler in handlers
        if handler is not None and not is_leaf(handler)
    ]


def _context() -> list[Root]:
    """The values of the current context under the names of their variables, and all of them, which may become more."""
    contextvars = sys.modules.get("contextvars") or sys.modules.get("_contextvars")
    if contextvars is None:
        return []
    values = dict(contextvars.copy_context())
    named = [
        Root(f"<context variable {variable.name}>", "ContextVar", value)
        for variable, value in islice(values.items(), NAMED_KEYS)
    ]
    return [*named, Root("<context>", "dict", values)]

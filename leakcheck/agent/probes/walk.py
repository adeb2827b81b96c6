"""Walks the object graph from its roots, breadth first, and merges objects by the path on which they are reached.

Nothing of the user's runs: no `__eq__`, `__hash__`, `__repr__`, property or `__getattr__`, not even a metaclass's.
Types are taken with `type()` and told apart by their `id`, attributes are read through the interpreter's own
descriptors, elements through exact built-in types, and all that has no name through `gc.get_referents`. The walker
keeps numbers by path only, in dictionaries that the collector does not track, so that an earlier walk is no part of a
later one.
"""

from __future__ import annotations

import collections
import functools
import gc
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from leakcheck.agent.probes.sizes import LEAF_WEIGHTS, LIGHT, Weigh, lineage, weigher

_NAMED_GROUP = 32
"""Up to so many objects at a node are opened one by one, with the names of what they refer to; more in bulk."""
_READS_OF_A_CHANGING = 3
"""How often a container is read again that changes under the walk."""
_NAMED_KEYS = 64
"""Dictionaries up to this size have a path for each key; larger ones are collections."""
_DEEP = 128
"""Levels after which a chain is followed to its end at once: a level for each link costs some 20 us and more."""
_MOST_OBJECTS = 5_000_000
"""Objects that a walk may come to: it keeps some 170 bytes for each."""
_MOST_S = 25.0
"""Seconds of processor time that a walk may take: a diagnosis makes three, of what is alive before the step too."""
FOLD_PERIOD = 4
"""A stretch of up to so many steps that is repeated at once is folded: `node.next.next` into `node.next…`."""

_processor_time = time.thread_time
_TYPE = type.__dict__
type_name = type.__dict__["__name__"].__get__
type_module = type.__dict__["__module__"].__get__
_type_dict = type.__dict__["__dict__"].__get__
_module_dict: Any = vars(types.ModuleType)["__dict__"].__get__

LEAVES: Final = frozenset(
    id(kind)
    for kind in (
        str, int, float, complex, bool, bytes, bytearray, type(None), type(...), type(NotImplemented), types.CodeType,
        types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType,
        types.GetSetDescriptorType, types.MemberDescriptorType, range,
    )
)  # fmt: skip
"""Types (by `id`) of objects that refer to nothing that could grow."""
TRANSPARENT: Final = ""
"""Label of what a path does not name: dictionaries of instances and the like, whose content is named instead."""
KEYS: Final = "{key}"
"""Label of keys; a mapping is as large as its values are many."""
_SEQUENCE_BASES: Final = (list, tuple, set, frozenset, collections.deque)
_SEQUENCES: Final = frozenset(map(id, _SEQUENCE_BASES))
_MAPPINGS: Final = frozenset(map(id, (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)))
_STACKS: Final = frozenset(
    map(id, (types.FrameType, types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType))
)


def is_leaf(value: Any) -> bool:
    """Whether a value refers to nothing that could grow."""
    return id(type(value)) in LEAVES


def is_heavy(value: Any) -> bool:
    """Whether a leaf is large enough to be weighed under its own name."""
    weigh = LEAF_WEIGHTS.get(id(type(value)))
    return weigh is not None and weigh(value) > LIGHT


def elements_of(*sequences: Any) -> list[Any]:
    """The elements of lists, tuples and sets, the last first.

    Not by iteration: a list that native code made and never filled has holes, over which that would crash.
    """
    return gc.get_referents(*sequences)


def derives(kind: Any, base: type) -> bool:
    """Whether `base` is in the method resolution order: `issubclass` without any `__subclasscheck__` or `__eq__`."""
    return any(each is base for each in lineage(kind))


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
            _layouts.clear()
            _weighers.clear()
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
                weigh = _weigher(type(objects[0]))
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
                found = [each for each in _values(names) if id(type(each)) in stretch and id(each) not in seen]
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
            if id(kind) in _SEQUENCES:
                node.references += sum(map(len, objects))
                self._add(node, "[*]", elements_of(*objects), following)
            elif id(kind) in _MAPPINGS:
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
        return all(self.own(_code_of(each)) for each in objects)

    def _add_named(self, node: Node, value: Any, following: dict[int, tuple[Node, list[Any]]]) -> None:
        kind = type(value)
        if id(kind) in _STACKS:
            if self.own(_code_of(value)):
                return
        elif derives(kind, types.ModuleType) and self.own(_module_file(value)):
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


def full_name(kind: Any) -> str:
    """`module.Type`, without the module for built-in types."""
    module, name = type_module(kind), type_name(kind)
    return name if module == "builtins" or type(module) is not str else f"{module}.{name}"


def _values(mapping: Any) -> list[Any]:
    return list(dict.values(mapping))


def _keys(mapping: Any) -> list[Any]:
    keys = dict.keys(mapping)
    if LEAVES.issuperset(map(id, map(type, keys))):
        return []
    return [key for key in list(keys) if not is_leaf(key)]


def _code_of(value: Any) -> str:
    for attribute in ("f_code", "cr_code", "gi_code", "ag_code"):
        code = getattr(value, attribute, None)
        if code is not None:
            return str(code.co_filename)
    return ""


def _module_file(module: types.ModuleType) -> str:
    file = _module_dict(module).get("__file__")
    return file if type(file) is str else ""


def references(value: Any) -> list[tuple[str, list[Any]]]:
    """What an object refers to, by name where it has one: `[(label, objects)]`."""
    kind = type(value)
    if id(kind) in _SEQUENCES:
        return [("[*]", elements_of(value))]
    if id(kind) in _MAPPINGS:
        return _mapping(value)
    opener = _OPENERS.get(id(kind))
    if opener is not None:
        return opener(value)
    if derives(kind, type):
        return _class(value)
    if derives(kind, threading.local):
        return _with_rest(value, _thread_local(value))
    if derives(kind, types.ModuleType):
        names = namespace_of(value)
        return [(TRANSPARENT, [names]), *_namespace(names)]
    return _instance(value)


def reference_count(value: Any) -> int:
    """How many references `references` names; of a mapping, its length."""
    if id(type(value)) in _MAPPINGS:
        return dict.__len__(value)
    if id(type(value)) in _SEQUENCES:
        return len(value)
    return sum(len(values) for label, values in references(value) if label not in (TRANSPARENT, KEYS))


def namespace_of(value: Any) -> Any:
    """The dictionary in which a module, class, function or instance keeps its attributes; None where there is none."""
    kind = type(value)
    if derives(kind, type):
        return next((each for each in gc.get_referents(_type_dict(value)) if type(each) is dict), None)
    if derives(kind, types.ModuleType):
        return _module_dict(value)
    if kind is types.FunctionType:
        return value.__dict__
    names = _layout(kind).names
    try:
        found = names.__get__(value) if names is not None else None
    except AttributeError:  # a compiled class whose instance has no attribute of its own yet
        return None
    return found if type(found) is dict else None


def _mapping(mapping: Any) -> list[tuple[str, list[Any]]]:
    keys = [(KEYS, found)] if (found := _keys(mapping)) else []
    if dict.__len__(mapping) > _NAMED_KEYS:
        return [("[*]", _values(mapping)), *keys]
    named: list[tuple[str, list[Any]]] = []
    rest: list[Any] = []
    for key, value in list(dict.items(mapping)):
        if type(key) is str and len(key) <= 80:
            named.append((f"[{str.__repr__(key)}]", [value]))
        else:
            rest.append(value)
    if rest:
        named.append(("[*]", rest))
    return named + keys


def _namespace(names: dict[Any, Any]) -> list[tuple[str, list[Any]]]:
    """The attributes of a module, class or instance."""
    if len(names) > 4096:
        return [(".*", list(dict.values(names)))]
    named: list[tuple[str, list[Any]]] = []
    leaves: list[Any] = []
    for key, value in list(dict.items(names)):
        if is_leaf(value) and not is_heavy(value):
            leaves.append(value)
        else:
            named.append((f".{key}" if type(key) is str else ".*", [value]))
    if leaves:
        named.append((".*", leaves))
    return named


def _class(cls: Any) -> list[tuple[str, list[Any]]]:
    """What a class holds; `__mro__`, `__subclasses__` and the like are found on their own, or are weak."""
    namespace = namespace_of(cls)
    labelled = _namespace(namespace) if namespace is not None else []
    known = {id(namespace)} | {id(value) for _, values in labelled for value in values}
    rest = [each for each in gc.get_referents(cls) if id(each) not in known and type(each) is not tuple]
    transparent = [each for each in gc.get_referents(cls) if type(each) is tuple or each is namespace]
    return [(TRANSPARENT, transparent), *labelled, (".?", rest)]


def _function(function: types.FunctionType) -> list[tuple[str, list[Any]]]:
    found: list[tuple[str, list[Any]]] = []
    closure = function.__closure__
    if closure is not None:
        found.append((TRANSPARENT, [closure, *closure]))
        found += [
            (f".<closure {name}>", gc.get_referents(cell))
            for name, cell in zip(function.__code__.co_freevars, closure, strict=False)
        ]
    if function.__defaults__ is not None:
        found.append((TRANSPARENT, [function.__defaults__]))
        found.append((".__defaults__", list(function.__defaults__)))
    if function.__kwdefaults__ is not None:
        found.append((TRANSPARENT, [function.__kwdefaults__]))
        found.append((".__kwdefaults__", list(function.__kwdefaults__.values())))
    annotate = getattr(function, "__annotate__", None)  # since 3.14; it makes the annotations, and is not called here
    if annotate is not None:
        found.append((".__annotate__", [annotate]))
    names = function.__dict__  # made where there was none, so it is told also where it is empty
    return [*found, (TRANSPARENT, [names]), *_namespace(names)]


def _bound_method(method: types.MethodType) -> list[tuple[str, list[Any]]]:
    return [(".__self__", [method.__self__]), (".__func__", [method.__func__])]


def _builtin_method(method: Any) -> list[tuple[str, list[Any]]]:
    """`list.append` of a list, `__next__` of a generator: a method that is written in C, bound to its object."""
    bound_to = method.__self__
    return [] if bound_to is None else [(".__self__", [bound_to])]


def _cell(cell: types.CellType) -> list[tuple[str, list[Any]]]:
    return [(".cell_contents", gc.get_referents(cell))]


def _weak(reference: Any) -> list[tuple[str, list[Any]]]:
    return [(".__callback__", gc.get_referents(reference))]


def _traceback(trace: types.TracebackType) -> list[tuple[str, list[Any]]]:
    following = [] if trace.tb_next is None else [trace.tb_next]
    return [(".tb_next", following), (".tb_frame", [trace.tb_frame])]


def _frame(frame: types.FrameType) -> list[tuple[str, list[Any]]]:
    labelled = [(f".<local {name}>", [value]) for name, value in frame_locals(frame).items()]
    return _with_rest(frame, labelled)


def _generator(generator: Any) -> list[tuple[str, list[Any]]]:
    frame = getattr(generator, "gi_frame", None) or getattr(generator, "cr_frame", None)
    frame = frame or getattr(generator, "ag_frame", None)
    if frame is None:
        return []
    return _with_rest(
        generator, [(f".<local {name}>", [value]) for name, value in frame_locals(frame).items()], ".<await>"
    )


def _cached(wrapper: Any) -> list[tuple[str, list[Any]]]:
    """An `lru_cache`: its table is the dictionary that does not belong to the function."""
    own = wrapper.__dict__
    table = [each for each in gc.get_referents(wrapper) if type(each) is dict and each is not own]
    return _with_rest(wrapper, [(".<lru_cache>", table), (TRANSPARENT, [own]), *_namespace(own)])


def frame_locals(frame: types.FrameType) -> dict[str, Any]:
    """The local variables; before Python 3.13 the copy that the frame keeps of them is emptied again."""
    names = frame.f_locals
    found = dict(names)
    optimized = frame.f_code.co_flags & 1
    if optimized and type(names) is dict:
        names.clear()
    return found


_OPENERS: Final[dict[int, Callable[[Any], list[tuple[str, list[Any]]]]]] = {
    id(types.FunctionType): _function,
    id(types.MethodType): _bound_method,
    id(types.BuiltinMethodType): _builtin_method,
    id(types.MethodWrapperType): _builtin_method,
    id(types.CellType): _cell,
    id(weakref.ReferenceType): _weak,
    id(types.TracebackType): _traceback,
    id(types.FrameType): _frame,
    id(types.GeneratorType): _generator,
    id(types.CoroutineType): _generator,
    id(types.AsyncGeneratorType): _generator,
    id(functools._lru_cache_wrapper): _cached,
}


_OF_THE_MOST_DERIVED: Final = ("__dict__", "__weakref__")
"""Members that are never read as slots.

A class that mypyc compiled inherits those of its traits; where a trait keeps such a member, the class keeps something
that is no object.
"""

_NAMES_OF_AN_INSTANCE: Final = {id(types.GetSetDescriptorType), id(types.MemberDescriptorType)}
"""What `__dict__` is in a class whose instances have one: one that Python made, and one that a compiler made."""


class _Layout:
    """How instances of a type keep what they refer to."""

    __slots__ = ("elements", "fields", "is_mapping", "kind", "names", "slots")

    def __init__(self, kind: Any) -> None:
        bases = lineage(kind)
        self.kind = kind
        """Kept, so that the `id` by which the layout is found stays this type's."""
        self.names = next(
            (getter for base in bases if id(type(getter := _type_dict(base).get("__dict__"))) in _NAMES_OF_AN_INSTANCE),
            None,
        )
        self.slots = [
            (f".{name}", slot)
            for base in bases
            for name, slot in list(_type_dict(base).items())
            if type(slot) is types.MemberDescriptorType and name not in _OF_THE_MOST_DERIVED
        ]
        if derives(kind, BaseException):
            told = ("__traceback__", "__context__", "__cause__")
            self.slots += [(f".{name}", BaseException.__dict__[name]) for name in told]
        self.is_mapping = derives(kind, dict)
        self.elements = next((base.__iter__ for base in _SEQUENCE_BASES if derives(kind, base)), None)
        self.fields = _named_fields(kind)


_layouts: dict[int, _Layout] = {}
"""By the `id` of the type; emptied after each walk, for it keeps the types alive."""


_weighers: dict[int, tuple[Any, Weigh | None]] = {}
"""By the `id` of the type, and the type itself, so that the `id` stays its own; emptied after each walk."""


def _weigher(kind: Any) -> Weigh | None:
    found = _weighers.get(id(kind))
    if found is None:
        found = _weighers[id(kind)] = (kind, weigher(kind))
    return found[1]


def _layout(kind: Any) -> _Layout:
    found = _layouts.get(id(kind))
    if found is None:
        found = _layouts[id(kind)] = _Layout(kind)
    return found


def _thread_local(local: Any) -> list[tuple[str, list[Any]]]:
    """The attributes that any thread has set: the interpreter keeps a dictionary for each thread inside the object."""
    found: list[tuple[str, list[Any]]] = []
    for table in gc.get_referents(local):
        if type(table) is not dict:
            continue
        names = [each for each in dict.values(table) if type(each) is dict]
        found += [(TRANSPARENT, [table, *names])]
        for each in names:
            found += _namespace(each)
    return found


def _instance(value: Any) -> list[tuple[str, list[Any]]]:
    layout = _layout(type(value))
    labelled: list[tuple[str, list[Any]]] = []
    names = namespace_of(value)
    if names is not None:
        labelled += [(TRANSPARENT, [names]), *_namespace(names)]
    for label, slot in layout.slots:
        try:
            labelled.append((label, [slot.__get__(value)]))
        except (AttributeError, TypeError):
            continue
    if layout.is_mapping:
        labelled += _mapping(value)
    elif layout.fields:
        labelled += [(f".{name}", [each]) for name, each in zip(layout.fields, tuple.__iter__(value), strict=False)]
    elif layout.elements is not None:
        labelled.append(("[*]", list(layout.elements(value))))
    return _with_rest(value, labelled)


def _named_fields(kind: Any) -> tuple[str, ...]:
    """The field names of a named tuple."""
    fields = _type_dict(kind).get("_fields")
    base = vars(type)["__base__"].__get__(kind)
    named = base is tuple and type(fields) is tuple and all(type(name) is str for name in fields)
    return fields if named else ()


def _with_rest(value: Any, labelled: list[tuple[str, list[Any]]], label: str = ".?") -> list[tuple[str, list[Any]]]:
    """`labelled` and whatever else the collector knows the object to refer to."""
    known = {id(each) for _, values in labelled for each in values}
    kind = type(value)
    rest = [each for each in gc.get_referents(value) if id(each) not in known and each is not kind]
    if rest:
        labelled = [*labelled, (label, rest)]
    return labelled


def roots(own: Callable[[str], bool], rank: Callable[[str], int], scenario: Iterable[Root]) -> list[Root]:
    """All places from which objects are kept alive: modules (the user's first), threads, contexts, event loop."""
    modules: list[tuple[int, Root]] = []
    for name, module in list(sys.modules.items()):
        if not derives(type(module), types.ModuleType):
            continue
        file = _module_file(module)
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
    asyncio = sys.modules.get("asyncio.events")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    if loop is not None:
        found.append(Root("<event loop>", full_name(type(loop)), loop))
    return found + _context()


def _context() -> list[Root]:
    """The values of the current context under the names of their variables, and all of them, which may become more."""
    contextvars = sys.modules.get("contextvars") or sys.modules.get("_contextvars")
    if contextvars is None:
        return []
    values = dict(contextvars.copy_context())
    named = [
        Root(f"<context variable {variable.name}>", "ContextVar", value)
        for variable, value in islice(values.items(), _NAMED_KEYS)
    ]
    return [*named, Root("<context>", "dict", values)]

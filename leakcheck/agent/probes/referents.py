"""What an object refers to, each reference by the name under which a path shows it.

Nothing of the user's runs, not even a metaclass's: types are taken with `type()` and told apart by their `id`,
attributes are read through the interpreter's own descriptors, elements through exact built-in types, and all that has
no name through `gc.get_referents`.
"""

from __future__ import annotations

import collections
import functools
import gc
import threading
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

from leakcheck.agent.probes.sizes import LEAF_WEIGHTS, LIGHT, Weigh, lineage, weigher

NAMED_KEYS = 64
"""Dictionaries up to this size have a path for each key; larger ones are collections."""
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
UNNAMED: Final = ".<unnamed>"
"""Label of what a type made in C keeps under no name."""
ATTRIBUTE: Final = ".<attribute>"
"""Label of an attribute whose name is data, and stands in no source."""
_SEQUENCE_BASES: Final = (list, tuple, set, frozenset, collections.deque)
SEQUENCES: Final = frozenset(map(id, _SEQUENCE_BASES))
MAPPINGS: Final = frozenset(map(id, (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)))


def is_leaf(value: Any) -> bool:
    """Whether a value refers to nothing that could grow."""
    return id(type(value)) in LEAVES


def lists_subclasses(table: Any) -> bool:
    """Whether it is a class's own table of its subclasses: a dict of a weak reference to each, by its address.

    See `add_subclass` in CPython's `typeobject.c`.
    """
    if type(table) is not dict:
        return False
    key, value = next(iter(table.items()), (None, None))
    return type(key) is int and type(value) is weakref.ReferenceType and id(value()) == key


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


def full_name(kind: Any) -> str:
    """`module.Type`, without the module for built-in types."""
    module, name = type_module(kind), type_name(kind)
    return name if module == "builtins" or type(module) is not str else f"{module}.{name}"


def values_of(mapping: Any) -> list[Any]:
    """The values of a mapping, read past its own methods."""
    return list(dict.values(mapping))


def _keys(mapping: Any) -> list[Any]:
    keys = dict.keys(mapping)
    if LEAVES.issuperset(map(id, map(type, keys))):
        return []
    return [key for key in list(keys) if not is_leaf(key)]


def code_of(value: Any) -> str:
    """The file of the code that a frame, coroutine or generator runs; empty for anything else."""
    for attribute in ("f_code", "cr_code", "gi_code", "ag_code"):
        code = getattr(value, attribute, None)
        if code is not None:
            return str(code.co_filename)
    return ""


def module_file(module: types.ModuleType) -> str:
    """The file of a module; empty where it has none."""
    file = _module_dict(module).get("__file__")
    return file if type(file) is str else ""


def references(value: Any) -> list[tuple[str, list[Any]]]:
    """What an object refers to, by name where it has one: `[(label, objects)]`."""
    kind = type(value)
    if kind is collections.deque:
        return [("[*]", list(value))]  # since 3.12 a deque refers to its type as well, which is no element
    if id(kind) in SEQUENCES:
        return [("[*]", elements_of(value))]
    if id(kind) in MAPPINGS:
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
    if id(type(value)) in MAPPINGS:
        return dict.__len__(value)
    if id(type(value)) in SEQUENCES:
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
    if dict.__len__(mapping) > NAMED_KEYS:
        return [("[*]", values_of(mapping)), *keys]
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
    return [(TRANSPARENT, transparent), *labelled, (UNNAMED, rest)]


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
    frame = runs = None
    for kind in ("gi", "cr", "ag"):
        frame = frame or getattr(generator, f"{kind}_frame", None)
        runs = runs or getattr(generator, f"{kind}_running", None)
    if frame is None:
        return []
    # One that runs under a trace function gets its variables back from the copy.
    names = dict(frame.f_locals) if runs else frame_locals(frame)
    return _with_rest(generator, [(f".<local {name}>", [value]) for name, value in names.items()], ".<await>")


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


def forget_types() -> None:
    """Let go of what is remembered of types: a class must not be kept alive by having been looked at."""
    _layouts.clear()
    _weighers.clear()


def weigher_of(kind: Any) -> Weigh | None:
    """How objects of a type are weighed, where they can grow without referring to more; remembered."""
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
    return _with_rest(value, labelled, told=list(dict.keys(value)) if layout.is_mapping else [])


def _named_fields(kind: Any) -> tuple[str, ...]:
    """The field names of a named tuple."""
    fields = _type_dict(kind).get("_fields")
    base = vars(type)["__base__"].__get__(kind)
    named = base is tuple and type(fields) is tuple and all(type(name) is str for name in fields)
    return fields if named else ()


def _with_rest(
    value: Any, labelled: list[tuple[str, list[Any]]], label: str = UNNAMED, told: Sequence[Any] = ()
) -> list[tuple[str, list[Any]]]:
    """`labelled` and whatever else the collector knows the object to refer to, but for what is `told` by others."""
    known = {id(each) for _, values in labelled for each in values}.union(map(id, told))
    kind = type(value)
    rest = [each for each in gc.get_referents(value) if id(each) not in known and each is not kind]
    if rest:
        labelled = [*labelled, (label, rest)]
    return labelled

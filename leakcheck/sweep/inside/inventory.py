"""What of a package can be called: its modules are imported, the native ones first, and looked through."""

from __future__ import annotations

import enum
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from types import ModuleType
from typing import Any, Literal, NamedTuple

from leakcheck.sweep.inside.refused import refused

_NATIVE_SUFFIXES = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_OPERATORS = frozenset(
    f"__{name}__"
    for name in [
        "call",
        "getitem",
        "setitem",
        "delitem",
        "contains",
        "len",
        "iter",
        "next",
        "reversed",
        "add",
        "radd",
        "sub",
        "mul",
        "matmul",
        "truediv",
        "floordiv",
        "mod",
        "divmod",
        "pow",
        "lshift",
        "rshift",
        "and",
        "or",
        "xor",
        "iadd",
        "isub",
        "imul",
        "iand",
        "ior",
        "ixor",
        "neg",
        "pos",
        "abs",
        "invert",
        "int",
        "float",
        "index",
        "bool",
        "complex",
        "round",
        "eq",
        "lt",
        "le",
        "gt",
        "ge",
        "ne",
        "hash",
        "repr",
        "str",
        "bytes",
        "format",
        "enter",
        "exit",
        "getstate",
        "reduce_ex",
        "copy",
        "deepcopy",
        "sizeof",
        "buffer",
        "fspath",
        "missing",
        "getattr",
        "setattr",
        "delattr",
        "get",
        "set",
    ]
)
"""Methods with two underscores that are called as any other."""
_PYTHON_CALLABLE = (types.FunctionType, staticmethod, classmethod)
_DATA = (types.GetSetDescriptorType, types.MemberDescriptorType, property)


class Target(NamedTuple):
    """One thing that can be called, or an attribute that can be set."""

    kind: Literal["function", "type", "method", "attribute"]
    name: str
    """Its expression: `module.Type.method`."""
    module: str
    """What has to be imported for it."""
    owner: str
    """Of a method or attribute, the expression of the type."""
    native: bool
    bound: bool
    """Whether it is called on an instance."""


class Package(NamedTuple):
    """What was found."""

    targets: list[Target]
    objects: dict[str, Any]
    """The object of each target, by its name."""
    types: dict[str, type]
    """Every type of the package, by its expression."""
    roots: frozenset[str]
    """Top-level names of its modules."""
    refused: list[tuple[str, str]]
    distributions: dict[str, str]
    folders: list[str]
    """Those on the path that were put there for what was named."""


class NothingToSweepError(Exception):
    """What was named cannot be imported, or has nothing that can be called."""


def take(names: list[str], include: list[str], exclude: list[str], *, isolated: bool, folder: str = "") -> Package:
    """Import what was named, from `folder` where it is there, and list what is in it.

    Raises `NothingToSweepError`.
    """
    if folder:
        sys.path.insert(0, folder)
    modules: dict[str, ModuleType] = {}
    versions: dict[str, str] = {}
    for name in names:
        modules.update(_modules(name, versions))
    roots = frozenset(name.partition(".")[0] for name in modules)
    folders = [*([folder] if folder else []), *(os.path.dirname(each) for each in names if _is_file(each))]
    found = Package([], {}, {}, roots, [], versions, folders)
    seen: dict[int, str] = {}
    for name in sorted(modules, key=lambda each: (each.count("._") + each.startswith("_"), each.count("."), each)):
        for target, value in _in_module(name, modules[name], roots, found.types):
            if id(value) in seen:
                continue
            seen[id(value)] = target.name
            if include and not any(fnmatchcase(target.name, pattern) for pattern in include):
                continue
            if any(fnmatchcase(target.name, pattern) for pattern in exclude):
                found.refused.append((target.name, "is excluded"))
                continue
            why = refused(name, target.name, isolated=isolated)
            if why:
                found.refused.append((target.name, why))
                continue
            found.targets.append(target)
            found.objects[target.name] = value
    found.targets.sort(key=lambda target: (not target.native, ("function", "type").count(target.kind) == 0))
    return found


def _modules(name: str, versions: dict[str, str]) -> dict[str, ModuleType]:
    """The modules of what was named, by name."""
    if _is_file(name):
        module = _file(name)
        return {module.__name__: module}
    tops = [name]
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        tops = [] if error.name != name.partition(".")[0] and error.name != name else _tops_of_distribution(name)
        if not tops:
            raise NothingToSweepError(f"{name} cannot be imported: {error}") from None
    except BaseException as error:  # noqa: BLE001 - whatever an import raises
        raise NothingToSweepError(f"{name} cannot be imported: {type(error).__name__}: {error}") from None
    distributions = _distributions_of(tops)
    for each in distributions:
        versions[str(each.metadata["Name"])] = each.version
        if "." not in name:
            tops += [top for top in _tops(each) if top not in tops]
    found: dict[str, ModuleType] = {}
    for top in tops:
        imported = _imported(top)
        if imported is None:
            continue
        found[top] = imported
        for native in _native_below(imported):
            _imported(native)
    prefixes = tuple(f"{top}." for top in tops)
    found.update(
        (each, module)
        for each, module in list(sys.modules.items())
        if each.startswith(prefixes) and isinstance(module, ModuleType) and "test" not in each.split(".")[-1]
    )
    return found


def _is_file(name: str) -> bool:
    return name.endswith(_NATIVE_SUFFIXES) or os.sep in name


def _file(path: str) -> ModuleType:
    folder, base = os.path.split(path)
    name = base.partition(".")[0]
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001 - whatever an import raises
        raise NothingToSweepError(f"{path} cannot be imported: {type(error).__name__}: {error}") from None


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except BaseException:  # noqa: BLE001 - a part that needs what is not there
        return None


def _native_below(module: ModuleType) -> Iterator[str]:
    for folder in list(getattr(module, "__path__", ())):
        for place, folders, files in os.walk(folder):
            folders[:] = [each for each in folders if each.isidentifier() and "test" not in each]
            inside = os.path.relpath(place, folder).replace(os.sep, ".")
            for file in sorted(files):
                if file.endswith(_NATIVE_SUFFIXES) and "test" not in file:
                    parts = [module.__name__, *([] if inside == "." else [inside]), file.partition(".")[0]]
                    yield ".".join(parts)


def _distributions_of(tops: list[str]) -> list[importlib.metadata.Distribution]:
    return [each for each in importlib.metadata.distributions() if set(tops) & set(_tops(each))]


def _tops_of_distribution(name: str) -> list[str]:
    try:
        return _tops(importlib.metadata.distribution(name))
    except importlib.metadata.PackageNotFoundError:
        return []


def _tops(distribution: importlib.metadata.Distribution) -> list[str]:
    """Names of the modules at the top of a distribution, its native ones first."""
    found: dict[str, bool] = {}
    for file in distribution.files or ():
        top = file.parts[0]
        native = len(file.parts) == 1 and top.endswith(_NATIVE_SUFFIXES)
        name = top.partition(".")[0]
        is_module = native or top.endswith(".py") or (len(file.parts) > 1 and file.parts[1].startswith("__init__."))
        if is_module and name.isidentifier() and "test" not in name:
            found[name] = found.get(name, False) or native
    return sorted(found, key=lambda name: not found[name])


def _in_module(
    name: str, module: ModuleType, roots: frozenset[str], kinds: dict[str, type]
) -> Iterator[tuple[Target, Any]]:
    native_module = (getattr(module, "__file__", None) or "").endswith(_NATIVE_SUFFIXES)
    for attribute, value in list(vars(module).items()):
        if attribute.startswith("__") or not attribute.isidentifier() or isinstance(value, ModuleType):
            continue
        if attribute.startswith("_") and not native_module:
            continue
        if not callable(value) or not _is_own(value, roots, native_module):
            continue
        path = f"{name}.{attribute}"
        if isinstance(value, type):
            if issubclass(value, (BaseException, enum.Enum)):
                continue
            kinds.setdefault(path, value)
            yield Target("type", path, name, path, _is_native(value), False), value
            yield from _in_type(path, name, value, roots)
        elif not isinstance(value, types.GenericAlias) and hasattr(value, "__name__"):
            yield Target("function", path, name, "", _is_native(value), False), value


def _in_type(path: str, module: str, kind: type, roots: frozenset[str]) -> Iterator[tuple[Target, Any]]:
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in roots and base is not kind:
            continue
        for attribute, value in list(vars(base).items()):
            name = f"{path}.{attribute}"
            if attribute.startswith("_") and attribute not in _OPERATORS:
                continue
            if isinstance(value, _DATA):
                yield Target("attribute", name, module, path, not isinstance(value, property), True), value
            elif callable(value) or isinstance(value, (staticmethod, classmethod)):
                if isinstance(value, type):
                    continue
                bound = not isinstance(value, (staticmethod, classmethod, types.ClassMethodDescriptorType))
                bound = bound and not isinstance(value, types.BuiltinFunctionType)
                native = not isinstance(getattr(value, "__func__", value), types.FunctionType)
                yield Target("method", name, module, path, native, bound), value


def _is_own(value: Any, roots: frozenset[str], native_module: bool) -> bool:
    with suppress(Exception):
        module = getattr(value, "__module__", None)
        if isinstance(module, str) and module != "builtins":
            # A type in C says what its author wrote, which need be the name of no module.
            return module.partition(".")[0] in roots or (native_module and module not in sys.modules)
    return native_module


def _is_native(value: Any) -> bool:
    if isinstance(value, type):
        return not any(map(_is_by_statement, value.__mro__))
    return not isinstance(value, types.FunctionType)


def _is_by_statement(kind: type) -> bool:
    """Whether a type was made by a `class` statement.

    One that is derived from another that was need have none of its own marks, but no type in C is derived from such.
    """
    if not kind.__flags__ & _HEAP_TYPE:
        return False
    own = vars(kind)
    return bool({"__dict__", "__weakref__", "__slots__"} & own.keys()) or any(
        isinstance(each, types.FunctionType) for each in own.values()
    )


_HEAP_TYPE = 1 << 9
"""`Py_TPFLAGS_HEAPTYPE`: types made by a `class` statement have it, and those made from a spec in C."""

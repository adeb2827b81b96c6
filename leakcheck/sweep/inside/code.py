"""Whether the code of a target is what it was: the statements that make it, and those that make what they name.

The unit is a statement at the top of a module: a function, a class with all of its methods, an assignment. What cannot
be read as such, an extension module for one, is one unit as a file. Of machine code no less can be told: a function
that has not changed holds other distances to what lies behind one that has.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

from leakcheck.sweep.inside.inventory import Target


class _Part(NamedTuple):
    """What the calls of a target may run: what has a name in a module, or where that is empty, all of the module."""

    module: str
    name: str


class _Statement(NamedTuple):
    text: str
    """The same in another layout, with other comments, at another place of the file."""
    names: frozenset[str]
    """That it uses."""
    imported: dict[str, list[_Part]]
    """What each name that it imports stands for."""
    only_imports: bool


class _Source(NamedTuple):
    """The statements of a module."""

    all: list[_Statement]
    making: dict[str, list[_Statement]]
    """By the name that they make at the top of it."""
    always: list[_Statement]
    """Those that make none: they do something when the module is imported."""


def of_targets(targets: Iterable[Target], roots: frozenset[str]) -> dict[str, str]:
    """By target a hash, which differs where that does which its calls may run; what is not of the package is left out.

    A target without one has no file to be known by.
    """
    package = _Package(roots)
    found = {}
    for target in targets:
        inside = target.name.removeprefix(f"{target.module}.") if target.name.startswith(f"{target.module}.") else ""
        known_by = package.known_by(_Part(target.module, inside.partition(".")[0]))
        if known_by:
            found[target.name] = known_by
    return found


class _Package:
    """The code of a package, as far as it has been looked at."""

    def __init__(self, roots: frozenset[str]) -> None:
        self._roots = roots
        self._sources: dict[str, _Source | None] = {}
        self._known: dict[_Part, str] = {}

    def known_by(self, first: _Part) -> str:
        """The hash of all that a part leads to; empty where some of it has no file."""
        if first not in self._known:
            texts: set[str] = set()
            seen, waiting = {first}, [first]
            while waiting:
                part = waiting.pop()
                own, further = self._of(part)
                texts |= own
                new = {each for each in further if self._is_own(each)} - seen
                seen |= new
                waiting += new
            whole = "\n".join(sorted(texts))
            self._known[first] = "" if "" in texts else hashlib.sha256(whole.encode()).hexdigest()[:16]
        return self._known[first]

    def _of(self, part: _Part) -> tuple[set[str], list[_Part]]:
        """The text of one part, and the parts that it names; an empty text is that of a module without a file."""
        source = self._source(part.module)
        if source is None:
            return {self._file(part.module)}, self._modules_named_in(part.module)
        if part.name not in source.making:
            lazy = [each for statement in source.all for parts in statement.imported.values() for each in parts]
            texts = {f"{part.module}: {statement.text}" for statement in source.all}
            return texts, [*self._modules_named_in(part.module), *lazy]
        known = self._names(part.module)
        texts, further = set[str](), list[_Part]()
        for statement in (*source.making[part.name], *source.always):
            if statement.only_imports and part.name in statement.imported:
                texts.add(f"{part}: {statement.imported[part.name]}")
                further += statement.imported[part.name]
                continue
            texts.add(f"{part.module}: {statement.text}")
            for name in sorted(statement.names & known):
                further.append(_Part(part.module, name))
            for parts in statement.imported.values():
                further += parts
        return texts, further

    def _is_own(self, part: _Part) -> bool:
        return part.module.partition(".")[0] in self._roots

    def _names(self, module: str) -> set[str]:
        return set(vars(sys.modules[module])) if module in sys.modules else set()

    def _modules_named_in(self, module: str) -> list[_Part]:
        values = list(vars(sys.modules[module]).values()) if module in sys.modules else []
        return [_Part(name, "") for name in sorted({_module_of(value) for value in values}) if name != module]

    def _file(self, module: str) -> str:
        with suppress(OSError), open(_path(module), "rb") as file:
            return f"{module}: {hashlib.sha256(file.read()).hexdigest()}"
        return ""

    def _source(self, module: str) -> _Source | None:
        if module not in self._sources:
            self._sources[module] = None
            path = _path(module)
            if path.endswith(".py"):
                with suppress(OSError, SyntaxError, ValueError, RecursionError), open(path, "rb") as file:
                    self._sources[module] = _source(ast.parse(file.read()), module)
        return self._sources[module]


def _path(module: str) -> str:
    """The file of a module, which may be one that is imported only when it is needed; empty where it has none."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None) or ""
    with suppress(Exception):  # whatever the packages around it raise
        spec = find_spec(module)
        return (spec.origin or "") if spec is not None and spec.has_location else ""
    return ""


def _source(tree: ast.Module, module: str) -> _Source:
    source = _Source([], {}, [])
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        imported = dict(_imported(node, module))
        used = frozenset(each.id for each in ast.walk(node) if isinstance(each, ast.Name))
        statement = _Statement(ast.dump(node), used, imported, isinstance(node, ast.Import | ast.ImportFrom))
        makes = {*_made(node), *imported}
        source.all.append(statement)
        for name in makes:
            source.making.setdefault(name, []).append(statement)
        if not makes:
            source.always.append(statement)
    return source


def _made(node: ast.stmt) -> Iterator[str]:
    """Names that a statement makes at the top of a module, or may make."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield each.name


def _imported(node: ast.AST, module: str) -> Iterator[tuple[str, list[_Part]]]:
    """What the imports in a statement stand for, wherever in it they are."""
    package = getattr(sys.modules.get(module), "__package__", None) or ""
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            for alias in each.names:
                root = alias.name.partition(".")[0]
                yield alias.asname or root, [_Part(alias.name, ""), *([] if alias.asname else [_Part(root, "")])]
        elif isinstance(each, ast.ImportFrom):
            above = package.rsplit(".", each.level - 1)[0] if each.level else ""
            source = ".".join(filter(None, [above, each.module]))
            for alias in each.names:
                if alias.name == "*":
                    yield from ((name, [_Part(source, name)]) for name in vars(sys.modules.get(source, ModuleType(""))))
                else:
                    inside = f"{source}.{alias.name}"
                    is_module = isinstance(sys.modules.get(inside), ModuleType)
                    part = _Part(inside, "") if is_module else _Part(source, alias.name)
                    yield alias.asname or alias.name, [part]


def _module_of(value: object) -> str:
    name: object = ""
    with suppress(Exception):  # an object of the package's own making
        name = value.__name__ if type(value) is ModuleType else getattr(value, "__module__", "")
    return name if isinstance(name, str) else ""

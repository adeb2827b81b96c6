"""Calls that are made while the tests of a package run, as expressions.

A profiler shows no arguments of functions in C. So the source of the tests is changed, in a copy: each call in it goes
through `Recorder`, which sees what is called, with what, and what it returns. A value is noted where an expression can
make it anew: what is written as a literal, and what was returned by a call that is known itself.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import json
import os
import select
import shutil
import signal
import tempfile
import time
import unittest
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from leakcheck.sweep.inside import allowance
from leakcheck.sweep.inside.inventory import Package
from leakcheck.sweep.inside.literals import Written
from leakcheck.sweep.inside.program import STANDARD

_SECONDS = 60.0
"""After which tests that still run are ended: what they have shown until then is used."""
_MOST_BYTES = 64 << 20
"""Of a folder of tests, which is copied into memory."""
_MOST_KNOWN = 20_000
"""Objects whose expression is known: each is kept alive, or another would have its address."""
_LONGEST = 400
"""Characters of an expression."""
_MOST_ITEMS, _DEEPEST = 20, 4
"""Items of a container that is written out, and containers in each other."""
_NOT_RECORDED = frozenset({"super", "locals", "globals", "vars", "dir", "eval", "exec"})
"""Builtin functions that look at the frame that calls them."""
_CALL = "__leakcheck_call__"
_PLAIN = (type(None), bool, int)
_MAKING_BUILTINS = (bytearray, memoryview, bytes, iter, range, frozenset)


def record(package: Package, path: str, written: Written) -> None:
    """Run the tests in a file or folder, in a process that is ended after a while, and add their calls to `written`."""
    replies, write = os.pipe()
    pid = os.fork()
    if not pid:
        with suppress(BaseException):
            _be_child(package, path, write)
        os._exit(0)
    os.close(write)
    with os.fdopen(replies, "rb") as stream:
        for line in _lines(stream.fileno(), time.monotonic() + _SECONDS):
            with suppress(ValueError, TypeError):
                target, receiver, arguments = json.loads(line)
                written.add(str(target), str(receiver), tuple(map(str, arguments)))
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _lines(descriptor: int, until: float) -> Iterator[bytes]:
    pending = b""
    while (left := until - time.monotonic()) > 0 and select.select([descriptor], [], [], left)[0]:
        part = os.read(descriptor, 1 << 16)
        if not part:
            return
        *lines, pending = (pending + part).split(b"\n")
        yield from lines


def _be_child(package: Package, path: str, write: int) -> None:
    os.setsid()
    allowance.end_with_parent()
    allowance.set_limits()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    copy = instrumented(path)

    def tell(target: str, receiver: str, arguments: list[str]) -> None:
        os.write(write, json.dumps([target, receiver, arguments]).encode() + b"\n")

    setattr(builtins, _CALL, Recorder(package, tell).call)
    if importlib.util.find_spec("pytest") is not None:
        pytest = importlib.import_module("pytest")
        pytest.main([copy, "-q", "-p", "no:cacheprovider", "-o", "addopts=", "--continue-on-collection-errors"])
        return
    folder = copy if os.path.isdir(copy) else os.path.dirname(copy)
    pattern = "*.py" if os.path.isdir(copy) else os.path.basename(copy)
    with open(os.devnull, "w") as nowhere_else:
        tests = unittest.TestLoader().discover(folder, pattern)
        unittest.TextTestRunner(nowhere_else).run(tests)


def instrumented(path: str) -> str:
    """A copy of a file or folder in which each call goes through the recorder, in the folder for temporary files.

    Raises `OSError` where it is too large.
    """
    place = os.path.join(tempfile.mkdtemp(), os.path.basename(os.path.abspath(path)))
    if not os.path.isdir(path):
        shutil.copyfile(path, place)
        _instrument(place)
        return place
    files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    if sum(os.stat(file).st_size for file in files if os.path.isfile(file)) > _MOST_BYTES:
        raise OSError(f"{path} is too large")
    shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__"))
    for folder, _, names in os.walk(place):
        for name in names:
            if name.endswith(".py"):
                _instrument(os.path.join(folder, name))
    return place


def _instrument(path: str) -> None:
    with suppress(SyntaxError, ValueError, RecursionError), open(path, "r+", encoding="utf-8") as file:
        tree = _Calls().visit(ast.parse(file.read()))
        source = ast.unparse(ast.fix_missing_locations(tree))
        file.seek(0)
        file.truncate()
        file.write(source)


class _Calls(ast.NodeTransformer):
    """Sends all calls through the recorder, but for those in decorators and default values."""

    def visit_Call(self, node: ast.Call) -> ast.expr:  # named so by `ast`
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _NOT_RECORDED:
            return node
        return ast.Call(ast.Name(_CALL, ast.Load()), [node.func, *node.args], node.keywords)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """All of a node; of a function or class only its body."""
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return super().generic_visit(node)
        node.body = [self.visit(each) for each in node.body]
        return node


class Recorder:
    """Sees calls, and tells those of a package whose arguments can be made anew."""

    def __init__(self, package: Package, tell: Callable[[str, str, list[str]], None]) -> None:
        """`tell` is given the name of a target, the expression of what its method is called on, and the arguments."""
        self._tell = tell
        self._targets = frozenset(target.name for target in package.targets)
        functions = [target.name for target in package.targets if target.kind == "function"]
        self._names = {id(package.objects[name]): name for name in functions}
        self._types = {id(value): name for name, value in package.types.items()}
        self._making = {id(each): each.__name__ for each in _MAKING_BUILTINS}
        for module in STANDARD:
            values = vars(importlib.import_module(module))
            self._making |= {id(each): f"{module}.{name}" for name, each in values.items() if isinstance(each, type)}
        self._known: dict[int, tuple[object, str]] = {}
        self._told: set[tuple[str, ...]] = set()

    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Make a call, and note it where it succeeds."""
        target, receiver = self._called(function)
        made = target or self._making.get(id(function), "")
        arguments = self._arguments(args, kwargs) if made else None
        result = function(*args, **kwargs)
        if arguments is None:
            return result
        name = made.rpartition(".")[2] if receiver else made
        source = f"{receiver}{'.' * bool(receiver)}{name}({', '.join(arguments)})"
        on_nothing_known = target and not receiver and getattr(function, "__self__", None) is not None
        is_type = isinstance(getattr(function, "__self__", None), type)
        if len(source) <= _LONGEST and len(self._known) < _MOST_KNOWN and (not on_nothing_known or is_type):
            self._known.setdefault(id(result), (result, source))
        told = (target, receiver, *arguments)
        if target and told not in self._told and len(source) <= _LONGEST:
            self._told.add(told)
            self._tell(target, receiver, arguments)
        return result

    def _called(self, function: Any) -> tuple[str, str]:
        """The target that is called, and the expression of what it is called on; empty for what is not known."""
        name = self._names.get(id(function)) or self._types.get(id(function), "")
        owner = None if name else getattr(function, "__self__", None)
        if owner is None:
            return name, ""
        method = getattr(function, "__name__", "")
        kinds = owner.__mro__ if isinstance(owner, type) else type(owner).__mro__
        names = [f"{self._types[id(each)]}.{method}" for each in kinds if id(each) in self._types]
        target = next((each for each in names if each in self._targets), "")
        return target, "" if isinstance(owner, type) or not target else self._expression(owner) or ""

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str] | None:
        values = [*map(self._expression, args), *map(self._expression, kwargs.values())]
        if None in values:
            return None
        names = [*[""] * len(args), *(f"{name}=" for name in kwargs)]
        return [f"{name}{value}" for name, value in zip(names, values, strict=True)]

    def _expression(self, value: Any, depth: int = 0) -> str | None:
        """What makes such a value anew; None where nothing is known to."""
        kind = type(value)
        if kind in _PLAIN or (kind is float and value - value == 0.0):
            return repr(value)
        if kind in (str, bytes):
            return None if len(value) > _LONGEST else f"fresh({value!r})" if len(value) > 1 else repr(value)
        if id(value) in self._known:
            return self._known[id(value)][1]
        if kind in (list, tuple, set, dict) and len(value) <= _MOST_ITEMS and depth < _DEEPEST:
            return self._container(value, depth + 1)
        if kind is bytearray and len(value) <= _LONGEST:
            return f"bytearray({bytes(value)!r})"
        return self._types.get(id(value)) or self._names.get(id(value))

    def _container(self, value: Any, depth: int) -> str | None:
        items = [self._expression(each, depth) for each in (value if type(value) is not dict else value.keys())]
        if type(value) is dict:
            values = [self._expression(each, depth) for each in value.values()]
            if None in values or None in items:
                return None
            return "{" + ", ".join(f"{key}: {each}" for key, each in zip(items, values, strict=True)) + "}"
        if None in items:
            return None
        inside = ", ".join(map(str, items))
        if type(value) is list:
            return f"[{inside}]"
        if type(value) is tuple:
            return f"({inside},)" if len(items) == 1 else f"({inside})"
        return f"{{{inside}}}" if items else "set()"

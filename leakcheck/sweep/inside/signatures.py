"""What a callable takes, from whatever says so: its signature, the first line of its docstring, a stub beside it."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """One argument."""

    name: str
    hint: str
    """Annotation and default, as text."""
    required: bool
    by_keyword: bool


_MOST_DOC = 2000
"""Characters of a docstring in which a signature is looked for."""


def parameters(module: str, name: str, function: Any, *, bound: bool) -> list[Parameter] | None:
    """The parameters of `function`, without the one that a method is bound to; None where nothing says them."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        signature = None
    except Exception:  # noqa: BLE001 - a signature of the package's own making
        signature = None
    found = _of_signature(signature) if signature is not None else None
    if found is None:
        found = _of_text(getattr(function, "__doc__", None), name.rpartition(".")[2])
    stub = next(filter(None, (_stub(each, _parts(module, name)) for each in _modules_with(module, name))), None)
    if stub is not None and (found is None or not any(each.hint for each in found)):
        found = stub
    if found and bound and found[0].name in ("self", "cls", "$self", "type", "mcs"):
        found = found[1:]
    return found


def _of_signature(signature: inspect.Signature) -> list[Parameter] | None:
    found: list[Parameter] = []
    for each in signature.parameters.values():
        if each.kind is each.VAR_POSITIONAL:
            return found or None
        if each.kind is each.VAR_KEYWORD:
            continue
        annotation = each.annotation if each.annotation is not each.empty else ""
        default = each.default if each.default is not each.empty else ""
        hint = f"{annotation if isinstance(annotation, str) else getattr(annotation, '__name__', '')}"
        if default not in ("", None):
            hint += f" {type(default).__name__}"
        found.append(Parameter(each.name, hint, each.default is each.empty, each.kind is each.KEYWORD_ONLY))
    return found


def _of_text(doc: str | None, name: str) -> list[Parameter] | None:
    """`name(a, b: int = 1) -> str` in a line of a docstring."""
    for line in (doc if isinstance(doc, str) else "")[:_MOST_DOC].splitlines():
        start = line.find(f"{name}(")
        if start < 0:
            continue
        text = _up_to_closing(line[start + len(name) :])
        for each in (text, text.replace("[", "").replace("]", "=None"), text.replace("[", "").replace("]", "")):
            found = _parsed(each)
            if found is not None:
                return found
    return None


def _up_to_closing(text: str) -> str:
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[: index + 1]
    return ""


def _parsed(text: str) -> list[Parameter] | None:
    try:
        tree = ast.parse(f"def _{text}: ...")
    except (SyntaxError, ValueError):
        return None
    node = tree.body[0]
    return _of_arguments(node.args) if isinstance(node, ast.FunctionDef) else None


def _of_arguments(arguments: ast.arguments) -> list[Parameter]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [(each, default, False) for each, default in zip(positional, defaults, strict=True)]
    pairs += [(each, default, True) for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    found = []
    for each, default, by_keyword in pairs:
        hint = ast.unparse(each.annotation) if each.annotation is not None else ""
        if isinstance(default, ast.Constant) and default.value is not None:
            hint += f" {type(default.value).__name__}"
        found.append(Parameter(each.arg, hint, default is None, by_keyword))
    return found


def _modules_with(module: str, name: str) -> Iterator[str]:
    """A module, and those of its package that have the same thing by the same name, the shortest name first.

    What a package shows at its top is most often described in the stub of the native module that it comes from.
    """
    yield module
    top = _parts(module, name)[0]
    thing = vars(sys.modules[module]).get(top) if module in sys.modules else None
    for other in sorted((each for each in sys.modules if each.startswith(f"{module.partition('.')[0]}.")), key=len):
        if thing is not None and other != module and getattr(sys.modules[other], "__dict__", {}).get(top) is thing:
            yield other


def _parts(module: str, name: str) -> list[str]:
    return name[len(module) + 1 :].split(".") if name.startswith(f"{module}.") else [name]


def _stub(module: str, parts: Sequence[str]) -> list[Parameter] | None:
    body = _stub_of(module)
    for depth, part in enumerate(parts):
        node = next((each for each in body if getattr(each, "name", "") == part), None)
        if isinstance(node, ast.ClassDef):
            body = node.body
            if depth == len(parts) - 1:
                node = next((each for each in body if getattr(each, "name", "") in ("__init__", "__new__")), None)
                found = _of_arguments(node.args) if isinstance(node, ast.FunctionDef) else None
                return found[1:] if found else found
        elif isinstance(node, ast.FunctionDef):
            return _of_arguments(node.args)
        else:
            return None
    return None


@cache
def _stub_of(module: str) -> list[ast.stmt]:
    """The statements of the stub of a module, wherever it lies."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    folder, base = os.path.split(file)
    root, _, rest = module.partition(".")
    inside = rest.replace(".", os.sep)
    candidates = [os.path.join(folder, f"{base.partition('.')[0]}.pyi")]
    for place in sys.path:
        candidates += [
            os.path.join(place, f"{root}-stubs", f"{inside or '__init__'}.pyi"),
            os.path.join(place, root, f"{inside or '__init__'}.pyi"),
        ]
    for path in candidates:
        try:
            with open(path, encoding="utf-8") as stub:
                return ast.parse(stub.read()).body
        except (OSError, SyntaxError, ValueError):
            continue
    return []

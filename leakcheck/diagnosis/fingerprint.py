"""A stable name for a fault: the same after lines moved, in another checkout, on another machine, under another Python.

It depends on what the program's author has named: the module, the steps of the path with the types of the holders, the
type of what stays, the function that adds it. It does not depend on lines, addresses, folders, numbers in names, or
keys and thread names that the program's data give. Use it to know a fault again, together with its scenario.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from leakcheck.agent.origin import HERE, Origin
from leakcheck.diagnosis.labels import named_in_code
from leakcheck.records import Finding, Frame, PathNode

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"\d+")
_LENGTH = 16
"""Digits of a fingerprint: 64 bits, so that two faults of a baseline do not share one by chance."""
_TOPS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
"""What lies at the top of a project."""


def of_path(path: Iterable[PathNode], element: str = "", adder: Frame | None = None, origin: Origin = HERE) -> str:
    """Fingerprint of a container.

    By its root (the module), the suspect stretch of its path with the types on it, the type of what stays in it, and
    the function that adds.
    """
    nodes = list(path)
    suspects = [node for node in nodes if node.suspect] or nodes
    steps = [f"{_plain(named_in_code(node.name, str.isidentifier))}: {_plain(node.type)}" for node in suspects]
    root = [_plain(named_in_code(node.name)) for node in nodes[:1]]
    by = [] if adder is None else [_function(adder, origin)]
    return _digest("container", [*root, *steps, _plain(element), *by])


def of_frames(kind: str, frames: Iterable[Frame], extra: Iterable[str] = (), origin: Origin = HERE) -> str:
    """Fingerprint of a place: by the native functions, and the user's frames (else the innermost) without lines.

    Two faults of one function differ by the text of the innermost line.
    """
    frames = list(frames)
    native = [frame.function for frame in frames if frame.native][:3]
    python = [frame for frame in frames if not frame.native]
    chosen = [frame for frame in python if frame.user] or python[:3]
    names = [_function(frame, origin) for frame in _distinct(chosen)[:4]]
    statement = [" ".join(frame.source.split()) for frame in chosen[:1]]
    return _digest(kind, [*map(_plain, extra), *map(_plain, native), *names, *statement])


def told_apart(findings: Sequence[Finding], names: Sequence[str]) -> list[Finding]:
    """The findings of one scenario, each with a fingerprint of its own.

    Those that are the same are numbered in the order of `names`, what is known of each beside it: that order stays,
    where one by rates would not.
    """
    marks = [each.fingerprint for each in findings]
    order = sorted(range(len(marks)), key=lambda index: names[index])
    for position, index in enumerate(order):
        before = sum(findings[earlier].fingerprint == marks[index] for earlier in order[:position])
        if before:
            marks[index] = _digest("again", [marks[index], str(before)])
    return [msgspec.structs.replace(each, fingerprint=mark) for each, mark in zip(findings, marks, strict=True)]


def _function(frame: Frame, origin: Origin) -> str:
    return f"{_module(frame.file, origin)}:{frame.function}"


def _module(file: str, origin: Origin) -> str:
    """An installed file as an importer names it; one of the user's by its place in the project."""
    return origin.module_name(file) if origin.rank(file) else _place_in_project(file)


@lru_cache(maxsize=1024)
def _place_in_project(file: str) -> str:
    """The path from the project's top, else from that of its package; as it would be if it were installed."""
    path = Path(file)
    inside = path.parent
    for folder in path.parents if os.path.isabs(file) else ():
        if any((folder / name).exists() for name in _TOPS):
            return path.relative_to(folder).as_posix().removeprefix("src/")
    while (inside / "__init__.py").exists():
        inside = inside.parent
    return path.relative_to(inside).as_posix()


def _distinct(frames: list[Frame]) -> list[Frame]:
    """Without repetitions of one function that calls itself."""
    kept: list[Frame] = []
    for frame in frames:
        if not kept or (kept[-1].file, kept[-1].function) != (frame.file, frame.function):
            kept.append(frame)
    return kept


def _plain(name: str) -> str:
    return _NUMBER.sub("#", _ADDRESS.sub("0x", name))


def _digest(kind: str, parts: list[str]) -> str:
    text = "\n".join([kind, *parts])
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:_LENGTH]

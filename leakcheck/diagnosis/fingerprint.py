"""A stable name for a fault: the same after lines moved, on another machine, under another Python."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from leakcheck.agent.origin import HERE, Origin
from leakcheck.records import Frame, PathNode

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"\d+")
_LENGTH = 16
"""Digits of a fingerprint: 64 bits, so that two faults of a baseline do not share one by chance."""


def of_path(path: Iterable[PathNode]) -> str:
    """Fingerprint of a container: by the suspect stretch of its path where there is one."""
    nodes = list(path)
    suspects = [node for node in nodes if node.suspect] or nodes
    return _digest("container", [_plain(node.name) for node in suspects])


def of_frames(kind: str, frames: Iterable[Frame], extra: Iterable[str] = (), origin: Origin = HERE) -> str:
    """Fingerprint of a place: by the native functions, and the user's frames (else the innermost) without lines.

    Two faults of one function differ by the text of the innermost line.
    """
    frames = list(frames)
    native = [frame.function for frame in frames if frame.native][:3]
    python = [frame for frame in frames if not frame.native]
    chosen = [frame for frame in python if frame.user] or python[:3]
    names = [f"{origin.module_name(frame.file)}:{frame.function}" for frame in _distinct(chosen)[:4]]
    statement = [" ".join(frame.source.split()) for frame in chosen[:1]]
    return _digest(kind, [*map(_plain, extra), *map(_plain, native), *names, *statement])


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
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]

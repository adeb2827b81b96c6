"""Paths and patterns: the one grammar, and the keys that paths become in the database.

A key is the path's UTF-8 with NUL in place of each slash. NUL sorts below every byte that a segment may hold, so a
node and everything below it lie side by side in key order, and the key just before a node's place is the only one
that can be a leaf above it.
"""

import re

from elkyn._native import MAX_PATH_BYTES
from elkyn.errors import PathError

MAX_SEGMENTS = 32
"""Levels of the tree that a path can name: each may cost a search of its own when a commit looks for watchers."""
SEPARATOR = b"\0"
ROOT = b"\0"

_SEGMENT = r"[^/*\x00-\x1f\x7f-\x9f]+"
_is_path = re.compile(rf"(?:/{_SEGMENT}){{1,{MAX_SEGMENTS}}}").fullmatch
_is_pattern = re.compile(rf"/|(?:/(?:{_SEGMENT}|\*)){{0,{MAX_SEGMENTS}}}(?:/\*\*)?").fullmatch
is_segment = re.compile(_SEGMENT).fullmatch


def plain(path: str, kind: str = "path") -> str:
    """Return `path` as a str of its very type: that of a subclass (an enum's member) by its characters."""
    if type(path) is str:
        return path
    if not isinstance(path, str):
        raise PathError(f"a {kind} must be a str, not {type(path).__name__}")
    return str.__str__(path)


def key_of(path: str) -> bytes:
    """Return the database key of `path`, or raise `PathError` that names the fault."""
    path = plain(path)
    if path == "/":
        return ROOT
    if not _is_path(path):
        raise PathError(_fault(path))
    try:
        key = path.encode()
    except UnicodeEncodeError:
        raise PathError(f"path {path!r} holds a lone surrogate, which has no UTF-8 form") from None
    if len(key) > MAX_PATH_BYTES:
        raise PathError(f"path {path[:40]!r}... has {len(key)} bytes; {MAX_PATH_BYTES} are the most")
    return key.replace(b"/", SEPARATOR)


def bound_of(name: str | None, which: str) -> bytes | None:
    """Return the bytes that a range of names is bounded by. `name` need not be one that a path may hold."""
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"{which} must be a str or None, not {type(name).__name__}")
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise PathError(f"{which} {name!r} holds a lone surrogate, which has no UTF-8 form") from None


def path_of(key: bytes) -> str:
    """Return the path of a database key."""
    return key.replace(SEPARATOR, b"/").decode()


def prefix_of(key: bytes) -> bytes:
    """Return what the keys of everything below `key` start with."""
    return ROOT if key == ROOT else key + SEPARATOR


def child_path(path: str, name: str) -> str:
    """Return the path of the child `name`, which must be a single legal segment."""
    if not isinstance(name, str) or not is_segment(name := plain(name)):
        raise PathError(f"{name!r} cannot be a child's name under {path!r}: {_SEGMENT_RULE}")
    return f"/{name}" if path == "/" else f"{path}/{name}"


def pattern_segments(pattern: str) -> tuple[str, ...]:
    """Split a watch pattern into its segments, or raise `PathError`. `*` is one segment, a final `**` any number."""
    pattern = plain(pattern, "pattern")
    if not pattern or not _is_pattern(pattern):
        raise PathError(_fault(pattern, kind="pattern"))
    try:
        size = len(pattern.encode())
    except UnicodeEncodeError:
        raise PathError(f"pattern {pattern!r} holds a lone surrogate, which has no UTF-8 form") from None
    if size > MAX_PATH_BYTES:
        raise PathError(f"pattern {pattern[:40]!r}... has {size} bytes; {MAX_PATH_BYTES} are the most")
    return () if pattern == "/" else tuple(pattern[1:].split("/"))


_SEGMENT_RULE = "a segment is not empty and holds no '/', '*', NUL or control character"


def _fault(path: str, kind: str = "path") -> str:
    """Say in one sentence what is wrong with a path or pattern that the grammar refused."""
    if not path.startswith("/"):
        return f"{kind} {path!r} must start with '/'"
    segments = path[1:].split("/")
    if len(segments) > MAX_SEGMENTS:
        return f"{kind} {path[:40]!r}... has {len(segments)} segments; {MAX_SEGMENTS} are the most"
    if kind == "pattern" and any("*" in s and s not in ("*", "**") for s in segments):
        return f"pattern {path!r}: a '*' must be a whole segment"
    if kind == "pattern" and "**" in segments[:-1]:
        return f"pattern {path!r}: '**' may only be the last segment"
    return f"{kind} {path!r} is not legal: {_SEGMENT_RULE}"

"""Where objects are born: `tracemalloc` notes it for a stretch of iterations; what has a trace is new."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import types
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from leakcheck.agent.inquiry import Birth, Trace
from leakcheck.agent.origin import HERE
from leakcheck.agent.probes.referents import LEAVES, full_name
from leakcheck.agent.probes.sizes import chunk, is_foreign, size_of, type_flags
from leakcheck.agent.step import Driver

_MANAGED_DICT = 1 << 4
"""`Py_TPFLAGS_MANAGED_DICT`: the dictionary of an instance lies before it."""
_BEFORE_INSTANCE_BYTES = 32
"""Bytes before an instance with a managed dictionary: the collector's header, and two pointers."""
_MOST_NEW = 800
"""New objects that are looked at one by one; a container's share is extrapolated from them."""
_MOST_SITES = 40
"""Birthplaces of one container that are reported."""
_MOST_SURVIVING = 60
"""Places of all survivors that are reported."""
_MOST_TYPES = 8
"""Types of what a container keeps that are reported."""
_MOST_HEADS = 8
"""Birthplaces of the elements themselves that are reported."""


def _object_trace() -> Callable[[Any], Trace | None]:
    """`tracemalloc`'s own function; Python 3.11's does not find instances with a dictionary before their header."""
    plain: Callable[[Any], Trace | None] = tracemalloc._get_object_traceback  # type: ignore[attr-defined]
    if sys.version_info >= (3, 12):
        return plain
    import ctypes

    try:
        by_address = ctypes.pythonapi._PyTraceMalloc_GetTraceback
    except AttributeError:
        return plain
    by_address.restype, by_address.argtypes = ctypes.py_object, [ctypes.c_uint, ctypes.c_size_t]

    def with_managed_dict(value: Any) -> Trace | None:
        if type_flags(type(value)) & _MANAGED_DICT:
            return by_address(0, id(value) - _BEFORE_INSTANCE_BYTES)  # type: ignore[no-any-return]
        return plain(value)

    return with_managed_dict


_traced = _object_trace()
_NOWHERE = (("<unknown>", 0),)
"""The trace of `tracemalloc` where there is none."""
_STEP = Driver.run.__code__.co_filename


def birth(value: Any) -> Trace | None:
    """Where an object was born since the tracing began, the innermost frame first; None for others and for our own.

    Empty where the interpreter makes it on the way into the step's own function (cells).
    """
    trace = _traced(value)
    return None if trace is None else user_part(trace)


def user_part(trace: Trace) -> Trace | None:
    """The part of a trace inside the toolkit's call of the step; None where the step is not in it.

    Empty where no Python code was running: on a stack that native code has switched to, for one.
    """
    if trace == _NOWHERE:
        return ()
    for index, (file, _line) in enumerate(trace):
        if HERE.own(file):
            within = file == _STEP or (index and HERE.calls_the_step(file))
            return HERE.inside(tuple(trace)[:index]) if within else None
    return HERE.inside(tuple(trace))


def surviving() -> dict[Trace, list[int]]:
    """Blocks and bytes that were allocated since the tracing began and are still there, by place."""
    found: dict[Trace, list[int]] = {}
    parts: dict[Trace, Trace | None] = {}
    for _domain, size, trace, *_ in tracemalloc._get_traces():  # type: ignore[attr-defined]
        if trace not in parts:
            parts[trace] = user_part(trace)
        part = parts[trace]
        if part:
            site = found.setdefault(part, [0, 0])
            site[0] += 1
            site[1] += size
    return found


def scaling(early: dict[Trace, list[int]], late: dict[Trace, list[int]], count: int) -> tuple[Birth, ...]:
    """Places whose survivors grow with the iterations: blocks and bytes per iteration, those with most bytes first."""
    found: list[Birth] = []
    for trace, (blocks, size) in late.items():
        blocks_before, size_before = early.get(trace, (0, 0))
        more = blocks - blocks_before
        if blocks_before >= 1 and more >= 2 and 0.5 * blocks_before <= more <= 2.5 * blocks_before + 3:
            found.append(Birth(trace, more / count, (size - size_before) / count))
    return tuple(sorted(found, key=lambda site: -site.bytes)[:_MOST_SURVIVING])


class Kept:
    """The new objects that some references lead to, and where they were born."""

    def __init__(self, claimed: dict[int, str], starts: set[int], name: str) -> None:
        self.claimed = claimed
        """Objects that were counted already, with the name of their container."""
        self.starts = starts
        """One addition is not followed into another: each counts what it alone brought."""
        self.name = name
        self.bytes = 0
        self.objects = 0
        self.types: Counter[str] = Counter()
        self.sites: dict[Trace, list[int]] = {}
        self.shared: Counter[str] = Counter()
        """New objects that another container has already laid claim to, by its name."""
        self.opaque = False
        """Whether one of them is of a foreign C type, which may hold what the collector knows nothing of."""
        self.scale = 0.0

    def follow_all(self, additions: list[Iterable[Any]], gained: int) -> None:
        """Follow additions while the sample is not large enough; `gained` is how many there are altogether."""
        used = 0
        for addition in additions:
            self._follow(addition)
            used += 1
            if self.objects >= _MOST_NEW:
                break
        self.scale = gained / used if used else 0.0

    def types_per_iteration(self, stretch: int) -> dict[str, float]:
        """Objects of the most frequent types."""
        return {name: count * self.scale / stretch for name, count in self.types.most_common(_MOST_TYPES)}

    def sites_per_iteration(self, stretch: int) -> tuple[Birth, ...]:
        """Where they were born, those with most bytes first."""
        rate = self.scale / stretch
        top = sorted(self.sites.items(), key=lambda item: -item[1][1])[:_MOST_SITES]
        return tuple(Birth(trace, count * rate, size * rate) for trace, (count, size) in top)

    def main_owner(self) -> str:
        """The container that holds most of the same objects, if those are at least as many as this one's own."""
        return next((name for name, n in self.shared.most_common(1) if n >= self.objects), "")

    def _follow(self, addition: Iterable[Any]) -> None:
        claimed, first = self.claimed, True
        waiting = list(addition)
        level = len(waiting)
        while waiting:
            value = waiting.pop()
            first = len(waiting) < level
            level = min(level, len(waiting))
            identity, kind = id(value), type(value)
            if not first and identity in self.starts:
                continue
            if identity in claimed:
                if claimed[identity] != self.name:
                    self.shared[claimed[identity]] += 1
                continue
            if kind is types.FrameType and HERE.own(value.f_code.co_filename):
                continue
            trace = birth(value)
            if trace is None:
                continue
            claimed[identity] = self.name
            self._count(value, kind, trace)
            if id(kind) not in LEAVES:
                waiting.extend(gc.get_referents(value))

    def _count(self, value: Any, kind: type, trace: Trace) -> None:
        size = chunk(size_of(value), kind)
        self.objects += 1
        self.bytes += size
        name = full_name(kind)
        self.opaque = self.opaque or (name not in self.types and is_foreign(kind))
        self.types[name] += 1
        site = self.sites.setdefault(trace, [0, 0])
        site[0] += 1
        site[1] += size


def heads(values: list[Any]) -> tuple[Birth, ...]:
    """Where the elements themselves are born: how many of them, their bytes."""
    found: dict[Trace, list[int]] = {}
    for value in values:
        trace = birth(value)
        if trace:
            site = found.setdefault(trace, [0, 0])
            site[0] += 1
            site[1] += size_of(value)
    most = sorted(found.items(), key=lambda item: -item[1][0])[:_MOST_HEADS]
    return tuple(Birth(trace, count, size) for trace, (count, size) in most)

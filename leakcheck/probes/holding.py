"""Inside the measured process: whether what grows may be in a cache, a buffer or a pool of Python's.

A leak of what no container holds, memory of native code or an object with a reference too many, cannot be one. Two ways
to know: new objects have containers among their referrers, or, where what is new is nothing that the collector knows,
some container or buffer has more in it than before. No code of the user's runs but the step.
"""

from __future__ import annotations

import gc
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from itertools import compress
from typing import Any

from leakcheck.meters.objects import all_in_sight
from leakcheck.worker.step import StepRaisedError

_CONTAINERS = (dict, list, set, deque)
_HIDDEN = {id(kind) for kind in (dict, bytearray, array)}
_TEXTS = {id(str), id(bytes)}
_LEAST = 16
"""Elements of a container that is looked at: a line that is believed has seen more."""
_LONG = 4096
"""Characters of a text that may be the one that grows; it may be another object each time."""
_NEW = 64
"""New objects that show where such are kept."""
_KEPT = 4
"""Of these, how many in containers are more than those in the place of the last."""


async def probe(conversation: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """`{"calls": 0}` answers `sizes`, pairs of identity and size, and `text`, the length of all long texts.

    Other `calls` are made, and `held` tells whether containers hold what they leave; null where that is nothing that
    the collector knows. An answer without either: the program has put objects aside itself, so not all can be seen.
    """
    if not all_in_sight():
        return {}
    if arguments["calls"]:
        return {"held": await _new_ones_are_held(conversation, arguments["calls"])}
    return _sizes()


async def _new_ones_are_held(conversation: Any, calls: int) -> bool | None:
    enabled = gc.isenabled()
    gc.disable()
    try:
        gc.collect(1)
        await conversation.driver.run(calls)
        new = gc.get_objects(generation=0)
        ours = {id(new), *map(id, new)}
        kept: set[int] = set()
        for each, size_of in _containers(gc.get_objects()):
            if size_of(each) >= _LEAST and id(each) not in ours:
                kept |= ours.intersection(map(id, gc.get_referents(each)))
        return len(kept) >= _KEPT if len(new) >= _NEW else None
    except StepRaisedError:  # the next round says so
        return None
    finally:
        if enabled:
            gc.enable()


def _sizes() -> dict[str, Any]:
    tracked = gc.get_objects()
    sizes = [(id(each), size) for each, size_of in _containers(tracked) if (size := size_of(each)) >= _LEAST]
    # What cannot be part of a cycle is not the collector's, a dict of numbers for one. What is refers to it.
    known = gc.get_referents(*tracked)
    identities = list(map(id, map(type, known)))
    hidden = compress(known, map(_HIDDEN.__contains__, identities))
    sizes += [(id(each), len(each)) for each in hidden if type(each) is not dict or not gc.is_tracked(each)]
    texts = map(len, compress(known, map(_TEXTS.__contains__, identities)))
    return {"sizes": sizes, "text": sum(length for length in texts if length >= _LONG)}


def _containers(objects: list[Any]) -> Iterator[tuple[Any, Callable[[Any], int]]]:
    """Those of `objects` that are containers, with the function that tells how much is in them."""
    size_of = {id(kind): base.__len__ for base in _CONTAINERS for kind in _derived(base)}
    # Types are told by identity: a metaclass may have another `==`.
    for each in compress(objects, map(size_of.__contains__, map(id, map(type, objects)))):
        yield each, size_of[id(type(each))]


def _derived(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for each in type.__subclasses__(kind):
        yield from _derived(each)

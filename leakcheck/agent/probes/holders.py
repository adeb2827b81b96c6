"""Inside the measured process: whether what grows may be in a cache, a buffer or a pool of Python's.

A leak of what nothing refers to, memory of native code or an object with a reference too many, cannot be one. Two ways
to know: new objects are referred to by old ones, or, where what is new is nothing that the collector knows, more things
are referred to than before, or some container or buffer is larger. No code of the user's runs but the step.
"""

from __future__ import annotations

import gc
from array import array
from collections import deque
from io import BytesIO
from typing import Any

from leakcheck.agent.meters.objects import all_in_sight
from leakcheck.agent.probes.by_type import ByType, derived
from leakcheck.agent.step import StepRaisedError

_LEAST = 16
"""Elements of a container that is looked at: a line that is believed has seen more."""
_LONG = 4096
"""Characters of a text that may be the one that grows; it may be another object each time."""
_NEW = 64
"""New objects that show where such are kept."""
_KEPT = 4
"""Of these, how many that old ones refer to are more than those in the place of the last."""


async def probe(conversation: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """`{"calls": 0}` answers what could be holding something: see `_held_now`.

    Other `calls` are made, and `held` tells whether anything holds what they leave; null where that is nothing that
    the collector knows. An answer without either: the program has put objects aside itself, so not all can be seen,
    or the collector is not ours to run.
    """
    if not (conversation.settler.collects and all_in_sight()):
        return {}
    if arguments["calls"]:
        return {"held": await _new_ones_are_held(conversation, arguments["calls"])}
    return _held_now()


async def _new_ones_are_held(conversation: Any, calls: int) -> bool | None:
    enabled = gc.isenabled()
    gc.disable()
    try:
        gc.collect(1)
        await conversation.driver.run(calls)
        new = set(map(id, gc.get_objects(generation=0)))
        if len(new) < _NEW:
            return None
        old = ByType(gc.get_objects(generation=1) + gc.get_objects(generation=2))
        return len(new.intersection(map(id, old.referents()))) >= _KEPT
    except StepRaisedError:  # the next round says so
        return None
    finally:
        if enabled:
            gc.enable()


def _held_now() -> dict[str, Any]:
    """What could be holding something.

    `things`: how many there are that something refers to; `sizes`: pairs of identity and size of each container and
    buffer; `text`: the length of all long texts. What cannot be part of a cycle is not the collector's, a number for
    one, or a dict of them: what is refers to it.
    """
    tracked = ByType(gc.get_objects())
    known = ByType(tracked.referents())
    plain = {id(each): each for each in known.of(dict) if not gc.is_tracked(each)}
    sizes = [
        (id(each), size)
        for base in (dict, list, set, deque)
        for each in tracked.of(*derived(base))
        if (size := base.__len__(each)) >= _LEAST
    ]
    sizes += [(identity, len(each)) for identity, each in plain.items()]
    sizes += [
        (id(each), base.__sizeof__(each)) for base in (bytearray, array, BytesIO) for each in known.of(*derived(base))
    ]
    things = {*map(id, known.objects), *map(id, gc.get_referents(*plain.values()))}
    text = sum(length for length in map(len, known.of(str, bytes)) if length >= _LONG)
    return {"things": len(things), "sizes": sizes, "text": text}

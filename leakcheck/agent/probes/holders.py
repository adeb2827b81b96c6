"""Whether what grows may be in a cache, a buffer or a pool of Python's.

A leak of what nothing refers to, memory of native code or an object with a reference too many, cannot be one. Two ways
to know: new objects are referred to by old ones, or, where what is new is nothing that the collector knows, more things
are referred to than before, or some container or buffer is larger. No code of the user's runs but the step.
"""

from __future__ import annotations

import gc
from array import array
from collections import deque
from io import BytesIO
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType

from leakcheck.agent.meters.objects import all_in_sight
from leakcheck.agent.probes.by_type import ByType, derived
from leakcheck.agent.probes.referents import lists_subclasses
from leakcheck.agent.protocol import Collect, Collected, Held, HeldByOld, HolderSizes, NewAreHeld
from leakcheck.agent.step import StepRaisedError

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation

_LEAST_ELEMENTS = 16
"""Elements of a container that is looked at: a line that is believed has seen more."""
_LONG_TEXT = 4096
"""Characters of a text that may be the one that grows; it may be another object each time."""
_MOST_OBJECTS = 2_000_000
"""Objects of the collector's of which all can be looked at: that takes some microseconds and 300 bytes for each."""
_ENOUGH_NEW = 64
"""New objects that show where such are kept."""
_HELD_BY_OLD = 4
"""Of these, how many that old ones refer to are more than those in the place of the last."""


async def answer(
    conversation: Conversation, question: HolderSizes | NewAreHeld | Collect
) -> Held | HeldByOld | Collected:
    """Runs the step for `NewAreHeld` only."""
    if isinstance(question, Collect):
        return Collected(gc.collect())
    complete = conversation.settler.collects and all_in_sight() and len(gc.get_objects()) <= _MOST_OBJECTS
    if isinstance(question, NewAreHeld):
        return HeldByOld(await _new_ones_are_held(conversation, question.calls) if complete else None)
    return _held_now() if complete else Held(False, 0, [], 0, [])


async def _new_ones_are_held(conversation: Conversation, calls: int) -> bool | None:
    enabled = gc.isenabled()
    gc.disable()
    try:
        gc.collect(1)
        await conversation.driver.run(calls)
        # A weak reference that is kept keeps nothing alive: each class is in a table of its base's by one.
        new = {id(each) for each in gc.get_objects(generation=0) if type(each) is not ReferenceType}
        if len(new) < _ENOUGH_NEW:
            return None
        old = ByType(gc.get_objects(generation=1) + gc.get_objects(generation=2))
        return len(new.intersection(map(id, old.referents()))) >= _HELD_BY_OLD
    except StepRaisedError:  # the next round says so
        return None
    finally:
        if enabled:
            gc.enable()


def _held_now() -> Held:
    """What could be holding something.

    What cannot be part of a cycle is not the collector's, a number for one, or a dict of them: what is refers to it.
    """
    tracked = ByType(gc.get_objects())
    known = ByType(tracked.referents())
    plain = _plain(known)
    sizes = [
        (id(each), size)
        for base in (dict, list, set, deque)
        for each in tracked.of(*derived(base))
        if (size := base.__len__(each)) >= _LEAST_ELEMENTS and not _forgets(each)
    ]
    sizes += [(identity, len(each)) for identity, each in plain.items()]
    sizes += [
        (id(each), base.__sizeof__(each)) for base in (bytearray, array, BytesIO) for each in known.of(*derived(base))
    ]
    things = {*map(id, known.objects), *map(id, gc.get_referents(*plain.values()))}
    text = sum(length for length in map(len, known.of(str, bytes)) if length >= _LONG_TEXT)
    held = Held(True, len(things), sizes, text, [*(id(each) for each, _ in _keyed(tracked)), *plain])
    known.let_go()
    tracked.let_go()
    return held


def keyed() -> list[tuple[Any, int]]:
    """All dicts and sets of some size, those that the collector does not know too, and how much is in each."""
    tracked = ByType(gc.get_objects())
    known = ByType(tracked.referents())
    found = [*_keyed(tracked), *((each, len(each)) for each in _plain(known).values())]
    known.let_go()
    tracked.let_go()
    return found


def _keyed(tracked: ByType) -> list[tuple[Any, int]]:
    return [
        (each, size)
        for base in (dict, set)
        for each in tracked.of(*derived(base))
        if (size := base.__len__(each)) >= _LEAST_ELEMENTS and not _forgets(each)
    ]


def _forgets(container: Any) -> bool:
    """Whether what is no longer alive leaves this by itself: then it keeps nothing, and is no cache that must fill.

    So do the references of a `WeakSet`, which have a callback, and a class's own table of its subclasses.
    """
    if type(container) is set:
        first = next(iter(container), None)
        return type(first) is ReferenceType and first.__callback__ is not None
    return lists_subclasses(container)


def _plain(known: ByType) -> dict[int, dict[Any, Any]]:
    """Dicts of what cannot be part of a cycle, by identity."""
    return {id(each): each for each in known.of(dict) if not gc.is_tracked(each)}

"""Which containers with a limit there are, how full they are, and what if they were empty.

Asked when growth looks like a leak: a cache that is not full yet grows in a straight line too.
"""

from __future__ import annotations

import functools
import gc
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from leakcheck.agent.meters.objects import bring_back
from leakcheck.agent.probes.by_type import ByType
from leakcheck.agent.protocol import Emptied, EmptyCaches, LimitedContainer, LimitedContainers, LimitedContainersFound

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation

_LRU = type(functools.lru_cache(lambda: None))
_WORTH_FREEZING = 50_000
"""Objects that are worth putting aside again, for they would cost each later round a twentieth of a second."""


def _tracked() -> list[Any]:
    """All that the collector knows of, what was put aside with `gc.freeze` too: `get_objects` leaves that out."""
    frozen = gc.get_freeze_count()
    bring_back()
    found = gc.get_objects()
    if 2 * frozen > len(found) > _WORTH_FREEZING:  # a test runner's
        gc.collect()
        gc.freeze()
    return found


def limits() -> dict[int, int]:
    """How many elements a container may have, by its `id`; of an `lru_cache`, by that of its table too."""
    found = {}
    for each in ByType(_tracked()).of(deque, _LRU):
        if type(each) is deque and each.maxlen:
            found[id(each)] = each.maxlen
        elif type(each) is _LRU and (limit := _LRU.cache_info(each).maxsize):
            own = each.__dict__
            tables = [table for table in gc.get_referents(each) if type(table) is dict and table is not own]
            found |= dict.fromkeys(map(id, [each, *tables]), limit)
    return found


def emptying() -> Callable[[], None]:
    """A function that empties all `lru_cache`s with a limit that there are now, and may be called often."""
    caches = [each for each in ByType(_tracked()).of(_LRU) if type(each) is _LRU and _LRU.cache_info(each).maxsize]
    gc.freeze()

    def empty() -> None:
        for cache in caches:
            _LRU.cache_clear(cache)

    return empty


async def answer(
    _conversation: Conversation, question: LimitedContainers | EmptyCaches
) -> LimitedContainersFound | Emptied:
    """No code of the user's runs: `cache_info` is the C function's own."""
    in_sight = isinstance(question, LimitedContainers) and question.in_sight
    limited = list(ByType(gc.get_objects() if in_sight else _tracked()).of(deque, _LRU))
    caches = [each for each in limited if type(each) is _LRU and _LRU.cache_info(each).maxsize]
    if isinstance(question, EmptyCaches):
        for cache in caches:
            _LRU.cache_clear(cache)
        return Emptied(len(caches))
    found = []
    for cache in caches:
        info = _LRU.cache_info(cache)
        name = f"{cache.__dict__.get('__module__', '?')}.{cache.__dict__.get('__qualname__', '?')}"
        asked = info.hits + info.misses
        found.append(LimitedContainer("lru_cache", name, id(cache), info.currsize, info.maxsize or 0, asked))
    found += [
        LimitedContainer("deque", "", id(queue), len(queue), queue.maxlen)
        for queue in limited
        if type(queue) is deque and queue.maxlen
    ]
    return LimitedContainersFound(found)

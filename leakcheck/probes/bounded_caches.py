"""Inside the measured process: which containers with a limit there are, how full, and what if they were empty.

Asked when growth looks like a leak: a cache that is not full yet grows in a straight line too.
"""

from __future__ import annotations

import functools
import gc
from collections import deque
from typing import Any

_LRU = type(functools.lru_cache(lambda: None))


def _tracked() -> list[Any]:
    """All that the collector knows of, what was put aside with `gc.freeze` too: `get_objects` leaves that out."""
    if not gc.get_freeze_count():
        return gc.get_objects()
    gc.unfreeze()
    try:
        return gc.get_objects()
    finally:
        gc.collect()
        gc.freeze()


def _caches() -> list[Any]:
    """Every `functools.lru_cache` with a size limit; user code is not run, `cache_info` is the C function's own."""
    found = []
    for candidate in _tracked():
        if type(candidate) is _LRU:
            limit = _LRU.cache_info(candidate).maxsize
            if limit:
                found.append(candidate)
    return found


def _deques() -> list[deque[Any]]:
    return [candidate for candidate in _tracked() if type(candidate) is deque and candidate.maxlen]


async def probe(_conversation: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """`{"clear": false}` lists the containers with limits; `{"clear": true}` empties the caches among them first."""
    caches = _caches()
    if arguments.get("clear"):
        for cache in caches:
            _LRU.cache_clear(cache)
        return {}
    answer = []
    for cache in caches:
        info = _LRU.cache_info(cache)
        name = f"{cache.__dict__.get('__module__', '?')}.{cache.__dict__.get('__qualname__', '?')}"
        answer.append(["lru_cache", name, id(cache), info.currsize, info.maxsize])
    answer += [["deque", "", id(queue), len(queue), queue.maxlen] for queue in _deques()]
    return {"containers": answer}

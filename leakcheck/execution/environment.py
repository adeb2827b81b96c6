"""The environment of a worker: the user's own, with everything that would move a reading fixed."""

from __future__ import annotations

import os
from collections.abc import Mapping

from leakcheck.execution.job import Allocator

_REMOVED_PREFIXES = ("MALLOC_", "COVERAGE_", "COV_CORE_", "PYTEST_")
_REMOVED = frozenset(
    {
        "GLIBC_TUNABLES",
        "LD_PRELOAD",  # another malloc would have a ledger that we cannot read
        "PYTHONASYNCIODEBUG",
        "PYTHONDEBUG",
        "PYTHONDEVMODE",
        "PYTHONDUMPREFS",
        "PYTHONFAULTHANDLER",
        "PYTHONINSPECT",
        "PYTHONMALLOCSTATS",
        "PYTHONPROFILEIMPORTTIME",
        "PYTHONSTARTUP",
        "PYTHONTRACEMALLOC",
        "PYTHONVERBOSE",
    }
)


def worker_environment(allocator: Allocator, temporary: str, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment variables for one worker.

    `PYTHONMALLOC=malloc` puts Python's objects and native memory on one ledger. Without thread caches
    (`tcache_count=0`) glibc's ledger is exact to the byte: a cached chunk counts as in use there, and which chunks are
    cached depends on what was freed last. One arena keeps all threads on one heap. Stacks of ended threads are unmapped
    and not kept for the next one: how many there are depends on who ended first.
    """
    kept = {
        name: value for name, value in base.items() if name not in _REMOVED and not name.startswith(_REMOVED_PREFIXES)
    }
    return kept | {
        "PYTHONHASHSEED": "0",
        "PYTHONMALLOC": allocator,
        "PYTHONUNBUFFERED": "",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.pthread.stack_cache_size=0",
        "MALLOC_ARENA_MAX": "1",
        "TMPDIR": temporary,
    }

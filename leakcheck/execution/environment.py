"""The environment of a worker: the user's own, with everything that would move a reading fixed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from leakcheck.execution.elf import defines
from leakcheck.execution.job import Arenas

_REMOVED_PREFIXES = ("MALLOC_", "COVERAGE_", "COV_CORE_", "PYTEST_")
_REMOVED = frozenset(
    {
        "LEAKCHECK_AGENTS",  # where this tool is a child of what another one measures
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
_ARENA_MAX = "glibc.malloc.arena_max"
_TUNABLES = {
    "glibc.malloc.tcache_count": "0",
    _ARENA_MAX: "1",
    "glibc.malloc.mmap_max": "0",
    "glibc.malloc.trim_threshold": str(1 << 40),
    "glibc.pthread.stack_cache_size": "0",
}
"""glibc's ledger is exact to the byte without thread caches, one ledger with one arena, and mappings are without stacks
that are kept for the next thread, and without large blocks of malloc: what is in them is not malloc's.
The heap's end is given back before a reading, and not by itself: where another allocator has taken memory behind it,
glibc gives back what it has just taken for a large block, and finds none."""
_ALLOCATORS = ("jemalloc", "mimalloc", "tcmalloc", "hoard", "snmalloc")


def worker_environment(
    allocator: str, temporary: str, base: Mapping[str, str] = os.environ, arenas: Arenas = "one"
) -> dict[str, str]:
    """Environment variables for one worker.

    `PYTHONMALLOC=malloc` puts Python's objects and native memory on one ledger. Without thread caches
    (`tcache_count=0`) glibc's ledger is exact to the byte: a cached chunk counts as in use there, and which chunks are
    cached depends on what was freed last. One arena keeps all threads on one heap; with `arenas="default"` there are as
    many as the user's process has, of which only the bytes in use are exact. Stacks of ended threads are unmapped
    and not kept for the next one: how many there are depends on who ended first. The user's other tunables and
    preloaded libraries are kept, but for another allocator.
    """
    wanted = _wanted(arenas)
    kept = {
        name: value for name, value in base.items() if name not in _REMOVED and not name.startswith(_REMOVED_PREFIXES)
    }
    preloaded = [library for library in _preloaded(base) if not _allocator(library)]
    kept.pop("LD_PRELOAD", None)
    return kept | {
        "PYTHONHASHSEED": "0",
        "PYTHONMALLOC": allocator,
        "PYTHONUNBUFFERED": "",
        "GLIBC_TUNABLES": ":".join([*_tunables(base, wanted), *(f"{name}={value}" for name, value in wanted.items())]),
        **_arena_limit(base, arenas),
        "TMPDIR": temporary,
        **({"LD_PRELOAD": ":".join(preloaded)} if preloaded else {}),
    }


def left_out(base: Mapping[str, str] = os.environ, arenas: Arenas = "one") -> Iterator[str]:
    """What of the user's environment does not reach the measured process though it is about memory, and why not."""
    for library in _preloaded(base):
        if name := _allocator(library):
            yield (
                f"LD_PRELOAD: {os.path.basename(library)} ({name}) is left out of the measured process, for it takes "
                "the place of malloc, and its ledger cannot be read"
            )
    wanted = _wanted(arenas)
    own = _tunables(base, wanted)
    for tunable in filter(None, base.get("GLIBC_TUNABLES", "").split(":")):
        if tunable not in own:
            name = tunable.partition("=")[0]
            yield f"GLIBC_TUNABLES: {name} is {wanted[name]} in the measured process, or readings would not be exact"
    for name in sorted(base):
        if name.startswith("MALLOC_") and _arena_limit(base, arenas).get(name) != base[name]:
            yield f"{name} is left out of the measured process, for it would move its readings"


def _wanted(arenas: Arenas) -> dict[str, str]:
    """The tunables that have to be as they are."""
    return {name: value for name, value in _TUNABLES.items() if arenas == "one" or name != _ARENA_MAX}


def _arena_limit(base: Mapping[str, str], arenas: Arenas) -> dict[str, str]:
    """The same limit by the name that it had before there were tunables; by default the user's own."""
    limit = "1" if arenas == "one" else base.get("MALLOC_ARENA_MAX")
    return {"MALLOC_ARENA_MAX": limit} if limit else {}


def _tunables(base: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """The user's tunables, without those that have to be as they are."""
    given = filter(None, base.get("GLIBC_TUNABLES", "").split(":"))
    return [tunable for tunable in given if tunable.partition("=")[0] not in wanted]


def _preloaded(base: Mapping[str, str]) -> list[str]:
    """The libraries of LD_PRELOAD, between which blanks or colons stand."""
    return base.get("LD_PRELOAD", "").replace(":", " ").split()


def _allocator(library: str) -> str:
    """The name of the allocator that a library is; empty for any other library."""
    named = next((name for name in _ALLOCATORS if name in os.path.basename(library)), "")
    try:
        return named or ("an allocator" if defines(Path(library).read_bytes(), b"malloc") else "")
    except (OSError, ValueError):  # not a path: the loader knows where to look for it
        return ""

"""Seventeen small targets on which leak testers differ, each a function of this module. `TARGETS` says which leak."""

from __future__ import annotations

import ctypes
import functools
import itertools
import logging
import threading
import zlib

_kept: list[object] = []
_turns = itertools.count(1)
_libc = ctypes.CDLL(None)
_libc.malloc.argtypes, _libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
_object_malloc = ctypes.pythonapi.PyMem_RawMalloc
_object_malloc.argtypes, _object_malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
_table: dict[int, object] = {}
logging.getLogger("peer").addHandler(logging.NullHandler())


def no_op() -> None:
    pass


def one_kb_per_call() -> None:
    _kept.append(bytearray(1024))


def one_object_per_100_calls() -> None:
    if next(_turns) % 100 == 0:
        _kept.append(bytearray())


@functools.lru_cache(maxsize=5000)
def _small_cache(key: int) -> bytes:
    return bytes(100)


def lru_cache_5000_filling() -> None:
    _small_cache(next(_turns))


def noise_of_1_mb_and_64_b_per_call() -> None:
    bytearray(1 << 20)
    _kept.append(bytes(64))


def cycles_freed_by_gc() -> None:
    cycle: list[object] = []
    cycle.append(cycle)


@functools.lru_cache(maxsize=50_000)
def _large_cache(key: int) -> bytes:
    return bytes(100)


def lru_cache_50000_filling() -> None:
    _large_cache(next(_turns))


def one_kb_per_100_calls() -> None:
    if next(_turns) % 100 == 0:
        _kept.append(bytearray(1024))


def one_mb_per_500_calls() -> None:
    if next(_turns) % 500 == 0:
        _kept.append(bytearray(1 << 20))


def libc_malloc() -> None:
    _libc.malloc(64)


def one_mb_per_5000_calls() -> None:
    if next(_turns) % 5000 == 0:
        _kept.append(bytearray(1 << 20))


def noise_of_1_mb() -> None:
    bytearray(1 << 20)


def dict_cleared_every_3000_calls() -> None:
    turn = next(_turns)
    _table[turn] = [turn]
    if len(_table) >= 3000:
        _table.clear()


def thread_started_and_joined() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def logging_a_line() -> None:
    logging.getLogger("peer").warning("line %d", next(_turns))


def one_object_every_2nd_call() -> None:
    if next(_turns) % 2 == 0:
        _kept.append(bytearray(10))


def malloc_inside_a_shared_object() -> None:
    _object_malloc(64)
    zlib.crc32(b"x")


TARGETS = {
    "no_op": False,
    "one_kb_per_call": True,
    "one_object_per_100_calls": True,
    "lru_cache_5000_filling": False,
    "noise_of_1_mb_and_64_b_per_call": True,
    "cycles_freed_by_gc": False,
    "lru_cache_50000_filling": False,
    "one_kb_per_100_calls": True,
    "one_mb_per_500_calls": True,
    "libc_malloc": True,
    "one_mb_per_5000_calls": True,
    "noise_of_1_mb": False,
    "dict_cleared_every_3000_calls": False,
    "thread_started_and_joined": False,
    "logging_a_line": False,
    "one_object_every_2nd_call": True,
    "malloc_inside_a_shared_object": True,
}

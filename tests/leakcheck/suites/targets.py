"""Small targets on which leak testers differ, as anyone would write them for pytest; `test_pytest_plugin` runs them."""

import ctypes
import functools
import itertools
import logging
import threading

import pytest

kept = []
turns = itertools.count(1)
table = {}
libc = ctypes.CDLL(None)
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
raw_malloc = ctypes.pythonapi.PyMem_RawMalloc
raw_malloc.argtypes, raw_malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
leaks = pytest.mark.leakcheck(expect="leak", tools=["growth"])


def test_no_op():
    pass


@leaks
def test_one_kb_per_call():
    kept.append(bytearray(1024))


@leaks
def test_one_object_per_100_calls():
    if next(turns) % 100 == 0:
        kept.append(bytearray())


@functools.lru_cache(maxsize=5000)
def small_cache(key):
    return bytes(100)


def test_lru_cache_5000_filling():
    small_cache(next(turns))


@leaks
def test_noise_of_1_mb_and_64_b_per_call():
    bytearray(1 << 20)
    kept.append(bytes(64))


def test_cycles_freed_by_gc():
    cycle = []
    cycle.append(cycle)


@functools.lru_cache(maxsize=50_000)
def large_cache(key):
    return bytes(100)


def test_lru_cache_50000_filling():
    large_cache(next(turns))


@leaks
def test_one_kb_per_100_calls():
    if next(turns) % 100 == 0:
        kept.append(bytearray(1024))


@leaks
def test_one_mb_per_500_calls():
    if next(turns) % 500 == 0:
        kept.append(bytearray(1 << 20))


@leaks
def test_libc_malloc():
    libc.malloc(64)


@leaks
def test_one_mb_per_5000_calls(leakcheck):
    def call():
        if next(turns) % 5000 == 0:
            kept.append(bytearray(1 << 20))

    leakcheck(call, expect="leak")


def test_noise_of_1_mb():
    bytearray(1 << 20)


def test_dict_cleared_every_3000_calls():
    turn = next(turns)
    table[turn] = [turn]
    if len(table) >= 3000:
        table.clear()


def test_thread_started_and_joined():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def test_logging():
    logging.getLogger("peer").warning("line %d", next(turns))


@leaks
def test_one_object_every_2nd_call():
    if next(turns) % 2 == 0:
        kept.append(bytearray(10))


@leaks
def test_malloc_inside_a_shared_object():
    raw_malloc(64)

"""Calls of the peers' own planted leaks, as scenarios: `<peer>__<case>`."""

import mmap
import os
import sys
import threading

from leakcheck import scenario

sys.path[:0] = os.environ["PEERS_OWN_PATH"].split(os.pathsep)

import test_ext as ext  # noqa: E402 - psleak's, built from its source
from memray._test import MemoryAllocator  # noqa: E402

ENDS = "ends by itself"
"""Tag of what its peer calls a leak though it is over after ten seconds: a hundred are alive at a time, and no more."""
SIZES = {"size": [1, 1024, 16 * 1024, 1 << 20]}


@scenario(params=SIZES, expect="leak")
def psleak__malloc(size):
    ext.malloc(size)


@scenario(params=SIZES)
def psleak__malloc_and_free(size):
    ext.free(ext.malloc(size))


@scenario(params=SIZES, expect="leak")
def psleak__mmap(size):
    ext.mmap(size)


@scenario(params=SIZES)
def psleak__mmap_and_munmap(size):
    ext.munmap(ext.mmap(size), size)


@scenario(params={"size": [1, 1024]}, expect="leak")
def psleak__pymem_malloc(size):
    ext.pymem_malloc(size)


@scenario(params={"size": [1, 1024]})
def psleak__pymem_malloc_and_free(size):
    ext.pymem_free(ext.pymem_malloc(size))


@scenario(params={"size": [1, 1024]}, expect="leak")
def psleak__pyobject_malloc(size):
    ext.pyobject_malloc(size)


@scenario(params={"size": [1, 1024]})
def psleak__pyobject_malloc_and_free(size):
    ext.pyobject_free(ext.pyobject_malloc(size))


@scenario(params={"length": [1, 100]}, expect="leak")
def psleak__leak_list(length):
    ext.leak_list(length)


@scenario(params={"length": [1, 100]}, expect="leak")
def psleak__leak_tuple(length):
    ext.leak_tuple(length)


@scenario(expect="leak")
def psleak__leak_long():
    ext.leak_long(512)


@scenario(expect="leak")
def psleak__leak_dict():
    ext.leak_dict()


@scenario(expect="leak")
def psleak__leak_cycle():
    ext.leak_cycle()


@scenario(expect="leak")
def psleak__malloc_every_other_call():
    calls = 0

    def step():
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            ext.malloc(40)

    yield step


@scenario(expect="leak")
def psleak__native_thread():
    started = []
    yield lambda: started.append(ext.start_native_thread())
    for each in started:
        ext.stop_native_thread(each)


@scenario(expect="leak")
def psleak__python_thread():
    done, started = threading.Event(), []

    def step():
        started.append(threading.Thread(target=done.wait))
        started[-1].start()

    yield step
    done.set()


@scenario
def psleak__cycle_that_the_collector_frees():
    class Leaky:
        pass

    def step():
        a, b = Leaky(), Leaky()
        a.ref, b.ref = b, a

    yield step


@scenario
def psleak__exception():
    try:
        raise ValueError("test")
    except ValueError as error:
        kept = error
    assert kept


@scenario
def psleak__pages_of_one_map():
    pages = mmap.mmap(-1, 64 << 20)
    at = 0

    def step():
        nonlocal at
        pages[at % len(pages)] = 1
        at += mmap.PAGESIZE

    yield step


@scenario(tags={ENDS})
async def pyleak__task():
    from test_task_leaks import leaky_function

    await leaky_function()


@scenario
async def pyleak__task_that_is_awaited():
    from test_task_leaks import well_behaved_function

    await well_behaved_function()


@scenario(tags={ENDS})
def pyleak__thread():
    from test_thread_leaks import leaky_thread_function

    leaky_thread_function()


@scenario
def pyleak__thread_that_is_joined():
    from test_thread_leaks import well_behaved_thread_function

    well_behaved_thread_function()


@scenario(params={"size": [1024, 10 * 1024]}, expect="leak")
def pytest_memray__valloc(size):
    MemoryAllocator().valloc(size)


@scenario(expect="leak")
def pytest_memray__valloc_in_a_thread():
    thread = threading.Thread(target=lambda: MemoryAllocator().valloc(5 * 1024))
    thread.start()
    thread.join()


@scenario
def pytest_memray__valloc_and_free():
    allocator = MemoryAllocator()

    def step():
        allocator.valloc(1024)
        allocator.free()

    yield step

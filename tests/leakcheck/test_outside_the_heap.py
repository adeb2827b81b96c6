"""Memory that is not the C library's: seen to the page, in allocators of other libraries, beside busy processors."""

from __future__ import annotations

import multiprocessing
import re
from functools import partial
from pathlib import Path

import pytest
from processes import job_of, measured, run

from leakcheck import meters
from leakcheck.agent.probes.touched import after_faults
from leakcheck.execution.worker import Worker

PAGES = "anon.bytes"
ARENA = """
        import itertools, mmap
        arena = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        calls = itertools.count()
"""
"""Lines that give a scenario memory of its own, as a library's arena is."""
MALLOCS = {"mimalloc": "mi_malloc", "jemalloc": "malloc", "tcmalloc": "tc_malloc"}
"""The function that takes memory from an allocator, by its name."""
FREES = {"mimalloc": "mi_free", "jemalloc": "free", "tcmalloc": "tc_free"}


@pytest.fixture
def job(tmp_path):
    return partial(job_of, tmp_path)


def library(name: str) -> Path:
    found = next(Path("/usr/lib").glob(f"**/lib{name}*.so*"), None)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4")
    return found


@pytest.fixture(params=MALLOCS)
def allocator(request, monkeypatch):
    """Lines that give a scenario `take(bytes)` and `give_back(pointer)` of another allocator, and its name."""
    # jemalloc has variables that the loader must make room for before the program starts.
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=16384")
    lines = f"""
        import ctypes
        allocator = ctypes.CDLL({str(library(request.param))!r})
        _take, give_back = allocator.{MALLOCS[request.param]}, allocator.{FREES[request.param]}
        _take.restype, _take.argtypes, give_back.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
        def take(size):
            pointer = _take(size)
            ctypes.memset(pointer, 1, size)
            return pointer
    """
    return request.param, lines


@pytest.fixture(params=["idle", "busy"])
def neighbours(request):
    """A process that never rests on each processor, or none."""
    loops = [
        multiprocessing.get_context("fork").Process(target=_spin, daemon=True)
        for _ in range(multiprocessing.cpu_count() if request.param == "busy" else 0)
    ]
    for loop in loops:
        loop.start()
    yield
    for loop in loops:
        loop.kill()
        loop.join()


def _spin() -> None:
    while True:
        pass


STILL = {
    "a step that does nothing": """
        @scenario
        def case():
            pass
    """,
    "large blocks of malloc that come and go": """
        import random
        sizes = random.Random(1)
        @scenario
        def case():
            bytearray(sizes.randint(1, 8 << 20))
    """,
    "mappings that are made and unmapped": """
        import mmap
        @scenario
        def case():
            with mmap.mmap(-1, 1 << 20) as mapping:
                mapping.write(bytes(1 << 20))
    """,
}


THREADS_THAT_END = """
        import threading
        @scenario
        def case():
            thread = threading.Thread(target=sum, args=(range(100),))
            thread.start()
            thread.join()
    """


@pytest.mark.parametrize("name", STILL)
@pytest.mark.usefixtures("neighbours")
def test_pages_outside_the_heap_repeat_to_the_page_where_nothing_is_kept(job, name):
    with Worker(job(STILL[name])) as worker:
        at = [meter for meter, _ in worker.open().meters].index(PAGES)
        worker.run(200)
        readings = {worker.run(450).values[at] for _ in range(4)}
    assert len(readings) == 1


@pytest.mark.usefixtures("neighbours")
def test_threads_that_end_leave_no_more_than_the_stacks_that_the_c_library_keeps_for_the_next(job):
    """One that is late to end has its stack when the next one needs one: then there are two for good, of two pages."""
    with Worker(job(THREADS_THAT_END)) as worker:
        at = [meter for meter, _ in worker.open().meters].index(PAGES)
        worker.run(200)
        readings = [worker.run(450).values[at] for _ in range(4)]
    assert max(readings) - min(readings) < meters.of(PAGES, "").thresholds.floor


@pytest.mark.usefixtures("neighbours")
def test_64_bytes_a_call_in_another_allocator_are_on_its_ledger_to_the_byte(job, allocator):
    _, lines = allocator
    source = f"""
        {lines}
        @scenario
        def case():
            take(64)
    """
    growth = measured(job(source)).judgements["allocators.bytes"]
    assert (growth.verdict, growth.growth) == ("leak", 64)


def test_64_bytes_a_call_in_an_arena_of_a_library_are_a_leak(job):
    """No ledger tells of it: only the pages that are touched."""
    source = f"""
        {ARENA}
        @scenario
        def case():
            arena[next(calls) * 64] = 1
    """
    growth = measured(job(source)).judgements[PAGES]
    assert growth.verdict == "leak"
    assert growth.growth == pytest.approx(64, rel=0.05)


def test_a_clean_verdict_names_the_allocators_beside_the_c_librarys(job, allocator):
    name, lines = allocator
    source = f"""
        {lines}
        @scenario
        def case():
            give_back(take(64))
    """
    scenario = run(job(source))
    assert scenario.verdict == "clean"
    assert re.search(
        rf"B on other allocators' ledgers, [^,]* KiB of other memory \({name} in lib{name}", scenario.reason
    )
    assert any(note.startswith("another allocator than the C library's is loaded") for note in scenario.advice)


def test_a_ledger_that_a_library_keeps_is_read(job, tmp_path):
    """Its functions may be hidden; Python's face of it is asked."""
    (tmp_path / "pyarrow.py").write_text("pool = []\ndef total_allocated_bytes():\n    return 1000 * len(pool)\n")
    source = """
        import pyarrow
        @scenario
        def case():
            pyarrow.pool.append(None)
    """
    assert measured(job(source)).judgements["allocators.bytes"].growth == 1000


def test_an_allocator_that_only_uses_its_memory_again_is_innocent(job, allocator):
    _, lines = allocator
    source = f"""
        {lines}
        import random
        sizes = random.Random(1)
        @scenario
        def case():
            for pointer in [take(sizes.randint(16, 20_000)) for _ in range(8)]:
                give_back(pointer)
    """
    assert measured(job(source)).leaking == []


def test_a_leak_in_the_arena_of_a_thread_is_on_the_heaps_ledger(job):
    source = """
        import threading
        kept = []
        @scenario
        def case():
            thread = threading.Thread(target=lambda: kept.append(bytes(100)))
            thread.start()
            thread.join()
    """
    assert "heap.bytes" in measured(job(source, arenas="default"), time_s=3.0).leaking


def test_an_arena_that_is_filled_and_then_stands_is_innocent(job):
    source = f"""
        {ARENA}
        @scenario
        def case():
            arena[min(next(calls), 4000) * 200] = 1
    """
    assert measured(job(source)).leaking == []


@pytest.mark.parametrize("option", [{"allocator": "pymalloc"}, {"arenas": "default"}], ids=["pymalloc", "arenas"])
def test_where_pages_of_malloc_lie_outside_its_heap_they_are_counted_roughly(job, option):
    with Worker(job(STILL["a step that does nothing"], **option)) as worker:
        opened = worker.open()
    assert PAGES in opened.unavailable
    assert "private.bytes" in [name for name, _ in opened.meters]


def test_a_page_is_the_least_that_a_meter_of_pages_can_lose():
    assert meters.of(PAGES, "B").thresholds.quantum == 4096


def test_what_takes_memory_outside_the_heap_is_named_with_its_line_and_c_function(job):
    source = f"""
        {ARENA}
        def take():
            arena.write(bytes(200))
        @scenario
        def case():
            take()
    """
    (finding,) = run(job(source), "auto").findings
    assert finding.title.startswith("leaks 200 B of memory outside the heap per iteration: taken by mmap.mmap.write at")
    assert finding.stack[0].source == "arena.write(bytes(200))"


def test_what_takes_memory_of_another_allocator_is_named_with_its_line(job, allocator):
    _, lines = allocator
    source = f"""
        {lines}
        @scenario
        def case():
            take(64)
    """
    (finding,) = run(job(source), "auto").findings
    assert finding.title.startswith("leaks 64 B of memory of another allocator per iteration")
    assert finding.stack[0].source == "pointer = _take(size)"


def test_memory_that_is_mapped_and_touched_is_told_once_by_the_line_that_maps_it(job):
    source = """
        import ctypes
        libc = ctypes.CDLL(None)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        @scenario
        def case():
            memory = libc.mmap(None, 16384, 3, 0x22, -1, 0)
            ctypes.memset(memory, 1, 16384)
    """
    (finding,) = run(job(source), "auto").findings
    assert "of mapping per iteration" in finding.title
    assert finding.stack[0].source.startswith("memory = libc.mmap(")


def test_a_ledger_of_pages_is_read_only_after_a_page_fault():
    import mmap

    reads = []
    read = after_faults(lambda: float(len(reads.append(None) or reads)))
    read()
    before = len(reads)
    for _ in range(100):
        read()
    assert len(reads) - before < 100, "nothing has been touched"
    with mmap.mmap(-1, 1 << 20) as memory:
        before = len(reads)
        memory.write(bytes(1 << 20))
        read()
        assert len(reads) > before

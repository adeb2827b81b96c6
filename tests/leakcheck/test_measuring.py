"""Real processes: what the meters see, and that they see nothing where nothing is."""

from __future__ import annotations

import math
import os
import sys
from array import array
from functools import partial

import pytest
from processes import job_of, measured

import leakcheck
from leakcheck import meters
from leakcheck.agent.protocol import (
    ClockRead,
    Collect,
    Collected,
    Held,
    HeldByOld,
    HolderSizes,
    LimitedContainers,
    LimitedContainersFound,
    NewAreHeld,
    ReadsClock,
    Stayed,
    WhatStays,
)
from leakcheck.agent.step import _watched
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Budget, Job
from leakcheck.execution.worker import Worker
from leakcheck.meters import BYTES
from leakcheck.verdict.caches import CacheSuspicion
from leakcheck.verdict.measure import measure

EXACT = (
    "heap.bytes",
    "py.objects",
    "uncollectable",
    "fds",
    "threads",
    "py.threads",
    "children",
    "disk.files",
    "disk.bytes",
)


@pytest.fixture
def job(tmp_path):
    return partial(job_of, tmp_path)


NO_OP = """
    @scenario
    def case():
        pass
"""


def test_a_no_op_shows_exactly_no_growth_on_every_exact_meter(job):
    result = measured(job(NO_OP))
    assert {name: result.judgements[name].verdict for name in EXACT} == dict.fromkeys(EXACT, "clean")
    assert {name: result.judgements[name].growth for name in EXACT} == dict.fromkeys(EXACT, 0)
    # The kernel's figures have more digits from time to time: no reading moves by more than two chunks' rounding.
    late = [sample.value for sample in result.samples["heap.bytes"] if sample.iterations > 1000]
    assert max(late) - min(late) <= 64


def test_an_async_no_op_does_not_move_with_the_calls(job):
    """The loop's own timers and handles find chunks of 16 bytes more or less, to and fro, however many calls."""
    source = """
        @scenario
        async def case():
            pass
    """
    with Worker(job(source)) as worker:
        names = [name for name, _ in worker.open().meters]
        worker.run(1021)
        first = dict(zip(names, worker.run(1021).values, strict=True))
        last = dict(zip(names, worker.run(50_021).values, strict=True))
    one_chunk_per_thousand_calls = 16 * 50_021 / 1000
    assert abs(last["heap.bytes"] - first["heap.bytes"]) < one_chunk_per_thousand_calls / 4
    exact = {*EXACT, "tasks"} - {"heap.bytes"}
    assert {name: last[name] - first[name] for name in exact} == dict.fromkeys(exact, 0)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_the_questions_of_a_measurement_leave_nothing_in_the_series(job, kind):
    """Each is asked in the middle of a no-op: the judge sees nothing of it."""
    questions = [
        (HolderSizes(), Held),
        (NewAreHeld(256), HeldByOld),
        (LimitedContainers(in_sight=True), LimitedContainersFound),
        (LimitedContainers(in_sight=False), LimitedContainersFound),
        (Collect(), Collected),
    ]
    with Worker(job(NO_OP.replace("def", kind))) as worker:
        names = [name for name, _ in worker.open().meters]
        worker.run(1021)
        before = dict(zip(names, worker.run(509).values, strict=True))
        for question, answer in questions:
            worker.ask(question, answer)
            after = dict(zip(names, worker.run(509).values, strict=True))
            moved = {name: after[name] - before[name] for name in EXACT}
            assert abs(moved.pop("heap.bytes")) <= BYTES.floor, question  # the holes that the answer leaves: no growth
            assert set(moved.values()) == {0}, (question, moved)
            before = after


def test_a_measuring_process_loads_nothing_of_ours_once_it_has_begun(job):
    source = """
        import sys
        before = set()
        @scenario
        def case():
            later = {name for name in sys.modules if name.startswith("leakcheck")}
            if before and later != before:
                raise RuntimeError(f"loaded since the first call: {later - before}")
            before.update(later)
    """
    with Worker(job(source)) as worker:
        worker.open()
        worker.run(16)
        for question, answer in (
            (NewAreHeld(16), HeldByOld),
            (ReadsClock(16), ClockRead),
            (WhatStays(16, 0.001), Stayed),
        ):
            worker.ask(question, answer)
            assert worker.run(1).raised is None, question


def test_what_the_scenario_imports_leaves_no_compiled_file_behind(job, tmp_path):
    (tmp_path / "helper_of_scenario.py").write_text("VALUE = 1\n")
    (tmp_path / "helper_of_child.py").write_text("VALUE = 1\n")
    source = """
        import subprocess, sys
        import helper_of_scenario
        subprocess.run([sys.executable, "-c", "import helper_of_child"], check=True)
        @scenario
        def case():
            pass
    """
    with Worker(job(source)) as worker:
        worker.open()
    assert not list(tmp_path.rglob("*.pyc"))


@pytest.mark.parametrize("kept", ["none", "pipe"])
def test_a_scenario_that_closes_the_descriptors_of_the_measurement_is_told_so(job, kept):
    """Those of the conversation, or those of the readings alone: pipes are what the parent is talked to by."""
    source = f"""
        import os
        from contextlib import suppress
        @scenario
        def case():
            for number in map(int, os.listdir("/proc/self/fd")):
                with suppress(OSError):
                    if number > 2 and not os.readlink(f"/proc/self/fd/{{number}}").startswith({kept!r}):
                        os.close(number)
    """
    with Worker(job(source)) as worker:
        worker.open()
        with pytest.raises(WorkerFailed) as failed:
            worker.run(1)
    failure = failed.value.failure
    assert "closed descriptors that it did not open" in failure.output + failure.message


def test_a_bad_descriptor_of_a_step_without_frames_is_reported_as_it_is():
    failure = leakcheck.check(os.close, 2**20).record.failure
    assert failure.type == "OSError"
    assert "Bad file descriptor" in failure.message


LEAKS = {
    "heap.bytes": """
        kept = []
        @scenario
        def case():
            kept.append(bytes(50))
    """,
    "py.objects": """
        kept = []
        @scenario
        def case():
            kept.append([])
    """,
    "fds": """
        import os
        @scenario
        def case():
            os.open(os.devnull, os.O_RDONLY)
    """,
    "threads": """
        import _thread
        lock = _thread.allocate_lock()
        lock.acquire()
        @scenario
        def case():
            _thread.start_new_thread(lock.acquire, ())
    """,
    "children": """
        import os
        @scenario
        def case():
            os.posix_spawn("/bin/true", ["true"], {})
    """,
    "mapped.bytes": """
        import mmap
        import ctypes
        libc = ctypes.CDLL(None)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        @scenario
        def case():
            libc.mmap(None, 65536, 3, 0x22, -1, 0)
    """,
    "anon.bytes": """
        import ctypes, itertools, mmap
        arena = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages = itertools.count()
        @scenario
        def case():
            "An allocator of its own that takes page after page of what it reserved."
            arena[next(pages) * 4096] = 1
    """,
    "shm": """
        import itertools, mmap
        arena = mmap.mmap(-1, 1 << 30)
        pages = itertools.count()
        @scenario
        def case():
            "The same in memory that could be shared."
            arena[next(pages) * 4096] = 1
    """,
    "disk.bytes": """
        import tempfile
        log = tempfile.TemporaryFile(buffering=0)
        @scenario
        def case():
            "A file that no directory shows."
            log.write(bytes(100))
    """,
    "disk.files": """
        import tempfile
        @scenario
        def case():
            tempfile.NamedTemporaryFile(delete=False).close()
    """,
    "tasks": """
        import asyncio
        @scenario
        async def case():
            never = asyncio.Event()
            kept = set()
            async def step():
                kept.add(asyncio.ensure_future(never.wait()))
                await asyncio.sleep(0)
            yield step
    """,
    "answers": """
        answers = 0
        @scenario
        def case(ctx):
            ctx.meter("answers", lambda: answers)
            def step():
                global answers
                answers += 1
            yield step
    """,
}


@pytest.mark.parametrize("meter", LEAKS)
def test_each_meter_sees_its_own_leak(job, meter):
    assert meter in measured(job(LEAKS[meter])).leaking


NAMED_MEMORY = """
    from multiprocessing import resource_tracker, shared_memory
    @scenario
    def case():
        memory = shared_memory.SharedMemory(create=True, size=4096)
        resource_tracker.unregister(memory._name, "shared_memory")  # which would clean up at exit
        memory.close()
"""


def test_shared_memory_that_keeps_its_name_is_a_leak_and_does_not_outlive_the_measurement(job):
    before = set(os.listdir("/dev/shm"))
    assert {"disk.files", "disk.bytes"} <= set(measured(job(NAMED_MEMORY)).leaking)
    assert not [name for name in set(os.listdir("/dev/shm")) - before if name.startswith("psm_")]


INNOCENT = {
    "shared memory that is unlinked": """
        from multiprocessing import shared_memory
        @scenario
        def case():
            memory = shared_memory.SharedMemory(create=True, size=4096)
            memory.close()
            memory.unlink()
    """,
    "threads that are joined": """
        import threading
        @scenario
        def case():
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
    """,
    "threads that end by themselves a little later": """
        import threading, time
        @scenario
        def case():
            threading.Thread(target=time.sleep, args=(0.002,)).start()
    """,
    "cyclic garbage": """
        @scenario
        def case():
            cycle = []
            cycle.append(cycle)
    """,
    "a bounded cache": """
        import functools, itertools
        numbers = itertools.count()
        @functools.lru_cache(maxsize=5000)
        def cached(number):
            return bytes(100)
        @scenario
        def case():
            cached(next(numbers))
    """,
    "files that are removed": """
        import tempfile
        @scenario
        def case():
            with tempfile.TemporaryFile() as file:
                file.write(b"x")
    """,
    "children that are waited for": """
        import os
        @scenario
        def case():
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    """,
    "background work that drains": """
        import queue, threading
        @scenario
        def case(ctx):
            work = queue.Queue()
            def consume():
                while work.get() is not None:
                    work.task_done()
            thread = threading.Thread(target=consume)
            thread.start()
            ctx.settle(work.join)
            yield lambda: work.put(object())
            work.put(None)
            thread.join()
    """,
    "a step that should raise": """
        @scenario(raises=ValueError)
        def case():
            int("x")
    """,
    "async with tasks that end": """
        import asyncio
        @scenario
        async def case():
            await asyncio.create_task(asyncio.sleep(0))
    """,
}


@pytest.mark.parametrize("name", INNOCENT)
def test_what_cleans_up_is_not_accused(job, name):
    result = measured(job(INNOCENT[name]))
    assert result.raised is None
    assert result.leaking == []


def test_a_cache_that_is_full_when_the_verdict_is_due_is_given_one_more_doubling(job):
    source = """
        import functools, itertools
        numbers = itertools.count()
        cached = functools.lru_cache(maxsize=2**18)(float)
        @scenario
        def case():
            cached(next(numbers))
    """
    with Worker(job(source)) as worker:
        specs = [meters.of(name, unit) for name, unit in worker.open().meters]
        result = measure(worker, specs, Budget(), CacheSuspicion(worker))
    assert result.judgements["heap.bytes"].verdict == "bounded"


def test_mappings_are_kept_below_what_the_system_allows(job):
    source = """
        import mmap
        kept = []
        @scenario
        def case():
            "Shared mappings do not merge: each call makes one more, until malloc gets none."
            kept.append(mmap.mmap(-1, 4096))
    """
    result = measured(job(source))
    assert "mapped.bytes" in result.leaking
    assert result.raised is None


@pytest.mark.parametrize("replaced", ["time.perf_counter = time.monotonic = lambda: 0.0", "json.dumps = lambda _: 'x'"])
def test_what_the_user_puts_in_the_place_of_standard_functions_does_not_reach_the_worker(job, replaced):
    source = f"""
        import json, time
        {replaced}
        kept = []
        @scenario
        def case():
            kept.append(bytes(50))
    """
    assert "heap.bytes" in measured(job(source)).leaking


@pytest.mark.parametrize(("falls", "most"), [(False, 11), (True, 12)], ids=["level", "a new low each time"])
def test_a_heap_that_is_slow_to_read_is_not_read_after_each_call(falls, most):
    """Readings may take a twentieth of a second, and beyond that half of the time; a new low takes two of them."""
    clock, reads = 0.0, 0

    def step() -> None:
        nonlocal clock
        clock += 0.0001

    def read() -> float:
        nonlocal clock, reads
        clock, reads = clock + 0.01, reads + 1
        return -float(reads) if falls else -1.0

    lowest = array("d", [0.0])
    watched = _watched(step, read, lambda: None, lowest, False, lambda: clock)
    for _ in range(4096):
        watched()
    assert 4096 * 0.0001 / 0.01 <= reads <= 4096 * 0.0001 / 0.01 + most
    assert lowest[0] == (-reads if falls else -1.0)


def test_a_trough_is_settled_before_it_counts():
    """What the interpreter keeps for itself when a buffer is flushed must not be taken for the step's."""
    kept = [5.0, 7.0, 3.0, 3.5]
    own = iter([2.0, 2.0, 2.0])

    def settle() -> None:
        kept[0] = next(own)

    lowest = array("d", [math.inf])
    watched = _watched(lambda: None, lambda: kept[0], settle, lowest, False)
    for _ in range(4):
        watched()
        kept.pop(0)
    assert lowest[0] == 2.0
    assert len(list(own)) == 2  # only what is lower than all before is settled


def test_a_plain_step_costs_less_than_100_ns_of_ours(job):
    """One turn of a C iterator and a call: compared with the same loop around a call that is timed by itself."""
    source = """
        import timeit
        def nothing():
            pass
        @scenario
        def case(ctx):
            ctx.meter("own_ns", lambda: min(timeit.repeat(nothing, number=100_000, repeat=5)) * 1e4)
            yield nothing
    """
    with Worker(job(source)) as worker:
        worker.open()
        rounds = [worker.run(100_003) for _ in range(5)]
    ours = min(each.seconds / 100_003 * 1e9 for each in rounds)
    own = min(each.values[-1] for each in rounds)
    assert ours - own < 100


def test_parameters_context_and_tear_down_reach_the_scenario(job, tmp_path):
    source = f"""
        @scenario(params={{"size": [1, 2]}})
        def case(ctx, size):
            (ctx.tmp_path / "made").write_text(str(size))
            yield lambda: None
            open({str(tmp_path / "torn_down")!r}, "w").write(str(size))
    """
    with Worker(job(source, "case[2]")) as worker:
        assert [each.name for each in worker.list_scenarios()] == ["case[1]", "case[2]"]
        worker.open()
        worker.run(3)
        worker.close()
    assert (tmp_path / "torn_down").read_text() == "2"


def test_the_measured_process_loads_little_of_ours(job):
    source = """
        import sys
        @scenario
        def case(ctx):
            ctx.meter("ours", lambda: sum(name.startswith("leakcheck") for name in sys.modules))
            heavy = {"numpy", "rich", "jinja2", "memray", "click", "msgspec", "psutil", "elkyn"}
            ctx.meter("heavy", lambda: len(heavy & set(sys.modules)))
            yield lambda: None
    """
    with Worker(job(source)) as worker:
        names = [name for name, _ in worker.open().meters]
        values = dict(zip(names, worker.run(1).values, strict=True))
    assert values["heavy"] == 0
    assert values["ours"] <= 40


def failure_of(job: Job, action) -> str:
    with Worker(job) as worker:
        worker.open()
        with pytest.raises(WorkerFailed) as caught:
            action(worker)
    assert caught.value.failure.output == "", "what a program prints may be any value of it"
    return caught.value.whole


def test_a_crash_names_the_signal_and_the_python_stack(job):
    source = """
        import ctypes
        @scenario
        def case():
            print("last words", flush=True)
            ctypes.string_at(0)
    """
    failure = failure_of(job(source), lambda worker: worker.run(1))
    assert failure.type == "signal"
    assert "SIGSEGV" in failure.message
    assert failure.traceback.startswith("Fatal Python error: Segmentation fault")
    assert "in case" in failure.traceback
    assert failure.output == "last words"


def test_a_step_that_ends_the_process_is_told_with_its_exit_code(job):
    source = """
        import os
        @scenario
        def case():
            print("last words", flush=True)
            os._exit(3)
    """
    failure = failure_of(job(source), lambda worker: worker.run(1))
    assert failure.type == "exit"
    assert "exit code 3" in failure.message
    assert "last words" in failure.output


def test_a_step_that_hangs_is_stopped_and_its_stack_told(job):
    source = """
        @scenario
        def case():
            while True:
                pass
    """
    failure = failure_of(job(source, timeouts={"call": 1.0}), lambda worker: worker.run(1))
    assert failure.type == "timeout"
    assert failure.message == "the step did not come back within 1 s; --timeouts call=2 allows more"
    assert "in case" in failure.traceback


def test_a_child_that_is_killed_is_told(job):
    source = """
        import os, signal
        @scenario
        def case():
            os.kill(os.getpid(), signal.SIGKILL)
    """
    failure = failure_of(job(source), lambda worker: worker.run(1))
    assert "SIGKILL" in failure.message


def test_a_child_above_the_memory_ceiling_is_stopped(job):
    source = """
        kept = []
        @scenario
        def case():
            kept.append(b"x" * 50_000_000)
    """
    with Worker(job(source), memory_limit=300 << 20) as worker:
        worker.open()
        with pytest.raises(WorkerFailed) as caught:
            worker.run(10_000)
    assert caught.value.failure.type == "memory"


def test_an_exception_in_the_step_is_told_with_the_users_frames_only(job):
    source = """
        def inner():
            raise ValueError("no")
        @scenario
        def case():
            inner()
    """
    result = measured(job(source))
    assert result.raised.type == "ValueError"
    assert "in inner" in result.raised.traceback
    assert "leakcheck/agent" not in result.raised.traceback


def test_a_step_that_should_raise_and_returns_is_an_error(job):
    source = """
        @scenario(raises=ValueError)
        def case():
            pass
    """
    assert measured(job(source)).raised.type == "DidNotRaiseError"


def test_output_of_the_child_is_kept_to_its_end_and_never_blocks_it(job):
    source = """
        @scenario
        def case():
            print("x" * 1000)
    """
    with Worker(job(source)) as worker:
        worker.open()
        assert worker.run(20_000).iterations == 20_000
        worker.close()


def test_a_forked_child_that_lives_on_does_not_keep_the_worker_waiting(job):
    source = """
        import os, time
        @scenario
        def case(ctx):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            yield lambda: None
    """
    with Worker(job(source)) as worker:
        worker.open()
        worker.run(10)
        worker.close()


def test_another_interpreter_needs_nothing_of_ours(job, tmp_path):
    import venv

    venv.create(tmp_path / "empty", with_pip=False, symlinks=True)
    python = str(tmp_path / "empty" / "bin" / "python")
    assert python != sys.executable
    source = """
        kept = []
        @scenario
        def case():
            kept.append(bytearray(10))
    """
    assert "heap.bytes" in measured(job(source, python=python)).leaking


def test_with_pymalloc_blocks_are_counted(job):
    source = """
        kept = []
        @scenario
        def case():
            kept.append(bytes(10))
    """
    assert "py.blocks" in measured(job(source, allocator="pymalloc")).leaking


def objects_after(measured_job: Job, *counts: int) -> list[float]:
    """What py.objects reads after each round of so many iterations."""
    with Worker(measured_job) as worker:
        at = [name for name, _ in worker.open().meters].index("py.objects")
        return [worker.run(count).values[at] for count in counts]


def test_objects_that_the_step_puts_aside_are_counted(job):
    source = """
        import gc
        kept = []
        @scenario
        def case():
            kept.append([])
            gc.freeze()
    """
    before, after = objects_after(job(source), 100, 100)
    assert after - before == 100


def test_objects_are_still_counted_once_they_are_put_back(job):
    source = """
        import gc
        kept = []
        @scenario
        def case():
            kept.append([])
            gc.unfreeze()
    """
    none, first, second = objects_after(job(source), 0, 100, 100)
    assert abs(second - first - 100) < 20
    # Counted where they are now, and not twice; the garbage of imports, which was put aside too, has gone.
    assert none - 1000 < first < none + 200


@pytest.mark.parametrize("mode", ["collect", "auto", "off", "freeze"])
def test_a_leak_is_found_under_every_collector_mode(job, mode):
    source = """
        kept = []
        @scenario
        def case():
            kept.append([1])
    """
    assert "heap.bytes" in measured(job(source, gc=mode)).leaking

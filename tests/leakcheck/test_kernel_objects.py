"""Things that the kernel and the C library keep for a process, and that no descriptor stands for."""

from __future__ import annotations

import ctypes
import os
from functools import partial
from pathlib import Path

import pytest
from processes import job_of, measured, run

from leakcheck.agent.meters import Place, kernel

PLACE = Place([], in_loop=False)

LEAKS = {
    "timers": """
        import ctypes
        libc = ctypes.CDLL(None)
        class Event(ctypes.Structure):
            _fields_ = [
                ("value", ctypes.c_void_p), ("signal", ctypes.c_int), ("notify", ctypes.c_int),
                ("rest", ctypes.c_char * 48),
            ]
        timer = ctypes.c_void_p()
        @scenario
        def case():
            libc.timer_create(1, ctypes.byref(Event(notify=1)), ctypes.byref(timer))
    """,
    "watches": """
        import ctypes, itertools, os, tempfile
        libc = ctypes.CDLL(None)
        watcher = libc.inotify_init1(0)
        folder = tempfile.mkdtemp()
        numbers = itertools.count()
        @scenario
        def case():
            path = f"{folder}/{next(numbers)}"
            open(path, "w").close()
            libc.inotify_add_watch(watcher, path.encode(), 2)
            os.link(path, f"{path}.kept")
    """,
    "pthread.keys": """
        import ctypes
        libc = ctypes.CDLL(None)
        key = ctypes.c_uint()
        @scenario
        def case():
            error = libc.pthread_key_create(ctypes.byref(key), None)
            if error:
                raise OSError(f"pthread_key_create: {error}")
    """,
    "sysv.segments": """
        import ctypes
        libc = ctypes.CDLL(None)
        @scenario
        def case():
            if libc.shmget(0, 4096, 0o1600) < 0:
                raise OSError("shmget")
    """,
}


@pytest.fixture
def job(tmp_path):
    return partial(job_of, tmp_path)


@pytest.mark.parametrize("meter", LEAKS)
def test_each_is_a_leak_of_its_own_meter_before_its_limit_is_met(job, meter):
    result = measured(job(LEAKS[meter]), time_s=3.0)
    assert meter in result.leaking
    assert result.judgements[meter].growth == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(("meter", "words"), [("timers", "POSIX timer"), ("pthread.keys", "key of thread")])
def test_the_line_that_makes_them_is_named(job, meter, words):
    finding = run(job(LEAKS[meter]), "auto").findings[0]
    assert words in finding.title
    assert "create(" in finding.stack[0].source


def test_segments_do_not_outlive_the_measurement(job):
    before = Path("/proc/sysvipc/shm").read_text().count("\n")
    assert "sysv.segments" in measured(job(LEAKS["sysv.segments"])).leaking
    assert Path("/proc/sysvipc/shm").read_text().count("\n") == before


def test_what_is_deleted_again_is_innocent(job):
    source = """
        import ctypes, select, os
        libc = ctypes.CDLL(None)
        key = ctypes.c_uint()
        @scenario
        def case():
            libc.pthread_key_create(ctypes.byref(key), None)
            libc.pthread_key_delete(key)
            libc.shmctl(libc.shmget(0, 4096, 0o1600), 0, None)
            libc.semctl(libc.semget(0, 1, 0o1600), 0, 0)
            event = os.eventfd(0)
            with select.epoll() as poll:
                poll.register(event)
            os.close(event)
    """
    assert measured(job(source)).leaking == []


def test_sets_of_semaphores_and_queues_of_this_user_are_counted():
    libc = ctypes.CDLL(None)
    read = kernel.semaphores_and_queues(PLACE)
    before = read()
    semaphores, queue = libc.semget(0, 1, 0o1600), libc.msgget(0, 0o1600)
    try:
        assert read() - before == 2
    finally:
        libc.semctl(semaphores, 0, 0)
        libc.msgctl(queue, 0, None)
    assert read() == before


def test_keys_of_this_user_are_counted():
    number = f"{os.geteuid()}:"
    row = next(row for row in Path("/proc/key-users").read_text().splitlines() if row.split()[0] == number)
    assert kernel.keys(PLACE)() == int(row.split()[2].split("/")[0])


def test_what_epoll_watches_is_counted():
    import select

    read = kernel.watches(PLACE)
    before = read()
    ends = os.pipe()
    with select.epoll() as poll:
        for end in ends:
            poll.register(end)
        assert read() - before == 2
    for end in ends:
        os.close(end)
    assert read() == before

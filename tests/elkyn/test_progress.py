"""`Progress`: waiting for what others bring about, with no lock held."""

import contextlib
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from elkyn.progress import Progress


class _Interrupted(Exception):
    pass


@contextlib.contextmanager
def _an_alarm_that_raises(after: float) -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise _Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_it_returns_when_what_is_waited_for_is_there() -> None:
    progress = Progress()
    assert progress.wait_for(lambda: True, 0)
    steps = 0

    def walk() -> None:
        nonlocal steps
        while steps < 1000:
            steps += 1
            progress.tell()

    walker = threading.Thread(target=walk)
    walker.start()
    assert progress.wait_for(lambda: steps == 1000, 30)
    walker.join()
    assert not progress._waiting


def test_it_gives_up_when_the_time_is_over() -> None:
    progress = Progress()
    begun = time.monotonic()
    assert not progress.wait_for(lambda: False, 0.05)
    assert time.monotonic() - begun >= 0.05
    assert not progress._waiting


def test_it_looks_now_and_then_where_nobody_tells() -> None:
    looks = iter(range(100))
    assert Progress().wait_for(lambda: next(looks) == 3, 30, look_every=0.001)


def test_all_who_wait_are_told() -> None:
    progress = Progress()
    go = False
    waiters = [threading.Thread(target=progress.wait_for, args=(lambda: go, 30)) for _ in range(20)]
    for waiter in waiters:
        waiter.start()
    while len(progress._waiting) < len(waiters):
        time.sleep(0)
    go = True
    progress.tell()
    for waiter in waiters:
        waiter.join(30)
        assert not waiter.is_alive()
    assert not progress._waiting


def test_what_a_signals_handler_raises_comes_out_and_leaves_nothing() -> None:
    progress = Progress()
    ended = False

    def keep_telling() -> None:
        while not ended:
            progress.tell()

    teller = threading.Thread(target=keep_telling)
    teller.start()
    try:
        for _ in range(300):
            with pytest.raises(_Interrupted), _an_alarm_that_raises(random.uniform(1e-5, 2e-3)):
                progress.wait_for(lambda: False, 30)
    finally:
        ended = True
        teller.join()
    progress.tell()
    assert not progress._waiting

"""A thread that is started once, whatever interrupts the start."""

import subprocess
import sys
import threading

import pytest

from elkyn import ElkynError
from elkyn.service import Service


def test_it_runs_once_and_says_when_it_has_ended() -> None:
    go, ran = threading.Event(), []

    def target() -> None:
        ran.append((threading.current_thread().name, service.is_current()))
        go.wait(10)

    service = Service("serving")
    assert (service.started, service.alive(), service.wait_until_ended(0)) == (False, False, True)
    service.start(target)
    service.start(target)
    assert (service.started, service.alive(), service.is_current()) == (True, True, False)
    assert not service.wait_until_ended(0.01)
    go.set()
    assert service.wait_until_ended(10)
    assert (service.alive(), ran) == (False, [("serving", True)])
    assert not [thread for thread in threading.enumerate() if thread.name == "serving"]


def test_where_the_system_gives_no_thread_that_is_an_error_and_a_later_start_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    service = Service("serving")
    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", refuse)
        with pytest.raises(ElkynError, match="cannot start the thread serving"):
            service.start(lambda: None)
    service.start(lambda: None)
    assert service.wait_until_ended(10)


def test_where_only_one_thread_is_left_that_one_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ran = threading.Event()
    service = Service("serving")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    service.start(ran.set)
    assert ran.wait(10)
    assert service.wait_until_ended(10)


def test_interrupted_starts_run_it_once_all_the_same() -> None:
    program = """
import random, signal, threading
from elkyn.service import Service
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
interrupted = 0
for _ in range(1000):
    ran = []
    service = Service("serving")
    try:
        signal.setitimer(signal.ITIMER_REAL, random.random() * 0.0002 + 1e-6)
        service.start(lambda: ran.append(1))
        service.start(lambda: ran.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Alarm:
        interrupted += 1
    for _ in range(2):  # the alarm may come as late as here
        try:
            service.start(lambda: ran.append(1))
            assert service.wait_until_ended(10)
        except Alarm:
            interrupted += 1
    assert ran == [1]
assert interrupted > 20, interrupted
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")

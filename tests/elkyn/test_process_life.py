"""A store in the life of its process: forks, exits, signals, and the extension's own account of what it leaked."""

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import elkyn

PROLOGUE = """
import os, sys, threading, time, elkyn
store = elkyn.open(sys.argv[1], durability="none")
"""

# Of lost handles, which is the point of some programs here; and what Python 3.12 says of every fork with threads.
QUIET = ("-W", "ignore::ResourceWarning", "-W", "ignore::DeprecationWarning")


def run(program: str, directory: Path, *, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-X", "faulthandler", *QUIET, "-c", PROLOGUE + program, str(directory)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # what Python says of every fork with threads
def test_24_in_a_forked_child_every_call_raises(store: elkyn.Store) -> None:
    store.set("/n", 1)
    observable = store.watch("/n")
    subscription = observable.subscribe(lambda event: None)
    calls = [
        lambda: store.get("/n"), lambda: store.set("/n", 2), lambda: store.update("/n", {"a": 1}),
        lambda: store.delete("/n"), lambda: store.push("/n", 1), lambda: store.exists("/n"), lambda: store.keys("/"),
        lambda: store.items("/"), lambda: store.set_async("/n", 1), lambda: store.watch("/n"), store.close,
        lambda: observable.subscribe(print), store.flush_events, store.event_queue_stats, store.live_subscriptions,
        lambda: store.transaction().__enter__(), subscription.unsubscribe,
    ]  # fmt: skip
    child = os.fork()
    if child == 0:
        refused = 0
        for call in calls:
            try:
                call()
            except elkyn.ForkedStoreError:
                refused += 1
            except BaseException:
                pass
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == len(calls)
    # And the parent's store is as it was.
    store.set("/n", 3)
    assert store.flush_events(10)
    assert store.get("/n") == 3


def test_24_a_forked_child_that_ends_normally_leaves_the_parents_store_alone(tmp_path: Path) -> None:
    done = run(
        """
store.watch("/n").subscribe(lambda event: print("heard", event.value, flush=True))
if (child := os.fork()) == 0:
    sys.exit(7)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
store.set("/n", 1)
store.flush_events()
""",
        tmp_path / "data",
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["child", "7", "heard", "1"]
    with elkyn.open(tmp_path / "data") as store:
        assert store.get("/n") == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_24_a_fork_while_another_thread_writes_does_not_hang_the_child(store: elkyn.Store) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.set("/n", 1)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            try:
                store.set("/n", 2)
            except elkyn.ForkedStoreError:
                os._exit(0)
            os._exit(1)
        deadline = time.monotonic() + 20
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            assert time.monotonic() < deadline, "the child hangs"
            time.sleep(0.005)
        assert ended[1] == 0
    stop.set()
    writer.join()


EXITS = {
    "with a subscription": "store.watch('/n').subscribe(print)",
    "with a handler running": """
entered = threading.Event()
store.watch('/n').subscribe(lambda event: (entered.set(), time.sleep(30)))
store.set('/n', 1)
entered.wait()""",
    "with a handler that runs in Python": """
entered = threading.Event()
def spin(event):
    entered.set()
    while True:
        pass
store.watch('/n').subscribe(spin)
store.set('/n', 1)
entered.wait()""",
    "with a filter running": """
entered = threading.Event()
store.watch('/n').filter(lambda event: (entered.set(), time.sleep(30))).map(str).subscribe(print)
store.set('/n', 1)
entered.wait()""",
    "with a handler of the initial state running": """
entered = threading.Event()
store.set('/n', 1)
store.watch('/n', initial=True).subscribe(lambda event: (entered.set(), time.sleep(30)))
entered.wait()""",
    "opened by another thread": """
def other():
    other.store = elkyn.open(sys.argv[1] + '2', durability='none')
    other.store.watch('/n').subscribe(lambda event: None)
    other.store.set('/n', 1)
thread = threading.Thread(target=other); thread.start(); thread.join()""",
    "with the thread that started another still at it": """
start = threading.Thread.start
def slowly(thread):
    start(thread)
    if thread.daemon:
        time.sleep(30)
threading.Thread.start = slowly
store.watch('/n').subscribe(lambda event: None)
store.set('/n', 1)""",
    "with the writer at work": "futures = [store.set_async('/n', n) for n in range(3000)]",
    "with an async store": "third = elkyn.open(sys.argv[1] + '3', durability='async')",
    "inside the handler": """
def leave(event):
    os._exit(3)
store.watch('/n').subscribe(leave)
store.set('/n', 1)
time.sleep(10)""",
    "with a daemon thread inside a transaction": """
entered = threading.Event()
def stay():
    with store.transaction() as tx:
        tx.set('/n', 1)
        entered.set()
        time.sleep(60)
threading.Thread(target=stay, daemon=True).start()
entered.wait()""",
    "with a daemon thread writing": """
def write():
    while True:
        try:
            store.set('/n', time.time_ns())
        except elkyn.StoreClosedError:
            pass
threading.Thread(target=write, daemon=True).start()
store.watch('/n').subscribe(lambda event: None)
time.sleep(0.2)""",
    "with a queue and a blocking handler that does not return": """
store.watch('/n/*').subscribe(lambda event: time.sleep(30), overflow='block')
futures = [store.set_async(f'/n/{n}', n) for n in range(3000)]""",
    "after a timer was set": """
store.watch('/n').debounce(60).subscribe(print)
store.set('/n', 1)
store.flush_events()""",
}


@pytest.mark.parametrize("how", EXITS)
def test_24_exit_without_close_is_quick_quiet_and_keeps_the_exit_code(tmp_path: Path, how: str) -> None:
    begin = time.monotonic()
    done = run(EXITS[how] + "\nsys.exit(3)", tmp_path / "data")
    took = time.monotonic() - begin
    assert (done.returncode, done.stderr) == (3, "")
    assert took < 25, "what it waits for takes 30 s or longer; a busy machine takes its time for the rest"
    with elkyn.open(tmp_path / "data") as store:
        store.set("/n", 1)
        if how == "with the writer at work":
            assert store.rev == 3001


def test_24_an_exception_that_ends_the_program_stays_what_it_is(tmp_path: Path) -> None:
    done = run("store.watch('/n').subscribe(print)\nraise LookupError('mine')", tmp_path / "data")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("LookupError: mine")


def test_24_an_exception_in_the_with_block_closes_the_store(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(LookupError), elkyn.open(tmp_path) as store:  # noqa: PT012
        subscription = store.watch("/n").subscribe(print, on_complete=lambda: said.append("complete"))
        raise LookupError
    assert said == ["complete"]
    assert not subscription.active
    elkyn.open(tmp_path).close()


def test_24_two_processes_cannot_have_one_directory(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data"):
        done = run("", tmp_path / "data")
        assert done.returncode == 1
        assert "StoreInUseError" in done.stderr
    assert run("", tmp_path / "data").returncode == 0


def test_a_forgotten_store_is_collected_closed_and_warned_of(tmp_path: Path) -> None:
    store = elkyn.open(tmp_path)
    store.watch("/n").filter(bool).subscribe(lambda event: None).unsubscribe()
    with pytest.warns(ResourceWarning, match="never closed"):  # noqa: PT031
        del store
        gc.collect()
    elkyn.open(tmp_path).close()


def test_close_during_delivery_from_another_thread(tmp_path: Path) -> None:
    for _ in range(20):
        store = elkyn.open(tmp_path, durability="none")
        said: list[object] = []

        def hear(event: Any, said: list[object] = said) -> None:
            said.append(event.value)

        def end(said: list[object] = said) -> None:
            said.append("end")

        subscription = store.watch("/n").subscribe(hear, on_complete=end)
        for n in range(50):
            store.set("/n", n)
        closers = [threading.Thread(target=store.close) for _ in range(3)]
        for thread in closers:
            thread.start()
        for thread in closers:
            thread.join(10)
        assert said[-1] == "end"
        assert said.count("end") == 1
        assert not subscription.active


def test_ctrl_c_ends_a_wait_for_events(tmp_path: Path) -> None:
    done = run(
        """
import signal
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
from elkyn._native import Queue
try:
    Queue(bytes).wait(30)
except KeyboardInterrupt:
    print("interrupted")
""",
        tmp_path / "data",
    )
    assert done.stdout == "interrupted\n"


def test_the_extension_leaks_no_instance(tmp_path: Path) -> None:
    """nanobind itself reports, at exit, instances, types and functions of ours that are still alive."""
    done = run(
        """
events = []
with store:
    store.watch('/n', old=True).subscribe(events.append)
    for n in range(100):
        store.set('/n', {'n': [n]})
    store.flush_events()
print(len(events), events[-1].value, events[-1].old)
""",
        tmp_path / "data",
    )
    assert done.stdout == "100 {'n': [99]} {'n': [98]}\n"
    assert "nanobind" not in done.stderr
    assert done.stderr == ""

"""Every wait has an end: handlers, callbacks, signals and close() against each other, under a watchdog."""

import asyncio
import concurrent.futures
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from stalling import eventually

import elkyn
from elkyn.events import subscriptions


def run(code: str, tmp_path: Path, seconds: float = 100) -> str:
    """Run a program with a store and signals of its own; a hang is a failure that shows where it hung."""
    program = f"""
import faulthandler, os, random, signal, sys, threading, time
import elkyn
faulthandler.dump_traceback_later({seconds - 10}, exit=True)
store = elkyn.open(sys.argv[1], durability="none")
{textwrap.dedent(code)}
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


# --- handlers


@pytest.mark.parametrize("leaving", [False, True])
@pytest.mark.parametrize("where", ["dispatcher", "executor"])
def test_unsubscribing_in_a_transaction_that_the_handler_waits_for_is_an_error(
    store: elkyn.Store, leaving: bool, where: str
) -> None:
    entered, go = threading.Event(), threading.Event()

    def write(_: Any) -> None:
        entered.set()
        go.wait(10)
        store.set("/written", 1)

    with ThreadPoolExecutor(1) as executor:
        subscription = store.watch("/n").subscribe(write, executor=executor if where == "executor" else None)
        store.set("/n", 1)
        assert entered.wait(10)
        with store.transaction() as tx:
            tx.set("/other", 1)
            go.set()
            with pytest.raises(elkyn.WouldDeadlock, match="has ended"):
                subscription.__exit__() if leaving else subscription.unsubscribe()
        assert not subscription.active
        eventually(lambda: store.get("/written") == 1)
    subscription.unsubscribe()


def test_unsubscribing_in_a_transaction_waits_for_a_handler_that_does_not_write(store: elkyn.Store) -> None:
    entered, ended = threading.Event(), threading.Event()

    def handle(_: Any) -> None:
        entered.set()
        time.sleep(0.1)
        ended.set()

    subscription = store.watch("/n").subscribe(handle)
    store.set("/n", 1)
    assert entered.wait(10)
    with store.transaction():
        subscription.unsubscribe()
        assert ended.is_set()


def test_handlers_that_unsubscribe_each_other_do_not_wait_for_ever(
    store: elkyn.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "PATIENCE_S", 0.2)
    both = threading.Barrier(2)
    raised: list[BaseException] = []
    found: dict[str, elkyn.Subscription] = {}

    def ending(other: str) -> Any:
        def handle(_: Any) -> None:
            both.wait(10)
            try:
                found[other].unsubscribe()
            except elkyn.WouldDeadlock as error:
                raised.append(error)

        return handle

    with ThreadPoolExecutor(2) as executor:
        found["a"] = store.watch("/n").subscribe(ending("b"), executor=executor)
        found["b"] = store.watch("/n").subscribe(ending("a"), executor=executor)
        store.set("/n", 1)
        eventually(lambda: raised)
    assert not found["a"].active
    assert not found["b"].active


# --- futures and their callbacks


def test_a_callback_may_wait_for_another_queued_write(store: elkyn.Store) -> None:
    got: list[int] = []
    store.set_async("/a", 1).add_done_callback(lambda _: got.append(store.set_async("/b", 1).result(10)))
    eventually(lambda: got == [2])


def test_a_callback_that_blocks_holds_up_neither_writes_nor_close(tmp_path: Path) -> None:
    store = elkyn.open(tmp_path / "data", durability="none", drain_timeout=0.2)
    entered, go = threading.Event(), threading.Event()
    store.set_async("/a", 1).add_done_callback(lambda _: (entered.set(), go.wait(60)))
    assert entered.wait(10)
    assert store.set_async("/b", 1).result(10) == 2
    begun = time.monotonic()
    store.close()
    assert time.monotonic() - begun < 10
    go.set()


def test_a_callback_may_close_the_store(tmp_path: Path) -> None:
    store = elkyn.open(tmp_path / "data", durability="none")
    store.set_async("/a", 1).add_done_callback(lambda _: store.close())
    eventually(lambda: "closed" in repr(store))


def test_waiting_for_a_queued_write_in_ones_own_transaction_is_an_error(store: elkyn.Store) -> None:
    with store.transaction() as tx:
        future = store.set_async("/a", 1)
        with pytest.raises(elkyn.WouldDeadlock):
            future.result()
        tx.set("/b", 1)
    assert future.result(10) == 2


def test_the_standard_librarys_ways_to_wait_know_such_futures(store: elkyn.Store) -> None:
    futures = [store.set_async(f"/n/{n}", n) for n in range(100)]
    done, waiting = concurrent.futures.wait(futures, timeout=10)
    assert (len(done), len(waiting)) == (100, 0)
    assert sorted(f.result() for f in concurrent.futures.as_completed(futures, timeout=10)) == list(range(1, 101))
    with store.transaction():
        late = store.set_async("/n", 1)
        assert concurrent.futures.wait([late], timeout=0.05).not_done == {late}
        assert (late.done(), late.running(), late.cancelled(), late.cancel()) == (False, True, False, False)
        threading.Timer(0.1, lambda: None).start()
    assert concurrent.futures.wait([late], timeout=10).done == {late}
    assert late.exception() is None

    async def main() -> int:
        return await asyncio.wrap_future(store.set_async("/n", 2))

    assert asyncio.run(main()) == store.rev
    called: list[Any] = []
    late.add_done_callback(called.append)
    assert called == [late]


def test_a_future_gives_up_waiting_at_its_time(store: elkyn.Store) -> None:
    with ThreadPoolExecutor(1) as executor:
        with store.transaction():
            future = store.set_async("/n", 1)
            waiting = executor.submit(future.result, 0.05)
            with pytest.raises(TimeoutError):
                waiting.result(10)
        assert future.result(10) == 1


# --- signals


def test_an_interrupted_result_leaves_no_lock_behind(tmp_path: Path) -> None:
    run(
        """
        class Alarm(Exception): pass
        def ring(*_): raise Alarm
        signal.signal(signal.SIGALRM, ring)
        interrupted = 0
        for n in range(3000):
            future = None
            try:
                signal.setitimer(signal.ITIMER_REAL, random.random() * 0.0004 + 1e-6)
                future = store.set_async("/n", n)
                future.result()
                future.exception()
                time.sleep(0.001)
            except Alarm:
                interrupted += 1
            if future is not None:
                future.result(20)
        assert interrupted > 100, interrupted
        assert store.set_async("/end", 1).result(20) == store.rev
        store.close()
        """,
        tmp_path,
    )


def test_closing_in_a_signals_handler_completes_every_future(tmp_path: Path) -> None:
    run(
        """
        import tempfile
        for attempt in range(300):
            directory = tempfile.mkdtemp(dir=os.path.dirname(sys.argv[1]))
            inner = elkyn.open(directory, durability="none")
            signal.signal(signal.SIGALRM, lambda *_: inner.close())
            futures = []
            signal.setitimer(signal.ITIMER_REAL, random.random() * 0.002 + 1e-6)
            try:
                while True:
                    futures.append(inner.set_async(f"/n/{len(futures) % 50}", 1))
            except elkyn.StoreClosedError:
                pass
            for future in futures:
                future.result(20)
        """,
        tmp_path,
    )


def test_closing_amid_a_write_of_ones_own_is_an_error_and_the_write_is_whole(tmp_path: Path) -> None:
    """A signal's handler may run between a commit and its event: the ring must not be closed there."""
    store = elkyn.open(tmp_path / "data", durability="none")
    got: list[Any] = []
    refused: list[BaseException] = []

    def close(_: Any, what: str, function: Any) -> None:
        if what == "c_call" and function.__name__ == "tell":
            with pytest.raises(elkyn.WouldDeadlock, match="let it raise") as refusal:
                store.close()
            refused.append(refusal.value)

    subscription = store.watch("/n").subscribe(lambda event: got.append(event.value))
    sys.setprofile(close)
    try:
        for number in range(3):
            store.set("/n", number)
    finally:
        sys.setprofile(None)
    assert len(refused) == 3
    assert store.flush_events(10)
    assert got == [0, 1, 2]
    subscription.unsubscribe()
    store.close()


def test_closing_again_after_an_interruption_does_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = elkyn.open(tmp_path / "data", durability="none")
    store.set("/n", 1)
    with monkeypatch.context() as patched:
        patched.setattr(store._database, "settle_rev", Mock(side_effect=KeyboardInterrupt))
        patched.setattr(store._database, "_disown", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.close()
    store.close()
    with elkyn.open(tmp_path / "data") as again:
        assert (again.get("/n"), again.rev) == (1, 1)


def test_what_wait_has_counted_under_the_lock_stays_so_until_it_lets_go(store: elkyn.Store) -> None:
    """Where a future were done in between, wait() would wait for one less than it is told of, and so for ever."""
    with store.transaction():
        future = store.set_async("/n", 1)
        lock = future._condition
        lock.acquire()
    try:
        eventually(future.done)
        assert future._state == "RUNNING"
    finally:
        lock.release()
    assert concurrent.futures.wait([future], timeout=10).done == {future}
    assert future._state == "FINISHED"


def test_closing_in_the_middle_of_wait_does_not_wait_for_what_it_has_interrupted(tmp_path: Path) -> None:
    """A signal's handler may run while `concurrent.futures.wait()` holds the locks of all its futures."""
    store = elkyn.open(tmp_path / "data", durability="none", drain_timeout=20)
    gate, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction():
            gate.set()
            go_on.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert gate.wait(10)
    futures = [store.set_async("/n", number) for number in range(40)]
    with ExitStack() as locks:
        for future in futures:
            locks.enter_context(future._condition)
        go_on.set()
        eventually(lambda: all(future.done() for future in futures))
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < 10, "it would be the whole time for draining"
    holder.join()
    assert concurrent.futures.wait(futures, timeout=10).not_done == set()


def test_the_exit_waits_for_no_callback_and_no_transaction(tmp_path: Path) -> None:
    begun = time.monotonic()
    run(
        """
        entered = threading.Event()
        store.set_async("/n", 1).add_done_callback(lambda _: (entered.set(), time.sleep(60)))
        entered.wait(20)
        def hold():
            with store.transaction():
                held.set()
                time.sleep(60)
        held = threading.Event()
        threading.Thread(target=hold, daemon=True).start()
        held.wait(20)
        store.set_async("/n", 2)
        """,
        tmp_path,
    )
    assert time.monotonic() - begun < 30


def test_close_says_so_where_another_threads_transaction_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elkyn.ending.PATIENCE_S", 0.2)
    store = elkyn.open(tmp_path / "data", durability="none")
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction() as tx:
            tx.set("/n", 1)
            held.set()
            go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    with pytest.raises(elkyn.WouldDeadlock, match="close the store again"):
        store.close()
    go.set()
    thread.join(10)
    store.close()
    with elkyn.open(tmp_path / "data") as again:
        assert again.get("/n") == 1


@pytest.mark.parametrize("seed", range(3))
def test_random_interleavings_of_everything_end(tmp_path: Path, seed: int) -> None:
    """Thousands of calls, signals that raise or write or close, callbacks, handlers, threads; each store is closed."""
    run(
        f"""
        import asyncio, shutil, tempfile
        from concurrent.futures import ThreadPoolExecutor
        from elkyn.events import subscriptions
        subscriptions.PATIENCE_S = 1  # of handlers that unsubscribe each other
        store.close()
        chance = random.Random({seed})
        class Alarm(Exception): pass
        allowed = (Alarm, elkyn.ElkynError)

        def life(n):
            directory = tempfile.mkdtemp(dir=os.path.dirname(sys.argv[1]))
            own = elkyn.open(directory, durability="none", drain_timeout=0.2, on_handler_error=lambda *_: None)
            handles, executor = [], ThreadPoolExecutor(2)

            def attempt(*calls):
                try:
                    for call in calls: call()
                except allowed: pass

            def end_one():
                if handles: handles.pop().unsubscribe()

            def block(inner):
                with own.transaction() as tx:
                    tx.set("/t", chance.random())
                    inner()

            def wait_for_write():
                own.set_async("/w", 1).result(20)

            def handle(item):
                chance.choice(small)()

            small = [
                lambda: own.set("/a", chance.random()), lambda: own.get("/a"), lambda: own.set_async("/b", 1),
                lambda: own.update("/c", {{"x": chance.random()}}), end_one, lambda: own.delete("/a"),
            ]
            calls = small + [
                lambda: handles.append(own.watch("/**").subscribe(handle)),
                lambda: handles.append(own.watch("/a", initial=True).subscribe(handle, executor=executor)),
                lambda: handles.append(own.watch("/b").debounce(0.001).subscribe(handle)),
                lambda: handles.append(own.watch("/**", since=max(0, own.rev - 5)).subscribe(handle)),
                lambda: handles.append(
                    own.watch("/a", overflow="block", timeout=0.05, capacity=2).subscribe(handle, executor=executor)),
                lambda: own.flush_events(1), wait_for_write, lambda: block(end_one), lambda: block(wait_for_write),
                lambda: own.set_async("/b", 1).add_done_callback(lambda _: attempt(chance.choice(small))),
                lambda: own.set_async("/b", 1).add_done_callback(lambda _: attempt(wait_for_write)),
                lambda: block(lambda: own.close()),
            ]

            def ring(*_):
                kind = chance.random()
                if kind < 0.5: raise Alarm
                elif kind < 0.9: attempt(chance.choice(calls))
                elif kind < 0.92: attempt(own.close)

            def other():
                for _ in range(30): attempt(chance.choice(calls))

            threads = [threading.Thread(target=other) for _ in range(2)]
            signal.signal(signal.SIGALRM, ring)
            for thread in threads: thread.start()
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0007)
                for _ in range(60): attempt(chance.choice(calls))
            except Alarm: pass
            finally:
                while True:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 0); break
                    except Alarm: pass
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            for thread in threads: thread.join(30)
            assert not any(thread.is_alive() for thread in threads)
            try: own.close()
            except elkyn.WouldDeadlock: own.close()
            executor.shutdown()
            shutil.rmtree(directory)

        for n in range(25):
            life(n)
        """,
        tmp_path,
        seconds=150,
    )

"""What once waited for ever, over and over: signals, callbacks, transactions and close() against each other."""

import itertools
import signal
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import elkyn
from leakcheck import scenario


@scenario(tags={"store", "signals"})
def interrupted_futures(ctx):
    """Queued writes whose waiting, and whose queueing, a signal's handler ends by raising."""

    class Alarm(Exception):  # noqa: N818 - what it is
        pass

    armed = False

    def ring(*_):
        if armed:
            raise Alarm

    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        before = signal.signal(signal.SIGALRM, ring)
        delays = itertools.cycle([1e-6, 5e-6, 2e-5, 5e-5, 1e-4])

        def step():
            nonlocal armed
            future = None
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, next(delays))
                future = store.set_async("/n", 1)
                future.result()
                armed = False
            except Alarm:
                armed = False
            if future is not None:
                future.result(10)

        for _ in range(200):
            step()
        yield step
        signal.signal(signal.SIGALRM, before)


@scenario(tags={"store", "signals"}, max_iterations=2500)
def closed_by_a_signal(ctx):
    """A store that a signal's handler closes while writes are being queued: each future has its outcome."""
    delays = itertools.cycle([1e-5, 5e-5, 2e-4, 5e-4])

    def step():
        store = elkyn.open(ctx.tmp_path / "data", durability="none")
        before = signal.signal(signal.SIGALRM, lambda *_: store.close())
        futures = []
        signal.setitimer(signal.ITIMER_REAL, next(delays))
        try:
            for _ in range(50):
                futures.append(store.set_async("/n", 1))  # noqa: PERF401 - what is queued before it closes counts
        except elkyn.StoreClosedError:
            pass
        wait(futures, timeout=10)
        store.close()
        signal.signal(signal.SIGALRM, before)

    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:  # free pages, for as many as a close may leave
        store.update("/n", dict.fromkeys(map(str, range(1000)), 0))
        store.delete("/n")
    for _ in range(300):  # the interpreter's own tables grow to their size in the first few hundred
        step()
    yield step


@scenario(tags={"store"})
def callbacks_of_writes(ctx):
    """Callbacks that wait for other queued writes, and one that raises."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        done = threading.Semaphore(0)

        def go_on(_):
            store.set_async("/b", 1).result(10)
            done.release()

        def step():
            store.set_async("/a", 1).add_done_callback(go_on)
            done.acquire()

        yield step


@scenario(tags={"events"}, max_iterations=50)
def unsubscribed_inside_a_transaction(ctx):
    """A handler that waits for the transaction in which its subscription is ended: an error, and nothing stays."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:

        def step():
            entered, go, written = threading.Event(), threading.Event(), threading.Event()

            def write(_):
                entered.set()
                go.wait(10)
                store.set("/written", 1)
                written.set()

            subscription = store.watch("/n").subscribe(write)
            store.set("/n", store.rev)
            entered.wait(10)
            with store.transaction() as tx:
                tx.set("/other", 1)
                go.set()
                try:
                    subscription.unsubscribe()
                except elkyn.WouldDeadlock:
                    pass
            written.wait(10)

        yield step


@scenario(tags={"events", "overflow"}, max_iterations=2000)
def refused_writes(ctx):
    """Commits that never fit, and writes that would wait for themselves: refused before they happen."""
    with ThreadPoolExecutor(1) as executor, elkyn.open(ctx.tmp_path / "data", durability="none", slots=64) as store:
        watch = store.watch("/n/*", overflow="block", capacity=8)
        with watch.subscribe(lambda event: None, executor=executor):
            many = {str(n): n for n in range(100)}

            def step():
                for write in (
                    lambda: store.update("/n", many),
                    lambda: store.update_async("/n", many).result(10),
                    lambda: store.write_many([("/n/x", 1), ("/n/y", 2)]).result(10),
                ):
                    try:
                        write()
                    except elkyn.CommitTooLarge:
                        pass
                store.flush_events()

            yield step

"""A consumer that stalls: fixed memory, and an exact account of what was lost."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import elkyn
from leakcheck import scenario


@scenario(tags={"events", "overflow"}, params={"policy": ["gap", "latest"]})
def stalled_consumer(ctx, policy):
    """A handler that never returns, and a writer that does not care."""
    with elkyn.open(ctx.tmp_path / "data", durability="none", drain_timeout=0) as store:
        release, stalled = threading.Event(), threading.Event()

        def stall(_):
            stalled.set()
            release.wait()

        store.watch("/n").subscribe(stall, overflow=policy)
        store.set("/n", -1)
        stalled.wait()
        for n in range(2000):  # fill the ring before the first reading
            store.set("/n", n)
        count = 0

        def step():
            nonlocal count
            count += 1
            store.set("/n", count)

        yield step
        release.set()


@scenario(tags={"events", "overflow"}, max_iterations=500)
def overflow_and_recovery(ctx):
    """The ring runs full, its consumer comes back, hears of the gap and reads again: over and over."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        go = threading.Semaphore(0)
        lost = 0

        def hear(event):
            nonlocal lost
            if isinstance(event, elkyn.Overflow):
                lost += event.lost
                store.get("/blob")
            elif event.value[0] == 0:
                go.acquire()

        blobs = [bytes([n]) * (160 << 10) for n in range(10)]
        subscription = store.watch("/blob").subscribe(hear)

        def step():
            for blob in blobs:  # more than the value buffer holds, behind a handler that waits
                store.set("/blob", blob)
            go.release()
            store.flush_events()

        yield step
        subscription.unsubscribe()
        assert lost == store.event_queue_stats().dropped


@scenario(tags={"events", "overflow", "async"}, params={"policy": ["gap", "latest"]})
async def stalled_iterator(ctx, policy):
    """An async iterator that nobody asks: its inbox stays bounded."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        stream = aiter(store.watch("/n", overflow=policy, capacity=16))
        count = 0

        def step():
            nonlocal count
            count += 1
            store.set("/n", count)

        for _ in range(100):
            step()
        ctx.settle(store.flush_events)
        yield step
        await stream.aclose()


@scenario(tags={"events", "overflow"}, params={"policy": ["gap", "latest", "error", "block"]})
def full_inbox(ctx, policy):
    """A subscription on an executor whose inbox of two runs full, by each policy, and which is then ended."""
    with (
        ThreadPoolExecutor(1) as executor,
        elkyn.open(ctx.tmp_path / "data", durability="none", on_handler_error=lambda error, where: None) as store,
    ):
        numbers = itertools.count()
        # How many ended subscriptions are alive at once is up to the collector's turns, and the bindings' table of
        # living objects never shrinks: it is given its size before the measurement.
        for subscription in [store.watch("/n").subscribe(print) for _ in range(500)]:
            subscription.unsubscribe()

        def step():
            go = threading.Event()
            subscription = store.watch("/n").subscribe(
                lambda event: go.wait(), overflow=policy, capacity=2, timeout=0.001, executor=executor
            )
            try:
                for _ in range(5):
                    store.set("/n", next(numbers))
                store.flush_events()
            except elkyn.EventTimeout:
                pass
            go.set()
            subscription.unsubscribe()

        ctx.settle(store.flush_events)
        yield step

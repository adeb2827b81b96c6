"""From a write to a handler."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyee
from reactivex import operators as rx
from reactivex.subject import Subject

import elkyn
from benchmarks.elkyn.comparing import Round, Row, compare, each, nothing, opened, row_of


def with_watchers(memory: Path) -> Iterator[Row]:
    counter = iter(range(10**9))

    def burst(store: elkyn.Store, times: int = 400, clock: Callable[[], float] = time.perf_counter) -> Round:
        def run() -> float:
            values = [next(counter) for _ in range(times)]
            begin = clock()
            for value in values:
                store.set("/n", value)
            took = clock() - begin
            store.flush_events()
            return took / times

        return run

    # Where a store's memory happens to lie shifts the ratio by some hundredths: so several, and the one in the middle.
    pairs: list[Row] = []
    for pair in range(5):
        with opened(memory, f"c{pair}") as bare, opened(memory, f"d{pair}") as watched:
            watched.watch("/n").subscribe(nothing)
            pairs.append(
                compare("set with one matching watcher", "the same without", burst(watched), burst(bare), 1.10)
            )
    yield sorted(pairs, key=lambda row: row.ratio)[len(pairs) // 2]

    with opened(memory, "bare") as bare, opened(memory, "watched") as watched, opened(memory, "crowded") as crowded:
        watched.watch("/n").subscribe(nothing)
        for n in range(1000):
            crowded.watch(f"/elsewhere/{n}").subscribe(nothing)
        # Longer than the dispatcher lets gather: what delivery takes from the writer is in it in full.
        yield compare(
            "the same, 20,000 in a row", "the same without", burst(watched, 20_000), burst(bare, 20_000), 1.10, rounds=7
        )
        # What the writer itself does for it, whoever has the interpreter's lock meanwhile.
        cpu = time.thread_time
        yield compare(
            "the same, processor time of the writer", "the same without",
            burst(watched, 20_000, cpu), burst(bare, 20_000, cpu), 1.10, rounds=7,
        )  # fmt: skip
        yield compare(
            "set with 1000 watchers elsewhere", "the same without", burst(crowded), burst(bare), 1.05, rounds=41
        )


def deliver(store: elkyn.Store, chain: Callable[[Any], Any], subscribers: int, events: int) -> Round:
    """From ring to handler: the ring is filled behind a handler that waits, and timed from when it returns."""

    def run() -> float:
        entered, go = threading.Event(), threading.Event()
        times: list[float] = []

        def hold(_: Any) -> None:
            entered.set()
            go.wait()
            times.append(time.perf_counter())

        holder = store.watch("/hold").subscribe(hold)
        listeners = [chain(store.watch("/n")).subscribe(nothing) for _ in range(subscribers)]
        store.set("/hold", time.perf_counter())
        entered.wait()
        for n in range(events):
            store.set("/n", n)
        last = store.watch("/end").subscribe(lambda event: times.append(time.perf_counter()))
        store.set("/end", time.perf_counter())
        go.set()
        store.flush_events()
        for subscription in (*listeners, holder, last):
            subscription.unsubscribe()
        begin, end = times
        return (end - begin) / events

    return run


# The same functions on both sides, as cheap as a function can be: what remains is the library's own cost.
def _there(item: Any) -> bool:
    return item is not None


def _itself(item: Any) -> Any:
    return item


def delivery(memory: Path) -> Iterator[Row]:
    with opened(memory, "g") as store:
        subject: Subject[Any] = Subject()
        subject.subscribe(nothing)
        emitter = pyee.EventEmitter()
        emitter.on("n", nothing)
        ours = deliver(store, lambda watch: watch, 1, 900)
        yield compare(
            "delivery to one handler",
            "reactivex Subject.on_next",
            ours,
            each(500, lambda: subject.on_next(1)),
            3,
            faster=True,
        )
        yield compare(
            "delivery to one handler", "pyee emit", ours, each(500, lambda: emitter.emit("n", 1)), 2, faster=True
        )
        for subscribers, events in ((1, 900), (10, 900), (1000, 20)):
            many: Subject[Any] = Subject()
            for _ in range(subscribers):
                many.pipe(rx.filter(_there), rx.map(_itself)).subscribe(nothing)
            yield compare(
                f"filter+map to {subscribers} subscriber{'s' * (subscribers > 1)}", "reactivex",
                deliver(store, lambda watch: watch.filter(_there).map(_itself), subscribers, events),
                each(events, lambda many=many: many.on_next(1)), 3, faster=True, rounds=31,
            )  # fmt: skip


def latency(memory: Path) -> Iterator[Row]:
    with opened(memory, "h") as store:
        arrived: list[float] = []
        store.watch("/n").subscribe(lambda event: arrived.append(time.perf_counter()))
        hand_off: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def take() -> None:
            while hand_off.get() is not None:
                arrived.append(time.perf_counter())

        taker = threading.Thread(target=take)
        taker.start()
        numbers = iter(range(1, 10**9))

        def paced(send: Callable[[int], object]) -> list[float]:
            delays = []
            for _ in range(300):
                arrived.clear()
                begin = time.perf_counter()
                send(next(numbers))
                while not arrived:
                    time.sleep(0.0002)
                delays.append(arrived[0] - begin)
            return sorted(delays)

        pairs = [(paced(lambda n: store.set("/n", n)), paced(hand_off.put)) for _ in range(31)]
        hand_off.put(None)
        taker.join()
        for name, at in (("p50", 150), ("p99", 297)):
            yield row_of(
                f"set to handler, paced, {name}", "queue.SimpleQueue hand-off",
                [(ours[at], peer[at]) for ours, peer in pairs], 3,
            )  # fmt: skip


def isolation(memory: Path) -> Iterator[Row]:
    """The p99 of set() with a buffered subscription that is stalled, against one that is not."""
    go = threading.Event()
    with ThreadPoolExecutor(2) as pool, opened(memory, "i") as stalled, opened(memory, "j") as flowing:
        stalled.watch("/n").subscribe(lambda event: go.wait(), executor=pool)
        flowing.watch("/n").subscribe(nothing, executor=pool)
        numbers = iter(range(10**9))

        def p99(store: elkyn.Store) -> Round:
            def run() -> float:
                took = []
                for _ in range(1000):
                    value = next(numbers)
                    begin = time.perf_counter()
                    store.set("/n", value)
                    took.append(time.perf_counter() - begin)
                store.flush_events()
                return sorted(took)[990]

            return run

        yield compare("p99 of set, a subscription stalled", "p99 of set, none stalled", p99(stalled), p99(flowing), 1.2)
        go.set()

"""How cost grows with what there is, and whether memory does."""

import queue
import shutil
import statistics
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.elkyn.comparing import Round, each, figure, header, nothing, opened


def growth(memory: Path) -> Iterator[str]:
    yield from header(
        "subscriptions on other paths", "`set`", "subscribe + unsubscribe",
        "`set` to delivered", "`queue.SimpleQueue` there and back",
    )  # fmt: skip
    for count in (1, 10, 100, 1000, 10_000):
        yield costs(count, with_subscriptions(memory, count))
    yield from header("leaves in the tree", "`get`", "`set` of a new leaf", "first 10 keys of 10,000 at most")
    for count in (10**3, 10**4, 10**5, 10**6):
        yield costs(count, with_leaves(memory, count))
    yield from header("timers that wait", "an event that sets one anew")
    for count in (10, 1000, 10**5):
        yield costs(count, with_timers(memory, count))
    yield from header("bytes of the value", "`set`", "`get`", "`set` to delivered", "CRC-32 of the bytes")
    for size in (10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000):
        yield costs(size, with_value(memory, size))


def costs(size: int, microseconds: tuple[float, ...]) -> str:
    return f"| {size:,} | {' | '.join(map(figure, microseconds))} |"


def with_subscriptions(memory: Path, count: int) -> tuple[float, ...]:
    numbers = iter(range(10**9))
    with opened(memory, f"subs{count}") as store:
        crowd = [store.watch(f"/crowd/{n}").subscribe(nothing) for n in range(count)]
        heard = store.watch("/heard").subscribe(nothing)
        took = (
            best(each(300, lambda: store.set("/n", next(numbers)))),
            best(each(100, lambda: store.watch("/x").subscribe(nothing).unsubscribe())),
            best(each(50, lambda: (store.set("/heard", next(numbers)), store.flush_events()))),
            there_and_back(),
        )
        for subscription in (*crowd, heard):
            subscription.unsubscribe()
    return took


def there_and_back() -> float:
    """What it costs here to wake another thread and be woken by it."""
    there: queue.SimpleQueue[Any] = queue.SimpleQueue()
    back: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def echo() -> None:
        while there.get() is not None:
            back.put(None)

    other = threading.Thread(target=echo)
    other.start()
    took = best(each(50, lambda: (there.put(1), back.get())))
    there.put(None)
    other.join()
    return took


def with_leaves(memory: Path, count: int) -> tuple[float, ...]:
    numbers = iter(range(10**9))
    path = f"/t/{count // 2 % 100:02}/{count // 2:07}"
    with opened(memory, f"tree{count}") as store:
        for first in range(0, count, 10_000):
            with store.transaction() as tx:
                for n in range(first, min(count, first + 10_000)):
                    tx.set(f"/t/{n % 100:02}/{n:07}", n)
        took = (
            best(each(1000, lambda: store.get(path))),
            best(each(300, lambda: store.set(f"/t/50/new{next(numbers):07}", 1))),
            best(each(300, lambda: store.keys("/t/50", limit=10))),
        )
    shutil.rmtree(memory / f"tree{count}")
    return took


def with_timers(memory: Path, count: int) -> tuple[float, ...]:
    numbers = iter(range(10**9))
    with opened(memory, f"timers{count}") as store:
        for n in range(count):
            store.watch(f"/t/{n}").debounce(3600).subscribe(nothing)
        with store.transaction() as tx:  # each has begun to wait
            for n in range(min(count, 1000)):
                tx.set(f"/t/{n}", 0)
        store.flush_events()
        for first in range(1000, count, 1000):
            with store.transaction() as tx:
                for n in range(first, first + 1000):
                    tx.set(f"/t/{n}", 0)
            store.flush_events()
        took = best(each(300, lambda: (store.set(f"/t/{(n := next(numbers)) % count}", n + 1), store.flush_events())))
        for subscription in store._dispatcher.subscriptions():
            subscription.finish()
    return (took,)


def with_value(memory: Path, size: int) -> tuple[float, ...]:
    numbers = iter(range(10**9))
    values = [bytes([n]) * size for n in (1, 2)]
    times = max(3, min(300, 10_000_000 // size))
    with opened(memory, f"value{size}") as store, store.watch("/heard").subscribe(lambda event: event.value):
        took = (
            best(each(times, lambda: store.set("/n", values[next(numbers) % 2]))),
            best(each(times, lambda: store.get("/n"))),
            best(each(times, lambda: (store.set("/heard", values[next(numbers) % 2]), store.flush_events()))),
            best(each(times, lambda: zlib.crc32(values[0]))),
        )
    shutil.rmtree(memory / f"value{size}")
    return took


def best(run: Round) -> float:
    return statistics.median(run() for _ in range(5)) * 1e6


MEMORY = """
import gc, sys, threading, elkyn, psutil
store = elkyn.open(sys.argv[1], durability="none", drain_timeout=0)
def rss():
    gc.collect()
    return psutil.Process().memory_info().rss
if sys.argv[2] == "stalled":
    go, entered = threading.Event(), threading.Event()
    store.watch("/n").subscribe(lambda event: (entered.set(), go.wait()))
    store.set("/n", -1)
    entered.wait()
    def work(times):
        for n in range(times):
            store.set("/n", n % 1000)
else:
    go = threading.Event()
    def work(times):
        for n in range(times):
            store.watch("/n").filter(bool).subscribe(print).unsubscribe()
work(5000)
before = rss()
work(int(sys.argv[3]))
print(rss() - before)
go.set()
store.close()
"""


def memory_growth(memory: Path, events: int) -> Iterator[str]:
    yield "\nGrowth of RSS (bound: 1 MiB)"
    for what, kind, times in (
        (f"{events:,} events against a stalled consumer", "stalled", events),
        ("100,000 subscribe/unsubscribe", "cycles", 100_000),
    ):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(memory / f"m{kind}"), kind, str(times)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        grown = int(done.stdout)
        yield f"  {what:<55} {grown / 1024:>8.0f} KiB  {'holds' if grown <= 1 << 20 else '**no**'}"

"""Elkyn's speed, as ratios against named peers measured in the same run: `python -m benchmarks.elkyn`.

Every comparison is interleaved: a short round of ours, one of the peer, and so on, and the medians are compared: a busy
moment of the machine hits both, and rounds shorter than a time slice mostly escape it. `--growth` adds how cost grows
(in microseconds), `--memory` how memory does, `--all` everything. What it prints are the tables of the guide;
`--json FILE` writes the figures.
"""

import argparse
import gc
import json
import os
import queue
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import msgspec
import pyee
from reactivex import operators as rx
from reactivex.subject import Subject

import elkyn

NATIVE_BENCH = Path(__file__).parents[1] / "elkyn" / "native" / "tests" / "bench_event_queue.cpp"
Round = Callable[[], float]
"""Runs a number of operations and returns the seconds that one took."""


class Row(NamedTuple):
    """One line of the table. `ratio` is cost against the peer's, or its inverse where `faster` is asked for."""

    what: str
    against: str
    ours_us: float
    peer_us: float
    ratio: float
    bound: float
    faster: bool

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.ratio >= self.bound if self.faster else self.ratio <= self.bound


def compare(
    what: str, against: str, ours: Round, peer: Round, bound: float, *, faster: bool = False, rounds: int = 101
) -> Row:
    """Measure both sides in turn and compare their medians."""
    ours(), peer()
    pairs = []
    gc.collect()
    for _ in range(rounds):
        pairs.append((ours(), peer()))
    our, their = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Row(what, against, our * 1e6, their * 1e6, their / our if faster else our / their, bound, faster)


def each(times: int, operation: Callable[[], object]) -> Round:
    """Return a round of `times` operations."""

    def run() -> float:
        begin = time.perf_counter()
        for _ in range(times):
            operation()
        return (time.perf_counter() - begin) / times

    return run


@contextmanager
def opened(directory: Path, name: str, durability: Any = "none") -> Iterator[elkyn.Store]:
    with elkyn.open(directory / name, durability=durability, map_size=1 << 30) as store:
        yield store


@contextmanager
def raw(directory: Path, name: str) -> Iterator[lmdb.Environment]:
    with lmdb.open(str(directory / name), map_size=1 << 30, sync=False) as env:
        yield env


# --- storage


def reading_and_writing(memory: Path) -> Iterator[Row]:
    value = {"name": "Ada", "age": 36}
    leaf = 12345
    encoded = msgspec.msgpack.encode(leaf)
    decode = msgspec.msgpack.Decoder().decode
    key = b"/users/42/age"
    with opened(memory, "a") as store, raw(memory, "b") as env:
        store.set("/users/42", value)

        def raw_put() -> None:
            with env.begin(write=True) as txn:
                txn.put(key, encoded)

        def raw_get() -> Any:
            with env.begin() as txn:
                return decode(txn.get(key))

        raw_put()
        yield compare(
            "get of a leaf",
            "py-lmdb get + msgspec",
            each(500, lambda: store.get("/users/42/age")),
            each(500, raw_get),
            1.5,
        )
        yield compare(
            "set of a leaf, unsynced", "py-lmdb put + commit",
            each(100, lambda: store.set("/users/42/age", leaf)), each(100, raw_put), 1.5,
        )  # fmt: skip

        store.set("/ten", {f"leaf{n}": n for n in range(10)})
        with env.begin(write=True) as txn:
            for n in range(10):
                txn.put(f"/ten/leaf{n}".encode(), msgspec.msgpack.encode(n))

        def raw_object() -> dict[str, Any]:
            found = {}
            with env.begin() as txn:
                cursor = txn.cursor()
                cursor.set_range(b"/ten/")
                for row_key, row in cursor.iternext():
                    if not row_key.startswith(b"/ten/"):
                        break
                    found[row_key[5:].decode()] = decode(row)
            return found

        assert raw_object() == store.get("/ten")
        yield compare(
            "get of an object of 10 leaves",
            "the same by raw cursor",
            each(50, lambda: store.get("/ten")),
            each(50, raw_object),
            2,
        )

        many = {f"{n:05}": n for n in range(10_000)}

        def delete() -> float:
            store.set("/many", many)
            begin = time.perf_counter()
            store.delete("/many")
            return time.perf_counter() - begin

        def raw_delete() -> float:
            with env.begin(write=True) as txn:
                for name, n in many.items():
                    txn.put(f"/many/{name}".encode(), msgspec.msgpack.encode(n))
            begin = time.perf_counter()
            with env.begin(write=True) as txn:
                cursor = txn.cursor()
                cursor.set_range(b"/many/")
                while cursor.key().startswith(b"/many/"):
                    cursor.delete()
            return time.perf_counter() - begin

        yield compare("delete of 10,000 leaves", "the same by raw cursor", delete, raw_delete, 2, rounds=7)


def with_watchers(memory: Path) -> Iterator[Row]:
    counter = iter(range(10**9))

    def burst(store: elkyn.Store, times: int = 400) -> Round:
        def run() -> float:
            values = [next(counter) for _ in range(times)]
            begin = time.perf_counter()
            for value in values:
                store.set("/n", value)
            took = time.perf_counter() - begin
            store.flush_events()
            return took / times

        return run

    # Where a store's memory happens to lie shifts the ratio by some hundredths: so several, and the one in the middle.
    pairs: list[Row] = []
    for pair in range(5):
        with opened(memory, f"c{pair}") as bare, opened(memory, f"d{pair}") as watched:
            watched.watch("/n").subscribe(_nothing)
            pairs.append(
                compare("set with one matching watcher", "the same without", burst(watched), burst(bare), 1.10)
            )
    yield sorted(pairs, key=lambda row: row.ratio)[len(pairs) // 2]

    with opened(memory, "bare") as bare, opened(memory, "watched") as watched, opened(memory, "crowded") as crowded:
        watched.watch("/n").subscribe(_nothing)
        for n in range(1000):
            crowded.watch(f"/elsewhere/{n}").subscribe(_nothing)
        # Longer than the dispatcher lets gather: what delivery takes from the writer is in it in full.
        yield compare(
            "the same, 20,000 in a row", "the same without", burst(watched, 20_000), burst(bare, 20_000), 1.10, rounds=7
        )
        yield compare(
            "set with 1000 watchers elsewhere", "the same without", burst(crowded), burst(bare), 1.05, rounds=41
        )


def durable(disk: Path) -> Iterator[Row]:
    with opened(disk, "f", "sync") as store:
        numbers = iter(range(10**9))

        def queued() -> float:
            begin = time.perf_counter()
            futures = [store.set_async(f"/n/{next(numbers) % 100}", 1) for _ in range(2000)]
            for future in futures:
                future.result()
            return (time.perf_counter() - begin) / 2000

        yield compare(
            "set_async, durable", "set, durable, one by one", queued,
            each(100, lambda: store.set(f"/n/{next(numbers) % 100}", 1)), 15, faster=True, rounds=7,
        )  # fmt: skip


# --- delivery


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
        listeners = [chain(store.watch("/n")).subscribe(_nothing) for _ in range(subscribers)]
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


def _nothing(_: Any) -> None:
    pass


def delivery(memory: Path) -> Iterator[Row]:
    with opened(memory, "g") as store:
        subject: Subject[Any] = Subject()
        subject.subscribe(_nothing)
        emitter = pyee.EventEmitter()
        emitter.on("n", _nothing)
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
                many.pipe(rx.filter(_there), rx.map(_itself)).subscribe(_nothing)
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
            ours, peer = (statistics.median(side[at] for side in sides) for sides in zip(*pairs, strict=True))
            yield Row(
                f"set to handler, paced, {name}",
                "queue.SimpleQueue hand-off",
                ours * 1e6,
                peer * 1e6,
                ours / peer,
                3,
                False,
            )


def isolation(memory: Path) -> Iterator[Row]:
    """The p99 of set() with a buffered subscription that is stalled, against one that is not."""
    from concurrent.futures import ThreadPoolExecutor

    go = threading.Event()
    with ThreadPoolExecutor(2) as pool, opened(memory, "i") as stalled, opened(memory, "j") as flowing:
        stalled.watch("/n").subscribe(lambda event: go.wait(), executor=pool)
        flowing.watch("/n").subscribe(_nothing, executor=pool)
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


def ring() -> Iterator[Row]:
    compiler = shutil.which("c++")
    if compiler is None or not NATIVE_BENCH.exists():
        print("skipped: the ring in C++, because no C++ compiler (or no source tree) is here", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "bench"
        subprocess.run(
            [compiler, "-std=c++20", "-O3", "-march=native", "-pthread", str(NATIVE_BENCH), "-o", str(program)],
            check=True,
        )
        rows = json.loads(subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout)
    for row in rows:
        way = f"{'pinned' if row['pinned'] else 'unpinned'}, {row['at_once']} at once"
        best, ours, worst = row["ring"]
        spread = f"({best:.0f} to {worst:.0f} ns in 15 runs)"
        if "peer" in row:
            peer = row["peer"][1]
            yield Row(
                f"ring in C++, {way} {spread}",
                "boost::lockfree::spsc_queue",
                ours / 1e3,
                peer / 1e3,
                ours / peer,
                1,
                False,
            )
        else:
            print("skipped: boost::lockfree beside the ring; apt-get install libboost-dev", file=sys.stderr)
        if row["pinned"] and row["at_once"] > 1:
            copy = row["memcpy"][1]
            yield Row(
                "the same, without its peer", "memcpy of the same bytes", ours / 1e3, copy / 1e3, ours / copy, 3, False
            )


# --- how cost and memory grow


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
    yield from header("bytes of the value", "`set`", "`get`", "`set` to delivered")
    for size in (10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000):
        yield costs(size, with_value(memory, size))


def header(*names: str) -> tuple[str, ...]:
    return "", f"| {' | '.join(names)} |", "|" + "---|" * len(names)


def costs(size: int, microseconds: tuple[float, ...]) -> str:
    return f"| {size:,} | {' | '.join(map(figure, microseconds))} |"


def with_subscriptions(memory: Path, count: int) -> tuple[float, ...]:
    numbers = iter(range(10**9))
    with opened(memory, f"subs{count}") as store:
        crowd = [store.watch(f"/crowd/{n}").subscribe(_nothing) for n in range(count)]
        heard = store.watch("/heard").subscribe(_nothing)
        took = (
            best(each(300, lambda: store.set("/n", next(numbers)))),
            best(each(100, lambda: store.watch("/x").subscribe(_nothing).unsubscribe())),
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


def with_value(memory: Path, size: int) -> tuple[float, ...]:
    numbers = iter(range(10**9))
    values = [bytes([n]) * size for n in (1, 2)]
    times = max(3, min(300, 10_000_000 // size))
    with opened(memory, f"value{size}") as store, store.watch("/heard").subscribe(lambda event: event.value):
        took = (
            best(each(times, lambda: store.set("/n", values[next(numbers) % 2]))),
            best(each(times, lambda: store.get("/n"))),
            best(each(times, lambda: (store.set("/heard", values[next(numbers) % 2]), store.flush_events()))),
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


def line(row: Row) -> str:
    what = re.sub(r"^(get|set|set_async|delete)\b", r"`\1`", row.what)
    bound = f"at {'least' if row.faster else 'most'} {row.bound:g}x"
    verdict = "holds" if row.holds else "**no**"
    cells = (what, row.against, time_of(row.ours_us), time_of(row.peer_us), f"{row.ratio:.2f}x", bound, verdict)
    return f"| {' | '.join(cells)} |"


def time_of(us: float) -> str:
    if us < 0.1:
        return f"{us * 1000:.0f} ns"
    return f"{figure(us)} us" if us < 1000 else f"{figure(us / 1000)} ms"


def figure(number: float) -> str:
    return f"{number:.2f}" if number < 1 else f"{number:.1f}" if number < 100 else f"{number:,.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--growth", action="store_true", help="how cost grows with subscriptions, leaves and bytes")
    parser.add_argument("--memory", action="store_true", help="10 million events against a stalled consumer, and so on")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", default="", help="only the groups whose name contains this")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    shared_memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as fast,
        tempfile.TemporaryDirectory(dir=os.getcwd(), prefix=".bench-") as slow,
    ):
        memory, disk = Path(fast), Path(slow)
        groups: dict[str, Callable[[], Iterator[Row]]] = {
            "storage": lambda: reading_and_writing(memory),
            "watchers": lambda: with_watchers(memory),
            "durable": lambda: durable(disk),
            "delivery": lambda: delivery(memory),
            "latency": lambda: latency(memory),
            "isolation": lambda: isolation(memory),
            "ring": ring,
        }
        print(*header("what", "against", "ours", "peer", "ratio", "bound", "")[1:], sep="\n")
        rows: list[Row] = []
        for name, group in groups.items():
            if options.only in name:
                for row in group():
                    rows.append(row)
                    print(line(row), flush=True)
        if options.growth or options.all:
            for text in growth(memory):
                print(text, flush=True)
        if options.memory or options.all:
            for text in memory_growth(memory, 10_000_000):
                print(text, flush=True)
    if options.json:
        options.json.write_text(json.dumps([row._asdict() | {"holds": row.holds} for row in rows], indent=1))
    broken = sum(not row.holds for row in rows)
    print(f"\n{len(rows) - broken} of {len(rows)} bounds hold on this machine now")
    return 0


if __name__ == "__main__":
    sys.exit(main())

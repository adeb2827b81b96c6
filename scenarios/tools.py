"""Reading beside a writer, walks, snapshots, copies, child events and the face for coroutines."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import elkyn
from elkyn import tools
from leakcheck import scenario


@scenario(tags={"store"})
def walks(ctx):
    """A subtree walked to its end, and one walk that is dropped half-way."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        store.set("/n", {f"{n:04}": n for n in range(600)})

        def step():
            for _ in store.walk("/n"):
                pass
            next(store.walk("/n"))

        yield step


@scenario(tags={"store"}, max_iterations=500)
def many_writes(ctx):
    """Writes queued a thousand at a time, and a batch with a value that is refused."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:

        def step():
            store.write_many((f"/n/{n % 50}", n) for n in range(1500)).result()
            try:
                store.write_many([("/n/1", object())])
            except TypeError:
                pass

        yield step


@scenario(tags={"events"}, max_iterations=2500)
def paged_snapshots(ctx):
    """A snapshot larger than its inbox, read to its end, and one that is left after a few nodes."""
    with ThreadPoolExecutor(1) as executor, elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        store.set("/n", {f"{n:04}": n for n in range(300)})
        numbers = itertools.count()
        alive = []
        with store.watch("/alive").subscribe(alive.append):
            for number in range(6000):  # the table of living events gets as large as it ever will: by chance else
                store.set("/alive", number)
                store.flush_events()
        alive.clear()

        def step():
            got = []
            watch = store.watch("/n/*", initial=True, capacity=16)
            with watch.subscribe(got.append, executor=executor):
                store.set("/n/0000", next(numbers))
                store.flush_events()
            watch.subscribe(got.append, executor=executor).unsubscribe()
            watch.take(3).subscribe(got.append)
            store.flush_events()

        yield step


@scenario(tags={"events"})
def child_events(ctx):
    """Children that come, change and go, watched for a while."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:

        def step():
            with store.watch_children("/users").subscribe(lambda item: item.type):
                store.set("/users/1", {"name": "Ada"})
                store.set("/users/1/name", "Bea")
                store.delete("/users/1")

        ctx.settle(store.flush_events)
        yield step


@scenario(tags={"store"}, params={"what": ["read", "verify"]}, max_iterations=2500)
def beside_a_writer(ctx, what):
    """A copy of a store looked into by a reader, and verified.

    Made once: py-lmdb (3.0) keeps some 50 bytes for each file that it has ever opened, so a copy an iteration grows.
    """
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        store.set("/n", {str(n): n for n in range(20)})
        copy = ctx.tmp_path / "copy"
        store.backup(copy)

        def step():
            if what == "read":
                with elkyn.open(copy, readonly=True) as reader:
                    assert len(list(tools.dump(reader))) == 21
            else:
                assert tools.verify(copy) == []

        for _ in range(200):
            step()
        yield step


@scenario(tags={"store", "async"})
async def coroutines(ctx):
    """Writes awaited, one of them refused."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:

        async def step():
            await store.aset("/n", {"a": 1})
            await store.aupdate("/n", {"b": 2})
            await store.adelete("/n")
            try:
                await store.aset("/n", object())
            except TypeError:
                pass

        yield step


@scenario(tags={"store"}, max_iterations=500)
def damaged_files(ctx):
    """A file that was cut, refused when it is opened: no descriptor and no lock stays."""
    whole = ctx.tmp_path / "whole"
    with elkyn.open(whole, durability="none") as store:
        store.set("/n", {str(n): "x" * 100 for n in range(200)})
    data = (whole / "data.mdb").read_bytes()
    (whole / "data.mdb").write_bytes(data[: len(data) // 2])

    def step():
        try:
            elkyn.open(whole)
        except elkyn.StorageError:
            return
        raise AssertionError("a cut file was opened")

    yield step


@scenario(tags={"store", "events"}, max_iterations=2500)
def values_with_an_end(ctx):
    """Values that end, one that is replaced before, and somebody who hears of it."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        ended = threading.Semaphore(0)

        def hear(event):
            if event.type == "delete":
                ended.release()

        with store.watch("/sessions/*").subscribe(hear):

            def step():
                store.set("/sessions/1", {"user": "Ada"}, ttl=0.002)
                store.set("/sessions/2", 1, ttl=1000)
                store.set("/sessions/2", 2)
                ended.acquire()

            yield step

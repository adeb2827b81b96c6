"""Stores opened and closed, transactions, the group-commit writer, and a long mixture of everything."""

import itertools
import os

import elkyn
from leakcheck import scenario


@scenario(tags={"store"}, max_iterations=500)
def open_close(ctx):
    """A store opened, used once, and closed."""

    def step():
        with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
            store.set("/n", 1)
            store.get("/n")

    for _ in range(300):  # the interpreter's own tables grow to their size in the first few hundred
        step()
    yield step


@scenario(tags={"store", "events"})
def open_close_with_subscribers(ctx):
    """A store closed with subscribers, one of them in its handler's hands: thread, ring and timers go with it."""

    def step():
        with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
            first = store.watch("/**").subscribe(lambda event: event.value)
            second = store.watch("/n").debounce(30.0).subscribe(lambda event: None)
            store.set("/n", {"a": [1, 2]})
        assert not first.active
        assert not second.active

    for _ in range(300):
        step()
    yield step


@scenario(tags={"store"})
def transactions(ctx):
    """A transaction that commits a group of events, and one that is undone."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        count = 0

        def step():
            nonlocal count
            count += 1
            with store.transaction() as tx:
                tx.set("/account/a", count)
                tx.update("/account", {"b": -count, "note": "moved"})
                tx.delete("/account/note")
            try:
                with store.transaction() as tx:
                    tx.set("/account/a", 0)
                    raise LookupError  # noqa: TRY301 - the point is how the block ends
            except LookupError:
                pass

        with store.watch("/account/*").subscribe(lambda event: event.value):
            ctx.settle(store.flush_events)
            yield step


@scenario(tags={"store"})
def group_commit(ctx):
    """Writes by the background writer, with their futures."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        numbers = itertools.count()

        def step():
            n = next(numbers)
            futures = [
                store.set_async(f"/n/{n % 100}", n),
                store.update_async("/m", {"n": n}),
                store.delete_async(f"/n/{(n + 50) % 100}"),
            ]
            for future in futures:
                future.result()

        yield step


@scenario(tags={"store", "events", "long"}, time_budget=5)
def long_running_mixture(ctx):
    """Reads, writes, pushes, subscriptions and chains, as a program does them for days."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        numbers = itertools.count()
        heard = 0

        def hear(_):
            nonlocal heard
            heard += 1

        always = store.watch("/**").subscribe(hear)
        names = []

        def step():
            n = next(numbers)
            user = f"/users/{n % 20}"
            store.set(user, {"name": f"user {n % 7}", "tags": ["a", "b"], "n": n % 100})
            store.update(user, {"seen": n % 50})
            assert store.get(user + "/name") is not None
            names.append(store.push("/log", {"n": n % 100}))
            if len(names) > 20:
                store.delete("/log/" + names.pop(0))
            chain = store.watch("/users/*").filter(lambda event: event.type == "change").map(lambda event: event.path)
            with chain.subscribe(hear):
                store.delete(f"/users/{(n + 10) % 20}")
            store.keys("/users", limit=5)

        for _ in range(2000):  # what the store remembers of paths has its size by then
            step()
        ctx.settle(store.flush_events)
        ctx.meter("subscriptions", lambda: len(store.live_subscriptions()))
        yield step
        always.unsubscribe()


@scenario(tags={"store"}, max_iterations=200)
def forked_child(ctx):
    """A child that is forked, refused by the store, and gone."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        store.watch("/n").subscribe(lambda event: None)

        def step():
            child = os.fork()
            if child == 0:
                try:
                    store.get("/n")
                except elkyn.ForkedStoreError:
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0

        yield step

"""Subscriptions that come and go: nothing of them may stay."""

import elkyn
from leakcheck import scenario


@scenario(tags={"events"}, native=True)
def subscribe_unsubscribe(ctx):
    """One subscription made and dropped per iteration."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:

        def step():
            store.watch("/a/*").subscribe(print).unsubscribe()

        ctx.settle(store.flush_events)
        yield step


@scenario(tags={"events"})
def subscribe_deliver_unsubscribe(ctx):
    """A subscription that sees one event, an object, and is dropped."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        count = 0

        def step():
            nonlocal count
            count += 1
            with store.watch("/users/**", old=True).subscribe(lambda event: (event.value, event.old)):
                store.set("/users/42", {"name": "Ada", "visits": count % 7})

        ctx.settle(store.flush_events)
        ctx.meter("queue.pending", lambda: store.event_queue_stats().pending)
        yield step


@scenario(tags={"events"})
def snapshot_of_what_is_there(ctx):
    """`initial=True`: the state first, then the changes."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        store.set("/rooms", {str(n): {"name": f"room {n}"} for n in range(5)})

        def step():
            store.watch("/rooms/*", initial=True).subscribe(lambda event: event.value).unsubscribe()

        ctx.settle(store.flush_events)
        yield step


@scenario(tags={"events"})
def going_on_from_a_revision(ctx):
    """`since=`: what was written after a revision, then the changes."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        store.set("/rooms", {str(n): {"name": f"room {n}"} for n in range(5)})
        count = 0

        def step():
            nonlocal count
            count += 1
            rev = store.set(f"/rooms/{count % 5}/name", count % 1000)
            store.watch("/rooms/*", children=True, since=rev - 1).subscribe(lambda event: event.value).unsubscribe()

        ctx.settle(store.flush_events)
        yield step


@scenario(tags={"events"})
def subscriptions_that_end_themselves(ctx):
    """`take(1)` unsubscribes by itself, and so does a handler."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        count = 0

        def step():
            nonlocal count
            count += 1
            store.watch("/n").take(1).subscribe(lambda event: None)
            held = store.watch("/n").subscribe(lambda event: held.unsubscribe())
            store.set("/n", count % 1000)
            store.flush_events()

        yield step


@scenario(tags={"events"})
def handler_that_writes(ctx):
    """A handler that sets what another one hears."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        store.watch("/in").subscribe(lambda event: store.set("/out", event.value))
        heard = store.watch("/out").subscribe(lambda event: None)
        count = 0

        def step():
            nonlocal count
            count += 1
            store.set("/in", count % 1000)

        ctx.settle(lambda: (store.flush_events(), store.flush_events()))
        yield step
        heard.unsubscribe()

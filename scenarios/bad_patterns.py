"""What the documentation warns of: each of these must be found, and the line named."""

import elkyn
from leakcheck import scenario


@scenario(tags={"events", "bad"}, expect="leak", tools={"growth", "memray"})
def forgotten_unsubscribe(ctx):
    """A subscription made in every iteration, and its handle thrown away."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:

        def step():
            store.watch("/a").subscribe(lambda event: None)

        yield step


@scenario(tags={"events", "bad"}, expect="leak", tools={"growth", "memray"})
def handler_that_stores_events(ctx):
    """A handler that keeps every event it has ever seen."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        seen = []
        count = 0

        def keep(event):
            seen.append(event)

        def step():
            nonlocal count
            count += 1
            store.set("/n", count)

        with store.watch("/n").subscribe(keep):
            ctx.settle(store.flush_events)
            yield step


@scenario(tags={"events", "bad"}, expect="leak", tools={"growth", "memray"})
def subscription_per_request(ctx):
    """A server that subscribes for each request and never ends the subscription."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        sessions = {}

        def handle_request(number):
            sessions[number] = store.watch(f"/users/{number % 50}").subscribe(lambda event: None)

        numbers = iter(range(10**9))
        yield lambda: handle_request(next(numbers))

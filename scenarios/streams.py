"""Buffered subscriptions: async iteration, async handlers, executors."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import elkyn
from leakcheck import scenario


@scenario(tags={"events", "async"})
async def async_iteration(ctx):
    """An iterator made, used for one event, and dropped by break."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        count = 0

        async def step():
            nonlocal count
            stream = aiter(store.watch("/n"))
            count += 1
            store.set("/n", count % 1000)
            async for _ in stream:
                break

        yield step


@scenario(tags={"events", "async"})
async def async_iteration_cancelled(ctx):
    """A task that waits in an iterator, cancelled."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:

        async def listen():
            async for _ in store.watch("/never"):
                pass

        async def step():
            task = asyncio.create_task(listen())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        yield step


@scenario(tags={"events", "async"})
async def async_handler(ctx):
    """An async handler that hears one event and is unsubscribed."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        count = 0

        async def step():
            nonlocal count
            count += 1
            heard = asyncio.Event()

            async def handler(event):
                heard.set()

            subscription = store.watch("/n").subscribe(handler)
            store.set("/n", count % 1000)
            await heard.wait()
            subscription.unsubscribe()
            await asyncio.sleep(0)

        yield step


@scenario(tags={"events"})
def executor_handler(ctx):
    """A handler on an executor, subscribed and unsubscribed while it works."""
    with (
        ThreadPoolExecutor(1) as executor,
        elkyn.open(ctx.tmp_path / "data", durability="none") as store,
    ):
        count = 0

        def step():
            nonlocal count
            count += 1
            subscription = store.watch("/n").subscribe(lambda event: event.value, executor=executor)
            store.set("/n", count % 1000)
            subscription.unsubscribe()

        ctx.settle(lambda: executor.submit(store.flush_events).result())
        yield step

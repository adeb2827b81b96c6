"""Error paths: what raises leaves nothing behind."""

import elkyn
from leakcheck import scenario


@scenario(tags={"errors"}, raises=elkyn.PathError)
def bad_path(ctx):
    """A path that breaks the grammar."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        yield lambda: store.set("/a//b", 1)


@scenario(tags={"errors"}, raises=(TypeError, ValueError))
def bad_value(ctx):
    """A value that does not read back as itself, deep inside a good one."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        yield lambda: store.set("/a", {"good": [1, 2, {"bad": object()}]})


@scenario(tags={"errors"}, raises=elkyn.StoreClosedError)
def closed_store(ctx):
    """A call on a store that is closed."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        pass
    yield lambda: store.watch("/a").subscribe(print)


@scenario(tags={"errors", "events"})
def handler_that_raises(ctx):
    """A handler's exception is counted and reported, and goes no further."""
    with elkyn.open(ctx.tmp_path / "data", durability="none", on_handler_error=lambda error, where: None) as store:
        count = 0

        def fail(event):
            raise LookupError(event.path)

        def step():
            nonlocal count
            count += 1
            store.set("/n", count % 1000)

        with store.watch("/n").subscribe(fail):
            ctx.settle(store.flush_events)
            yield step

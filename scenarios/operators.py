"""Operator chains: one native subscription at the source, bounded state, timers that die."""

import elkyn
from leakcheck import scenario


def _positive(event):
    return event.value > 0


CHAINS = {
    "filter_map": lambda source: source.filter(_positive).map(lambda event: event.value),
    "take_skip": lambda source: source.skip(1).take(2),
    "distinct_scan": lambda source: source.distinct().scan(lambda total, event: total + event.value, 0),
    "debounce_throttle": lambda source: source.throttle(30.0).debounce(30.0),
    "buffer_merge": lambda source: source.merge(source).buffer(count=3, seconds=30.0),
    "take_until": lambda source: source.take_until(source.skip(1)),
}


@scenario(tags={"events", "operators"}, params={"chain": list(CHAINS)})
def operator_chain(ctx, chain):
    """A chain subscribed to, given three events, and unsubscribed with its timers running."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:

        def step():
            subscription = CHAINS[chain](store.watch("/n")).subscribe(lambda item: None)
            for n in (1, 2, 3):
                store.set("/n", n)
            store.flush_events()
            subscription.unsubscribe()

        yield step


@scenario(tags={"events", "operators"})
def operator_that_raises(ctx):
    """An exception in an operator's function ends its chain, once."""
    with elkyn.open(ctx.tmp_path / "data", durability="none") as store:
        errors = 0

        def count_error(_):
            nonlocal errors
            errors += 1

        def step():
            store.watch("/n").map(lambda event: 1 // 0).subscribe(print, on_error=count_error)
            store.set("/n", errors % 1000)
            store.flush_events()

        store.set("/n", -1)
        yield step

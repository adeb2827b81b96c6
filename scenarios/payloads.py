"""Large values on their way through the ring, over the inline limit too."""

import elkyn
from leakcheck import scenario


@scenario(tags={"events", "payload"}, params={"size": [1 << 10, 64 << 10, 1 << 20, 5 << 20]})
def large_payload(ctx, size):
    """A value of `size` bytes set, delivered (or flagged as omitted) and read back."""
    with elkyn.open(ctx.tmp_path / "data", durability="none", map_size=64 << 20) as store:
        values = [bytes([n]) * size for n in (1, 2)]
        count = 0

        def hear(event):
            if isinstance(event, elkyn.Overflow):
                return
            if event.value_omitted:
                store.get(event.path)
            elif len(event.value) != size:
                raise AssertionError(f"a value of {size} bytes arrived with {len(event.value)}")

        def step():
            nonlocal count
            count += 1
            store.set("/blob", values[count % 2])
            store.flush_events()

        # The file's pages are there before the first reading: a store grows to its working set once.
        for _ in range(20):
            step()
        with store.watch("/blob").subscribe(hear):
            yield step

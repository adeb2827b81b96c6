"""What was there when a subscription with `initial=True` began, delivered before its first live event."""

import time
from collections.abc import Sequence

from elkyn.events.changes import Pending
from elkyn.events.dispatcher import Dispatcher
from elkyn.events.subscriptions import Watcher


class Snapshot:
    """A task of the dispatcher's: the nodes that `watcher` begins with, as events."""

    def __init__(self, dispatcher: Dispatcher, watcher: Watcher, nodes: Sequence[tuple[str, bytes]], rev: int) -> None:
        """`nodes` are paths with their encoded values at the revision `rev`."""
        self._dispatcher = dispatcher
        self._watcher = watcher
        first = dispatcher.queue.settled - len(nodes)  # so that they are numbered just below the first live event
        now = time.time_ns()
        self._events = [
            Pending(path, raw, None, (watcher,), last=seq == first + len(nodes) - 1).event(
                rev, seq, now, dispatcher.queue.value_bytes
            )
            for seq, (path, raw) in enumerate(nodes, first)
        ]

    def __call__(self) -> None:
        """Deliver them, as long as the subscription goes on."""
        for event in self._events:
            if not self._watcher.active:
                break
            self._dispatcher.deliver_one(self._watcher, event)

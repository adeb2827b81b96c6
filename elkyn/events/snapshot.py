"""What was there when a subscription with `initial=True` began, delivered before its first live event."""

import time
from collections.abc import Iterable

from elkyn._native import VALUE_BYTES, Event
from elkyn.events.dispatcher import Dispatcher
from elkyn.events.subscriptions import Watcher
from elkyn.values import decode


class Snapshot:
    """A task of the dispatcher's: the nodes that `watcher` begins with, as events."""

    def __init__(self, dispatcher: Dispatcher, watcher: Watcher, nodes: Iterable[tuple[str, bytes]], rev: int) -> None:
        """`nodes` are paths with their encoded values at the revision `rev`."""
        self._dispatcher = dispatcher
        self._watcher = watcher
        found = list(nodes)
        first = dispatcher.queue.settled - len(found)  # so that they are numbered just below the first live event
        self._events = [
            Event(
                decode,
                deleted=False,
                path=path,
                value=None if len(raw) > VALUE_BYTES else raw,
                old=None,
                rev=rev,
                seq=seq,
                last=seq == first + len(found) - 1,
                timestamp_ns=time.time_ns(),
                size=len(raw),
                omitted=len(raw) > VALUE_BYTES,
            )
            for seq, (path, raw) in enumerate(found, first)
        ]

    def __call__(self) -> None:
        """Deliver them, as long as the subscription goes on."""
        for event in self._events:
            if not self._watcher.active:
                break
            self._dispatcher.deliver_one(self._watcher, event)

"""A dispatcher held up, and waiting without sleeping blindly: what several of the store's tests share."""

import threading
import time
from collections.abc import Callable
from typing import Any

import elkyn


class Stall:
    """Holds the dispatcher thread up inside a handler."""

    def __init__(self, store: elkyn.Store) -> None:
        self._go = threading.Event()
        entered = threading.Event()

        def hold(_: Any) -> None:
            entered.set()
            self._go.wait(60)

        with store.transaction() as tx:  # in a group of its own, before anything else is watched
            tx.set("/stall", 0)
        self._subscription = store.watch("/stall").subscribe(hold)
        store.set("/stall", 1)
        assert entered.wait(10)

    def release(self) -> None:
        """Let the dispatcher go on."""
        self._go.set()


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `condition` holds, looking often; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.002)


def paths(events: list[Any]) -> list[str]:
    """Return the paths of events."""
    return [event.path for event in events]

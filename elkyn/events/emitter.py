"""From a commit to the ring: every event gets there, or into the account of what was missed, whatever interrupts."""

import time
from collections.abc import Sequence

from elkyn._native import Queue
from elkyn.events.changes import Pending
from elkyn.events.gaps import Gaps

MAX_INTERRUPTIONS = 16
"""Exceptions of signal handlers that one commit's events survive; a handler that always raises must not hang it."""


class Emitter:
    """Counts the commits and pushes their events. The store's mutex is held: the ring has one producer."""

    def __init__(self, queue: Queue, gaps: Gaps, rev: int) -> None:
        self._queue = queue
        self._gaps = gaps
        self.rev = rev  # of the latest commit

    def emit(self, events: Sequence[Pending]) -> None:
        """Count a commit and push its `events`; what a signal's handler raises is raised again when all are told."""
        self.rev = rev = self.rev + 1
        if not events:
            return
        first = self._queue.next_seq
        timestamp = 0
        interruption: BaseException | None = None
        interruptions = 0
        while interruptions < MAX_INTERRUPTIONS:  # up to here nothing is called: so nothing is raised
            try:
                timestamp = timestamp or time.time_ns()
                self._push_all(events, first, rev, timestamp)
                break
            except BaseException as error:  # noqa: BLE001 - a signal handler's, raised again when all is told
                interruption = error
                interruptions += 1
                pushed = self._queue.next_seq - first
                if pushed:
                    self.settle(events[pushed - 1], rev, timestamp)
        if interruption is not None:
            raise interruption

    def _push_all(self, events: Sequence[Pending], first: int, rev: int, timestamp: int) -> None:
        # A function of its own: a loop's jump back, at which signals are looked at too, is not always within the `try`
        # that the loop is written in (Python 3.13).
        for pending in events[self._queue.next_seq - first :]:
            path, raw, old, receivers, last = pending
            seq = self._queue.push(path, rev, timestamp, last, raw, old, receivers)
            if seq < 0:
                self.missed(-seq, rev, timestamp, pending)

    def settle(self, pending: Pending, rev: int, timestamp: int) -> None:
        """After an interruption: where `pending`, the latest event, was dropped, note that if it has not been."""
        self._queue.show()  # the ones before it: what is left to be decided then is what was dropped
        if self._queue.settled < self._queue.next_seq:
            self.missed(self._queue.next_seq - 1, rev, timestamp, pending)

    def missed(self, seq: int, rev: int, timestamp: int, pending: Pending) -> None:
        """Take note that the ring has dropped `pending`, which had taken the number `seq`."""
        # Noted before the consumer can see the gap, so that it finds whose events they were.
        self._gaps.dropped(seq, rev, timestamp, pending)
        self._queue.settle()

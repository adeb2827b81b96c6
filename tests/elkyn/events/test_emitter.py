"""From a commit to the ring: no event is lost, told twice or misplaced, whatever a signal's handler raises."""

from collections.abc import Callable
from typing import Any

import pytest

from elkyn._native import SLOTS, Queue
from elkyn.events.changes import Pending
from elkyn.events.emitter import MAX_INTERRUPTIONS, Emitter
from elkyn.events.event import Event, Overflow
from elkyn.events.gaps import Gaps
from elkyn.events.subscriptions import Options, Sink, SubscriptionState, Watcher, ignore
from elkyn.values import decode, encode


class Interrupted(Exception):
    pass


class Interrupting:
    """A ring whose push() raises before or after it has done its work, where `when` says so of its turn."""

    def __init__(self, queue: Queue, when: Callable[[int], str]) -> None:
        self._queue = queue
        self._when = when
        self._turn = 0

    def push(self, *event: Any) -> int:
        self._turn += 1
        when = self._when(self._turn)
        if when == "before":
            raise Interrupted
        seq = self._queue.push(*event)
        if when == "after":
            raise Interrupted
        return seq

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class Reader:
    """A watcher and all that it gets, gaps included, in order."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        sink = Sink(self.got.append, self.got.append, ignore, ignore)
        self.watcher = Watcher(SubscriptionState(None, "/n", "?", Options()), "/n", False, sink)  # type: ignore[arg-type]

    def read(self, queue: Queue, gaps: Gaps) -> list[Any]:
        while True:
            events, gap = queue.deliver(SLOTS, pytest.fail)
            if gap is not None:
                self.got.extend(lost for _, lost in gaps.reckon(gap[1]).losses)
            elif not events:
                return [item.value if isinstance(item, Event) else item for item in self.got]


def pending(reader: Reader, count: int) -> list[Pending]:
    return [Pending("/n", encode(n), None, (reader.watcher,), n == count - 1) for n in range(count)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_an_interrupted_push_is_made_up_for_and_the_interruption_raised(when: str, turn: int) -> None:
    queue, gaps, reader = Queue(decode), Gaps(), Reader()
    emitter = Emitter(Interrupting(queue, lambda n: when if n == turn else ""), gaps, 0)  # type: ignore[arg-type]
    with pytest.raises(Interrupted):
        emitter.emit(pending(reader, 3))
    assert emitter.rev == 1
    assert reader.read(queue, gaps) == [0, 1, 2]


@pytest.mark.parametrize("when", ["", "before", "after"])
def test_what_the_full_ring_drops_is_noted_once(when: str) -> None:
    queue, gaps, reader = Queue(decode), Gaps(), Reader()
    emitter = Emitter(Interrupting(queue, lambda n: when if n == SLOTS + 2 else ""), gaps, 0)  # type: ignore[arg-type]
    try:
        emitter.emit(pending(reader, SLOTS + 3))
    except Interrupted:
        assert when
    assert reader.read(queue, gaps)[SLOTS:] == [Overflow(3, SLOTS + 1, SLOTS + 3)]


def test_a_handler_that_always_raises_does_not_hang_the_commit() -> None:
    turns: list[int] = []
    queue, gaps, reader = Queue(decode), Gaps(), Reader()
    emitter = Emitter(Interrupting(queue, lambda n: turns.append(n) or "before"), gaps, 0)  # type: ignore[arg-type]
    with pytest.raises(Interrupted):
        emitter.emit(pending(reader, 1))
    assert len(turns) == MAX_INTERRUPTIONS


def test_a_commit_without_events_is_counted() -> None:
    queue = Queue(decode)
    emitter = Emitter(queue, Gaps(), 7)
    emitter.emit([])
    assert (emitter.rev, queue.next_seq) == (8, 1)

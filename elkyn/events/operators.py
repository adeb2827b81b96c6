"""Operators: each wraps the observer below it and connects the result to its source.

A function of the user that raises here ends the chain with that error. An `Overflow` passes every operator untouched.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from elkyn.events.event import Event, Overflow
from elkyn.events.subscriptions import Callback, Observer, Program, Sink, SubscriptionState, ignore
from elkyn.events.thread import Stop
from elkyn.values import MISSING, encode

Connect: TypeAlias = Callable[[SubscriptionState, Observer], Stop]

MAX_BUFFERED_ITEMS = 1024
"""Where `buffer()` is given no count: as many items as the ring has slots, so that its memory is bounded."""


class _Source:
    """The way to stop a source, also before connecting to it has returned."""

    __slots__ = ("_stop", "_stopped")

    def __init__(self) -> None:
        self._stop: Stop = ignore
        self._stopped = False

    def connected(self, stop: Stop) -> None:
        self._stop = stop
        if self._stopped:
            stop()

    def stop(self) -> None:
        self._stopped = True
        self._stop()


class _Alarm:
    """The one timer of an operator, which dies with its subscription."""

    __slots__ = ("_cancel", "_ring", "_seconds", "_state")

    def __init__(self, state: SubscriptionState, seconds: float, ring: Callable[[], object]) -> None:
        self._state = state
        self._seconds = seconds
        self._ring = ring
        self._cancel: Stop | None = None
        state.at_end(self._end)

    @property
    def is_set(self) -> bool:
        """Whether it is still to ring."""
        return self._cancel is not None

    def set(self) -> None:
        """Have it ring once, in its time from now, and not before."""
        self.cancel()
        self._cancel = self._state.thread.call_later(self._seconds, self._due, self._state)
        if self._state.done:  # ended by another thread, which may have cancelled before there was anything to cancel
            self.cancel()

    def cancel(self) -> None:
        """Have it not ring; from any thread."""
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()

    def _end(self) -> None:
        self.cancel()
        self._ring = ignore  # what it was led back here, and would wait for the collector

    def _due(self) -> None:
        self._cancel = None
        if self._state.done:
            return
        try:
            self._ring()
        except BaseException as error:  # noqa: BLE001 - a function of the user's ends the chain
            self._state.finish(error)


def filtering(source: Connect, predicate: Callable[[Any], object]) -> Connect:
    """Pass the items for which `predicate` is true."""

    def filter_to(emit: Callback) -> Callback:
        def on_next(item: Any) -> None:
            if predicate(item):
                emit(item)

        return on_next

    return _programmed(source, filter_to, (True, predicate))


def mapping(source: Connect, function: Callable[[Any], Any]) -> Connect:
    """Pass `function(item)`."""

    def map_to(emit: Callback) -> Callback:
        def on_next(item: Any) -> None:
            emit(function(item))

        return on_next

    return _programmed(source, map_to, (False, function))


def _programmed(source: Connect, pass_to: Callable[[Callback], Callback], step: Program) -> Connect:
    """Pass items on in Python, or by native code as the `step` before a program."""

    def connect(state: SubscriptionState, below: Observer) -> Stop:
        program = None if below.program is None else (*step, *below.program)
        return source(state, Sink(pass_to(below.next), below.overflow, below.error, below.complete, program))

    return connect


def taking(source: Connect, count: int) -> Connect:
    """Pass `count` items, then unsubscribe and complete."""

    def connect(state: SubscriptionState, below: Observer) -> Stop:
        if count == 0:
            below.complete()
            return ignore
        left = count
        upstream = _Source()

        def on_next(item: Any) -> None:
            nonlocal left
            left -= 1
            if left > 0:
                below.next(item)
            elif left == 0:
                upstream.stop()
                below.next(item)
                below.complete()

        upstream.connected(source(state, Sink(on_next, below.overflow, below.error, below.complete)))
        return upstream.stop

    return connect


def taking_until(source: Connect, other: Connect) -> Connect:
    """Pass items until `other` says anything, then complete."""

    def connect(state: SubscriptionState, below: Observer) -> Stop:
        upstream, signal = _Source(), _Source()

        def stop() -> None:
            upstream.stop()
            signal.stop()

        def finish(_: object = None) -> None:
            stop()
            below.complete()

        with state.thread.no_commits:  # both begin at one revision
            # The signal's completion says nothing about the source; its error ends both.
            signal.connected(other(state, Sink(finish, ignore, below.error, ignore)))
            upstream.connected(source(state, Sink(below.next, below.overflow, below.error, finish)))
        return stop

    return connect


def skipping(source: Connect, count: int) -> Connect:
    """Pass all but the first `count` items."""

    def connect(state: SubscriptionState, below: Observer) -> Stop:
        left = count

        def on_next(item: Any) -> None:
            nonlocal left
            if left > 0:
                left -= 1
            else:
                below.next(item)

        return source(state, Sink(on_next, below.overflow, below.error, below.complete))

    return connect


def distinct(source: Connect, key: Callable[[Any], Any] | None) -> Connect:
    """Pass an item unless its key equals that of the item before it. Remembers one key."""
    key_of = _identity if key is None else key

    def connect(state: SubscriptionState, below: Observer) -> Stop:
        before: Any = MISSING

        def on_next(item: Any) -> None:
            nonlocal before
            this = key_of(item)
            if before is MISSING or this != before:
                before = this
                below.next(item)

        def overflow(lost: Overflow) -> None:
            nonlocal before
            before = MISSING  # what was lost may have been another: the next item is news
            below.overflow(lost)

        return source(state, Sink(on_next, overflow, below.error, below.complete))

    return connect


def _identity(item: Any) -> Any:
    # Of an event, what it says rather than when; encoded, so that a handler's change to the value cannot reach it.
    return (item.path, item.type, encode(item.value)) if isinstance(item, Event) else item


def _flushing(on_next: Callback, flush: Callable[[], object], below: Observer) -> Sink:
    """First what was held back: whoever reads anew at an overflow must not hear of older things afterwards."""

    def overflow(lost: Overflow) -> None:
        flush()
        below.overflow(lost)

    def complete() -> None:
        flush()
        below.complete()

    return Sink(on_next, overflow, below.error, complete)


def debouncing(source: Connect, seconds: float) -> Connect:
    """Pass an item once nothing has followed it for `seconds`."""

    def connect(state: SubscriptionState, below: Observer) -> Stop:
        waiting: Any = MISSING

        def on_next(item: Any) -> None:
            nonlocal waiting
            waiting = item
            alarm.set()

        def flush() -> None:
            nonlocal waiting
            alarm.cancel()
            item, waiting = waiting, MISSING
            if item is not MISSING:
                below.next(item)

        alarm = _Alarm(state, seconds, flush)
        return source(state, _flushing(on_next, flush, below))

    return connect


def throttling(source: Connect, seconds: float) -> Connect:
    """Pass an item at once, then at most one every `seconds`: the latest that came meanwhile."""

    def connect(state: SubscriptionState, below: Observer) -> Stop:
        waiting: Any = MISSING

        def on_next(item: Any) -> None:
            nonlocal waiting
            if alarm.is_set:
                waiting = item
            else:
                alarm.set()
                below.next(item)

        def flush(passing: Callable[[Any], object] = on_next) -> None:
            nonlocal waiting
            item, waiting = waiting, MISSING
            if item is not MISSING:
                passing(item)

        def overflow(lost: Overflow) -> None:
            flush(below.next)  # first, as debounce does
            below.overflow(lost)

        def complete() -> None:
            alarm.cancel()
            flush(below.next)
            below.complete()

        alarm = _Alarm(state, seconds, flush)
        return source(state, Sink(on_next, overflow, below.error, complete))

    return connect


def buffering(source: Connect, count: int | None, seconds: float | None) -> Connect:
    """Pass lists of `count` items, or of what came within `seconds`, whichever is full first."""
    most = MAX_BUFFERED_ITEMS if count is None else count

    def connect(state: SubscriptionState, below: Observer) -> Stop:
        items: list[Any] = []

        def on_next(item: Any) -> None:
            items.append(item)
            if len(items) >= most:
                flush()
            elif alarm is not None and not alarm.is_set:
                alarm.set()

        def flush() -> None:
            nonlocal items
            if alarm is not None:
                alarm.cancel()
            if items:
                full, items = items, []
                below.next(full)

        alarm = None if seconds is None else _Alarm(state, seconds, flush)
        return source(state, _flushing(on_next, flush, below))

    return connect


def scanning(source: Connect, function: Callable[[Any, Any], Any], seed: Any) -> Connect:
    """Pass the running result of `function(result, item)`."""

    def connect(state: SubscriptionState, below: Observer) -> Stop:
        result = seed

        def on_next(item: Any) -> None:
            nonlocal result
            result = item if result is MISSING else function(result, item)
            below.next(result)

        return source(state, Sink(on_next, below.overflow, below.error, below.complete))

    return connect


def merging(sources: tuple[Connect, ...]) -> Connect:
    """Pass the items of all sources as they come; complete when all have."""

    def connect(state: SubscriptionState, below: Observer) -> Stop:
        left = len(sources)
        upstreams = [_Source() for _ in sources]
        told: Overflow | None = None

        def overflow(lost: Overflow) -> None:
            nonlocal told
            if lost is not told:  # one loss of several sources is told once
                told = lost
                below.overflow(lost)

        def complete() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                below.complete()

        with state.thread.no_commits:  # all begin at one revision
            for upstream, source in zip(upstreams, sources, strict=True):
                upstream.connected(source(state, Sink(below.next, overflow, below.error, complete)))

        def stop() -> None:
            for upstream in upstreams:
                upstream.stop()

        return stop

    return connect

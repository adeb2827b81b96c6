"""Operators: each wraps the observer below it and connects the result to its source.

A function of the user that raises here ends the chain with that error. An `Overflow` passes every operator untouched.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from elkyn.events.event import Event, Overflow
from elkyn.events.subscriptions import Handlers, Observer, Run, Sink, ignore
from elkyn.values import MISSING, encode

T = TypeVar("T")

Stop = Callable[[], object]
Connect = Callable[[Run, Observer], Stop]

MOST_BUFFERED = 1024


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


def filtering(source: Connect, predicate: Callable[[Any], object]) -> Connect:
    """Pass the items for which `predicate` is true."""

    def connect(run: Run, below: Observer) -> Stop:
        return source(run, Sink(_filter(predicate, below), below.overflow, below.error, below.complete))

    return connect


def _filter(predicate: Callable[[Any], object], below: Observer) -> Callable[[Any], None]:
    emit = below.next
    if isinstance(below, Sink) and below.function is not None and below.handlers is not None:
        # filter, map and handler in one: the commonest chain, at half the calls.
        function, handler, failed = below.function, below.handlers.handler, below.handlers.failed

        def all_in_one(item: Any) -> None:
            if predicate(item):
                result = function(item)
                try:
                    handler(result)
                except BaseException as error:  # noqa: BLE001 - a handler's error is its own
                    failed(error)

        return all_in_one

    def on_next(item: Any) -> None:
        if predicate(item):
            emit(item)

    return on_next


def mapping(source: Connect, function: Callable[[Any], Any]) -> Connect:
    """Pass `function(item)`."""

    def connect(run: Run, below: Observer) -> Stop:
        emit = below.next

        def on_next(item: Any) -> None:
            emit(function(item))

        sink = Sink(on_next, below.overflow, below.error, below.complete)
        if isinstance(below, Handlers):
            sink.function, sink.handlers = function, below
        return source(run, sink)

    return connect


def taking(source: Connect, count: int) -> Connect:
    """Pass `count` items, then unsubscribe and complete."""

    def connect(run: Run, below: Observer) -> Stop:
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

        upstream.connected(source(run, Sink(on_next, below.overflow, below.error, below.complete)))
        return upstream.stop

    return connect


def taking_until(source: Connect, other: Connect) -> Connect:
    """Pass items until `other` says anything, then complete."""

    def connect(run: Run, below: Observer) -> Stop:
        upstream, signal = _Source(), _Source()

        def stop() -> None:
            upstream.stop()
            signal.stop()

        def finish(_: object = None) -> None:
            stop()
            below.complete()

        # The signal's completion says nothing about the source; its error ends both.
        signal.connected(other(run, Sink(finish, ignore, below.error, ignore)))
        upstream.connected(source(run, Sink(below.next, below.overflow, below.error, finish)))
        return stop

    return connect


def skipping(source: Connect, count: int) -> Connect:
    """Pass all but the first `count` items."""

    def connect(run: Run, below: Observer) -> Stop:
        left = count

        def on_next(item: Any) -> None:
            nonlocal left
            if left > 0:
                left -= 1
            else:
                below.next(item)

        return source(run, Sink(on_next, below.overflow, below.error, below.complete))

    return connect


def distinct(source: Connect, key: Callable[[Any], Any] | None) -> Connect:
    """Pass an item unless its key equals that of the item before it. Remembers one key."""
    key_of = _identity if key is None else key

    def connect(run: Run, below: Observer) -> Stop:
        before: Any = MISSING

        def on_next(item: Any) -> None:
            nonlocal before
            this = key_of(item)
            if before is MISSING or this != before:
                before = this
                below.next(item)

        return source(run, Sink(on_next, below.overflow, below.error, below.complete))

    return connect


def _identity(item: Any) -> Any:
    # Of an event, what it says rather than when; encoded, so that a handler's change to the value cannot reach it.
    return (item.path, item.type, encode(item.value)) if isinstance(item, Event) else item


def debouncing(source: Connect, seconds: float) -> Connect:
    """Pass an item once nothing has followed it for `seconds`."""

    def connect(run: Run, below: Observer) -> Stop:
        waiting: Any = MISSING
        timer: Any = None
        dispatcher = run.dispatcher

        def on_next(item: Any) -> None:
            nonlocal waiting, timer
            waiting = item
            if timer is not None:
                dispatcher.cancel(timer)
            timer = dispatcher.call_later(seconds, flush, run)

        def flush() -> None:
            nonlocal waiting
            item, waiting = waiting, MISSING
            if item is not MISSING:
                below.next(item)

        def complete() -> None:
            cancel()
            flush()
            below.complete()

        def cancel() -> None:
            nonlocal timer
            if timer is not None:
                dispatcher.cancel(timer)
                timer = None

        run.at_end(cancel)
        return source(run, Sink(on_next, below.overflow, below.error, complete))

    return connect


def throttling(source: Connect, seconds: float) -> Connect:
    """Pass an item at once, then at most one every `seconds`: the latest that came meanwhile."""

    def connect(run: Run, below: Observer) -> Stop:
        waiting: Any = MISSING
        timer: Any = None
        dispatcher = run.dispatcher

        def on_next(item: Any) -> None:
            nonlocal waiting, timer
            if timer is None:
                timer = dispatcher.call_later(seconds, window_over, run)
                below.next(item)
            else:
                waiting = item

        def window_over() -> None:
            nonlocal waiting, timer
            timer = None
            item, waiting = waiting, MISSING
            if item is not MISSING:
                on_next(item)

        def complete() -> None:
            nonlocal waiting
            cancel()
            item, waiting = waiting, MISSING
            if item is not MISSING:
                below.next(item)
            below.complete()

        def cancel() -> None:
            nonlocal timer
            if timer is not None:
                dispatcher.cancel(timer)
                timer = None

        run.at_end(cancel)
        return source(run, Sink(on_next, below.overflow, below.error, complete))

    return connect


def buffering(source: Connect, count: int | None, seconds: float | None) -> Connect:
    """Pass lists of `count` items, or of what came within `seconds`, whichever is full first."""
    most = MOST_BUFFERED if count is None else count

    def connect(run: Run, below: Observer) -> Stop:
        items: list[Any] = []
        timer: Any = None
        dispatcher = run.dispatcher

        def on_next(item: Any) -> None:
            nonlocal timer
            items.append(item)
            if len(items) >= most:
                flush()
            elif timer is None and seconds is not None:
                timer = dispatcher.call_later(seconds, flush, run)

        def flush() -> None:
            nonlocal items
            cancel()
            if items:
                full, items = items, []
                below.next(full)

        def overflow(lost: Overflow) -> None:
            flush()
            below.overflow(lost)

        def complete() -> None:
            flush()
            below.complete()

        def cancel() -> None:
            nonlocal timer
            if timer is not None:
                dispatcher.cancel(timer)
                timer = None

        run.at_end(cancel)
        return source(run, Sink(on_next, overflow, below.error, complete))

    return connect


def scanning(source: Connect, function: Callable[[Any, Any], Any], seed: Any) -> Connect:
    """Pass the running result of `function(result, item)`."""

    def connect(run: Run, below: Observer) -> Stop:
        result = seed

        def on_next(item: Any) -> None:
            nonlocal result
            result = item if result is MISSING else function(result, item)
            below.next(result)

        return source(run, Sink(on_next, below.overflow, below.error, below.complete))

    return connect


def merging(sources: tuple[Connect, ...]) -> Connect:
    """Pass the items of all sources as they come; complete when all have."""

    def connect(run: Run, below: Observer) -> Stop:
        left = len(sources)
        upstreams = [_Source() for _ in sources]

        def complete() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                below.complete()

        for upstream, source in zip(upstreams, sources, strict=True):
            upstream.connected(source(run, Sink(below.next, below.overflow, below.error, complete)))

        def stop() -> None:
            for upstream in upstreams:
                upstream.stop()

        return stop

    return connect

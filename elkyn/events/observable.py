"""What `watch()` returns: a description of events to come, which costs nothing until someone subscribes."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeGuard, TypeVar, overload

from elkyn.events import operators
from elkyn.events.dispatcher import Dispatcher
from elkyn.events.event import Overflow
from elkyn.events.operators import Connect
from elkyn.events.streams import EventStream, Inbox, executor_inbox, loop_inbox
from elkyn.events.subscriptions import Handlers, Options, OverflowPolicy, Subscription, SubscriptionState, caller
from elkyn.values import MISSING

if TYPE_CHECKING:
    import reactivex

T = TypeVar("T")
U = TypeVar("U")


class Observable(Generic[T]):
    """Items to come, from one watch or several. Immutable: each operator returns a new one.

    Subscribe with a handler (`subscribe`), or iterate (`async for`). Operators run on the store's dispatcher thread and
    so should be quick. An `Overflow` passes all of them untouched.
    """

    __slots__ = ("__weakref__", "_connect", "_dispatcher", "_options", "_pattern")

    def __init__(self, dispatcher: Dispatcher, connect: Connect, options: Options, pattern: str) -> None:
        self._dispatcher = dispatcher
        self._connect = connect
        self._options = options
        self._pattern = pattern

    def __repr__(self) -> str:
        return f"<Observable of {self._pattern}>"

    def _derive(self, connect: Connect) -> "Observable[Any]":
        return Observable(self._dispatcher, connect, self._options, self._pattern)

    # --- operators

    def filter(self, predicate: Callable[[T], object]) -> "Observable[T]":
        """Keep the items for which `predicate` is true."""
        return self._derive(operators.filtering(self._connect, predicate))

    def map(self, function: Callable[[T], U]) -> "Observable[U]":
        """Replace each item by `function(item)`."""
        return self._derive(operators.mapping(self._connect, function))

    def take(self, count: int) -> "Observable[T]":
        """Take the first `count` items, then unsubscribe and complete; `take(0)` completes at once."""
        return self._derive(operators.taking(self._connect, _not_negative("take", count)))

    def take_until(self, signal: "Observable[Any]") -> "Observable[T]":
        """Take items until `signal` has its first, then unsubscribe and complete."""
        return self._derive(operators.taking_until(self._connect, signal._connect))

    def skip(self, count: int) -> "Observable[T]":
        """Leave out the first `count` items."""
        return self._derive(operators.skipping(self._connect, _not_negative("skip", count)))

    def distinct(self, key: Callable[[T], Any] | None = None) -> "Observable[T]":
        """Leave out an item that equals the one before it: by `key`, or for events by path, type and value.

        Remembers one item only, so that its memory is bounded.
        """
        return self._derive(operators.distinct(self._connect, key))

    def debounce(self, seconds: float) -> "Observable[T]":
        """Pass an item once no other has followed it for `seconds`."""
        return self._derive(operators.debouncing(self._connect, _positive("debounce", seconds)))

    def throttle(self, seconds: float) -> "Observable[T]":
        """Pass an item at once, then at most one every `seconds`: the latest that came meanwhile."""
        return self._derive(operators.throttling(self._connect, _positive("throttle", seconds)))

    def buffer(self, count: int | None = None, seconds: float | None = None) -> "Observable[list[T]]":
        """Gather items in lists: of `count`, or of what came within `seconds`, whichever is full first.

        Without `count` a list is passed on at 1024 items, so that its memory is bounded.
        """
        if count is None and seconds is None:
            raise ValueError("buffer() needs count=, seconds= or both")
        if count is not None and count < 1:
            raise ValueError(f"buffer() needs a count of 1 or more, not {count}")
        if seconds is not None:
            _positive("buffer", seconds)
        return self._derive(operators.buffering(self._connect, count, seconds))

    def scan(self, function: Callable[[Any, T], U], seed: Any = MISSING) -> "Observable[U]":
        """Pass the running result of `function(result, item)`; without `seed` the first item starts it."""
        return self._derive(operators.scanning(self._connect, function, seed))

    def merge(self, *others: "Observable[U]") -> "Observable[T | U]":
        """Pass the items of this and the `others`, of the same store, as they come; complete when all have."""
        if any(other._dispatcher is not self._dispatcher for other in others):
            raise ValueError(
                "merge() takes observables of one store: another's have a thread and an order of their own"
            )
        return self._derive(operators.merging((self._connect, *(other._connect for other in others))))

    # --- ends

    @overload
    def subscribe(
        self,
        on_next: Callable[[T], object],
        on_error: Callable[[BaseException], object] | None = None,
        on_complete: Callable[[], object] | None = None,
        *,
        overflow: Literal["error"],
        capacity: int | None = None,
        timeout: float | None = None,
        executor: Executor | None = None,
        initial: bool | None = None,
        old: bool | None = None,
    ) -> Subscription: ...
    @overload
    def subscribe(
        self,
        on_next: Callable[[T | Overflow], object],
        on_error: Callable[[BaseException], object] | None = None,
        on_complete: Callable[[], object] | None = None,
        *,
        overflow: OverflowPolicy | None = None,
        capacity: int | None = None,
        timeout: float | None = None,
        executor: Executor | None = None,
        initial: bool | None = None,
        old: bool | None = None,
    ) -> Subscription: ...
    def subscribe(
        self,
        on_next: Callable[[Any], object],
        on_error: Callable[[BaseException], object] | None = None,
        on_complete: Callable[[], object] | None = None,
        *,
        overflow: OverflowPolicy | None = None,
        capacity: int | None = None,
        timeout: float | None = None,
        executor: Executor | None = None,
        initial: bool | None = None,
        old: bool | None = None,
    ) -> Subscription:
        """Have `on_next` called with every item, and with an `Overflow` wherever items were lost.

        So it takes both, as a type checker will say; with `overflow="error"` given here it is called with items alone.
        A plain function runs on the store's dispatcher thread, or on `executor`; an async one on the event loop that is
        running now. Calls for one subscription never overlap. What a handler raises is counted and reported, and
        reaches nobody else. At most one of `on_error` and `on_complete` is called, once, and nothing after it.

        `overflow` says what happens when there is no room: "gap" drops the newest and tells so by one `Overflow`;
        "error" ends the subscription; "latest" keeps the last event of each path; "block" has the writer wait, up to
        `timeout` seconds, and then raises `EventTimeout` from the write, which did not happen. `capacity` bounds the
        items that wait for an executor or a loop.

        Raises `StoreClosedError`, `ForkedStoreError`.
        """
        if not callable(on_next):
            raise TypeError(f"on_next must be callable, not {type(on_next).__name__}")
        if _is_async(on_next) and executor is not None:
            raise ValueError("an async handler runs on the event loop that subscribes; leave executor= out")
        for name, ending in (("on_error", on_error), ("on_complete", on_complete)):
            if ending is not None and _is_async(ending):
                raise TypeError(f"{name} must be a plain function: it is also called when the loop is closed")
        options = _options(
            self._options, overflow=overflow, capacity=capacity, timeout=timeout, initial=initial, old=old
        )
        state = self._new_state(options)
        handlers = Handlers(state, on_next, on_error, on_complete)
        terminal: Handlers | Inbox = handlers
        if _is_async(on_next):
            terminal = loop_inbox(state, asyncio.get_running_loop(), on_next, handlers)
        elif executor is not None:
            terminal = executor_inbox(state, executor, handlers)
        self._start(state, terminal)
        return Subscription(state)

    def __aiter__(self) -> EventStream[T]:
        """Subscribe now and iterate over the items; an `Overflow` stands where items were lost."""
        state = self._new_state(self._options)
        stream: EventStream[T] = EventStream(state)
        self._start(state, stream.inbox)
        return stream

    def to_reactivex(self) -> "reactivex.Observable[Any]":
        """Return this as an observable of the reactivex package, for all other operators. Needs the extra `rx`."""
        try:
            import reactivex
            from reactivex.disposable import Disposable
        except ImportError as error:
            raise ImportError("to_reactivex() needs reactivex: pip install 'elkyn-leakcheck[rx]'") from error

        def subscribe(observer: Any, _scheduler: Any = None) -> Disposable:
            subscription = self.subscribe(observer.on_next, observer.on_error, observer.on_completed)
            return Disposable(subscription.unsubscribe)

        return reactivex.create(subscribe)

    # --- how a subscription begins

    def _new_state(self, options: Options) -> SubscriptionState:
        return SubscriptionState(self._dispatcher.thread, self._pattern, caller(), options)

    def _start(self, state: SubscriptionState, terminal: Handlers | Inbox) -> None:
        self._dispatcher.thread.refuse_if_forked()  # before a lock that nobody will release here
        state.terminal = terminal
        self._dispatcher.admit(state)
        try:
            self._connect(state, terminal)
        except BaseException:
            state.end()
            raise


def _is_async(handler: Callable[..., Any]) -> TypeGuard[Callable[..., Awaitable[object]]]:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def _options(options: Options, **overrides: Any) -> Options:
    chosen = {name: value for name, value in overrides.items() if value is not None}
    return replace(options, **chosen) if chosen else options


def _not_negative(name: str, count: int) -> int:
    if count < 0:
        raise ValueError(f"{name}() needs a count of 0 or more, not {count}")
    return count


def _positive(name: str, seconds: float) -> float:
    if not seconds > 0:
        raise ValueError(f"{name}() needs a time above 0 seconds, not {seconds}")
    return seconds

"""Buffered subscriptions: a small bounded inbox between the dispatcher and a consumer that runs elsewhere.

The consumer is an executor, an event loop with an async handler, or an async iterator. However long it stalls, it
fills only its own inbox.
"""

import asyncio
import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Any, Generic, TypeVar

from elkyn.errors import SubscriptionOverflow
from elkyn.events.event import Event, Overflow
from elkyn.events.subscriptions import Handlers, Program, SubscriptionState
from elkyn.locks import Lock, is_mine
from elkyn.progress import Progress

T = TypeVar("T")

LOOK_EVERY_S = 0.1
"""Seconds between two looks whether a loop still lives: one that dies with its handler half done says nothing."""


ITEMS_PER_TURN = 16
"""Items in a row before the event loop has its turn, though more are waiting: some 100 us of a quick consumer."""


class _Nothing:
    """The type of NOTHING: an empty inbox whose next item will ring."""


class End:
    """The terminal signal, at its place behind the last item."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


NOTHING = _Nothing()


class Inbox:
    """Bounded items on their way to one consumer. `next` on the dispatcher, `take` on the consumer's side."""

    def __init__(
        self,
        state: SubscriptionState,
        wake: Callable[[], object],
        alive: Callable[[], bool] = lambda: True,
        is_served_here: Callable[[], bool] = lambda: False,
    ) -> None:
        """`wake` rings for the consumer, or ends the subscription where it is not `alive` any more."""
        self._state = state
        self._alive = alive
        self.is_served_here = is_served_here
        self._policy = state.options.overflow
        self._capacity = state.options.capacity
        self._wake = wake
        self._lock = Lock()
        # By path for "latest", else by number; in the order of the stream.
        self._items: OrderedDict[object, Any] = OrderedDict()
        self._number = 0
        self._end: End | None = None
        self._idle = True
        self._for_room: list[Callable[[], object]] = []
        self.closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def program(self) -> Program:
        """Take an item in, at the end of a chain."""
        return (self.next,)

    def next(self, item: Any) -> None:
        """Take an item in, or apply the overflow policy where there is no room."""
        with self._lock:
            if self.closed or self._end is not None:
                return
            self._accept(item)
            idle, self._idle = self._idle, False
        if idle or not self._alive():
            self._wake()

    def _accept(self, item: Any) -> None:
        thread = self._state.thread
        key = item.path if self._policy == "latest" and isinstance(item, Event) else None
        if self._policy == "latest" and key in self._items:
            del self._items[key]  # and in again at the end, so that sequence numbers keep rising
            thread.inbox_coalesced()
            self._items[key] = item
        elif len(self._items) < self._capacity or self._policy == "block":
            # Where the writer waits, there is room for its events. What an operator has held back may come on top: an
            # item for each operator with a timer.
            self._append(item, key)
        elif self._policy == "error":
            thread.inbox_dropped()
            self._refuse(SubscriptionOverflow(f"the subscription from {self._state.where} lost events; read anew"))
        else:
            thread.inbox_dropped()
            seq = item.seq if isinstance(item, Event) else thread.queue.seq
            self._note_loss(Overflow(1, seq, seq))

    def _refuse(self, error: BaseException) -> None:
        self._end = End(error)
        self._state.thread.post(self._state.end)  # not here, where our lock is held

    def _append(self, item: Any, key: object = None) -> None:
        self._number += 1
        self._items[self._number if self._policy != "latest" or isinstance(item, Overflow) else key] = item

    def _note_loss(self, loss: Overflow) -> None:
        """Put one marker behind the last item, or let the marker that is there grow."""
        newest = next(reversed(self._items), None)
        before = self._items[newest] if newest is not None or None in self._items else None
        if isinstance(before, Overflow):
            self._items[newest] = Overflow(before.lost + loss.lost, before.first_seq, loss.last_seq)
        else:
            self._append(loss)

    def overflow(self, loss: Overflow) -> None:
        """Take a marker in: there is always room for one."""
        with self._lock:
            if self.closed or self._end is not None:
                return
            self._note_loss(loss)
            idle, self._idle = self._idle, False
        if idle:
            self._wake()

    def error(self, error: BaseException) -> None:
        """End the subscription with `error`."""
        self._state.finish(error)

    def complete(self) -> None:
        """End the subscription."""
        self._state.finish()

    def ended(self, error: BaseException | None) -> None:
        """Have the consumer told after the last item."""
        with self._lock:
            if self.closed or self._end is not None:
                return
            self._end = End(error)
            idle, self._idle = self._idle, False
        if idle:
            self._wake()

    def take(self) -> Any:
        """Return the next item, an `End` after the last, or NOTHING: then the next item will ring."""
        with self._lock:
            if self._items:
                _, item = self._items.popitem(last=False)
            elif self._end is not None:
                return self._end
            else:
                self._idle = True
                return NOTHING
        self._state.thread.progressed()
        if self._for_room and len(self._items) * 2 <= self._capacity:
            waiting, self._for_room = self._for_room, []
            for tell in waiting:
                tell()
        return item

    def when_room(self, tell: Callable[[], object]) -> None:
        """Have `tell` called once, by the consumer, when half of the room is free. Ask for room again after that."""
        self._for_room.append(tell)

    def rest(self) -> None:
        """The consumer has stopped half-way: the next item rings again."""
        self._idle = True

    def close(self, _patience: float = 0) -> bool:
        """Drop what is waiting and take nothing more."""
        self.closed = True
        self._for_room = []
        if is_mine(self._lock):
            self._state.thread.post(self.close)
        else:
            with self._lock:
                self._items.clear()
        return True


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether `loop` is running the caller."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class _Consumer:
    """What an executor and a loop have in common: an inbox, one handler at a time, and the end.

    It is entered for a handler's turn, for which `close()` waits.
    """

    def __init__(
        self, state: SubscriptionState, handlers: Handlers, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.state = state
        self._handlers = handlers
        self._loop = loop
        self._turn_over = Progress()
        self._thread: int | None = None  # the one that a handler is running on

    def __enter__(self) -> None:
        self._thread = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._thread = None
        self._turn_over.tell()

    def _alive(self) -> bool:
        return self._loop is None or not self._loop.is_closed()

    def _on_its_loop(self) -> bool:
        return self._loop is not None and _runs_here(self._loop)

    def inbox(self, wake: Callable[[], object]) -> Inbox:
        """Make the inbox, for the subscription to end with."""
        self._inbox = Inbox(self.state, wake, self._alive)
        self.state.buffer = self
        return self._inbox

    def is_over(self, item: Any) -> bool:
        """Whether `item` is for nobody any more, or the end, which is told here. Ask it within a turn."""
        # Looked at after the turn has begun: unsubscribe() closes first and waits then.
        if self._inbox.closed:
            return True
        if isinstance(item, End):
            self._inbox.close()
            self.state.end()
            self.state.guarded(self._handlers.ended, item.error)
            return True
        return False

    def refused(self, error: BaseException) -> None:
        """End the subscription: what was to call the handlers is closed."""
        self._inbox.close()
        if self.state.end():
            self.state.guarded(self._handlers.ended, error)

    def __len__(self) -> int:
        return len(self._inbox)

    def when_room(self, tell: Callable[[], object]) -> None:
        """As for an inbox."""
        self._inbox.when_room(tell)

    def is_served_here(self) -> bool:
        """Whether the caller is inside the handler, or on its loop."""
        return self._thread == threading.get_ident() or self._on_its_loop()

    def close(self, patience: float) -> bool:
        """Drop what waits, and wait for a running handler to return, unless we are inside it (or on its loop)."""
        self._inbox.close()
        over = (None, threading.get_ident())
        return self._turn_over.wait_for(
            lambda: self._thread in over or not self._alive(), patience, look_every=LOOK_EVERY_S
        )


def executor_inbox(state: SubscriptionState, executor: Executor, handlers: Handlers) -> Inbox:
    """Return an inbox whose items reach the handler on `executor`, one at a time."""
    consumer = _Consumer(state, handlers)

    def wake() -> None:
        try:
            executor.submit(drain).add_done_callback(told)
        except RuntimeError as error:  # the executor was shut down
            consumer.refused(error)

    def told(future: Future[None]) -> None:
        if future.cancelled():
            consumer.refused(RuntimeError(f"the executor of the subscription from {state.where} is shut down"))

    def drain() -> None:
        while (item := inbox.take()) is not NOTHING:
            with consumer:
                if consumer.is_over(item):
                    return
                handlers.next(item)

    inbox = consumer.inbox(wake)
    return inbox


def loop_inbox(
    state: SubscriptionState,
    loop: asyncio.AbstractEventLoop,
    handler: Callable[[Any], Awaitable[object]],
    handlers: Handlers,
) -> Inbox:
    """Return an inbox whose items reach the async `handler` on `loop`, one at a time."""
    consumer = _Consumer(state, handlers, loop)
    tasks: set[asyncio.Task[None]] = set()

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(start)
        except RuntimeError:
            consumer.refused(RuntimeError(f"the event loop of the subscription from {state.where} is closed"))

    def start() -> None:
        task = loop.create_task(drain())
        tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(tasks.discard)

    async def drain() -> None:
        in_a_row = 0
        try:
            while (item := inbox.take()) is not NOTHING:
                with consumer:
                    if consumer.is_over(item):
                        return
                    try:
                        await handler(item)
                    except Exception as error:  # noqa: BLE001 - counted and reported, as for every handler
                        state.handler_failed(error)
                in_a_row += 1
                if in_a_row % ITEMS_PER_TURN == 0:
                    await asyncio.sleep(0)
        except BaseException:  # cancelled, as asyncio.run() does at its end
            inbox.rest()
            raise

    inbox = consumer.inbox(wake)
    return inbox


class EventStream(AsyncIterator[T | Overflow], Generic[T]):
    """An async iterator over a subscription, which began when the iterator was made.

    It ends when the store closes or the source completes, and raises what the source ended with. Dropping it, `break`
    and cancellation included, unsubscribes; `aclose()` does so at once.
    """

    def __init__(self, state: SubscriptionState) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        # No reference to self in what the subscription holds: dropping the iterator must end the subscription.
        self._ready = ready
        self._in_a_row = itertools.count(1)
        self._state = state

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(ready.set)
            except RuntimeError:  # the loop is closed: nobody will ever ask again
                state.end()

        self.inbox = Inbox(state, wake, is_served_here=lambda: _runs_here(loop))
        state.buffer = self.inbox
        self._release = weakref.finalize(self, _release, state, self.inbox)
        self._release.atexit = False

    @property
    def start_rev(self) -> int:
        """The revision at which the iteration began: it sees exactly the commits after it."""
        return self._state.start_rev

    def __aiter__(self) -> "EventStream[T]":
        return self

    def __anext__(self) -> Awaitable[T | Overflow]:
        # Not a coroutine method: its frame would hold `self`, and the traceback of a cancelled wait would hold the
        # frame, and so the subscription would go on.
        return _next_item(self.inbox, self._ready, self._release, self._in_a_row)

    async def aclose(self) -> None:
        """Unsubscribe. Idempotent; the iterator ends."""
        self._release()
        self._ready.set()


async def _next_item(
    inbox: Inbox, ready: asyncio.Event, release: Callable[[], object], in_a_row: "itertools.count[int]"
) -> Any:
    if next(in_a_row) % ITEMS_PER_TURN == 0:  # before an item is taken: cancelled here, none is lost
        await asyncio.sleep(0)
    while True:
        item = inbox.take()
        if item is NOTHING:
            if inbox.closed:
                raise StopAsyncIteration
            await ready.wait()
            ready.clear()
            continue
        if not isinstance(item, End):
            return item
        release()
        if item.error is not None:
            raise item.error
        raise StopAsyncIteration


def _release(state: SubscriptionState, inbox: Inbox) -> None:
    state.end()
    inbox.close()

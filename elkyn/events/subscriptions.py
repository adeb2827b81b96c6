"""One subscription: its places in the table of routes, its one terminal signal, its end.

A SubscriptionState is what `subscribe()` starts. It has one Watcher per source (more than one only with `merge`), its
operators' timers, and the terminal that hands items to the handler. The Subscription is the caller's handle on it.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol, Self, get_args

from elkyn._native import Receiver
from elkyn.errors import SubscriptionOverflow, WouldDeadlock
from elkyn.events.event import Overflow
from elkyn.events.thread import EventThread
from elkyn.paths import pattern_segments

OverflowPolicy = Literal["gap", "error", "latest", "block"]
Callback = Callable[..., object]
Program = tuple[Any, ...]
"""A chain of filters and maps down to its handler, for native code to go through instead of a chain of closures: a flat
row of (True, filter) and (False, map), then the handler."""

PATIENCE_S = 60.0
"""Seconds that `unsubscribe()` waits for a running handler: longer than any that is not stuck should take."""
PATIENCE_IN_TRANSACTION_S = 0.5
"""The same inside one's own transaction, for which a handler that writes waits in its turn."""

_log = logging.getLogger("elkyn")
_PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"  # so that elkyn_app beside it is somebody else


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a subscription wants its events."""

    old: bool = False
    initial: bool = False
    since: int | None = None  # a revision
    overflow: OverflowPolicy = "gap"
    capacity: int = 1024  # items that a buffered subscription may have waiting
    timeout: float = 5.0  # seconds that overflow="block" lets a writer wait

    def __post_init__(self) -> None:
        policies = get_args(OverflowPolicy)
        if self.overflow not in policies:
            raise ValueError(f"overflow must be one of {', '.join(policies)}, not {self.overflow!r}")
        if self.capacity < 1:
            raise ValueError("capacity must be 1 or more")
        if self.initial and self.since is not None:
            raise ValueError("initial=True tells all that is there, since= what has changed: give one of them")


@dataclass(slots=True)
class Sink:
    """Where items go: the four things that can be said to an observer."""

    next: Callback
    overflow: Callable[[Overflow], object]
    error: Callable[[BaseException], object]
    complete: Callable[[], object]
    program: Program | None = None


class Observer(Protocol):
    """A Sink's shape: the terminals below have it without being one, which spares five objects a subscription."""

    @property
    def next(self) -> Callback:
        """Take an item in."""

    @property
    def overflow(self) -> Callable[[Overflow], object]:
        """Take in that items were lost."""

    @property
    def error(self) -> Callable[[BaseException], object]:
        """End with an error."""

    @property
    def complete(self) -> Callable[[], object]:
        """End without one."""

    @property
    def program(self) -> Program | None:
        """`next` as a program for native code, where it can be one."""


def ignore(*_: object) -> None:
    """Take anything and do nothing: what the ends of an unsubscribed chain are replaced by."""


class Watcher(Receiver):
    """One subscription's presence in the table of routes."""

    __slots__ = ("active", "ends_in_handler", "held", "old", "options", "pattern", "place", "sink", "slot", "state")

    def __init__(self, state: "SubscriptionState", pattern: str, children: bool, sink: Observer) -> None:
        super().__init__()
        segments = pattern_segments(pattern)
        deep = segments[-1:] == ("**",)
        self.state = state
        self.pattern = pattern
        self.options = state.options
        self.place = segments[:-1] if deep else segments
        self.slot: Literal["exact", "family", "deep"] = "deep" if deep else "family" if children else "exact"
        self.old = state.options.old
        self.sink: Observer = sink
        self.held: Buffer | None = None  # where live events wait for a snapshot to be told
        # Whether the program's last call is the handler itself: what it raises is then the handler's error.
        self.ends_in_handler = sink.program is not None
        self.program = sink.program or (sink.next,)
        self.active = True

    def missed(self, lost: Overflow) -> None:
        """The ring dropped events that were for this subscription."""
        if self.options.overflow == "error":
            self.state.finish(
                SubscriptionOverflow(f"the subscription to {self.pattern} lost {lost.lost} events; read anew")
            )
        else:
            self.sink.overflow(lost)

    def go_on_with(self, program: Program | None) -> None:
        """Have events go through another program from here on, unless another thread ends the subscription."""
        self.program = program
        if not self.active:  # stopped before the line above, perhaps
            self.program = None

    def stop(self) -> None:
        """Let go of everything; a call under way ends normally, no other begins."""
        self.active = False
        self.program = None
        self.sink = NOBODY
        self.held = None


class Ending(Protocol):
    """A terminal: what is told, once, that the subscription has ended."""

    def ended(self, error: BaseException | None) -> object:
        """Tell the handlers: complete where there is no `error`."""


class Handlers:
    """The terminal that calls handlers on the dispatcher thread."""

    __slots__ = ("_on_complete", "_on_error", "_state", "handler")

    def __init__(
        self,
        state: "SubscriptionState",
        handler: Callback,
        on_error: Callable[[BaseException], object] | None,
        on_complete: Callable[[], object] | None,
    ) -> None:
        self._state = state
        self.handler = handler
        self._on_error = on_error
        self._on_complete = on_complete

    @property
    def program(self) -> Program:
        """Hand an item on, where the caller tells of what the handler raises."""
        return (self.handler,)

    def next(self, item: Any) -> None:
        """Hand an item on; what the handler raises is counted and goes no further."""
        try:
            self.handler(item)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a handler must not end the dispatcher either
            self._state.handler_failed(error)

    def overflow(self, lost: Overflow) -> None:
        """Hand the loss to the handler, in its place among the items."""
        self.next(lost)

    def error(self, error: BaseException) -> None:
        """End the subscription with `error`."""
        self._state.finish(error)

    def complete(self) -> None:
        """End the subscription."""
        self._state.finish()

    def ended(self, error: BaseException | None) -> None:
        """Call `on_error` or `on_complete`; an error that nobody asked for is reported like a handler's."""
        if error is None:
            if self._on_complete is not None:
                self._on_complete()
        elif self._on_error is not None:
            self._on_error(error)
        else:
            self._state.handler_failed(error)


NOBODY = Sink(ignore, ignore, ignore, ignore)


class Buffer(Protocol):
    """Where the items of a buffered subscription wait, and what takes them out."""

    def __len__(self) -> int:
        """Return how many items wait."""

    def when_room(self, tell: Callback) -> None:
        """Have `tell` called once, when half of the room is free."""

    def is_served_here(self) -> bool:
        """Whether only the calling thread can take something out: it is in the handler, or runs the loop."""

    def close(self, patience: float) -> bool:
        """Drop what waits, take nothing more, and wait for the running handler; False after `patience` seconds."""


class SubscriptionState:
    """Everything that one call of subscribe() started."""

    __slots__ = (
        "__weakref__",
        "_first",
        "_on_end",
        "abandoned",
        "buffer",
        "done",
        "options",
        "pattern",
        "start_rev",
        "terminal",
        "thread",
        "watchers",
        "where",
    )

    def __init__(self, thread: EventThread, pattern: str, where: str, options: Options) -> None:
        self.thread = thread
        self.pattern = pattern
        self.where = where
        self.options = options  # what subscribe() asked for, for all sources
        self.watchers: list[Watcher] = []
        self.start_rev = 0
        self.abandoned = False
        self.done = False
        self._first: list[None] = [None]  # taken by who ends it
        self._on_end: list[Callable[[], object]] = []
        self.terminal: Ending | None = None
        self.buffer: Buffer | None = None

    def buffers(self) -> Iterator[Buffer]:
        """Yield where its items wait."""
        if self.buffer is not None:
            yield self.buffer
        for watcher in self.watchers:
            if (held := watcher.held) is not None:
                yield held

    def at_end(self, cleanup: Callable[[], object]) -> None:
        """Have `cleanup` called once at the end; at once where it has ended."""
        self._on_end.append(cleanup)
        if self.done:  # perhaps just now: who takes it out of the list calls it
            self._clean_up()

    def end(self) -> bool:
        """Stop all sources and timers, let go of handlers. True for the one caller who ended it.

        Takes no lock: a signal's handler or the garbage collector may end it in the middle of anything, this included,
        and where one raises here, the next call does the rest.
        """
        first = bool(self._first) and self._take_first()
        self.done = True
        for watcher in self.watchers:
            watcher.stop()
        self._clean_up()
        self.terminal = None
        return first

    def _take_first(self) -> bool:
        try:
            self._first.pop()
        except IndexError:
            return False
        return True

    def _clean_up(self) -> None:
        while self._on_end:
            try:
                cleanup = self._on_end.pop(0)
            except IndexError:
                return
            cleanup()

    def finish(self, error: BaseException | None = None) -> None:
        """End with complete, or with `error`, unless it has ended."""
        terminal = self.terminal
        if self.end() and terminal is not None:
            self.guarded(terminal.ended, error)

    def handler_failed(self, error: BaseException) -> None:
        """Count and report what a handler raised."""
        self.thread.handler_failed(error, self.where)

    def guarded(self, callback: Callback, *args: object) -> None:
        """Call a handler; what it raises is counted and reported, and goes no further."""
        try:
            callback(*args)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a handler must not end the dispatcher either
            self.handler_failed(error)


class Subscription:
    """The handle of a subscription: `unsubscribe()` ends it. Losing the handle does not.

    A context manager: leaving the block unsubscribes.
    """

    __slots__ = ("__weakref__", "_state")

    def __init__(self, state: SubscriptionState) -> None:
        self._state = state

    @property
    def start_rev(self) -> int:
        """The revision at which the subscription began: it sees exactly the commits after it."""
        return self._state.start_rev

    @property
    def active(self) -> bool:
        """False after unsubscribe(), complete or error."""
        return not self._state.done

    @property
    def where(self) -> str:
        """`file:line` of the code that subscribed."""
        return self._state.where

    def unsubscribe(self) -> None:
        """End the subscription. Idempotent and thread-safe.

        After it returns no handler starts. It waits for one that is running, unless it is called by that handler (or
        on the event loop on which that handler runs): then it returns at once.

        Raises `WouldDeadlock` where that handler has not returned after 60 seconds, or after half a second inside the
        caller's own transaction, for which the handler may be waiting. The subscription has ended then all the same.
        """
        state = self._state
        state.thread.refuse_if_forked()
        state.end()
        patience = PATIENCE_IN_TRANSACTION_S if state.thread.caller_holds_up_writes() else PATIENCE_S
        ended = state.thread.wait_while_running(state, patience)
        if state.buffer is not None:
            ended = state.buffer.close(patience) and ended
        if not ended:
            raise WouldDeadlock(
                f"the subscription from {state.where} has ended, but its handler still runs after {patience:g} s: does "
                "it wait for this thread, or for its transaction?"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unsubscribe()

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is not None and not state.done:
            state.abandoned = True

    def __repr__(self) -> str:
        active = "active" if self.active else "ended"
        return f"<Subscription to {self._state.pattern} from {self._state.where}, {active}>"


def caller() -> str:
    """Return `file:line` of the nearest frame outside this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def log_handler_error(error: BaseException, where: str) -> None:
    """Report what a handler raised: the default of `on_handler_error`."""
    _log.error("a handler subscribed at %s raised", where, exc_info=error)

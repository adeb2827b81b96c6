"""One subscription: its places in the table of routes, its one terminal signal, its end.

A Run is what `subscribe()` starts. It has one Core per source (more than one only with `merge`), its operators'
timers, and the terminal that hands items to the handler. The Subscription is the caller's handle on it.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from elkyn._native import Receiver
from elkyn.errors import SubscriptionOverflow
from elkyn.events.event import Event, Overflow
from elkyn.paths import pattern_segments

if TYPE_CHECKING:
    from elkyn.events.dispatcher import Dispatcher

OverflowPolicy = Literal["gap", "error", "latest", "block"]
Callback = Callable[..., object]
Program = tuple[Any, ...]
"""A chain of filters and maps down to its handler, for native code to go through instead of a chain of closures: a flat
row of (True, filter) and (False, map), then the handler."""

_log = logging.getLogger("elkyn")
_PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"  # so that elkyn_app beside it is somebody else


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a subscription wants its events."""

    children: bool = False
    old: bool = False
    initial: bool = False
    overflow: OverflowPolicy = "gap"
    capacity: int = 1024  # items that a buffered subscription may have waiting
    timeout: float = 5.0  # seconds that overflow="block" lets a writer wait


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
    def next(self) -> Callback: ...
    @property
    def overflow(self) -> Callable[[Overflow], object]: ...
    @property
    def error(self) -> Callable[[BaseException], object]: ...
    @property
    def complete(self) -> Callable[[], object]: ...
    @property
    def program(self) -> Program | None: ...


def ignore(*_: object) -> None:
    """Take anything and do nothing: what the ends of an unsubscribed chain are replaced by."""


class Core(Receiver):
    """One subscription's presence in the table of routes."""

    __slots__ = ("active", "direct", "old", "options", "pattern", "place", "run", "sink", "slot")

    def __init__(self, run: "Run", pattern: str, options: Options, children: bool, sink: Observer) -> None:
        super().__init__()
        segments = pattern_segments(pattern)
        deep = segments[-1:] == ("**",)
        self.run = run
        self.pattern = pattern
        self.options = options
        self.place = segments[:-1] if deep else segments
        self.slot: Literal["exact", "family", "deep"] = "deep" if deep else "family" if children else "exact"
        self.old = options.old
        self.sink: Observer = sink
        # Whether the program's last call is the handler itself: what it raises is then the handler's error.
        self.direct = sink.program is not None
        self.program = sink.program or (sink.next,)
        self.active = True

    def missed(self, lost: Overflow) -> None:
        """The ring dropped events that were for this subscription."""
        if self.options.overflow == "error":
            self.run.fail(
                SubscriptionOverflow(f"the subscription to {self.pattern} lost {lost.lost} events; read anew")
            )
        else:
            self.sink.overflow(lost)

    def stop(self) -> None:
        """Let go of everything; a call under way ends normally, no other begins."""
        self.active = False
        self.program = None
        self.sink = NOBODY


class Ending(Protocol):
    """A terminal: what is told, once, that the run has ended."""

    def ended(self, error: BaseException | None) -> object:
        """Tell the handlers: complete where there is no `error`."""


class Handlers:
    """The terminal that calls handlers on the dispatcher thread."""

    __slots__ = ("_on_complete", "_on_error", "_run", "handler")

    def __init__(
        self,
        run: "Run",
        handler: Callback,
        on_error: Callable[[BaseException], object] | None,
        on_complete: Callable[[], object] | None,
    ) -> None:
        self._run = run
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
            self._run.dispatcher.handler_failed(error, self._run)

    def overflow(self, lost: Overflow) -> None:
        """Hand the loss to the handler, in its place among the items."""
        self.next(lost)

    def error(self, error: BaseException) -> None:
        """End the run with `error`."""
        self._run.fail(error)

    def complete(self) -> None:
        """End the run."""
        self._run.complete()

    def ended(self, error: BaseException | None) -> None:
        """Call `on_error` or `on_complete`; an error that nobody asked for is reported like a handler's."""
        if error is None:
            if self._on_complete is not None:
                self._on_complete()
        elif self._on_error is not None:
            self._on_error(error)
        else:
            self._run.dispatcher.handler_failed(error, self._run)


NOBODY = Sink(ignore, ignore, ignore, ignore)


class Run:
    """Everything that one call of subscribe() started."""

    __slots__ = (
        "__weakref__",
        "_lock",
        "_on_end",
        "abandoned",
        "cores",
        "discard",
        "dispatcher",
        "done",
        "options",
        "pattern",
        "start_rev",
        "terminal",
        "waiting",
        "where",
    )

    def __init__(self, dispatcher: "Dispatcher", where: str, options: Options) -> None:
        self.dispatcher = dispatcher
        self.where = where
        self.options = options  # what subscribe() asked for; a source takes over all but its own children=
        self.cores: list[Core] = []
        self.pattern = ""
        self.start_rev = 0
        self.abandoned = False
        self.done = False
        self._lock = threading.Lock()
        self._on_end: list[Callable[[], object]] = []
        self.terminal: Ending | None = None
        self.discard: Callable[[], None] = ignore  # empties the inbox of a buffered run, and waits for its handler
        self.waiting: Callable[[], int] | None = None  # items in that inbox; None: not buffered

    def at_end(self, cleanup: Callable[[], object]) -> None:
        """Have `cleanup` called once when the run ends; at once where it has ended."""
        with self._lock:
            if not self.done:
                self._on_end.append(cleanup)
                return
        cleanup()

    def end(self) -> bool:
        """Stop all sources and timers, let go of handlers. True for the one caller who ended it."""
        with self._lock:
            if self.done:
                return False
            self.done = True
            cleanups, self._on_end = self._on_end, []
        for core in self.cores:
            core.stop()
        for cleanup in cleanups:
            cleanup()
        self.terminal = None
        self.dispatcher.forget(self)
        return True

    def complete(self) -> None:
        """End with complete, unless it has ended."""
        self._finish(None)

    def fail(self, error: BaseException) -> None:
        """End with `error`, unless it has ended."""
        self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        terminal = self.terminal
        if self.end() and terminal is not None:
            self.guarded(terminal.ended, error)

    def guarded(self, callback: Callback, *args: object) -> None:
        """Call a handler; what it raises is counted and reported, and goes no further."""
        try:
            callback(*args)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a handler must not end the dispatcher either
            self.dispatcher.handler_failed(error, self)


class Subscription:
    """The handle of a subscription: `unsubscribe()` ends it. Losing the handle does not.

    A context manager: leaving the block unsubscribes.
    """

    __slots__ = ("__weakref__", "_run")

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def start_rev(self) -> int:
        """The revision at which the subscription began: it sees exactly the commits after it."""
        return self._run.start_rev

    @property
    def active(self) -> bool:
        """False after unsubscribe(), complete or error."""
        return not self._run.done

    @property
    def where(self) -> str:
        """`file:line` of the code that subscribed."""
        return self._run.where

    def unsubscribe(self) -> None:
        """End the subscription. Idempotent and thread-safe.

        After it returns no handler starts. It waits for one that is running, unless it is called by that handler (or
        on the event loop on which that handler runs): then it returns at once.
        """
        run = self._run
        run.dispatcher.refuse_if_forked()
        run.end()
        run.dispatcher.wait_while_running(run)
        run.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unsubscribe()

    def __del__(self) -> None:
        run = getattr(self, "_run", None)
        if run is not None and not run.done:
            run.abandoned = True

    def __repr__(self) -> str:
        state = "active" if self.active else "ended"
        return f"<Subscription to {self._run.pattern} from {self._run.where}, {state}>"


def caller() -> str:
    """Return `file:line` of the nearest frame outside this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def log_handler_error(error: BaseException, where: str) -> None:
    """Report what a handler raised: the default of `on_handler_error`."""
    _log.error("a handler subscribed at %s raised", where, exc_info=error)


__all__ = ["Core", "Event", "Options", "Run", "Sink", "Subscription", "caller", "ignore", "log_handler_error"]

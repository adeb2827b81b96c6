"""A thread of the store's own, started once, whatever a signal's handler raises meanwhile.

`Thread.start()` of the standard library, interrupted on the main thread, may leave a thread behind that ends at once
without having run. So it is called on another thread, where no handler runs: a bare one, made in one step.
"""

import _thread
import threading
from collections.abc import Callable

from elkyn.errors import ElkynError
from elkyn.progress import Progress

START_TIMEOUT_S = 10.0
"""Seconds until a thread runs that the system has agreed to: more than the busiest machine takes."""


class Service:
    """Runs something on a daemon thread, from the first `start()` on.

    Who is served has it, and it knows of nobody before it is started, nor when it has ended: else both would wait for
    the cyclic collector.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._unclaimed = [None]  # taken by the one that runs
        self._progress = Progress()
        self._thread: threading.Thread | None = None
        self._ident = 0
        self.ended = False

    @property
    def started(self) -> bool:
        """Whether it runs, or has run."""
        return not self._unclaimed

    def start(self, target: Callable[[], object]) -> None:
        """Have it run `target`, unless it has been started. Raises `ElkynError` where the system gives no thread."""
        if self.started:
            return
        try:
            _thread.start_new_thread(self._begin, (target,))
        except RuntimeError as error:
            raise ElkynError(f"cannot start the thread {self._name}: {error}") from error
        self._progress.wait_for(lambda: self.started, START_TIMEOUT_S)

    def is_current(self) -> bool:
        """Whether the caller runs on it."""
        return self._ident == threading.get_ident()

    def alive(self) -> bool:
        """Whether it runs."""
        return self.started and not self.ended

    def wait_until_ended(self, timeout: float) -> bool:
        """Wait for its end; False after `timeout` seconds."""
        if not self.started:
            return True
        if not self._progress.wait_for(lambda: self.ended, timeout):
            return False
        if self._thread is not None:
            self._thread.join(timeout)  # for its last steps
        return True

    def _begin(self, target: Callable[[], object]) -> None:
        try:
            self._unclaimed.pop()
        except IndexError:
            return
        self._thread = threading.Thread(target=self._run, args=(target,), name=self._name, daemon=True)
        self._progress.tell()
        try:
            self._thread.start()
        except RuntimeError:  # a second thread is one too many: then this one, without a name
            self._thread = None
            self._run(target)

    def _run(self, target: Callable[[], object]) -> None:
        self._ident = threading.get_ident()
        try:
            target()
        finally:
            self._ident = 0
            self.ended = True
            self._progress.tell()

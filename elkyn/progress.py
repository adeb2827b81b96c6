"""What threads wait for while others bring it about."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class Progress:
    """Wakes whoever waits for something, whenever it may have come about.

    Neither side holds a lock meanwhile, so that what a signal's handler raises anywhere in `wait_for()` comes out of it
    and leaves nothing behind. (A `threading.Condition` takes its lock back after the wait, and raises an error of its
    own instead where that is interrupted.)
    """

    def __init__(self) -> None:
        self._waiting: deque[threading.Lock] = deque()

    def wait_for(
        self, reached: Callable[[], bool], timeout: float | None = None, *, look_every: float = threading.TIMEOUT_MAX
    ) -> bool:
        """Wait until `reached` holds, looking whenever `tell()` is called and every `look_every` seconds.

        False where `timeout` seconds were over first; None has no end.
        """
        deadline = time.monotonic() + (threading.TIMEOUT_MAX if timeout is None else timeout)
        bell = threading.Lock()  # held: it has not rung
        bell.acquire()
        try:
            self._waiting.append(bell)  # before looking, so that what comes about after that rings
            while not reached():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                if bell.acquire(timeout=min(left, look_every)):
                    self._waiting.append(bell)
            return True
        finally:
            with suppress(ValueError):
                while True:
                    self._waiting.remove(bell)

    def tell(self) -> None:
        """Have those who wait look. Costs nothing while nobody does."""
        if not self._waiting:
            return
        for bell in list(self._waiting):  # those who wait now: who looks in vain stands in line again
            try:
                bell.release()
            except RuntimeError:  # another thread has rung it
                continue
            # Only now: what a signal's handler raises in between leaves a bell in line that rings once too often, and
            # none out of it that has not rung.
            with suppress(ValueError):
                self._waiting.remove(bell)

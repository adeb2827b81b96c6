"""Visits to a service, some at a time: what its step is made of, whoever makes them."""

from __future__ import annotations

import threading

from leakcheck.agent.service.started import Service, ServiceError

_LEAST_VISITS = 1000
"""Visits before it is asked whether the service has seen anything of them."""
_LEAST_NS = 1000
"""Nanoseconds that a service runs for a visit at least: to take a connection, or a message, is several calls of the
system, and each of these takes most of that. A service that is left alone runs some ten times a second."""


class Visits:
    """A step that makes one visit when it is called; `many` makes some at a time."""

    def __init__(self, service: Service, concurrency: int) -> None:
        self.service = service
        self.concurrency = concurrency
        self.done = 0
        """Visits of the last `many` that came to their end."""
        self.start_s = 0.0
        """Seconds that `many` takes, however few the visits."""
        self._visits = 0
        """All that were made so far."""
        self._ran_ns = 0
        """For how long the service has run meanwhile, as far as it was by threads that went on."""

    def __call__(self) -> None:
        """Make one visit."""
        self.many(1)

    def many(self, count: int) -> None:
        """Make `count` visits; the first error is raised when all have ended.

        Raises `ServiceError` where the service has hardly run for them so far: whoever was visited, it was another.
        """
        if not count:
            return
        self.done, before = 0, self.service.run_times()
        self.make(count)
        after = self.service.run_times()
        if not after:  # the kernel does not tell, or it has just ended
            return
        self._visits += count
        self._ran_ns += sum(max(0, ran - before.get(thread, 0)) for thread, ran in after.items())
        if self._visits >= _LEAST_VISITS and self._ran_ns < _LEAST_NS * self._visits:
            raise ServiceError(
                f"the service has hardly run while it was visited {self._visits:,} times: let the client visit "
                f"{self.service.url}, and the command be what answers there"
            )

    def make(self, count: int) -> None:
        """Make `count` visits in threads, and add to `done` what has come to its end."""
        left, errors, lock = count, list[BaseException](), threading.Lock()

        def some() -> None:
            nonlocal left
            while True:
                with lock:
                    if not left or errors:
                        return
                    left -= 1
                try:
                    self.visit()
                except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the step
                    errors.append(error)
                    return
                with lock:
                    self.done += 1

        threads = [threading.Thread(target=some) for _ in range(min(self.concurrency, count) - 1)]
        for thread in threads:
            thread.start()
        some()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def visit(self) -> None:
        """Make one visit."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what the visits have needed."""

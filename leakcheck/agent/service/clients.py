"""The user's own client: a function that makes a visit, or a command that makes as many as it is told to."""

from __future__ import annotations

import os
import subprocess
import time
from asyncio import Runner, create_task, wait
from collections.abc import Awaitable, Callable

from leakcheck.agent.entry.resident import conceal
from leakcheck.agent.service.started import Service, ServiceError, ended
from leakcheck.agent.service.visits import Visits

_now = time.monotonic


class Calls(Visits):
    """A visit is a call of a function with the service's base URL."""

    def __init__(self, service: Service, function: Callable[[str], object], concurrency: int) -> None:
        super().__init__(service, concurrency)
        self._function = function

    def visit(self) -> None:
        """Call the function. What it raises, passes."""
        if hasattr(self._function(self.service.url), "__await__"):
            raise ServiceError("--drive: the function returns something that nobody awaits; let it be `async def`")


class AsyncCalls(Visits):
    """The same of an async function: all visits are made in one event loop, which ends with the step."""

    def __init__(self, service: Service, function: Callable[[str], Awaitable[object]], concurrency: int) -> None:
        super().__init__(service, concurrency)
        self._function = function
        self._runner = Runner()

    def make(self, count: int) -> None:
        """Make `count` visits in tasks."""
        self._runner.run(self._make(count))

    def close(self) -> None:
        """End the event loop."""
        self._runner.close()

    async def _make(self, count: int) -> None:
        turns, errors = iter(range(count)), list[BaseException]()

        async def some() -> None:
            for _ in turns:
                try:
                    await self._function(self.service.url)
                except BaseException as error:  # noqa: BLE001 - raised below, when all have ended
                    errors.append(error)
                if errors:
                    return
                self.done += 1

        await wait([create_task(some()) for _ in range(min(self.concurrency, count))])
        if errors:
            raise errors[0]


class Command(Visits):
    """Visits are made by a command that is started for each `many`, and told how many.

    `{n}` in its words stands for their number, `{c}` for how many of them at a time, `{url}` and `{port}` for the
    service's. It has no agent of ours, and its processes are none of the service's.
    """

    def __init__(self, service: Service, words: list[str], concurrency: int) -> None:
        super().__init__(service, concurrency)
        self._words = words
        self._environment = {**os.environ}
        conceal(self._environment)

    def make(self, count: int) -> None:
        """Run the command. Raises `ServiceError` where it cannot be started, or its exit code says that it failed."""
        values = {"{n}": count, "{c}": min(count, self.concurrency), "{url}": self.service.url}
        values["{port}"] = self.service.port
        words = [*self._words]
        for name, value in values.items():
            words = [word.replace(name, str(value)) for word in words]
        began = _now()
        try:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=self._environment)
        except OSError as error:
            raise ServiceError(f"--drive-command: cannot start {words[0]}: {error.strerror or error}") from None
        try:
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        self.service.look()
        if code:
            raise ServiceError(
                f"--drive-command: {words[0]} {ended(code)}, with {count} for {{n}}; what it printed says why "
                "(--values shows it)"
            )
        self.done, took = count, _now() - began
        self.start_s = min(self.start_s, took) if self.start_s else took

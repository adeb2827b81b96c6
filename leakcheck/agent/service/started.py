"""A service that a scenario has started: it is waited for until it answers, and ended with all its processes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from socket import AF_INET, SOCK_STREAM, create_connection, socket
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from leakcheck.agent.children import descendants, run_times
from leakcheck.agent.entry.resident import announce, listen
from leakcheck.errors import LeakcheckError

_LOOK_APART_S = 0.02
"""Seconds between two looks whether it answers."""
_END_S = 5.0
"""Seconds that a service has to end after it was asked to, before it is killed."""


class ServiceError(LeakcheckError):
    """The service does not start, does not answer, or has ended."""


class Service:
    """A command that runs while the context is open, with the agent in each of its Python processes.

    `{port}` in the command stands for a free port. Use it as a context manager, in one thread.
    """

    def __init__(self, command: str | Sequence[str], ready: str | Callable[[], object] | None, timeout: float) -> None:
        words = shlex.split(command) if isinstance(command, str) else [*command]
        self.port = _free_port()
        """The port that stood for `{port}`."""
        self.chooses_port = any("{port}" in word for word in words)
        self._command = [word.replace("{port}", str(self.port)) for word in words]
        self.url = f"http://127.0.0.1:{self.port}"
        """Where it answers, without a slash at the end."""
        if isinstance(ready, str) and "://" in ready:
            parts = urlsplit(ready.replace("{port}", str(self.port)))
            self.url = f"{parts.scheme}://{parts.netloc}"
            ready = parts.path or "/"
        elif ready is None and not self.chooses_port:
            ready = self._has_agent
        self._ready = ready
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._address = f"leakcheck-{os.urandom(16).hex()}"
        self.agents = listen(self._address)
        """Where the agents connect."""

    @property
    def pid(self) -> int:
        """Process id of the command; 0 before it runs."""
        return self._process.pid if self._process is not None else 0

    def __enter__(self) -> Self:
        environment = {**os.environ}
        announce(environment, self._address, at_once=True)
        try:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, env=environment)
        except OSError as error:
            raise ServiceError(f"cannot start {self._command[0]}: {error.strerror or error}") from None
        try:
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the service as its operator would, and then all that is left of its processes. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            below = _below(process.pid)
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            for pid in filter(_is_left, below | _below(process.pid)):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            process.kill()
        process.wait()
        self.agents.close()

    def look(self, when: str = "") -> None:
        """Raises `ServiceError` where it has ended; `when` is the end of the sentence."""
        code = self._process.poll() if self._process is not None else None
        if code is not None:
            raise ServiceError(f"the service {ended(code)}{when}; what it printed says why (--values shows it)")

    def run_times(self) -> dict[str, int]:
        """Nanoseconds that each thread of its processes has had a processor; none where the kernel does not tell."""
        pids = (self.pid, *_below(self.pid)) if self.pid else ()
        return {thread: int(times.split()[0]) for pid in pids for thread, times in run_times(pid).items()}

    def _wait(self) -> None:
        until = time.monotonic() + self._timeout
        while True:
            self.look(" before it answered")
            if self._answers():
                return
            if time.monotonic() > until:
                raise ServiceError(
                    f"the service did not answer within {self._timeout:g} s; does it listen on the port that {{port}} "
                    "stands for? Name what answers when it is ready, or a longer timeout"
                )
            time.sleep(_LOOK_APART_S)

    def _answers(self) -> bool:
        if callable(self._ready):
            return bool(self._ready())
        host, _, port = urlsplit(self.url).netloc.rpartition(":")
        try:
            if self._ready is None:
                create_connection((host, int(port)), 1).close()
                return True
            from http.client import HTTPConnection

            connection = HTTPConnection(host, int(port), timeout=5)
            try:
                connection.request("GET", self._ready)
                return connection.getresponse().status < 500
            finally:
                connection.close()
        except (OSError, ValueError):
            return False
        except Exception:  # noqa: BLE001 - an answer that is no HTTP: not ready yet, or another's port
            return False

    def _has_agent(self) -> bool:
        """Whether a process has connected, where nothing else says that the service is ready."""
        import select

        return bool(select.select([self.agents], [], [], 0)[0])


def ended(code: int) -> str:
    """How a process has ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"ended by {signal.Signals(-code).name if -code in signal.valid_signals() else f'signal {-code}'}"


def _below(pid: int) -> set[int]:
    try:
        return set(descendants(pid))
    except OSError:  # it has ended
        return set()


def _is_left(pid: int) -> bool:
    """Whether a process goes on without its service: it has the group of this one, so that no other has its number."""
    try:
        return os.getpgid(pid) == os.getpgrp()
    except OSError:
        return False


def _free_port() -> int:
    with socket(AF_INET, SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

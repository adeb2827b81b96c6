"""Requests over HTTP, in turn, some at a time: the step of `elkyn-leakcheck service`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from typing import NamedTuple
from urllib.parse import urlsplit

from leakcheck.agent.scenario import Context, Options, Scenario
from leakcheck.agent.service.started import Service, ServiceError

_ANSWER_S = 30.0
"""Seconds that an answer may take."""
_FAILURES_IN_A_ROW = 20
"""Answers of 500 and above after which nothing else is expected."""


class Request(NamedTuple):
    """What is sent."""

    method: str
    path: str
    body: str = ""
    content_type: str = ""


class Load:
    """Sends the next of some requests when it is called; `many` sends some at a time. A connection for each.

    A new connection goes to whichever worker takes it: one that is kept would go to the same worker each time.
    """

    def __init__(self, service: Service, requests: list[Request], concurrency: int) -> None:
        self._service = service
        parts = urlsplit(service.url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._requests = cycle(requests)
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._failures = 0
        self.done = 0
        """Requests of the last `many` that were answered."""
        for request in requests:
            status = self._send(request)
            if status >= 400:
                raise ServiceError(
                    f"the service answers {status} to {request.method} {request.path}: name requests that it knows "
                    "(a scenario with ctx.service may measure such answers too)"
                )

    def __call__(self) -> None:
        """Send one request and read the answer. Raises `ServiceError` where there is none."""
        status = self._send(next(self._requests))
        self._failures = self._failures + 1 if status >= 500 else 0
        if self._failures > _FAILURES_IN_A_ROW:
            raise ServiceError(f"the service answers {status} to every request")

    def many(self, count: int) -> None:
        """Send `count` requests, as many at a time as were asked for; the first error is raised when all have ended."""
        self.done, left, errors = 0, count, list[BaseException]()

        def send() -> None:
            nonlocal left
            while True:
                with self._lock:
                    if not left or errors:
                        return
                    left -= 1
                    request = next(self._requests)
                try:
                    status = self._send(request)
                except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the step
                    errors.append(error)
                    return
                with self._lock:
                    self.done += 1
                    self._failures = self._failures + 1 if status >= 500 else 0
                    if self._failures > _FAILURES_IN_A_ROW:
                        errors.append(ServiceError(f"the service answers {status} to every request"))

        threads = [threading.Thread(target=send) for _ in range(min(self._concurrency, count) - 1)]
        for thread in threads:
            thread.start()
        send()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _send(self, request: Request) -> int:
        connection = HTTPConnection(self._host, self._port, timeout=_ANSWER_S)
        headers = {"Connection": "close", "User-Agent": "elkyn-leakcheck"}
        if request.content_type:
            headers["Content-Type"] = request.content_type
        try:
            connection.request(request.method, request.path, request.body.encode() or None, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException) as error:
            self._service.look()
            what = str(error) or type(error).__name__
            raise ServiceError(f"no answer to {request.method} {request.path}: {what}") from None
        finally:
            connection.close()
        return answer.status


def of_file(path: str) -> Scenario:
    """The scenario of a file that `elkyn-leakcheck service` has written."""
    with open(path, encoding="utf-8") as file:
        written = json.load(file)

    def service(ctx: Context) -> Iterator[Load]:
        with ctx.service(written["command"], ready=written["ready"], timeout=written["timeout"]) as started:
            yield Load(started, [Request(*each) for each in written["requests"]], written["concurrency"])

    return Scenario("service", service, {}, Options())

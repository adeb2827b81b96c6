"""Requests over HTTP, in turn: the visits of `elkyn-leakcheck service --get`."""

from __future__ import annotations

import threading
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from typing import NamedTuple
from urllib.parse import urlsplit

from leakcheck.agent.service.started import Service, ServiceError
from leakcheck.agent.service.visits import Visits

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


class Requests(Visits):
    """A visit sends the next of some requests, over a connection of its own.

    A new connection goes to whichever worker takes it: one that is kept would go to the same worker each time.
    """

    def __init__(self, service: Service, requests: list[Request], concurrency: int) -> None:
        super().__init__(service, concurrency)
        parts = urlsplit(service.url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._requests = cycle(requests)
        self._lock = threading.Lock()
        self._failures = 0
        for request in requests:
            status = self._send(request)
            if status >= 400:
                raise ServiceError(
                    f"the service answers {status} to {request.method} {request.path}: name requests that it knows "
                    "(a scenario with ctx.service may measure such answers too)"
                )

    def visit(self) -> None:
        """Send one request and read the answer. Raises `ServiceError` where there is none."""
        with self._lock:
            request = next(self._requests)
        status = self._send(request)
        with self._lock:
            self._failures = self._failures + 1 if status >= 500 else 0
            if self._failures > _FAILURES_IN_A_ROW:
                raise ServiceError(f"the service answers {status} to every request")

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
            self.service.look()
            what = str(error) or type(error).__name__
            raise ServiceError(f"no answer to {request.method} {request.path}: {what}") from None
        finally:
            connection.close()
        return answer.status

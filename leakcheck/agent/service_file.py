"""The scenario of a file that `elkyn-leakcheck service` has written: a service, and who visits it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from leakcheck.agent.scenario import Context, Options, Scenario
from leakcheck.agent.service.started import Service
from leakcheck.agent.service.visits import Visits
from leakcheck.agent.step import CO_COROUTINE, flags


def of_file(path: str, client: Callable[[str, str], Callable[..., Any]]) -> Scenario:
    """Read it; `client` finds a function by its file and name."""
    with open(path, encoding="utf-8") as file:
        written = json.load(file)
    function = client(*written["function"]) if "function" in written else None

    def service(ctx: Context) -> Iterator[Visits]:
        with ctx.service(written["command"], ready=written["ready"], timeout=written["timeout"]) as started:
            visits = _visits(started, written, function)
            try:
                yield visits
            finally:
                visits.close()

    if function is not None:
        service.__doc__, service.__wrapped__ = function.__doc__, function  # type: ignore[attr-defined]
    return Scenario("service", service, {}, Options())


def _visits(service: Service, written: dict[str, Any], function: Callable[..., Any] | None) -> Visits:
    """Loads what one kind of them needs, and no other's."""
    concurrency = written["concurrency"]
    if "requests" in written:
        from leakcheck.agent.service.requests import Request, Requests

        return Requests(service, [Request(*each) for each in written["requests"]], concurrency)
    from leakcheck.agent.service import clients

    if function is None:
        return clients.Command(service, written["words"], concurrency)
    kind = clients.AsyncCalls if flags(function) & CO_COROUTINE else clients.Calls
    return kind(service, function, concurrency)

"""Dask as the engine: `dask.distributed`, whose client serves a local cluster, SSH, batch systems and Kubernetes alike.

Dask carries requests to workers that are named, and tells which of them are there; its own scheduling, retries and
limits of memory are not used. Its client works in a thread of its own; whatever happens there is put into a queue.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from distributed import Client, KilledWorker, get_worker

from leakcheck.errors import LeakcheckError, UsageError
from leakcheck.remote import node as nodes
from leakcheck.remote.engine import Answered, Event, Failed, Joined, Left, Parted, Said

_CONNECT_S = 10.0
"""Seconds in which a scheduler answers that is there."""
_LOST_S = 300.0
"""Seconds that a scheduler which went away is waited for: the system that runs it starts it again, or it does not."""
_TICK_S = 0.5
"""Seconds after which whoever waits for an event may look at the clock."""
_LOGGERS = ("distributed", "distributed.client", "tornado.application")
_SERVE = "__import__('leakcheck.remote.dask_engine', fromlist=['serve']).serve(content, run)"
_INTERRUPT = "__import__('leakcheck.remote.node', fromlist=['interrupt']).interrupt(run)"
"""What is sent is `eval`, which each worker has. A worker that has not what it is sent dies of it, and is started again
to die again; so it is an exception there, and the scheduler need have nothing of ours."""
_CLOSED = ("closing", "closed", "failed")
_LOST = "the connection to the scheduler is lost"
_LOOK = "look"
"""In the queue: there are other workers than before."""


def serve(content: bytes, run: str) -> bytes:
    """Runs in a worker's thread: the answer to one request."""
    worker = get_worker()
    key = worker.get_current_task()

    def tell(message: bytes) -> None:
        task = worker.state.tasks.get(key)
        if worker.status.name in _CLOSED or task is None or task.state == "cancelled":
            nodes.interrupt(run)  # nobody wants it any more: the scheduler is gone, or the client
        worker.log_event(_topic(run), message.decode())

    return nodes.answer(content, tell)


def _topic(run: str) -> str:
    return f"leakcheck-{run}"


class DaskEngine:
    """A connection to a scheduler at `host:port`, or at an address with a protocol of Dask's own.

    Raises `UsageError` where none answers.
    """

    def __init__(self, place: str, run: str) -> None:
        for name in _LOGGERS:  # what they would say is an event here
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._place, self._run = place, run
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._futures: dict[str, tuple[str, Any]] = {}
        """By request, with its worker."""
        self._known: set[str] = set()
        try:
            self._client = self._connected()
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"--on dask://{place}: no scheduler answers there ({error}); `dask scheduler` starts one"
            ) from error

    def _connected(self) -> Any:
        client: Any = Client(self._place, timeout=_CONNECT_S, set_as_default=False, name="elkyn-leakcheck")
        events = self._events  # of this client: an earlier one may still have something to say
        client.subscribe_topic("all", partial(_on_cluster, events))
        client.subscribe_topic(_topic(self._run), partial(_on_word, events))
        events.put(_LOOK)
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._futures.clear()
        with suppress(Exception):  # a scheduler that is gone
            self._client.close(timeout=2)

    def submit(self, node: str, request: str, content: bytes) -> None:
        """Have a worker answer, and no other."""
        try:
            future = self._client.submit(
                eval, _SERVE, {"content": content, "run": self._run},
                key=request, workers=[node], allow_other_workers=False, pure=False,
            )  # fmt: skip
        except Exception:  # noqa: BLE001 - the connection is lost, which is the next event
            self._events.put(Parted("it does not take what is submitted"))
            return
        self._futures[request] = node, future
        collecting = self._collect(self._client, self._events, request, future)
        asyncio.run_coroutine_threadsafe(collecting, self._client.loop.asyncio_loop)

    def as_completed(self) -> Iterator[Event | None]:
        """What happens, for ever. Raises `LeakcheckError` where a lost scheduler does not come back."""
        while True:
            try:
                event = self._events.get(timeout=_TICK_S)
            except queue.Empty:
                event = None
                if self._client.status != "running":
                    event = Parted(_LOST)
            if event is _LOOK:
                yield from self._joined()
            elif isinstance(event, Parted):
                yield event
                yield from self._reconnected()
            elif isinstance(event, Left):
                if event.node in self._known:
                    self._forget(event.node)
                    yield event
            else:
                if isinstance(event, Answered | Failed):
                    self._futures.pop(event.request, None)
                yield event

    def cancel(self) -> None:
        """Ask each worker, beside what its threads do."""
        call = partial(self._client.run, eval, _INTERRUPT, {"run": self._run}, on_error="ignore")
        threading.Thread(target=_tried, args=(call,), daemon=True).start()  # one that is gone is waited for

    def _joined(self) -> Iterator[Event]:
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        except Exception:  # noqa: BLE001 - the connection is lost
            self._events.put(Parted("the scheduler does not say which workers there are"))
            return
        for address, worker in workers.items():
            if address not in self._known:
                self._known.add(address)
                named = str(worker["name"])
                name = address.partition("://")[2] if named == address else named
                yield Joined(address, name, str(worker["host"]), int(worker["nthreads"]))

    def _forget(self, node: str) -> None:
        self._known.discard(node)
        for request, (where, future) in list(self._futures.items()):
            if where == node:
                del self._futures[request]
                future.cancel()  # it would wait for a worker of that address for ever

    def _reconnected(self) -> Iterator[Event | None]:
        """Nothing, until there is a scheduler again."""
        self._events = queue.SimpleQueue()
        self._futures.clear()
        self._known.clear()
        old, began = self._client, time.monotonic()
        closing = threading.Thread(target=_tried, args=(partial(old.close, timeout=1),), daemon=True)
        closing.start()  # it may take as long as the network likes
        while True:
            yield None
            try:
                self._client = self._connected()
            except Exception as error:
                if time.monotonic() - began > _LOST_S:
                    raise LeakcheckError(
                        f"--on dask://{self._place}: the scheduler has been gone for {_LOST_S:.0f} s ({error})"
                    ) from error
                time.sleep(_TICK_S)
            else:
                return

    async def _collect(self, client: Any, events: queue.SimpleQueue[Any], request: str, future: Any) -> None:
        """Fetch an answer, in the client's own thread."""
        try:
            answer = await client.gather(future, asynchronous=True)
        except (asyncio.CancelledError, futures.CancelledError):  # the second is the base of Dask's own
            if request in self._futures and self._futures[request][1] is future:
                events.put(Parted(_LOST))
        except KilledWorker:  # that it has left, is told by another event
            return
        except Exception as error:  # noqa: BLE001 - whatever the node has raised
            events.put(Failed(request, f"{type(error).__name__}: {error}"))
        else:
            events.put(Answered(request, answer))


def _on_cluster(events: queue.SimpleQueue[Any], event: tuple[float, Any]) -> None:
    """Of what the scheduler tells, that workers come and go."""
    message = event[1]
    action = message.get("action") if isinstance(message, dict) else None
    if action == "add-worker":
        events.put(_LOOK)
    elif action == "remove-worker":
        events.put(Left(str(message["worker"])))


def _on_word(events: queue.SimpleQueue[Any], event: tuple[float, Any]) -> None:
    events.put(Said(str(event[1]).encode()))


def _tried(call: Callable[[], object]) -> None:
    """Do what may fail, as those are gone that it is about."""
    with suppress(Exception):
        call()

"""What leads back to an object of the native core is found by the collector, and what it holds is let go.

A store that is closed does not even wait for that.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import elkyn
from elkyn import _native


class Decoder:
    """A callable that can lead anywhere, as a bound method of the user's does."""

    def __call__(self, raw: bytes) -> Any:
        return self


class Octets(bytes):
    """Bytes with attributes."""


def event(decode: Any, value: bytes) -> _native.Event:
    return _native.Event(
        decode, deleted=False, path="/a", value=value, old=None, rev=1, seq=1, last=True, timestamp_ns=1, size=1,
        omitted=False,
    )  # fmt: skip


def test_a_queue_that_its_decoder_leads_back_to() -> None:
    decode: Any = Decoder()
    decode.queue = _native.Queue(decode, 2, 64)
    gone = weakref.ref(decode.queue)
    del decode
    gc.collect()
    assert gone() is None


def test_a_queue_that_is_what_it_runs() -> None:
    queue = _native.Queue(bytes, 2, 64)
    queue.running = queue
    gone = weakref.ref(queue)
    del queue
    gc.collect()
    assert gone() is None


def test_what_a_queue_runs_goes_with_it() -> None:
    queue = _native.Queue(bytes, 2, 64)
    queue.running = running = Decoder()
    gone = weakref.ref(running)
    del queue, running
    assert gone() is None


def test_an_event_that_its_decoder_or_value_leads_back_to() -> None:
    decode: Any = Decoder()
    decode.event = event(decode, b"\x91\x01")
    assert decode.event.value is decode
    gone = weakref.ref(decode.event)
    del decode
    gc.collect()
    assert gone() is None


def test_an_event_keeps_the_bytes_alone() -> None:
    value: Any = Octets(b"\x01")
    value.event = event(bytes, value)
    assert value.event.value == b"\x01"
    gone = weakref.ref(value.event)
    del value
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "use",
    [
        lambda store: None,
        lambda store: store.set("/n", 1),
        lambda store: store.set("/n", 1, ttl=60),
        lambda store: store.set_async("/n", 1).result(10),
        lambda store: store.set_async("/n", 1).add_done_callback(lambda _: None),
        lambda store: store.watch("/n").subscribe(lambda _: None) and store.set("/n", 1),
    ],
    ids=["nothing", "written", "with_an_end", "queued", "called_back", "watched"],
)
def test_a_closed_store_does_not_wait_for_the_collector(tmp_path: Path, use: Callable[[elkyn.Store], object]) -> None:
    gc.collect()
    gc.disable()
    try:
        with elkyn.open(tmp_path) as store:
            use(store)
        gone = [weakref.ref(each) for each in (store, store._database, store._queue, store._thread, store._writer)]
        del store
        assert [each() for each in gone] == [None] * len(gone)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "operator",
    [
        lambda changes: changes.debounce(30.0),
        lambda changes: changes.throttle(30.0),
        lambda changes: changes.buffer(count=10, seconds=30.0),
    ],
    ids=["debounce", "throttle", "buffer"],
)
def test_what_a_timer_would_call_goes_with_the_subscription(store: elkyn.Store, operator: Callable[[Any], Any]) -> None:
    def handler(_: object) -> None: ...

    gc.collect()
    gc.disable()
    try:
        with operator(store.watch("/n")).subscribe(handler):
            store.set("/n", 1)
            store.set("/n", 2)
            store.flush_events()
        gone = weakref.ref(handler)
        del handler
        store.set("/n", 3)  # the dispatcher lets go of what it has called last
        store.flush_events()
        assert gone() is None
    finally:
        gc.enable()

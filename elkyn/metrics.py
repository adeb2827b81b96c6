"""A store's figures for Prometheus and OpenTelemetry: read when they are asked for, costing nothing in between.

    from elkyn.metrics import prometheus_collector

    REGISTRY.register(prometheus_collector(store))      # pip install 'elkyn-leakcheck[prometheus]'
    observe(store)                                      # pip install 'elkyn-leakcheck[otel]'

A collector holds its store weakly: it keeps none open, and a closed store has no figures any more.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import lmdb

from elkyn.errors import ElkynError

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from prometheus_client.registry import Collector

    from elkyn.store import Store


class Figure(NamedTuple):
    """One number of a store."""

    name: str
    """In OpenTelemetry's way, `elkyn.events.pending`; Prometheus has underscores and the unit at the end."""
    kind: Literal["counter", "gauge"]
    unit: str
    """In UCUM: `By`, `s`, `{event}`."""
    help: str
    value: float


def figures(store: Store) -> list[Figure]:
    """All figures of an open store; empty for a closed one. From any thread; takes no lock."""
    try:
        stats = store.event_queue_stats()
        subscriptions = len(store.live_subscriptions())
        environment = store._database.env
        info = environment.info()
        page = environment.stat()["psize"]
    except (ElkynError, lmdb.Error):
        return []
    return [
        Figure("elkyn.events.pending", "gauge", "{event}", "Events committed and not yet delivered", stats.pending),
        Figure("elkyn.events.produced", "counter", "{event}", "Events committed", stats.produced),
        Figure("elkyn.events.processed", "counter", "{event}", "Events taken out of the ring", stats.processed),
        Figure("elkyn.events.delivered", "counter", "{event}", "Events that reached all subscribers", stats.delivered),
        Figure("elkyn.events.dropped", "counter", "{event}", "Events that a subscriber missed", stats.dropped),
        Figure("elkyn.events.coalesced", "counter", "{event}", "Events replaced by a later one", stats.coalesced),
        Figure("elkyn.events.omitted", "counter", "{event}", "Events without their too large values", stats.omitted),
        Figure("elkyn.handler.errors", "counter", "{error}", "Exceptions raised by handlers", stats.handler_errors),
        Figure("elkyn.queue.overflows", "counter", "{episode}", "Times the ring was full", stats.overflow_episodes),
        Figure("elkyn.queue.capacity", "gauge", "{event}", "Slots of the ring", stats.capacity),
        Figure("elkyn.queue.high_water", "gauge", "{event}", "Most events ever in the ring", stats.high_water),
        Figure("elkyn.queue.size", "gauge", "By", "Value bytes in the ring", stats.bytes),
        Figure("elkyn.queue.size_limit", "gauge", "By", "Bytes of the ring's value buffer", stats.capacity_bytes),
        Figure(
            "elkyn.queue.high_water_size", "gauge", "By", "Most value bytes ever in the ring", stats.high_water_bytes
        ),
        Figure("elkyn.event.lag", "gauge", "s", "Time from commit to delivery of a recent event", stats.lag_ns / 1e9),
        Figure("elkyn.subscriptions", "gauge", "{subscription}", "Live subscriptions", subscriptions),
        Figure("elkyn.revision", "gauge", "{commit}", "Revision of the latest commit", store.rev),
        Figure("elkyn.map.used", "gauge", "By", "Bytes of the database in use", (info["last_pgno"] + 1) * page),
        Figure("elkyn.map.limit", "gauge", "By", "Bytes mapped for the database", info["map_size"]),
        Figure("elkyn.readers.used", "gauge", "{slot}", "Reader slots in use", info["num_readers"]),
        Figure("elkyn.readers.limit", "gauge", "{slot}", "Reader slots", info["max_readers"]),
    ]


_SUFFIXES = {"By": "_bytes", "s": "_seconds"}


def prometheus_name(figure: Figure) -> str:
    """`elkyn_events_pending`, `elkyn_map_used_bytes`, `elkyn_event_lag_seconds`; counters get `_total` when exposed."""
    return figure.name.replace(".", "_") + _SUFFIXES.get(figure.unit, "")


def prometheus_collector(store: Store, name: str | None = None) -> Collector:
    """A collector for `prometheus_client`'s registries; `name` is the value of the label `store`, else its directory.

    Raises `ImportError` where `prometheus_client` is not installed.
    """
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    label = str(store.path) if name is None else name
    reference = weakref.ref(store)

    class StoreCollector:
        """The figures of one store at the time of a scrape."""

        def collect(self) -> Iterator[Any]:
            """One family a figure."""
            alive = reference()
            for figure in figures(alive) if alive is not None else []:
                kind = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
                family = kind(prometheus_name(figure), figure.help, labels=["store"])
                family.add_metric([label], figure.value)
                yield family

        def describe(self) -> Iterable[Any]:
            """Nothing is fixed before the first scrape: several stores share the families."""
            return []

    return StoreCollector()


def observe(store: Store, meter: Meter | None = None, name: str | None = None) -> None:
    """Make OpenTelemetry instruments of a store's figures, with the attribute `elkyn.store`.

    `meter` is by default that of the global provider. Raises `ImportError` where `opentelemetry` is not installed.
    """
    from opentelemetry.metrics import CallbackOptions, Observation, get_meter

    meter = meter or get_meter("elkyn")
    attributes = {"elkyn.store": str(store.path) if name is None else name}
    reference = weakref.ref(store)

    def reader(wanted: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_options: CallbackOptions) -> Iterable[Observation]:
            alive = reference()
            now = figures(alive) if alive is not None else []
            return [Observation(figure.value, attributes) for figure in now if figure.name == wanted]

        return read

    for figure in figures(store):
        make = meter.create_observable_counter if figure.kind == "counter" else meter.create_observable_gauge
        make(figure.name, callbacks=[reader(figure.name)], unit=figure.unit, description=figure.help)

"""A store's figures, as numbers, at a Prometheus scrape and in OpenTelemetry."""

from __future__ import annotations

import gc

import pytest

import elkyn
from elkyn.metrics import figures, observe, prometheus_collector, prometheus_name

prometheus_client = pytest.importorskip("prometheus_client")


@pytest.fixture
def store(tmp_path):
    with elkyn.open(tmp_path / "data") as opened:
        yield opened


def values(store):
    return {figure.name: figure.value for figure in figures(store)}


def scrape(registry):
    return prometheus_client.generate_latest(registry).decode()


def test_figures_follow_the_store(store):
    subscription = store.watch("/a/*").subscribe(lambda _event: None)
    before = values(store)
    for number in range(10):
        store.set(f"/a/{number}", number)
    store.flush_events()
    after = values(store)
    assert after["elkyn.events.produced"] - before["elkyn.events.produced"] == 10
    assert after["elkyn.events.pending"] == 0
    assert after["elkyn.events.dropped"] == 0
    assert after["elkyn.subscriptions"] == 1
    assert after["elkyn.revision"] == store.rev
    assert 0 < after["elkyn.map.used"] <= after["elkyn.map.limit"]
    assert 0 <= after["elkyn.readers.used"] <= after["elkyn.readers.limit"]
    subscription.unsubscribe()
    assert values(store)["elkyn.subscriptions"] == 0


def test_a_closed_store_has_no_figures(tmp_path):
    store = elkyn.open(tmp_path / "data")
    store.close()
    assert figures(store) == []


def test_names_carry_their_base_unit(store):
    names = {prometheus_name(figure) for figure in figures(store)}
    assert {"elkyn_events_pending", "elkyn_map_used_bytes", "elkyn_event_lag_seconds"} <= names


def test_a_scrape_shows_each_store_under_its_label(tmp_path, store):
    registry = prometheus_client.CollectorRegistry()
    with elkyn.open(tmp_path / "other") as other:
        registry.register(prometheus_collector(store, "main"))
        registry.register(prometheus_collector(other, "other"))
        store.set("/a", 1)
        text = scrape(registry)
    assert 'elkyn_revision{store="main"} 1.0' in text
    assert 'elkyn_revision{store="other"} 0.0' in text
    assert "# TYPE elkyn_events_processed_total counter" in text


def test_a_collector_keeps_no_store_alive(tmp_path):
    registry = prometheus_client.CollectorRegistry()
    store = elkyn.open(tmp_path / "data")
    registry.register(prometheus_collector(store))
    store.close()
    assert "elkyn_" not in scrape(registry)
    del store
    gc.collect()
    assert "elkyn_" not in scrape(registry)


def test_opentelemetry_instruments_show_the_same(store):
    metrics = pytest.importorskip("opentelemetry.sdk.metrics")
    reader = pytest.importorskip("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    provider = metrics.MeterProvider(metric_readers=[reader])
    observe(store, provider.get_meter("test"), "main")
    store.set("/a", 1)
    data = reader.get_metrics_data()
    read = {
        metric.name: (metric.unit, metric.data.data_points[0])
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    unit, point = read["elkyn.map.used"]
    assert unit == "By"
    assert point.attributes == {"elkyn.store": "main"}
    assert read["elkyn.revision"][1].value == store.rev
    provider.shutdown()

"""A watch's figures for Prometheus and OpenTelemetry, and the files in docs/ that are built on them."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import elkyn
import elkyn.metrics
import leakcheck
from leakcheck.metrics import figures, observe, prometheus_collector

prometheus_client = pytest.importorskip("prometheus_client")
DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture
def watch(until):
    with leakcheck.watch(0.02, period=0, limit="100 GB", log=None) as running:
        until(lambda: len(running.readings()) > 4)
        yield running


def scrape(registry):
    return prometheus_client.generate_latest(registry).decode()


def test_a_scrape_shows_each_meter_with_its_unit(watch):
    registry = prometheus_client.CollectorRegistry()
    registry.register(prometheus_collector(watch))
    text = scrape(registry)
    assert re.search(r'leakcheck_usage_bytes\{meter="rss"\} [1-9]', text)
    assert re.search(r'leakcheck_usage_count\{meter="fds"\} [1-9]', text)
    assert re.search(r'leakcheck_limit_bytes\{meter="rss"\} 1(\.0)?e\+0?11', text)
    assert 'leakcheck_episode{meter="rss"} 0.0' in text
    assert "leakcheck_up 1.0" in text


def test_a_stopped_watch_says_so_and_a_forgotten_one_is_gone():
    registry = prometheus_client.CollectorRegistry()
    watch = leakcheck.watch(30, log=None)
    registry.register(prometheus_collector(watch))
    watch.stop()
    assert "leakcheck_up 0.0" in scrape(registry)
    del watch
    gc.collect()
    assert "leakcheck_" not in scrape(registry)


def test_opentelemetry_instruments_show_the_same(watch):
    metrics = pytest.importorskip("opentelemetry.sdk.metrics")
    reader = pytest.importorskip("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    provider = metrics.MeterProvider(metric_readers=[reader])
    observe(watch, provider.get_meter("test"))
    read = {
        metric.name: (
            metric.unit,
            {point.attributes.get("leakcheck.meter"): point.value for point in metric.data.data_points},
        )
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    provider.shutdown()
    unit, points = read["leakcheck.usage"]
    assert unit == "By"
    assert points["rss"] > 1e6
    assert read["leakcheck.usage.count"][1]["fds"] > 0
    assert read["leakcheck.up"][1] == {None: 1.0}


def exposed(watch, store):
    registry = prometheus_client.CollectorRegistry()
    registry.register(prometheus_collector(watch))
    registry.register(elkyn.metrics.prometheus_collector(store))
    names = set(re.findall(r"^((?:leakcheck|elkyn)_\w+)", scrape(registry), re.MULTILINE))
    return names | {"leakcheck_time_to_limit_seconds"}  # there only while something grows


@pytest.mark.parametrize("name", ["alerts.yml", "grafana-dashboard.json", "production.md"])
def test_documented_metrics_exist(name, watch, tmp_path):
    text = (DOCS / name).read_text()
    if name.endswith(".json"):
        text = " ".join(target["expr"] for panel in json.loads(text)["panels"] for target in panel.get("targets", []))
    mentioned = set(re.findall(r"\b((?:leakcheck|elkyn)_[a-z_]+[a-z])\b(?!\{[a-z,_]+\}[a-z_]*`)", text))
    with elkyn.open(tmp_path / "data") as store:
        known = exposed(watch, store)
    families = {name for name in mentioned if any(each.startswith(name + "_") for each in known)}
    assert mentioned - known - families - {"elkyn_leakcheck"} == set()


def test_every_series_names_what_grew_or_says_nothing(watch):
    assert {figure.name for figure in figures(watch)} >= {
        "leakcheck.usage",
        "leakcheck.growth",
        "leakcheck.up",
    }
    assert all(figure.meter or figure.name == "leakcheck.up" for figure in figures(watch))


def test_examples_of_good_practice_run(tmp_path):
    text = (DOCS / "production.md").read_text()
    examples = re.findall(r"```python\n(import elkyn\n.*?)```", text, re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", example],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_a_real_prometheus_fires_on_a_leak_and_not_without_one():
    script = Path(__file__).resolve().parents[3] / "benchmarks" / "prometheus.py"
    ran = subprocess.run(
        [sys.executable, str(script), "--seconds", "20"], capture_output=True, text=True, timeout=290, check=False
    )
    if ran.returncode == 77:
        pytest.skip(ran.stdout.strip())
    assert ran.returncode == 0, ran.stdout + ran.stderr

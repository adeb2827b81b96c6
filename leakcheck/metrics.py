"""What a watch knows of a process's growth, for Prometheus and OpenTelemetry.

watch = leakcheck.watch()
REGISTRY.register(prometheus_collector(watch))      # pip install 'elkyn-leakcheck[prometheus]'
observe(watch)                                      # pip install 'elkyn-leakcheck[otel]'
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from prometheus_client.registry import Collector

    from leakcheck.monitor import Watch


class Figure(NamedTuple):
    """One number of one meter of a watch."""

    name: str
    """In OpenTelemetry's way, `leakcheck.growth`; Prometheus has underscores, with the unit in the name."""
    unit: str
    """In UCUM: `By`, `By/s`, `s`, `1`."""
    help: str
    meter: str
    value: float


_HELP = {
    "leakcheck.usage": "What the process holds",
    "leakcheck.growth": "Growth, measured over the window that shows most",
    "leakcheck.limit": "What the meter may reach",
    "leakcheck.time_to_limit": "Time until the limit at this growth; only while something grows",
    "leakcheck.episode": "1 while an alert is open: the growth that it reported goes on",
    "leakcheck.up": "1 while the process is watched",
}


def figures(watch: Watch) -> list[Figure]:
    """All figures of a watch. From any thread."""
    found = [Figure("leakcheck.up", "1", _HELP["leakcheck.up"], "", float(watch.alive))]
    for reading in watch.readings():
        unit = "By" if reading.unit == "B" else "{count}"
        values = {
            "leakcheck.usage": (unit, reading.value),
            "leakcheck.growth": (f"{unit}/s", reading.trend.rate / 3600),
            "leakcheck.limit": (unit, reading.limit),
            "leakcheck.episode": ("1", float(reading.episode) if reading.decisive else None),
        }
        left = reading.trend.hours_left(reading.limit)
        if left is not None and reading.trend.verdict in ("rising", "leak"):
            values["leakcheck.time_to_limit"] = ("s", left[0] * 3600)
        for name, (measure, value) in values.items():
            if value is not None:
                found.append(Figure(name, measure, _HELP[name], reading.meter, value))
    return found


_SUFFIXES = {
    "By": "_bytes",
    "{count}": "_count",
    "By/s": "_bytes_per_second",
    "{count}/s": "_count_per_second",
    "s": "_seconds",
}


def prometheus_name(figure: Figure) -> str:
    """`leakcheck_usage_bytes`, `leakcheck_growth_count_per_second`, `leakcheck_episode`."""
    return figure.name.replace(".", "_") + _SUFFIXES.get(figure.unit, "")


def prometheus_collector(watch: Watch) -> Collector:
    """A collector for `prometheus_client`'s registries, one sample a meter with the label `meter`.

    Holds the watch weakly. Raises `ImportError` where `prometheus_client` is not installed.
    """
    from prometheus_client.core import GaugeMetricFamily

    reference = weakref.ref(watch)

    class WatchCollector:
        """The figures of one watch at the time of a scrape."""

        def collect(self) -> Iterator[Any]:
            """One family a figure and unit."""
            alive = reference()
            families: dict[str, Any] = {}
            for figure in figures(alive) if alive is not None else []:
                name = prometheus_name(figure)
                labels = ["meter"] if figure.meter else []
                family = families.setdefault(name, GaugeMetricFamily(name, figure.help, labels=labels))
                family.add_metric([figure.meter] if figure.meter else [], figure.value)
            yield from families.values()

        def describe(self) -> Iterable[Any]:
            """Nothing is fixed before the first scrape."""
            return []

    return WatchCollector()


def observe(watch: Watch, meter: Meter | None = None) -> None:
    """Make OpenTelemetry instruments of a watch's figures, with the attribute `leakcheck.meter`.

    Bytes and counts are instruments of their own, as in Prometheus. `meter` is by default that of the global provider.
    Raises `ImportError` where `opentelemetry` is not installed.
    """
    from opentelemetry.metrics import CallbackOptions, Observation, get_meter

    meter = meter or get_meter("leakcheck")
    reference = weakref.ref(watch)

    def reader(name: str, unit: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_options: CallbackOptions) -> Iterable[Observation]:
            alive = reference()
            return [
                Observation(figure.value, {"leakcheck.meter": figure.meter} if figure.meter else {})
                for figure in (figures(alive) if alive is not None else [])
                if (figure.name, figure.unit) == (name, unit)
            ]

        return read

    for name, units in _INSTRUMENTS.items():
        for unit in units:
            full = f"{name}.count" if unit.startswith("{count}") else name
            meter.create_observable_gauge(full, callbacks=[reader(name, unit)], unit=unit, description=_HELP[name])


_INSTRUMENTS = {
    "leakcheck.usage": ("By", "{count}"),
    "leakcheck.growth": ("By/s", "{count}/s"),
    "leakcheck.limit": ("By", "{count}"),
    "leakcheck.time_to_limit": ("s",),
    "leakcheck.episode": ("1",),
    "leakcheck.up": ("1",),
}

"""A small real service for benchmarks/prometheus.py and benchmarks/soak.py: it embeds Elkyn, and may leak.

python benchmarks/service.py --port 9000 --leak-after 180 --leak-rate 300000 --workers 2 --alerts FILE
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path

import elkyn
import leakcheck


class Sessions:
    """Where the planted leak is: sessions are remembered and never forgotten."""

    def __init__(self) -> None:
        self.open: dict[int, bytearray] = {}

    def remember(self, size: int) -> None:
        self.open[len(self.open)] = bytearray(size)


SESSIONS = Sessions()


def serve(options: argparse.Namespace, leaks: bool) -> None:
    """Write, deliver and read for ever; one process."""
    alerts = options.alerts
    starter = os.getppid()

    def write_down(alert: leakcheck.monitor.Alert) -> None:
        if alerts is not None:
            with alerts.open("a") as file:
                print(json.dumps({"clock": time.time(), **alert.as_dict()}), file=file)

    from leakcheck.monitor.evidence import EvidenceOptions

    evidence = EvidenceOptions(window_s=3) if alerts is not None else False
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        elkyn.open(folder, durability="none") as store,
        leakcheck.watch(options.interval, write_down, limit=options.limit, period=0, evidence=evidence) as watch,
    ):
        if options.port:
            _export(options.port, store, watch)
        seen: list[int] = []
        subscription = store.watch("/orders/*").subscribe(lambda event: seen.append(event.rev))
        owed = 0.0
        last = began
        while True:
            store.set(f"/orders/{random.randrange(500)}", {"amount": random.random(), "lines": [1, 2, 3]})
            store.get("/orders")
            if len(seen) > 5000:  # a buffer that is flushed
                seen.clear()
            now = time.monotonic()
            if leaks and now - began > options.leak_after:
                owed += (now - last) * options.leak_rate
                while owed > 2000:
                    SESSIONS.remember(2000)
                    owed -= 2000
            last = now
            time.sleep(0.002)
            if os.getppid() != starter:  # whoever wanted this service is gone
                subscription.unsubscribe()
                return


def _export(port: int, store: elkyn.Store, watch: leakcheck.monitor.Watch) -> None:
    from prometheus_client import CollectorRegistry, start_http_server

    from elkyn.metrics import prometheus_collector as of_store
    from leakcheck.metrics import prometheus_collector as of_watch

    registry = CollectorRegistry()
    registry.register(of_store(store, "orders"))
    registry.register(of_watch(watch))
    start_http_server(port, "127.0.0.1", registry)


def main() -> None:
    """Start the workers, the last of which leaks, or serve in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--limit", default="400 MB")
    parser.add_argument("--leak-after", type=float, default=float("inf"))
    parser.add_argument("--leak-rate", type=float, default=300_000, help="bytes a second")
    parser.add_argument("--alerts", type=Path)
    options = parser.parse_args()
    starter = os.getppid()
    for number in range(options.workers):
        if os.fork() == 0:
            serve(options, leaks=number == options.workers - 1)
            os._exit(0)
    if not options.workers:
        serve(options, leaks=True)
    while os.getppid() == starter:
        time.sleep(1)


if __name__ == "__main__":
    main()

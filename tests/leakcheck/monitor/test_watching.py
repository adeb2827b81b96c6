"""`leakcheck.watch` in a living process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest

import leakcheck
from leakcheck.monitor import readings, watching
from leakcheck.monitor.watching import Watch

FAST = {"period": 0, "limit": "1 GB"}


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let readings and judgements cost what they like: what is tested here is what they say."""
    monkeypatch.setattr(watching, "JUDGE_SHARE", 1.0)
    monkeypatch.setattr(readings, "SHARE", 1.0)


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "leakcheck-watch"]


def test_growth_is_reported_once_with_rate_and_time_to_the_limit(until):
    alerts, events = [], []
    began = time.monotonic()
    meters = {"entries": lambda: 1e5 * (time.monotonic() - began)}  # however busy the machine is
    limits = {"rss": "100 GB", "entries": 1e7}
    with leakcheck.watch(0.05, alerts.append, period=0, limit=limits, meters=meters, log=events.append) as watch:
        until(lambda: alerts)
        read = watch.course("entries")[-1][0]
        until(lambda: watch.course("entries")[-1][0] > read + 2)
    (alert,) = alerts
    assert alert.meter == "entries"
    assert alert.low <= alert.rate <= alert.high
    assert alert.rate == pytest.approx(3600 * 1e5, rel=0.05)
    assert alert.hours_left == pytest.approx((1e7 - alert.level) / alert.rate)
    assert "grows by" in str(alert)
    assert [each["event"] for each in events].count("growth") == 1


def test_memory_that_grows_is_reported(until):
    alerts, kept = [], []
    with leakcheck.watch(0.05, alerts.append, period=0, limit="600 MB", log=None):
        until(lambda: alerts, do=lambda: kept.append(b"x" * 60_000))
    assert alerts[0].meter in ("rss", "heap.bytes")


def test_a_quiet_process_is_not_reported(until):
    alerts = []
    with leakcheck.watch(0.02, alerts.append, **FAST, log=None) as watch:
        until(lambda: len(watch.course("rss")) > 50)
    assert alerts == []


def test_custom_meters_are_watched_and_their_limits_known(until):
    alerts, entries = [], []
    limits = {"rss": "100 GB", "entries": 5000}
    with leakcheck.watch(
        0.02, alerts.append, period=0, limit=limits, meters={"entries": lambda: len(entries)}, log=None
    ):
        until(lambda: alerts, do=lambda: entries.extend(range(3)))
    assert alerts[0].meter == "entries"
    assert alerts[0].limit == 5000


def test_a_meter_that_raises_is_said_once_and_the_others_go_on(until, caplog):
    def broken() -> float:
        raise RuntimeError("no number today")

    with caplog.at_level(logging.WARNING), leakcheck.watch(0.01, meters={"broken": broken}, **FAST) as watch:
        until(lambda: len(watch.course("rss")) > 10)
    notes = [each for each in caplog.records if "no number today" in each.getMessage()]
    assert len(notes) == 1
    assert "broken" not in {reading.meter for reading in watch.readings()}


def test_a_callback_and_a_log_that_raise_do_not_reach_the_service(until):
    entries: list[int] = []
    called = threading.Event()

    def callback(_alert: object) -> None:
        called.set()
        raise RuntimeError("callback")

    def log(_event: object) -> None:
        raise RuntimeError("log")

    limits = {"rss": "100 GB", "entries": 5000}
    with leakcheck.watch(
        0.02, callback, period=0, limit=limits, meters={"entries": lambda: len(entries)}, log=log
    ) as watch:
        until(called.is_set, do=lambda: entries.extend(range(3)))
        read = len(watch.course("rss"))
        until(lambda: len(watch.course("rss")) > read)
        assert watch.alive


def test_stop_ends_the_thread_and_may_be_called_twice():
    watch = leakcheck.watch(30, **FAST, log=None)
    assert watch.alive
    watch.stop()
    watch.stop()
    assert not watch.alive
    assert threads() == []


def test_stop_from_the_callback_does_not_wait_for_itself(until):
    entries: list[int] = []
    watches: list[Watch] = []
    limits = {"rss": "100 GB", "entries": 5000}
    watch = leakcheck.watch(
        0.02,
        lambda _alert: watches[0].stop(),
        period=0,
        limit=limits,
        meters={"entries": lambda: len(entries)},
        log=None,
    )
    watches.append(watch)
    until(lambda: not watch.alive, do=lambda: entries.extend(range(3)))
    until(lambda: threads() == [])


def test_events_are_logged_with_fields(caplog):
    with caplog.at_level(logging.INFO, "leakcheck.monitor"), leakcheck.watch(30, **FAST):
        pass
    record = next(each for each in caplog.records if "watching" in each.getMessage())
    assert record.leakcheck["event"] == "note"


@pytest.mark.parametrize(
    "arguments",
    [
        {"interval": 0},
        {"interval": -1},
        {"period": -1},
        {"limit": "lots"},
        {"limit": {"rss": 0}},
        {"meters": {"rss": len}},
        {"meters": {"x": 5}},
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(arguments):
    with pytest.raises(ValueError, match=r"watch|limit"):
        leakcheck.watch(**{"log": None, **arguments})
    assert threads() == []


def test_a_forked_child_is_not_watched_unless_it_asks():
    with leakcheck.watch(30, **FAST, log=None) as watch:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            alive = watch.alive or bool(watch.readings())
            with leakcheck.watch(30, **FAST, log=None) as own:
                os.write(write, f"{alive} {own.alive}".encode())
            watch.stop()
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(read, 100) == b"False True"
        assert watch.alive
        os.close(read)
        os.close(write)


def _in_child(queue: multiprocessing.Queue) -> None:
    queue.put(threads())


def test_workers_of_multiprocessing_carry_no_thread():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with leakcheck.watch(30, **FAST, log=None):
        child = context.Process(target=_in_child, args=(queue,))
        child.start()
        assert queue.get(timeout=30) == []
        child.join()
    queue.close()
    queue.join_thread()


def test_a_process_that_never_stops_its_watch_ends_cleanly():
    code = "import leakcheck; leakcheck.watch(0.001, period=0); print('done')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")


def test_the_service_carries_nothing_heavy():
    code = (
        "import sys, leakcheck; w = leakcheck.watch(30); w.stop();"
        "print([n for n in ('numpy', 'rich', 'jinja2', 'memray', 'psutil', 'msgspec', 'click') if n in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "[]\n"

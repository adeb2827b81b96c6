"""Evidence from inside the living process, and the scenario that is made of it: run by `test_evidence.py`."""

from __future__ import annotations

import ast
import gc
import json
import math
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_values import SECRET, assert_nowhere

from leakcheck.monitor.alert import Alert
from leakcheck.monitor.evidence import EvidenceOptions, gather
from leakcheck.records import decode


class Listener:
    def __init__(self) -> None:
        self.payload = bytearray(800)


class Hub:
    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.full = [object() for _ in range(1000)]


hub = Hub()


def alert(**changes):
    fields = {
        "meter": "rss", "unit": "B", "rate": 1e9, "low": 0.9e9, "high": 1.1e9, "level": 1e8, "limit": 1e9,
        "hours_left": 0.9, "soonest": 0.8, "latest": 1.0, "window_hours": 0.1, "reason": "grew", "at":
        "2026-01-02T03:04:05+00:00", "pid": 42, "uptime_hours": 2.0,
    }  # fmt: skip
    return Alert(**{**fields, **changes})


class StandIn:
    """A watch whose waiting makes the hub grow in proportion to the time that passed: a walk may take long."""

    def __init__(self, per_second: int = 200) -> None:
        self.per_second = per_second
        self.grown_at = time.monotonic()
        self.ended = False

    def wait(self, seconds: float) -> bool:
        if seconds:
            time.sleep(seconds)
            now = time.monotonic()
            hub.listeners.extend(Listener() for _ in range(math.ceil(self.per_second * (now - self.grown_at))))
            self.grown_at = now
        return self.ended

    def readings(self):
        return []

    def course(self, meter):
        return []


@pytest.fixture(scope="module")
def twice():
    """The evidence of two alerts of one watch, and how many listeners came between them.

    A walk of a test process takes a second.
    """
    watch = StandIn()
    options = EvidenceOptions(window_s=0.01)
    first = gather(alert(), options, watch)
    before, watch.grown_at = len(hub.listeners), time.monotonic()
    second = gather(alert(), options, watch)
    added = len(hub.listeners) - before
    hub.listeners.clear()
    return first, second, added


@pytest.fixture
def evidence(twice):
    return twice[0]


def listeners(evidence):
    return next(finding for finding in evidence.findings if "hub.listeners" in finding.title)


def test_the_growing_container_is_named_with_its_path_and_element(evidence):
    best = listeners(evidence)
    assert best.type.endswith("Listener")
    assert [node.name for node in best.path if node.suspect][-1] == "[*]"
    assert any(name.endswith("Listener") for name, _ in evidence.types)


def test_the_fingerprint_is_the_same_the_next_time(twice):
    first, second, _ = twice
    assert listeners(first).fingerprint == listeners(second).fingerprint


def test_types_that_grew_since_the_alert_before_are_reported(twice):
    first, second, added = twice
    assert first.since_last_alert == ()
    assert [count for name, count in second.since_last_alert if name.endswith("Listener")] == [added]


def test_nothing_is_named_where_nothing_grows():
    evidence = gather(alert(), EvidenceOptions(window_s=0.01), StandIn(per_second=0))
    assert not any("hub" in finding.title for finding in evidence.findings)


WALK = """
import sys
sys.path[:0] = sys.argv[1:]
from evidence_inside import EvidenceOptions, StandIn, alert, gather
crowd = [[number] for number in range(200_000)]
evidence = gather(alert(), EvidenceOptions(pause_ms=10, window_s=0.01), StandIn())
print(evidence.objects, evidence.longest_pause_ms)
"""


def test_the_walk_keeps_to_its_pauses():
    """In a process of its own: a single step of the interpreter's takes the longer the more other tests have left."""
    command = [sys.executable, "-c", WALK, *map(str, Path(__file__).parents[:2])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    objects, longest_pause_ms = map(float, done.stdout.split())
    assert objects > 10_000
    assert longest_pause_ms < 60  # its thread's own time, with room for a machine that is busy


def test_a_walk_that_takes_too_long_is_given_up_and_says_so():
    evidence = gather(alert(), EvidenceOptions(walk_s=0.0, window_s=0.01), StandIn())
    assert any("given up" in remark for remark in evidence.remarks)


def test_the_collector_is_as_it_was(evidence):
    assert gc.isenabled()


def test_nothing_of_a_walk_waits_for_the_collector():
    gc.collect()
    gc.disable()
    try:
        gather(alert(), EvidenceOptions(window_s=0.01), StandIn())
        waiting = gc.collect()
    finally:
        gc.enable()
    assert waiting < 500


def test_containers_that_change_under_the_walk_do_no_harm():
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            hub.full.append(object())
            del hub.full[0]

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        gather(alert(), EvidenceOptions(window_s=0.01), StandIn())
    finally:
        stop.set()
        thread.join()


def test_the_report_holds_the_finding(tmp_path):
    evidence = gather(alert(), EvidenceOptions(window_s=0.01, report=tmp_path), StandIn())
    page = Path(evidence.report)
    assert "listeners" in page.read_text()
    run = decode((page.parent / "results.json").read_bytes())
    assert listeners(evidence) in run.scenarios[0].findings
    assert run.scenarios[0].verdict == "leak"


def test_a_memray_window_names_the_line():
    evidence = gather(alert(), EvidenceOptions(window_s=0.01, memray_s=0.1), StandIn(per_second=20_000))
    windows = [finding for finding in evidence.findings if finding.source == "memray"]
    assert any("Listener.__init__" in finding.title for finding in windows)


def test_no_value_of_the_users_is_told_unless_asked_for(tmp_path):
    module = type(sys)("planted_service")
    module.sessions = {SECRET: []}
    sys.modules["planted_service"] = module

    class Watch:
        def wait(self, seconds):
            module.sessions[SECRET].extend([{"password": SECRET}] * 50)
            return False

        def readings(self):
            return []

        def course(self, meter):
            return []

    try:
        found = gather(alert(), EvidenceOptions(window_s=0.05, report=tmp_path), Watch())
        shown = gather(alert(), EvidenceOptions(window_s=0.05, values=True), Watch())
    finally:
        del sys.modules["planted_service"]
    assert "planted_service.sessions[key]" in found.sentence
    assert_nowhere(json.dumps(found.as_dict()), tmp_path)
    assert SECRET in json.dumps(shown.as_dict())


def test_an_alert_with_evidence_is_plain_json(evidence):
    found = alert()._replace(evidence=evidence)
    fields = json.loads(json.dumps(found.as_dict()))
    assert fields["evidence"]["findings"][0]["fingerprint"]
    assert json.loads(json.dumps(alert(latest=float("inf")).as_dict()))["latest"] is None


def test_the_stub_is_a_scenario_that_waits_for_its_step(tmp_path, evidence):
    found = alert()._replace(evidence=evidence)
    text = found.scenario_stub("reconnects")
    ast.parse(text)
    assert found.evidence.findings[0].fingerprint in text
    file = tmp_path / "from_production.py"
    file.write_text(text)
    ran = subprocess.run(
        [sys.executable, "-m", "leakcheck", "list", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "reconnects" in ran.stdout


def test_a_stub_needs_a_name():
    with pytest.raises(ValueError, match="name"):
        alert().scenario_stub("not a name")

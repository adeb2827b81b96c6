"""What stays beside the heap becomes faults, each with the line that brought it."""

from __future__ import annotations

import pytest

from leakcheck.agent.inquiry import Arrival, KeptResource, Resources, Thing
from leakcheck.agent.origin import Origin
from leakcheck.agent.protocol import Roots
from leakcheck.diagnosis.resources import faults_of, pattern


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tcp socket 127.0.0.1:36481 to 127.0.0.1:44176", "tcp socket 127.0.0.1:* to 127.0.0.1:*"),
        ("tcp socket 10.120.3.255:51000 to 10.0.0.5:5432", "tcp socket 10.120.3.255:* to 10.0.0.5:5432"),
        ("pipe:[123456]", "pipe:*"),
        ("/var/log/app-2417.log", "/var/log/app-*.log"),
        ("/tmp/tmpab12cd34.png", "/tmp/tmp*.png"),
        ("Worker-7: run (/src/app/work.py:1250)", "Worker-7: run (/src/app/work.py:1250)"),
    ],
)
def test_a_description_is_the_same_for_all_things_of_a_kind(text: str, shown: str) -> None:
    assert pattern(text) == shown


def resources(*arrivals: Arrival, meter: str = "fds") -> Resources:
    return Resources(kinds={meter: KeptResource(stacks=arrivals)})


STACK = (("/src/app/hub.py", 41, "Hub.on"), ("/usr/lib/python3.11/threading.py", 9, "run"))


def test_a_line_that_brought_what_stayed_is_a_fault_with_its_share() -> None:
    socket = Thing(kind="socket", text="tcp socket 127.0.0.1:80 to 10.0.0.1:51832")
    few, many = (
        Arrival(stack=STACK[:1], per_iteration=0.05),
        Arrival(stack=STACK, per_iteration=1.0, things=(socket, socket)),
    )
    origin = Origin(Roots((), (), ("/usr/lib/python3.11/",)))
    (fault,) = faults_of(resources(few, many), {"fds": 2.0}, origin)
    assert (fault.meter, fault.count, fault.bytes, fault.type) == ("fds", 1.0, 0.0, "socket")
    assert (fault.share(0.0), fault.lines) == (0.5, {("/src/app/hub.py", 41)})
    assert fault.examples == ("tcp socket 127.0.0.1:80 to 10.0.0.1:*",)


def test_a_meter_of_bytes_beside_the_heap_counts_bytes() -> None:
    (fault,) = faults_of(resources(Arrival(stack=STACK, per_iteration=4096.0), meter="mapped.bytes"), {})
    assert (fault.count, fault.bytes, fault.on_heap) == (0.0, 4096.0, False)


def test_lines_bring_no_more_bytes_than_the_measurement_has_seen() -> None:
    kept = Resources({"anon.bytes": KeptResource((Arrival(STACK, 3000.0), Arrival(STACK[:1], 1000.0)))})
    assert [fault.bytes for fault in faults_of(kept, {"anon.bytes": 400.0})] == [300.0, 100.0]


def test_of_kinds_that_come_as_often_the_first_is_named() -> None:
    things = tuple(Thing(kind=kind, text=kind) for kind in ("zombie", "pipe", "socket", "anonymous", "file"))
    (fault,) = faults_of(resources(Arrival(stack=STACK, per_iteration=5.0, things=things)), {})
    assert fault.type == "zombie"


@pytest.mark.parametrize(("mapped", "told"), [(4096.0, ["mapped.bytes"]), (16.0, ["mapped.bytes", "anon.bytes"])])
def test_pages_that_a_mapping_explains_are_told_by_the_line_that_maps_them(mapped: float, told: list[str]) -> None:
    kinds = {
        "mapped.bytes": KeptResource((Arrival(STACK, mapped),)),
        "anon.bytes": KeptResource((Arrival(STACK, 4000.0),)),
    }
    found = faults_of(Resources(kinds), {"mapped.bytes": 4096.0, "anon.bytes": 4000.0})
    assert [fault.meter for fault in found] == told


def test_the_c_function_of_the_line_is_handed_on() -> None:
    arrival = Arrival(STACK, 64.0, function="lib.take")
    (fault,) = faults_of(resources(arrival, meter="anon.bytes"), {"anon.bytes": 64.0})
    assert fault.adders[0].function == "lib.take"

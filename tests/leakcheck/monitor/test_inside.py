"""A command that is watched has the agent: where it grows, the line is named, and nothing in it had to be changed."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from leakcheck.monitor import inside
from leakcheck.monitor.inside import Inside

SERVICE = """
    import os, sys, time
    kept = {}
    class Session:
        def __init__(self):
            self.data = bytearray(10_000)
    def open_session(number):
        kept[number] = Session()
    if "worker" in sys.argv and os.fork():
        time.sleep(600)  # the parent does not grow
    for number in range(1_000_000):
        open_session(number)
        time.sleep(0.01)
"""


@pytest.fixture
def service(tmp_path) -> Path:
    file = tmp_path / "service.py"
    file.write_text(textwrap.dedent(SERVICE).lstrip())
    return file


@pytest.fixture
def quick(monkeypatch):
    """Short stretches: the service grows by a megabyte a second."""
    monkeypatch.setattr(inside, "_FEWEST_S", 1)
    monkeypatch.setattr(inside, "_LOOKS_S", 1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("arguments", "where"), [([], ""), (["worker"], "; in worker")])
def test_the_line_that_makes_a_command_grow_is_named(service, arguments, where):
    watched = Inside()
    with subprocess.Popen(
        [sys.executable, str(service), *arguments], env=watched.environment(), process_group=0
    ) as process:
        try:
            findings, why_not = watched.look(1e6)
        finally:
            subprocess.run(["kill", "-KILL", "--", f"-{process.pid}"], check=True)
            watched.close()
    assert not why_not
    title, stack = findings[0].title, findings[0].stack
    assert title.endswith(
        f"a second: added at service.py:7 in open_session, held by __main__.kept[*], never removed{where}"
    )
    assert (stack[0].line, stack[0].source) == (7, "kept[number] = Session()")
    assert findings[0].count_per_iteration == pytest.approx(99, rel=0.3), "it sleeps a hundredth of a second, at least"


@pytest.mark.usefixtures("quick")
def test_a_command_that_cannot_be_entered_is_told_in_a_sentence(service, monkeypatch):
    monkeypatch.setattr(inside, "_COME_S", 0.5)
    watched = Inside()
    with subprocess.Popen([sys.executable, "-I", str(service)], env=watched.environment()) as process:
        findings, why_not = watched.look(1e6)
        process.kill()
    watched.close()
    assert not findings
    assert why_not.startswith("no process could be looked into: the agent comes into Python 3.11 or newer, unless")


@pytest.mark.usefixtures("quick")
def test_fragmentation_has_its_name_and_its_figures(tmp_path):
    """Every second block of half a page is free: nothing of them can go back to the system."""
    file = tmp_path / "sparse.py"
    file.write_text(
        "import threading, time\nkept = [bytearray(2000) for _ in range(40_000)]\ndel kept[::2]\ntime.sleep(600)\n"
    )
    watched = Inside()
    with subprocess.Popen([sys.executable, str(file)], env=watched.environment()) as process:
        findings, why_not = watched.look(1e6)
        process.kill()
    watched.close()
    assert not findings
    in_use, free = re.findall(r"([\d.]+) MiB", why_not)
    assert why_not.startswith("fragmentation, and no leak: what is in use does not grow with the process; of the heap,")
    assert 38 < float(in_use) < 55
    assert 36 < float(free) < 60


@pytest.mark.usefixtures("quick")
def test_it_can_be_looked_into_more_than_once_and_a_process_that_ends_is_told(service):
    watched = Inside()
    code = "import threading, time; time.sleep(4.5)"
    with subprocess.Popen([sys.executable, "-c", code], env=watched.environment()):
        _, why_not = watched.look(1e6)
    assert why_not in ("the main process that was looked into has ended", "the process has ended")
    with subprocess.Popen([sys.executable, str(service)], env=watched.environment()) as process:
        looks = [watched.look(1e6) for _ in range(2)]
        process.kill()
    watched.close()
    assert [why_not for _, why_not in looks] == ["", ""]
    assert looks[0][0][0].fingerprint == looks[1][0][0].fingerprint

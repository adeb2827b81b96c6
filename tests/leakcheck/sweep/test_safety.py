"""Whatever a call does, nothing happens outside of its own process and folder."""

from __future__ import annotations

import os
import platform
import socket
import sys
from pathlib import Path
from types import FunctionType

import dangerous
import pytest

from leakcheck.sweep import isolation
from leakcheck.sweep.inside.messages import Asked, Began, Broken, Crash, Inventory, Swept
from leakcheck.sweep.sweeper import sweep

HERE = str(Path(__file__).parent)
TARGETS = [name for name, value in vars(dangerous).items() if isinstance(value, FunctionType)]

WITHOUT_NAMESPACES = ["alpha", "beta", "gamma", "delta", "theta", "iota", "kappa", "lamda", "nu", "pi", "upsilon"]
"""Of them all but those that signal to all, fork without end or fill a disk: they could, in what lies on it."""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """What could be harmed, and where to find it in the environment."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("untouched")
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0)
    path = os.path.relpath(folder / "socket")
    beside = socket.socket(socket.AF_UNIX)
    beside.bind(path)
    beside.listen()
    beside.settimeout(0)
    leader, terminal = os.openpty()
    os.set_blocking(leader, False)
    monkeypatch.setenv("PYTHONPATH", HERE)
    monkeypatch.setenv("DANGER_FOLDER", str(folder))
    monkeypatch.setenv("DANGER_PORT", str(listening.getsockname()[1]))
    monkeypatch.setenv("DANGER_PID", str(os.getpid()))
    monkeypatch.setenv("DANGER_TERMINAL", os.ttyname(terminal))
    yield folder, [listening, beside], leader
    for each in (listening, beside):
        each.close()
    os.close(leader)
    os.close(terminal)


def swept(targets):
    """One child at a time: what kills all processes that it sees would have others blamed."""
    names = [f"dangerous.{name}" for name in targets]
    return list(sweep(Asked(["dangerous"], names, [], 1.0, 1, False, False, "", "", [], {}), sys.executable))


def assert_nothing_happened(outside):
    folder, listening, leader = outside
    assert (folder / "file").read_text() == "untouched"
    assert sorted(each.name for each in folder.iterdir()) == ["file", "socket"]
    for each in listening:
        with pytest.raises(BlockingIOError):
            each.accept()
    with pytest.raises(BlockingIOError):
        os.read(leader, 1)
    assert not list(Path().glob("filling-*"))
    assert not list(Path("/").glob("filling-*"))


def isolation_of(said):
    return next(message.isolation for message in said if isinstance(message, Began))


def without_a_bomb(targets):
    """Before Linux 6.14 nothing limits the processes of root, in whatever namespace."""
    version = tuple(int(part) for part in platform.release().split(".")[:2])
    return [name for name in targets if name != "sigma" or version >= (6, 14) or os.geteuid() != 0]


def test_nothing_happens_outside(outside):
    by = isolation_of(swept(["upsilon"]))
    if by == "namespaces":
        targets = [name for name in without_a_bomb(TARGETS) if name != "tau"]
    else:
        targets = WITHOUT_NAMESPACES if by == "landlock" else ["upsilon"]  # it says so, and dangerous names are refused
    said = swept(targets)
    assert_nothing_happened(outside)
    assert not [message for message in said if isinstance(message, Broken)]
    assert {message.target.removeprefix("dangerous.") for message in said if isinstance(message, Swept)} == set(targets)
    how = {message.target.removeprefix("dangerous."): message.how for message in said if isinstance(message, Crash)}
    # Numbers of processes are given anew inside: the one that is killed there may be one of its own.
    assert how.keys() <= {"lamda", "mu", "zeta", "eta", "xi", "sigma", "epsilon"}
    if by == "namespaces":
        assert how["lamda"] == "exit code 0"
        assert how["mu"] == "does not end"


def test_nothing_happens_outside_by_landlock_alone(outside, monkeypatch):
    monkeypatch.setenv(isolation.ONLY, "landlock")
    by = isolation_of(swept(["upsilon"]))
    assert by in ("landlock", "none")
    targets = WITHOUT_NAMESPACES if by == "landlock" else ["upsilon"]
    said = swept(targets)
    assert_nothing_happened(outside)
    assert {message.target.removeprefix("dangerous.") for message in said if isinstance(message, Swept)} == set(targets)


def test_what_is_not_isolated_says_so(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
    monkeypatch.setenv(isolation.ONLY, "none")
    said = swept(["upsilon"])
    assert [message.isolation for message in said if isinstance(message, Began)] == ["none"]


@pytest.mark.slow
def test_what_waits_for_ever_is_left(outside):
    how = {message.target: message.how for message in swept(["tau"]) if isinstance(message, Crash)}
    assert how == {"dangerous.tau": "does not end"}


def test_dangerous_names_are_refused(tmp_path, monkeypatch):
    (tmp_path / "named.py").write_text(
        "def kill_all(): pass\ndef harmless(): pass\ndef send_signal(): pass\ndef can_accept_more(): pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    asked = Asked(["named"], [], [], 1.0, 1, False, True, "", "", [], {})
    inventory = next(message for message in sweep(asked, sys.executable) if isinstance(message, Inventory))
    assert inventory.targets == ["named.harmless", "named.can_accept_more"]
    assert inventory.refused == [
        ("named.kill_all", "ends, signals or starts processes"),
        ("named.send_signal", "ends, signals or starts processes"),
    ]

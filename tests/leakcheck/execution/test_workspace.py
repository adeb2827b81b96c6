"""Temporary folders go with their owners, however these end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from leakcheck.execution.workspace import PREFIX, Workspace, clear_abandoned

OWNER = """
import subprocess, sys
from leakcheck.execution.workspace import Workspace

space = Workspace()
(space.path / "temporary").mkdir()
daemon = "import time; print('up', flush=True); time.sleep(600)"
environment = {"TMPDIR": str(space.path / "temporary")}
child = subprocess.Popen(
    [sys.executable, "-c", daemon], env=environment, stdout=subprocess.PIPE, start_new_session=True
)
child.stdout.readline()
print(space.path, child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def owner(tmp_path):
    """A process that owns a folder and has started another, in a session of its own; then folder and that one's id."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    folder, child = process.stdout.readline().split()
    yield process, Path(folder), int(child)
    process.kill()
    process.wait()


def is_running(pid: int) -> bool:
    """Whether a process is there, and no zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_folder_goes_when_it_is_closed(tmp_path):
    with Workspace() as folder:
        (folder / "file").touch()
        assert folder.name.startswith(PREFIX)
    assert os.listdir(tmp_path) == []


def test_a_folder_whose_owner_lives_is_left_alone(owner):
    _, folder, child = owner
    clear_abandoned()
    assert folder.exists()
    assert is_running(child)


def test_a_folder_whose_owner_was_killed_is_cleared_with_what_still_runs_there(owner):
    process, folder, child = owner
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert folder.exists()
    clear_abandoned()
    assert not folder.exists()
    assert not is_running(child)


def test_what_only_has_the_name_of_a_folder_is_left_alone(tmp_path):
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path)
    clear_abandoned()
    assert sorted(os.listdir(tmp_path)) == [f"{PREFIX}file", f"{PREFIX}link"]

"""Whose code a file is, is decided by where packages lie: a project of the user's may be called anything."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

import leakcheck.pytest_plugin
from leakcheck.agent import step
from leakcheck.agent.origin import HERE, Origin
from leakcheck.agent.probes import walk
from leakcheck.agent.protocol import Roots
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker

NAMES = ["memray/app", "leakcheck/worker", "leakcheck/agent", "asyncio", "lib/python3.11", "pytest_plugin"]


@pytest.mark.parametrize("folder", NAMES)
def test_a_project_in_a_folder_of_any_name_is_the_users(folder):
    assert HERE.rank(f"/home/me/{folder}/hub.py") == 0
    assert not HERE.own(f"/home/me/{folder}/hub.py")


def test_the_tool_the_library_and_packages_are_known_by_their_roots():
    assert HERE.own(step.__file__)
    assert HERE.calls_the_step(step.__file__)
    assert HERE.own(walk.__file__)
    assert not HERE.calls_the_step(walk.__file__)
    assert HERE.installed(leakcheck.pytest_plugin.__file__)
    assert HERE.installed(pytest.__file__)
    assert HERE.standard(os.__file__)
    assert HERE.standard(os.path.join(sysconfig.get_path("stdlib"), "asyncio", "events.py"))
    assert HERE.standard("<frozen importlib._bootstrap>")
    assert HERE.standard("<string>")
    assert not HERE.library("<string>")  # code that the user has made, though nobody can name a line of it


def test_a_package_inside_the_librarys_folder_is_a_package():
    origin = Origin(Roots((), ("/usr/lib/python3/site-packages/",), ("/usr/lib/python3/",)))
    assert origin.rank("/usr/lib/python3/site-packages/x.py") == 1
    assert origin.rank("/usr/lib/python3/os.py") == 2
    assert origin.module_name("/usr/lib/python3/site-packages/pkg/x.py") == "pkg/x.py"
    assert origin.module_name("/home/me/app/hub.py") == "hub.py"


def test_a_measured_interpreter_reports_its_own_roots(tmp_path):
    file = tmp_path / "case.py"
    file.write_text("def main(): pass")
    with Worker(Job(scenario=ScenarioInfo(id="x", target=str(file), name="main"), cwd=tmp_path)) as worker:
        roots = worker.open().roots
    assert roots.own == (f"{Path(step.__file__).parent}{os.sep}",)
    assert any(root.rstrip(os.sep).endswith("site-packages") for root in roots.packages)

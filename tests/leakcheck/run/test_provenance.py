"""What a result says of the machine: versions without importing what would tell them, at a cost."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version

import pytest

from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.run import provenance


@pytest.fixture
def told(tmp_path):
    job = Job(scenario=ScenarioInfo(id="", target="", name=""), python=sys.executable, cwd=tmp_path)
    return provenance.environment(job)


def test_versions_are_those_that_the_packages_tell_of_themselves(told):
    assert told["memray"] == version("memray")
    assert provenance.tool().version == version("elkyn-leakcheck")


def test_a_package_that_lies_in_no_folder_of_the_path_has_no_version(monkeypatch):
    assert provenance._version("no-such-package") is None
    monkeypatch.setattr(sys, "path", ["a.zip", "no/such/folder"])
    assert provenance._version("memray") is None


def test_the_c_library_is_the_one_that_the_interpreter_says(told):
    assert told["libc"] == " ".join(platform.libc_ver()).strip()


def test_nothing_dear_is_imported_for_it():
    code = "import sys, leakcheck.run.provenance as s; s.tool(); sys.exit('importlib.metadata' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

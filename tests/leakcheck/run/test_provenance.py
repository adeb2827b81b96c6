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


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/ada/hub.git", "https://github.com/ada/hub"),
        ("https://ada:secret-token@gitlab.com/team/sub/hub.git", "https://gitlab.com/team/sub/hub"),
        ("git@github.com:ada/hub.git", "https://github.com/ada/hub"),
        ("ssh://git@git.example.org:2222/ada/hub/", "https://git.example.org/ada/hub"),
        ("/srv/git/hub.git", None),
        ("file:///srv/git/hub.git", None),
        ("../hub", None),
        ("", None),
    ],
)
def test_a_remote_is_shown_on_the_web_without_who_fetches_it(remote, address):
    assert provenance.web_address(remote) == address


def test_a_checkout_is_known_by_its_folder_commit_and_remote(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    remote = ["remote", "add", "origin", "git@github.com:ada/hub.git"]
    for command in (["init", "-q"], remote, [*identity, "commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", *command], check=True)
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    told = provenance.environment(Job(scenario=ScenarioInfo(id="", target="", name=""), cwd=tmp_path))
    assert (told["root"], told["repository"]) == (str(tmp_path), "https://github.com/ada/hub")
    assert len(told["commit"]) == 12
    monkeypatch.chdir("/")
    told = provenance.environment(Job(scenario=ScenarioInfo(id="", target="", name=""), cwd=tmp_path))
    assert (told["root"], told["repository"], told["commit"]) == (None, None, None)

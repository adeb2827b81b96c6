"""Bisecting: under git bisect run, and over the versions of a package from an index."""

from __future__ import annotations

import subprocess
import sys

import package_index
import pytest
import sample_run
from hypothesis import given
from hypothesis import strategies as st

from leakcheck.records import Control
from leakcheck.versions import search

CLEAN = sample_run.scenario("a.py::one")
LEAK = sample_run.leaking("a.py::one", [sample_run.BUFFER])
PLANTED = sample_run.leaking("a.py::planted", [sample_run.LISTENER], expect="leak", ok=True)


@pytest.mark.parametrize(
    ("scenarios", "said"),
    [
        ([CLEAN], "good"),
        ([CLEAN, PLANTED], "good"),
        ([LEAK, CLEAN], "bad"),
        ([LEAK, sample_run.scenario("a.py::two", "error")], "bad"),
        ([sample_run.scenario("a.py::one", "error")], "unknown"),
        ([CLEAN, sample_run.scenario("a.py::two", "inconclusive")], "unknown"),
        ([], "unknown"),
    ],
)
def test_a_run_is_good_bad_or_not_known(scenarios, said):
    assert search.answer(sample_run.run(scenarios)) == said


def test_a_failed_control_judges_nothing():
    assert search.answer(sample_run.run([LEAK], control=Control(status="failed", reason="x"))) == "unknown"


def test_a_fingerprint_makes_only_its_own_leak_bad():
    run = sample_run.run([LEAK])
    assert search.answer(run, sample_run.BUFFER.fingerprint[:8]) == "bad"
    assert search.answer(run, sample_run.HEADER.fingerprint) == "good"


@given(st.integers(2, 60), st.data())
def test_the_first_bad_version_is_found_whatever_cannot_be_judged(count, data):
    first_bad = data.draw(st.integers(1, count - 1))
    unknown = data.draw(st.sets(st.integers(1, max(1, count - 2)))) - {count - 1}
    versions = [str(number) for number in range(count)]
    asked = []

    def ask(version):
        asked.append(version)
        number = int(version)
        return "unknown" if number in unknown else "bad" if number >= first_bad else "good"

    found = search.search(versions, ask)
    assert int(found.last_good) < first_bad <= int(found.first_bad)
    assert all(int(version) in unknown for version in found.unknown)
    assert len(found.unknown) == int(found.first_bad) - int(found.last_good) - 1
    assert len(asked) == len(set(asked))
    if not unknown:
        assert len(asked) <= count.bit_length()


MODULES = {
    "1.0": "def parse():\n    return [1]\n",
    "1.1": "def parse():\n    return [2]\n",
    "1.2": "raise RuntimeError('a broken release')\n",
    "1.3": "kept = []\ndef parse():\n    kept.append(bytearray(300))\n",
    "2.0": "kept = []\ndef parse():\n    kept.append(bytearray(900))\n",
}
SCENARIO = "from leakcheck import scenario\nimport parselib\n@scenario\ndef parsing():\n    parselib.parse()\n"


@pytest.fixture
def index(tmp_path, monkeypatch):
    with package_index.serving(tmp_path / "index", MODULES, monkeypatch):
        yield


def leakcheck(directory, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "leakcheck", "bisect", *arguments], cwd=directory, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_first_version_of_a_package_that_leaks_is_named(index, tmp_path):
    (tmp_path / "scenario.py").write_text(SCENARIO)
    done = leakcheck(tmp_path, "--package", "parselib", "--good", "1.1", "--bad", "2.0", "scenario.py")
    assert "parselib 1.2: unknown" in done.stdout
    assert "parselib: the first version that leaks is one of 1.2, 1.3; 1.1 does not leak" in done.stdout
    assert done.returncode == 6


@pytest.mark.slow
def test_a_version_that_is_not_what_it_was_given_as_is_named(index, tmp_path):
    (tmp_path / "scenario.py").write_text(SCENARIO)
    done = leakcheck(tmp_path, "--package", "parselib", "--good", "1.3", "--bad", "2.0", "scenario.py")
    assert "parselib 1.3 was given as good, but it is bad" in done.stderr
    assert done.returncode == 4
    missing = leakcheck(tmp_path, "--package", "parselib", "--good", "0.1", "--bad", "2.0", "scenario.py")
    assert "the index has no parselib 0.1" in missing.stderr


@pytest.mark.slow
def test_git_bisect_run_finds_the_commit(tmp_path):
    def git(*arguments):
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=tmp_path, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    git("init", "--quiet")
    (tmp_path / "scenario.py").write_text(SCENARIO)
    for version in ("1.0", "1.2", "1.1", "1.3", "2.0"):
        (tmp_path / "parselib.py").write_text(MODULES[version])
        git("add", ".")
        git("commit", "--quiet", "-m", f"version {version}")
    git("bisect", "start", "HEAD", "HEAD~4")
    command = [sys.executable, "-m", "leakcheck", "bisect", "scenario.py", "--time-budget", "3"]
    git("bisect", "run", *command)
    assert "# first bad commit: [" in git("bisect", "log")
    assert git("bisect", "log").rstrip().endswith("version 1.3")
    git("checkout", "--quiet", ":/version 1.2")
    broken = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "unknown: scenario.py" in broken.stdout
    assert broken.returncode == 125

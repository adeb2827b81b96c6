"""Since which version a find leaks: its scenario is judged in older versions of the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import package_index
import pytest

from leakcheck.errors import UsageError
from leakcheck.sweep import ages
from leakcheck.sweep.ages import Ages, Range
from leakcheck.sweep.outcome import Age

VERSIONS = ["1.0", "1.1", "1.2", "1.3", "2.0"]


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(ages.sandbox, "versions", lambda package, *, prereleases: VERSIONS)


def scripted(monkeypatch, verdicts):
    """Finds whose verdicts in each version are scripted; returns the versions that are installed."""
    installed: list[str] = []

    def judge(files, python, jobs, *, diagnose):
        told = {name: verdicts[name][VERSIONS.index(installed[-1])] for name in files}
        return SimpleNamespace(of=lambda name: SimpleNamespace(verdict=told[name]))

    monkeypatch.setattr(ages.sandbox, "environment", lambda directory: directory)
    monkeypatch.setattr(
        ages.sandbox, "install", lambda python, requirements: installed.append(requirements[0].partition("==")[2])
    )
    monkeypatch.setattr(ages.judged, "judge", judge)
    return installed


LEAKS, CLEAN, ERROR = "leak", "clean", "error"


def test_each_find_has_its_own_age_and_each_version_is_installed_once(known, monkeypatch):
    installed = scripted(monkeypatch, {
        "old": [LEAKS] * 5,
        "new": [CLEAN, CLEAN, CLEAN, LEAKS, LEAKS],
        "between": [CLEAN, "bounded", ERROR, LEAKS, LEAKS],
        "young": [ERROR, ERROR, ERROR, ERROR, LEAKS],
    })  # fmt: skip
    found = Ages(Range("p", "1.0..2.0"), 1, lambda _: None).of(dict.fromkeys(("old", "new", "between", "young"), ""))
    assert found == {
        "old": Age(leaks="1.0", clean="", unknown=[]),
        "new": Age(leaks="1.3", clean="1.2", unknown=[]),
        "between": Age(leaks="1.3", clean="1.1", unknown=["1.2"]),
        "young": Age(leaks="2.0", clean="", unknown=["1.0", "1.1", "1.2", "1.3"]),
    }
    assert sorted(installed) == ["1.0", "1.1", "1.2", "1.3"]


def test_an_age_is_a_sentence():
    assert str(Age(leaks="1.3", clean="1.2", unknown=[])) == "leaks since 1.3; 1.2 does not"
    assert str(Age(leaks="1.3", clean="1.1", unknown=["1.2"])) == (
        "leaks since 1.3; 1.1 does not, and 1.2 cannot be judged"
    )
    assert str(Age(leaks="1.0", clean="", unknown=[])) == "leaks in 1.0 already"
    assert str(Age(leaks="2.0", clean="", unknown=["1.3"])) == "leaks in 2.0; 1.3 cannot be judged"


def test_a_version_that_cannot_be_installed_is_not_judged(known, monkeypatch):
    scripted(monkeypatch, {"find": [LEAKS] * 5})

    def refuse(python, requirements):
        raise ages.sandbox.TrialError("no wheel")

    monkeypatch.setattr(ages.sandbox, "install", refuse)
    found = Ages(Range("p", "1.3..2.0"), 1, lambda _: None).of({"find": ""})
    assert found["find"] == Age(leaks="2.0", clean="", unknown=["1.3"])


def test_an_open_range_ends_with_the_newest(known):
    assert Range("p", "1.2..").versions == ["1.2", "1.3", "2.0"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("1.0", "is no range"),
        ("..2.0", "is no range"),
        ("0.1..2.0", "has no p 0.1"),
        ("1.0..3.0", "has no p 3.0"),
        ("2.0..1.0", "2.0 must be older than 1.0"),
        ("2.0..", "2.0 must be older than 2.0"),
    ],
)
def test_what_is_no_range_is_said(asked, said, known):
    with pytest.raises(UsageError, match=said):
        Range("p", asked)


FORGETS = """
_areas = []
def area(width, height):
    row = [width, height]
    _areas.append(row)
    result = width * height
    _areas.pop()
    return result
"""
HOLDS = "def area(width, height):\n    return width * height\n"


@pytest.mark.slow
def test_a_find_tells_since_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"1.0": HOLDS, "1.1": HOLDS, "1.2": FORGETS, "1.3": FORGETS}
    with package_index.serving(tmp_path / "index", modules, monkeypatch):
        done = subprocess.run(
            [sys.executable, "-m", "leakcheck", "sweep", "parselib", "--versions", "1.0..1.3", "--no-control",
             "--time-per-target", "2"],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=400,
        )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "leaks since 1.2; 1.1 does not" in done.stdout
    folder = tmp_path / "sweep" / "parselib"
    find = json.loads((folder / "sweep.json").read_text())["finds"][0]
    assert find["age"] == {"leaks": "1.2", "clean": "1.1", "unknown": []}
    assert "leaks since 1.2; 1.1 does not" in (folder / find["draft"]).read_text()
    assert "leaks since 1.2; 1.1 does not" in (folder / "index.html").read_text()

"""A sweep leaves out what an earlier one has done, as long as its code is what it was."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from leakcheck.sweep.inside import code
from leakcheck.sweep.inside.inventory import Target

HELPER = "def one(value):\n    return value\n"
APART = "def apart(value):\n    return [value]\n"
FRONT = "from parts import helper\n\ndef front(value):\n    return helper.one(value)\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, source in {"__init__": "from parts import apart, front, helper\n", "helper": HELPER, "apart": APART,
                         "front": FRONT}.items():  # fmt: skip
        (folder / f"{name}.py").write_text(source)
    return folder


MAIN = """\
import os
from pieces.base import Base, unused
from pieces import lazy as _lazy

LIMIT = 5
REGISTRY = {}

def alone(value):
    return os.fspath(value)

def limited(value):
    return value[:LIMIT]

def twice(value):
    return limited(value), alone(value)

class Kind(Base):
    def first(self):
        return 1

    def second(self):
        return late()

def late():
    from pieces.late import work
    return work()

def by_module(value):
    return _lazy.work(value)

REGISTRY["alone"] = len
"""
PIECES = {
    "__init__": "",
    "main": MAIN,
    "base": "class Base:\n    pass\n\ndef unused():\n    pass\n",
    "lazy": "def work(value):\n    return value\n",
    "late": "def work():\n    return 1\n",
}
NAMES = ["alone", "limited", "twice", "Kind", "Kind.first", "late", "by_module"]


def changed_by(folder: Path, name: str, old: str, new: str, monkeypatch) -> set[str]:
    """The targets of `pieces.main` whose code is another one after a change of one of its modules."""
    monkeypatch.syspath_prepend(str(folder))
    package = folder / "pieces"
    package.mkdir(exist_ok=True)
    hashes = []
    for sources in (PIECES, {**PIECES, name: PIECES[name].replace(old, new)}):
        assert sources[name] == PIECES[name] or old in PIECES[name]
        for each, source in sources.items():
            (package / f"{each}.py").write_text(source)
        for each in [each for each in sys.modules if each.partition(".")[0] == "pieces"]:
            monkeypatch.delitem(sys.modules, each)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        importlib.import_module("pieces.main")
        targets = [Target("function", f"pieces.main.{each}", "pieces.main", "", False, False) for each in NAMES]
        hashes.append(code.of_targets(targets, frozenset({"pieces"})))
    assert set(hashes[0]) == {f"pieces.main.{each}" for each in NAMES}
    return {each for each in NAMES if hashes[0][f"pieces.main.{each}"] != hashes[1][f"pieces.main.{each}"]}


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("main", "    return os.fspath(value)", "    # says nothing\n\n    return os.fspath( value )", set()),
        ("main", "return os.fspath(value)", "return value", {"alone", "twice"}),
        ("main", "LIMIT = 5", "LIMIT = 6", {"limited", "twice"}),
        ("main", "return 1", "return 2", {"Kind", "Kind.first"}),
        ("main", "def late():", "def late(*, more=0):", {"Kind", "Kind.first", "late"}),
        ("main", 'REGISTRY["alone"] = len', 'REGISTRY["alone"] = str', set(NAMES)),
        ("base", "class Base:\n    pass", "class Base:\n    made = 1", {"Kind", "Kind.first"}),
        ("base", "def unused():\n    pass", "def unused():\n    return 1", set()),
        ("late", "return 1", "return 2", {"Kind", "Kind.first", "late"}),
        ("lazy", "return value", "return 2", {"by_module"}),
        ("lazy", "return value", "return value  # as it is", set()),
    ],
)
def test_a_target_is_swept_again_where_what_it_names_has_changed(name, old, new, changed, tmp_path, monkeypatch):
    assert changed_by(tmp_path, name, old, new, monkeypatch) == changed


def swept(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict]:
    done = subprocess.run(
        [sys.executable, "-m", "leakcheck", "sweep", "parts", "--no-control", "--time-per-target", "2",
         "--report", "now", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done, json.loads((folder / "now" / "sweep.json").read_text()) if done.returncode in (0, 1) else {}


def test_what_has_not_changed_is_left_out_and_stays_known(package, tmp_path):
    names = {"parts.apart.apart", "parts.front.front", "parts.helper.one"}
    first, before = swept(tmp_path)
    assert first.returncode == 0, first.stderr
    assert set(before["code"]) == names
    assert before["unchanged"] == []
    (tmp_path / "now" / "sweep.json").rename(tmp_path / "before.json")

    (package / "helper.py").write_text(HELPER.replace("return value", "return [value]"))
    second, after = swept(tmp_path, "--since", "before.json")
    assert second.returncode == 0, second.stderr
    assert after["unchanged"] == ["parts.apart.apart"]
    assert "1 left out, for their code is what it was" in second.stdout
    assert after["code"]["parts.apart.apart"] == before["code"]["parts.apart.apart"]
    assert after["code"]["parts.front.front"] != before["code"]["parts.front.front"]
    assert after["unfinished"] == []

    (tmp_path / "before.json").write_text(json.dumps({**before, "generator": "another"}))
    _, whole = swept(tmp_path, "--since", "before.json")
    assert whole["unchanged"] == []  # another version calls in other ways


def test_a_file_that_is_no_sweep_is_said(package, tmp_path):
    done, _ = swept(tmp_path, "--since", "missing.json")
    assert done.returncode == 4
    assert "missing.json does not exist" in done.stderr

"""The sources of a run: what goes, by which name, and how paths become another machine's and come back."""

from __future__ import annotations

import os
import subprocess

import pytest

from leakcheck.errors import UsageError
from leakcheck.remote import bundle


def written(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    return folder


def names(sources, place):
    bundle.unpack(sources.archive, place)
    return sorted(
        os.path.relpath(os.path.join(root, name), place) for root, _, files in os.walk(place) for name in files
    )


@pytest.fixture
def checkout(tmp_path):
    folder = written(tmp_path / "checkout", "app/hub.py", "leaks/scenarios.py", "new.py", "secret.env")
    (folder / ".gitignore").write_text("*.env\n*.so\n.venv\nbuild\n")
    written(folder, "app/_fast.cpython-312.so", "app/_fast.abi3.so", "build/lib/x.py", ".venv/lib/site/_c.abi3.so")
    written(folder, "env/pyvenv.cfg", "env/lib/_d.abi3.so")
    for words in (["init", "-q"], ["add", "app", "leaks"]):
        subprocess.run(["git", *words], cwd=folder, check=True, env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull})
    return folder


def test_of_a_checkout_goes_what_git_does_not_ignore_and_compiled_modules(checkout, tmp_path):
    sources = bundle.make(checkout / "leaks", [str(checkout / "leaks" / "scenarios.py")])
    assert sources.root == str(checkout)
    assert names(sources, tmp_path / "there") == [
        ".gitignore",
        "app/_fast.abi3.so",
        "app/_fast.cpython-312.so",
        "app/hub.py",
        "leaks/scenarios.py",
        "new.py",
    ]


def test_where_git_knows_nothing_all_goes_but_environments_and_what_is_hidden(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = written(
        tmp_path / "plain", "a.py", "p/b.py", "data.json", ".hidden/c.py", "__pycache__/a.pyc", "v/pyvenv.cfg"
    )
    sources = bundle.make(folder, [str(folder / "a.py")])
    assert names(sources, tmp_path / "there") == ["a.py", "data.json", "p/b.py"]


def test_a_bundle_is_known_by_its_content_and_not_by_times_or_places(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    one = bundle.make(written(tmp_path / "one", "a.py"), [])
    other = bundle.make(written(tmp_path / "other", "a.py"), [])
    assert one.digest == other.digest
    (tmp_path / "other" / "a.py").write_text("changed")
    assert bundle.make(tmp_path / "other", []).digest != one.digest


def test_a_scenario_that_lies_elsewhere_is_one_sentence(checkout, tmp_path):
    with pytest.raises(UsageError, match=r"--on sends the sources below .*, and /elsewhere/s\.py is not among them"):
        bundle.make(checkout, ["/elsewhere/s.py"])


def test_too_much_is_one_sentence_before_anything_is_sent(checkout, monkeypatch):
    monkeypatch.setattr(bundle, "_LARGEST", 10)
    with pytest.raises(UsageError, match="they are more than 10 B; have git ignore what is no source"):
        bundle.make(checkout, [])


def test_paths_below_the_folder_are_another_machines_and_come_back():
    sources = bundle.Bundle("/home/me/hub", "d1", b"")
    here = b'["/home/me/hub/app.py", "/home/me/hub", "in /home/me/hub/app.py:3", "/home/me/hub2/x", "/home/me/hub.py"]'
    there = sources.outgoing(here)
    assert (
        there == b'["/bundle-d1/app.py", "/bundle-d1", "in /bundle-d1/app.py:3", "/home/me/hub2/x", "/home/me/hub.py"]'
    )
    assert sources.incoming(there) == here


def test_a_folder_with_a_quotation_mark_is_a_folder():
    sources = bundle.Bundle('/tmp/"a"', "d1", b"")
    assert sources.outgoing(rb'"/tmp/\"a\"/x.py"') == b'"/bundle-d1/x.py"'
    assert sources.incoming(b'"/bundle-d1/x.py"') == rb'"/tmp/\"a\"/x.py"'

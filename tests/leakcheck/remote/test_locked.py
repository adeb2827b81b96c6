"""An environment from a lock, made by the real uv, without a network: what is in it is measured, and made once."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from leakcheck.errors import LeakcheckError, UsageError
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.records import ScenarioResult
from leakcheck.remote import bundle, likeness, locked, node
from leakcheck.remote.requests import Admit, Admitted, Examine, Work, decode, encode

PYTHON = sys.version.split()[0]


@pytest.fixture
def wheel(tmp_path):
    """A package of one line, as a wheel."""
    path = tmp_path / "tiny_thing-1.0-py3-none-any.whl"
    about = "tiny_thing-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("tiny_thing.py", "VALUE = 7\n")
        made.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        made.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr(f"{about}/RECORD", "")
    return path


def test_a_node_measures_in_the_environment_of_the_lock(tmp_path, wheel, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "requirements.txt").write_text(f"tiny-thing @ {wheel.as_uri()}\n")
    folder = tmp_path / "project"
    folder.mkdir()
    file = folder / "scenarios.py"
    file.write_text(
        "from leakcheck import scenario\nimport tiny_thing\n@scenario\ndef reads():\n    tiny_thing.VALUE\n"
    )
    sources = bundle.make(folder, [str(file)])
    job = Job(scenario=ScenarioInfo(id="reads", target=str(file), name="reads"), python="", cwd=folder)
    work = msgspec.Raw(sources.outgoing(encode(Work(job=job, tools=["growth"]))))
    common = {"run": "locked", "digest": sources.digest, "work": work}
    lock = locked.read(tmp_path / "requirements.txt", PYTHON)
    request = Admit(python="", like=likeness.here(), lock=lock, archive=sources.archive, **common)
    admitted = decode(node.answer(encode(request), print), Admitted)
    assert admitted.refused == ""
    assert admitted.python != sys.executable
    again = decode(node.answer(encode(request), print), Admitted)
    assert again.python == admitted.python, "it is made once"
    (result,) = decode(node.answer(encode(Examine(python=admitted.python, **common)), print), list[ScenarioResult])
    assert (result.verdict, result.failure) == ("clean", None)
    installed = likeness.here(admitted.python).packages
    assert installed == {"tiny-thing": "1.0"}


def test_a_lock_that_cannot_be_installed_refuses_the_node_with_what_uv_says(tmp_path):
    lock = locked.Lock(
        name="requirements.txt", text=f"tiny @ {(tmp_path / 'no-1.0-py3-none-any.whl').as_uri()}", python=PYTHON
    )
    with pytest.raises(LeakcheckError, match=r"^uv pip: .*no-1\.0"):
        locked.interpreter(lock)


def test_a_lock_of_a_project_is_exported(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "hub"\nversion = "1"\nrequires-python = ">=3.11"\n')
    subprocess.run([Path(sys.executable).parent / "uv", "lock", "--quiet", "--offline"], cwd=tmp_path, check=True)
    lock = locked.read(tmp_path / "uv.lock", PYTHON)
    assert lock.name == "requirements.txt"
    assert "hub" not in [line.partition("=")[0] for line in lock.text.splitlines()]


def test_a_lock_that_is_missing_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"--lock .*none\.txt: it cannot be read"):
        locked.read(tmp_path / "none.txt", PYTHON)


def test_a_node_without_uv_says_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(LeakcheckError, match="there is no uv, which makes environments; pip install uv"):
        locked.interpreter(locked.Lock(name="requirements.txt", text="a==1", python=PYTHON))

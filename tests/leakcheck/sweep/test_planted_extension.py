"""A sweep of an extension with twenty kinds of leaks and as many innocents: all of those, and none of these."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import extension
import pytest

from leakcheck.sweep import clusters, planted, planted_control
from leakcheck.sweep.inside.messages import Asked, Crash, Inventory, Suspect, Swept
from leakcheck.sweep.sweeper import sweep


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return extension.compiled(tmp_path_factory.mktemp("extension"))


def asked(target, include=(), **changes):
    return Asked([str(target)], list(include), [], 3.0, 2, False, False, "", "", [], {})._replace(**changes)


def test_all_leaks_are_suspected_and_no_innocent(module):
    said = list(sweep(asked(module), sys.executable))
    targets = next(message.targets for message in said if isinstance(message, Inventory))
    found = clusters.clusters((each for each in said if isinstance(each, Suspect)), targets)
    names = {cluster.target.split(".")[1] for cluster in found}
    lost, _ = extension.planted()
    assert names == lost
    kinds = {(cluster.target.split(".")[1], cluster.kind) for cluster in found}
    assert {
        ("lost_block", "call"),
        ("lost_on_error", "error"),
        ("lost_iterator", "callback raises"),
        ("LostWhenAbandoned", "abandoned"),
        ("LostWhenClosedTwice", "closed twice"),
        ("LostBlockWhenInitializedTwice", "initialized twice"),
        ("LostCycleByArgument", "cycle"),
        ("LostType", "subclass"),
        ("LostByCopy", "copied"),
        ("LostWithoutInit", "without initialization"),
        ("lost_on_no_memory", "out of memory"),
    } <= kinds
    swept = [message for message in said if isinstance(message, Swept)]
    assert {message.target for message in swept} == set(targets)
    crashes = [message for message in said if isinstance(message, Crash)]
    assert not [crash for crash in crashes if "short_of_memory" not in crash.source]  # it looks at no allocation


def test_the_control_says_what_is_missing_and_who_is_accused():
    suspect = Suspect("call", f"{planted.__name__}.innocent_return", "", "", "", {}, [], "")
    said = planted_control.wrong([suspect])
    assert "not found: loses_on_return (call)" in said
    assert "innocent, but suspected: innocent_return" in said


def test_for_each_planted_leak_there_is_an_innocent():
    own = {name for name, value in vars(planted).items() if getattr(value, "__module__", "") == planted.__name__}
    names = {name for name in own if not name.startswith("_")}
    innocents = {name for name in names if name.lower().startswith("innocent")}
    assert names - innocents == planted.PLANTED.keys()
    assert len(innocents) == len(planted.PLANTED) >= 20


def test_the_control_is_as_planted_here():
    assert planted_control.control(sys.executable, 2) == ""


def run(*arguments, cwd):
    command = [sys.executable, "-m", "leakcheck", "sweep", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=250)


def test_what_is_found_is_a_scenario_a_draft_and_a_gate(module, tmp_path):
    first = run(module, "--include", "*lost_on_error", "--include", "*fine_on_error", "--no-control", cwd=tmp_path)
    assert first.returncode == 1, first.stdout + first.stderr
    folder = tmp_path / "sweep" / "planted_extension"
    found = json.loads((folder / "sweep.json").read_text())
    assert [(each["target"], each["kind"]) for each in found["finds"]] == [("planted_extension.lost_on_error", "error")]
    assert found["not_made"] == []
    assert found["targets"] == 2
    find = found["finds"][0]
    scenario = (folder / find["scenario"]).read_text()
    assert '@scenario(expect="leak")' in scenario
    draft = (folder / find["draft"]).read_text()
    assert "| calls | heap.bytes | for each further call |" in draft
    assert "Each call of `planted_extension.lost_on_error` that fails with TypeError keeps something." in draft
    program = draft.partition("```python\n")[2].partition("```")[0]
    shown = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(module.parent)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    numbers = [int(line) for line in shown.stdout.split()]
    assert numbers == sorted(numbers)
    assert numbers[-1] - numbers[1] > 3 * 7 * 1024  # KiB, of 8 MiB a line
    assert find["neighbour"] in draft
    assert "clean" not in first.stdout
    assert "calls of 2 targets tried" in first.stdout

    again = run(
        module, "--include", "*lost_on_error", "--no-control", "--report", "second",
        "--baseline", folder / "sweep.json", cwd=tmp_path,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 of them known" in again.stdout

    judged = subprocess.run(
        [sys.executable, "-m", "leakcheck", "run", str(folder / find["scenario"]), "--no-control", "--tools", "growth"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no_such_package_at_all"], 4, "no_such_package_at_all cannot be imported"),
        (["json", "--version", "1", "--python", sys.executable], 4, "goes with one package"),
        (["json", "--baseline", "missing.json"], 4, "missing.json does not exist"),
        (["json", "--resume"], 4, "--resume: there is no"),
        (["json", "--include", "nothing.*", "--dry-run"], 5, ""),
        (["json", "--seeds", "broken.py"], 4, "broken.py: cannot be read as Python"),
        (["json", "--seeds", "missing"], 4, "--seeds missing does not exist; give a file of recipes"),
        (["json", "--time-per-target", "nan"], 4, "is no number of seconds"),
    ],
)
def test_what_cannot_be_swept_is_said_in_a_sentence(arguments, code, said, tmp_path):
    (tmp_path / "broken.py").write_text("def (:\n")
    ended = run(*arguments, "--no-control", cwd=tmp_path)
    assert ended.returncode == code, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr

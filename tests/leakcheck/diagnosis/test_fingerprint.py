"""The same fault keeps its name after lines moved, elsewhere, under another Python; another fault has another."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from leakcheck import results
from leakcheck.diagnosis import fingerprint
from leakcheck.diagnosis.suspects import judge_path
from leakcheck.records import Finding, Frame


def frame(file: str, line: int, function: str, source: str, *, user: bool = True, native: bool = False) -> Frame:
    return Frame(file=file, line=line, function=function, source=source, user=user, native=native)


def test_lines_that_moved_do_not_matter() -> None:
    before = [frame("/a/app/hub.py", 41, "Hub.on", "self.listeners.append(listener)")]
    after = [frame("/a/app/hub.py", 97, "Hub.on", "self.listeners.append(listener)")]
    assert fingerprint.of_frames("allocation", before) == fingerprint.of_frames("allocation", after)


def test_a_checkout_that_moved_does_not_matter() -> None:
    here = [frame("/home/me/app/hub.py", 41, "Hub.on", "x = []")]
    there = [frame("/builds/17/app/hub.py", 41, "Hub.on", "x = []")]
    assert fingerprint.of_frames("allocation", here) == fingerprint.of_frames("allocation", there)


def test_another_python_does_not_matter() -> None:
    def stack(python: str) -> list[Frame]:
        library = f"/usr/lib/{python}"
        return [
            frame(f"{library}/threading.py", 900, "Thread.__init__", "a", user=False),
            frame("/src/app.py", 4, "step", "Thread()"),
        ]

    assert fingerprint.of_frames("allocation", stack("python3.11")) == fingerprint.of_frames(
        "allocation", stack("python3.13")
    )


def test_two_faults_of_one_function_are_told_apart() -> None:
    first = [frame("/src/app.py", 4, "step", "first.append(1)")]
    second = [frame("/src/app.py", 5, "step", "second.append(1)")]
    assert fingerprint.of_frames("allocation", first) != fingerprint.of_frames("allocation", second)


def test_two_native_functions_below_one_line_are_told_apart() -> None:
    python = frame("/src/app.py", 4, "step", "parse()")
    first = [frame("a.c", 1, "make_key", "", native=True), python]
    second = [frame("a.c", 9, "make_value", "", native=True), python]
    assert fingerprint.of_frames("allocation", first) != fingerprint.of_frames("allocation", second)


HUB = [("app", "module"), (".hub", "app.Hub"), (".listeners", "list")]
ON = frame("/src/app.py", 41, "Hub.on", "self.listeners.append(listener)")


def of_container(steps=HUB, element: str = "app.Listener", adder: Frame | None = ON) -> str:
    return fingerprint.of_path(judge_path(steps, element, "wider"), element, adder)


@pytest.mark.parametrize(
    "other",
    [
        {"steps": [("shop", "module"), *HUB[1:]]},
        {"steps": [*HUB[:2], (".errors", "list")]},
        {"steps": [HUB[0], (".hub", "app.Bus"), HUB[2]]},
        {"steps": [*HUB[:2], (".listeners", "collections.deque")]},
        {"element": "app.Session"},
        {"adder": frame("/src/app.py", 41, "Hub.once", "self.listeners.append(listener)")},
        {"adder": frame("/src/shop.py", 41, "Hub.on", "self.listeners.append(listener)")},
    ],
    ids=["module", "attribute", "holder", "type of the container", "element", "function", "module of the function"],
)
def test_another_container_is_another_fault(other) -> None:
    assert of_container(**other) != of_container()


def test_a_container_is_the_same_after_lines_moved_elsewhere() -> None:
    moved = frame("/builds/17/app.py", 97, "Hub.on", "self.listeners.append(it)")
    assert of_container(adder=moved) == of_container()


def test_what_the_data_name_does_not_matter() -> None:
    """Keys that are no names, threads, parameters: they differ from run to run, and from machine to machine."""

    def at(*steps: str) -> str:
        return of_container([*((step, "dict") for step in steps), (".kept", "list")])

    assert at("app", "['a b']") == at("app", "['c/d']")
    assert at("app", "['listeners']") != at("app", "['errors']")
    assert at("<frame run of thread pool_3>") == at("<frame run of thread other>")
    assert at("<scenario f[alice]>") == at("<scenario f[bob]>")


def test_modules_of_one_name_in_different_packages_are_told_apart(tmp_path) -> None:
    def of(folder: str) -> str:
        file = tmp_path / folder / "hub.py"
        file.parent.mkdir(exist_ok=True)
        (file.parent / "__init__.py").touch()
        return fingerprint.of_frames("allocation", [frame(str(file), 4, "on", "x = []")])

    assert of("a") != of("b")


def test_a_file_is_named_by_its_place_in_the_project(tmp_path) -> None:
    def of(project: str, file: str) -> str:
        path = tmp_path / project / file
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / project / "pyproject.toml").touch()
        return fingerprint.of_frames("allocation", [frame(str(path), 4, "on", "x = []")])

    assert of("one", "a/hub.py") == of("two", "a/hub.py")
    assert of("one", "a/hub.py") != of("one", "b/hub.py")
    assert of("one", "a/hub.py") == of("three", "src/a/hub.py")


def told_apart(marks: str, names: str) -> list[str]:
    findings = [Finding(kind="container", fingerprint=mark, title="") for mark in marks]
    return [each.fingerprint for each in fingerprint.told_apart(findings, names)]


def test_two_findings_never_share_a_fingerprint() -> None:
    marks = told_apart("xxyx", "bacd")
    assert len(set(marks)) == 4
    assert marks[1:3] == ["x", "y"]
    assert told_apart("xxyx", "bacd") == marks


def test_the_order_in_which_findings_come_does_not_matter() -> None:
    assert told_apart("xx", "ba") == told_apart("xx", "ab")[::-1]


HUB_FILE = """{shift}
class Listener:
    def __init__(self):
        self.size = bytes(40)


class Hub:
    def __init__(self):
        self.listeners = []

    def on(self, kind):
        self.listeners.append(kind())


hub = Hub()
"""
USES_IT = """{shift}
from leakcheck import scenario

from {package}.hub import Listener, hub


class Session(Listener):
    pass


@scenario
def listens():
    hub.on({element})
"""


def measured(folder, package: str = "shop", element: str = "Listener", shift: str = "", seed: str = "0") -> Finding:
    """What is found in a project of two modules that keeps what it is given."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").touch()
    (folder / package / "hub.py").write_text(HUB_FILE.format(shift=shift))
    (folder / "uses.py").write_text(USES_IT.format(package=package, element=element, shift=shift))
    command = [sys.executable, "-m", "leakcheck", "run", str(folder / "uses.py"), "--no-control", "--report", "out"]
    subprocess.run(command, cwd=folder, check=False, timeout=120, env={**os.environ, "PYTHONHASHSEED": seed})
    (scenario,) = results.read(folder / "out").scenarios
    (finding,) = scenario.findings
    return finding


def test_a_run_knows_a_fault_again_and_another_for_another(tmp_path) -> None:
    first = measured(tmp_path / "a" / "checkout")
    again = measured(tmp_path / "elsewhere", shift="\n\n# more lines\n", seed="7")
    assert again.stack[0].line != first.stack[0].line
    assert again.fingerprint == first.fingerprint
    assert measured(tmp_path / "b", element="Session").fingerprint != first.fingerprint
    assert measured(tmp_path / "c", package="store").fingerprint != first.fingerprint

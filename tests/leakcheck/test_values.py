"""No value of the program stands in any output unless it is asked for: secrets are planted wherever one could be."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SECRET = "sesame-open-door"
"""Without digits: numbers are left out of descriptions for another reason."""
MADE = '"-".join(["sesame", "open", "door"])'
"""How the planted files make it: a line of source is code, and may be shown."""

MEMORY = f"""
import collections, contextvars
from leakcheck import scenario

SECRET = {MADE}
kept, table, sessions = [], {{}}, {{}}
variable = contextvars.ContextVar(SECRET + "!")
recent = collections.deque()


class Session:
    def __init__(self):
        self.password = SECRET
        setattr(self, SECRET, [])


session = Session()


@scenario
def keeps_dicts():
    kept.append({{"password": SECRET, SECRET: [SECRET, SECRET.encode()]}})


@scenario
def keeps_texts():
    recent.append(SECRET + "x" * 20)


@scenario
def keeps_under_a_key():
    table.setdefault(SECRET, []).append(bytearray(64))


@scenario
def keeps_under_an_attribute():
    getattr(session, SECRET).append(bytearray(64))


@scenario
def keeps_in_a_context_variable():
    found = variable.get(None)
    if found is None:
        found = []
        variable.set(found)
    found.append(Session())


@scenario
def keeps_instances():
    sessions[len(sessions)] = Session()
"""

RESOURCES = f"""
import asyncio, os, socket, subprocess, sys, tempfile, threading, time
from leakcheck import scenario

SECRET = {MADE}
kept = []


@scenario(max_iterations=200)
def opens_files(ctx):
    file = ctx.tmp_path / (SECRET + ".db")
    file.write_text(SECRET)

    def step():
        kept.append(os.open(file, os.O_RDONLY))

    yield step


@scenario(max_iterations=200)
def opens_sockets(ctx):
    def step():
        server = socket.socket(socket.AF_UNIX)
        server.bind("\\0" + SECRET + str(len(kept)))
        kept.append(server)

    yield step


@scenario(max_iterations=200)
def writes_files(ctx):
    folder = ctx.tmp_path / SECRET
    folder.mkdir()

    def step():
        kept.append(None)
        (folder / f"{{SECRET}}{{len(kept)}}").write_text(SECRET)

    yield step


@scenario(max_iterations=100)
def starts_threads():
    thread = threading.Thread(target=time.sleep, args=(60,), name=SECRET, daemon=True)
    thread.start()


@scenario(max_iterations=200)
async def starts_tasks():
    kept.append(asyncio.create_task(asyncio.sleep(600), name=SECRET))


@scenario(max_iterations=40)
def starts_children():
    kept.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", SECRET]))
"""

FAILURES = f"""
import ctypes, errno, os, signal, sys
from leakcheck import scenario

SECRET = {MADE}


class Denied(Exception):
    pass


@scenario(params={{"token": [SECRET, "plain"], "number": [7]}})
def raises(token, number):
    print("printed", SECRET)
    raise Denied(f"bad {{SECRET}}\\n  File {{SECRET}}")


@scenario
def raises_in_a_chain():
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        error.add_note(SECRET)
        raise ExceptionGroup(SECRET, [ValueError(SECRET), Denied(SECRET)]) from error


@scenario
def raises_of_the_system():
    open("/nowhere/" + SECRET)


@scenario
def raises_while_setting_up():
    raise Denied(SECRET)
    yield


@scenario
def raises_while_tearing_down():
    yield lambda: None
    raise Denied(SECRET)


@scenario
def runs_out_of_descriptors():
    raise OSError(errno.EMFILE, "Too many open files", SECRET)


@scenario
def ends_the_process():
    print(SECRET, file=sys.stderr)
    sys.stderr.flush()
    os._exit(3)


@scenario
def crashes():
    print(SECRET, flush=True)
    ctypes.string_at(0)


@scenario
def hangs():
    print(SECRET, flush=True)
    while True:
        pass
"""


def leakcheck(folder: Path, *arguments: str, module: str = "leakcheck", ok=(1,)) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=folder, capture_output=True, text=True, timeout=280,
        env={**os.environ, "NO_COLOR": "1", "CI": "true", "COLUMNS": "200", "TOKEN": SECRET},
    )  # fmt: skip
    assert done.returncode in ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def assert_nowhere(said: str, *folders: Path) -> None:
    """Neither in what was printed nor in any file; nor in a file's name."""
    shown = [row for row in said.splitlines() if SECRET[:10] in row]
    assert shown == []
    for folder in folders:
        for file in folder.rglob("*"):
            assert SECRET[:10] not in file.name
            if file.is_file():
                rows = [row for row in file.read_bytes().splitlines() if SECRET[:10].encode() in row]
                assert rows == [], file


@pytest.mark.parametrize("planted", [MEMORY, RESOURCES], ids=["memory", "resources"])
def test_what_is_kept_is_told_by_type_and_length(tmp_path, planted):
    (tmp_path / "planted.py").write_text(planted)
    said = leakcheck(tmp_path, "run", "planted.py", "-v", "--report", "out", "--time-budget", "1", "--graph")
    said += leakcheck(tmp_path, "explain", "out", ok=(0,))
    for number in range(1, 1 + len(findings(tmp_path / "out"))):
        said += leakcheck(tmp_path, "explain", "out", str(number), ok=(0,))
    said += leakcheck(tmp_path, "gate", "out", "--report", "gate", "--annotations", "github")
    said += leakcheck(tmp_path, "baseline", "update", "out", "--scenarios", "--baseline", "b.json", ok=(0,))
    for form in ("gitlab", "github", "markdown"):
        said += leakcheck(tmp_path, "report", "out", "--format", form, ok=(0,))
    assert_nowhere(said, tmp_path / "out", tmp_path / "gate")
    kinds = {each["verdict"] for each in json.loads((tmp_path / "out" / "results.json").read_text())["scenarios"]}
    assert kinds == {"leak"}, said
    assert "graph failed: internal" not in said


def test_pictures_have_types_and_no_values(tmp_path):
    pytest.importorskip("objgraph")
    (tmp_path / "planted.py").write_text(MEMORY)
    leakcheck(tmp_path, "run", "planted.py", "-k", "dicts", "--report", "out", "--graph")
    (picture,) = (tmp_path / "out" / "graphs").iterdir()
    assert "dict" in picture.read_text()
    assert_nowhere("", tmp_path / "out")


def findings(folder: Path) -> list[dict]:
    run = json.loads((folder / "results.json").read_text())
    return [finding for scenario in run["scenarios"] for finding in scenario["findings"]]


def test_why_something_failed_is_told_without_its_message_and_its_output(tmp_path):
    (tmp_path / "planted.py").write_text(FAILURES)
    (tmp_path / "broken.py").write_text(f"# scenario\nraise ImportError({MADE})\n")
    options = ("--report", "out", "--time-budget", "1", "--tools", "growth", "--timeouts", "call=3")
    said = leakcheck(tmp_path, "run", ".", "-v", *options)
    said += leakcheck(tmp_path, "list", ".")
    assert_nowhere(said, tmp_path / "out")
    assert "Denied: at planted.py" in said
    assert "planted.py::raises[value0-7]" in said
    assert "planted.py::raises[plain-7]" in said
    assert "No such file or directory" in said


def test_values_are_there_where_they_are_asked_for(tmp_path):
    (tmp_path / "planted.py").write_text(FAILURES)
    leakcheck(tmp_path, "run", "planted.py", "-k", "raises and plain", "--values", "--report", "out")
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text())["scenarios"]
    assert f"bad {SECRET}" in result["failure"]["message"]
    assert f"printed {SECRET}" in result["failure"]["output"]
    assert "--values" in result["command"]
    (tmp_path / "planted.py").write_text(MEMORY)
    said = leakcheck(tmp_path, "run", "planted.py", "-k", "dicts or key", "--values", "-v", "--report", "out")
    assert f"'password': '{SECRET}'" in said
    assert f"table['{SECRET}'][*]" in said


def test_the_fingerprint_does_not_depend_on_whether_values_are_shown(tmp_path):
    (tmp_path / "planted.py").write_text(MEMORY)
    for folder, more in (("without", ()), ("with", ("--values",))):
        leakcheck(tmp_path, "run", "planted.py", "-k", "dicts or key", "--report", folder, *more)
    marks = [sorted(each["fingerprint"] for each in findings(tmp_path / folder)) for folder in ("without", "with")]
    assert marks[0] == marks[1]


PYTEST = f"""
import pytest, unittest

SECRET = {MADE}
kept, calls = [], []


@pytest.mark.parametrize("token", [SECRET, "plain"])
def test_keeps(token):
    kept.append({{"password": SECRET}})


def test_fails_when_it_is_repeated():
    calls.append(1)
    print(SECRET)
    assert len(calls) == 1 or len(calls) == 0, SECRET


def test_call(leakcheck):
    leakcheck(lambda: kept.append(SECRET + "x"))
"""


def test_the_pytest_plugin_tells_none(tmp_path):
    (tmp_path / "test_planted.py").write_text(PYTEST)
    said = leakcheck(
        tmp_path, "--leakcheck", "--leakcheck-time-budget", "2", "--leakcheck-report", "out", "test_planted.py",
        "-p", "no:cacheprovider", module="pytest",
    )  # fmt: skip
    # pytest itself names a test by its parameters, as it always does.
    own = [row for row in said.splitlines() if f"test_keeps[{SECRET}]" not in row]
    assert_nowhere("\n".join(own), tmp_path / "out")
    assert "test_planted.py::test_keeps[token0]" in said
    assert "test_planted.py::test_keeps[token1]" in said or "test_planted.py::test_keeps[plain]" in said
    assert "{str of 8: str of 16}" in (tmp_path / "out" / "index.html").read_text()


def test_the_monitor_tells_no_arguments(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(9)", SECRET]
    said = leakcheck(
        tmp_path, "monitor", "--duration", "0.5", "--interval", "0.1", "--report", "out", "--lines", "out/lines.jsonl",
        "--", *command, ok=(6,),
    )  # fmt: skip
    assert_nowhere(said, tmp_path / "out")


def test_home_folders_have_no_name(tmp_path, monkeypatch):
    home = tmp_path / "home" / socket.gethostname()
    (home / "project").mkdir(parents=True)
    (home / "elsewhere").mkdir()
    (home / "project" / "leaks.py").write_text(MEMORY)
    monkeypatch.setenv("HOME", str(home))
    said = leakcheck(home / "elsewhere", "run", str(home / "project" / "leaks.py"), "-k", "dicts", "--report", "out")
    for file in (home / "elsewhere" / "out").iterdir():
        assert str(home) not in file.read_text("utf-8"), file
    assert "~/project/leaks.py:" in said
    run = json.loads((home / "elsewhere" / "out" / "results.json").read_text())
    again = run["scenarios"][0]["command"].split()[1:]
    assert again[1].strip("'").startswith("~/project/leaks.py::keeps_dicts")
    assert "leaks 1 dict" in leakcheck(home / "elsewhere", *(word.strip("'") for word in again))

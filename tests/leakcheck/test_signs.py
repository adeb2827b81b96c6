"""A terminal that cannot print a sign gets another sign, whatever command prints, and whatever the user's names are."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sample_run

from leakcheck import signs
from leakcheck.report.folder import write_run
from leakcheck.report.sentences import SYMBOLS

SCENARIO = '''
from leakcheck import scenario

kept = []

@scenario(tags={"größe"})
def größe_中():
    """Größe, 中."""
    kept.append(bytearray(50))
'''
TEST = """
kept = []

def test_größe():
    kept.append(bytearray(50))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Scenarios, a test, and the results of a run, with names of many alphabets."""
    folder = tmp_path_factory.mktemp("größe")
    (folder / "naïve_中.py").write_text(SCENARIO, "utf-8")
    (folder / "test_größe.py").write_text(TEST, "utf-8")
    leaking = sample_run.replace(sample_run.BUFFER, title="leaks 1 Größe (1 KiB) per iteration: 中")
    named = sample_run.leaking("scenarios/größe.py::中", [leaking])
    write_run(sample_run.run([*sample_run.run().scenarios, named]), folder / "results")
    return folder


def printed(folder: Path, *arguments: str, module: str = "leakcheck", **environment: str) -> tuple[int, bytes]:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=folder, capture_output=True, timeout=120,
        env={**os.environ, "NO_COLOR": "1", "CI": "true", **environment},
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


COMMANDS = [
    (["run", "naïve_中.py", "--tools", "growth", "--report", "of-run"], 1),
    (["snippet", "-s", "größe = []", "größe.append(bytearray(9))", "--tools", "growth"], 1),
    (["list", "naïve_中.py"], 0),
    (["list", "naïv_中.py"], 4),
    (["doctor"], 0),
    (["explain", "results"], 0),
    (["explain", "results", "1"], 0),
    (["report", "results", "-v"], 0),
    (["report", "results", "--format", "markdown"], 0),
    (["report", "results", "--format", "html"], 0),
    (["report", "results", "--format", "junit"], 0),
    (["report", "results", "--format", "json"], 0),
    (["report", "results", "--format", "github"], 0),
    (["gate", "results"], 1),
    (["compare", "results", "results"], 6),
    (["baseline", "update", "results"], 0),
    (["monitor", "--duration", "0.5", "--interval", "0.2", "--", "sleep", "9"], 6),
]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    ("arguments", "code"), COMMANDS, ids=lambda value: value[0] if isinstance(value, list) else None
)
def test_every_command_prints_in_the_encoding_of_the_terminal(folder, arguments, code, encoding):
    said, text = printed(folder, *arguments, PYTHONIOENCODING=encoding)
    text.decode(encoding)
    assert said == code


def test_the_pytest_plugin_prints_in_the_encoding_of_the_terminal(folder):
    code, text = printed(
        folder, "--leakcheck", "test_größe.py", "-p", "no:cacheprovider", module="pytest", PYTHONIOENCODING="ascii"
    )
    assert (code, b"leak test_gr\\xf6\\xdfe.py::test_gr\\xf6\\xdfe: leaks 1 bytearray" in text) == (1, True)
    assert b"\\n" not in text, "lines stay lines"


def test_a_file_whose_name_is_no_text_is_measured(folder):
    name = os.fsencode(folder) + b"/\xff.py"
    Path(os.fsdecode(name)).write_text(SCENARIO, "utf-8")
    done = subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"leakcheck", b"run", name, b"--tools", b"growth"],
        cwd=folder, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert b"heap.bytes grows by" in done.stdout


@pytest.mark.parametrize("sign", sorted({*SYMBOLS.values(), *"▁▂▃▄▅▆▇█", "…", "·"}))
def test_each_sign_of_ours_has_another_as_wide(sign):
    other = signs.printable(sign, "ascii")
    assert len(other) == 1
    assert other.isascii()


def test_the_signs_of_verdicts_stay_different():
    assert len({signs.printable(sign, "ascii") for sign in SYMBOLS.values()}) == len(SYMBOLS)


def test_what_can_be_printed_is():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    signs.adapt(stream, None, io.StringIO())
    stream.write("✓ größe 中\udcff")
    stream.flush()
    assert stream.buffer.getvalue().decode("latin-1") == "+ größe \\u4e2d\\udcff"

"""Programs of other runtimes: they speak the protocol themselves, and are judged on the one path to a verdict."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import eventually, is_running

from leakcheck import meters
from leakcheck.agent.protocol import VERSION

ADAPTERS = Path(__file__).parents[2] / "leakcheck" / "adapters"
SOURCE = """
#include <leakcheck.h>

#include <pthread.h>

static void* kept;

static void innocent(void) { free(malloc(100)); }

static void lose(void) {
    kept = malloc(100);
}

static void hold(void) {
    void** block = (void**)malloc(24);
    *block = kept;
    kept = block;
}

static void open_one(void) { if (open("/dev/null", O_RDONLY) < 0) abort(); }

static void crash(void) { abort(); }

static void hang(void) {
    FILE* file = fopen("hanging", "w");
    fprintf(file, "%d", getpid());
    fclose(file);
    for (;;) pause();
}

LEAKCHECK_STEP(innocent)
LEAKCHECK_STEP(lose)
LEAKCHECK_STEP(hold)
LEAKCHECK_STEP(open_one)
LEAKCHECK_STEP(crash)
LEAKCHECK_STEP(hang)
LEAKCHECK_MAIN
"""
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With a native program in it."""
    folder = tmp_path_factory.mktemp("native")
    (folder / "native.c").write_text(SOURCE.lstrip())
    build(folder, "cc", "-std=c11", "-D_GNU_SOURCE")
    return folder


def build(folder: Path, compiler: str, *options: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    command = [compiler, *options, *WARNINGS, "-g", "-O1", "-I", ADAPTERS, "native.c", "-o", "native"]
    subprocess.run(command, cwd=folder, check=True, timeout=100)


def leakcheck(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "CI": "true", "COLUMNS": "200"}
    command = [sys.executable, "-m", "leakcheck", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=200, env=environment, check=False
    )


def results(folder: Path, *arguments: str) -> dict[str, Any]:
    """By the name of the step."""
    done = leakcheck(folder, "run", *arguments, "--no-control", "--report", "report")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads((folder / "report" / "results.json").read_text())["scenarios"]
    return {each["id"].partition("::")[2]: each for each in found}


def growth(result: dict[str, Any], meter: str) -> tuple[float, float, float]:
    (found,) = (each for each in result["meters"] if each["name"] == meter)
    return found["low"], found["growth"], found["high"]


def test_a_native_program_is_judged_to_the_byte(folder):
    found = results(folder, "./native", "-k", "not hang")
    assert {name: each["verdict"] for name, each in found.items()} == {
        "innocent": "clean", "lose": "leak", "hold": "leak", "open_one": "leak", "crash": "error",
    }  # fmt: skip
    assert growth(found["lose"], "heap.bytes") == (112.0, 112.0, 112.0)
    assert growth(found["hold"], "heap.bytes") == (32.0, 32.0, 32.0)
    assert growth(found["open_one"], "fds") == (1.0, 1.0, 1.0)
    unasked = {tool["name"]: tool["status"] for tool in found["open_one"]["tools"] if tool["name"] == "resources"}
    assert unasked == {"resources": "skipped"}
    assert "ended by SIGABRT" in found["crash"]["reason"]
    only = "looked at: heap.bytes, fds, threads; nothing else of this program"
    assert all(only in found[name]["advice"] for name in ("innocent", "lose", "hold", "open_one"))
    assert found["innocent"]["reason"].endswith("48 B of heap, 1 resource")


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_what_a_native_program_loses_has_its_line(folder):
    lost = results(folder, "./native::lose")["lose"]
    (finding,) = lost["findings"]
    lines = (folder / "native.c").read_text().splitlines()
    place = finding["stack"][0]
    assert "kept = malloc(100)" in lines[place["line"] - 1]
    assert finding["count_per_iteration"] == pytest.approx(1, rel=0.05)
    assert all("leakcheck.h" not in frame["file"] for frame in finding["stack"])
    tools = {tool["name"]: (tool["status"], tool["reason"]) for tool in lost["tools"]}
    assert tools["memray"] == ("skipped", "it does not know the program's runtime")
    assert tools["valgrind"][0] == "ok"


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_header_is_one_of_cpp_too(tmp_path, compiler):
    (tmp_path / "native.c").write_text(SOURCE)
    build(tmp_path, compiler, "-x", "c++", "-std=c++20")
    done = leakcheck(tmp_path, "list", "./native")
    assert done.stdout.split() == [
        f"native::{name}" for name in ("innocent", "lose", "hold", "open_one", "crash", "hang")
    ]


def test_steps_of_a_program_are_not_made_to_fail_and_it_is_said(folder):
    found = results(folder, "./native::innocent", "--errors")
    assert list(found) == ["innocent"]
    assert "not looked at: calls of the step that fail (--errors is for Python)" in found["innocent"]["advice"]


def test_a_program_by_hand_says_what_it_is(folder):
    done = subprocess.run([folder / "native"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"This is a leakcheck-adapter: measure it by elkyn-leakcheck run {folder / 'native'}\n"


def test_a_program_that_does_not_say_that_it_is_one_is_not_started(tmp_path):
    script = tmp_path / "remove_everything"
    script.write_text("#!/bin/sh\ntouch started\n")
    script.chmod(0o755)
    done = leakcheck(tmp_path, "run", "./remove_everything")
    assert done.returncode == 4
    assert re.fullmatch(r"elkyn-leakcheck: \./remove_everything: not a Python file; .*\n", done.stderr)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("exit 3", "the process ended by itself with exit code 3"),
        ("echo '[[[7]]]' >&$2; cat <&$1 >/dev/null", "the measured process gave no Listed"),
    ],
)
def test_a_program_that_does_not_keep_to_the_protocol_is_an_error(tmp_path, body, sentence):
    script = tmp_path / "wrong"
    script.write_text(f"#!/bin/bash\n# A leakcheck-adapter that is none.\n{body}\n")
    script.chmod(0o755)
    done = leakcheck(tmp_path, "run", "./wrong", "--no-control")
    assert done.returncode == 1, done.stdout + done.stderr
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_name_that_a_program_does_not_have_is_wrong_usage(folder):
    done = leakcheck(folder, "run", "./native::loose")
    assert done.returncode == 4
    assert "no such scenario in that file (did you mean lose?)" in done.stderr


def test_a_tool_that_is_killed_leaves_no_program(folder):
    command = [sys.executable, "-m", "leakcheck", "run", "--no-control", "./native::hang"]
    told = folder / "hanging"
    tool = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert eventually(lambda: told.exists() and told.read_text() != "")
    pid = int(told.read_text())
    assert is_running(pid)
    tool.send_signal(signal.SIGKILL)
    tool.wait()
    assert eventually(lambda: not is_running(pid))


MODULE = """
#!/usr/bin/env -S node --expose-gc
import { serve } from "./leakcheck-adapter.mjs";

class Session {}
const kept = [];
const buffers = [];

serve(
  {
    innocent() { JSON.parse('{"a": [1, 2, 3]}'); },
    async wait() { await new Promise((done) => setImmediate(done)); },
    keep() { kept.push(new Session()); },
    buffer() { buffers.push(Buffer.alloc(10000)); },
    raise() { throw new RangeError("s3" + "cret"); },
  },
  { count: [Session] },
);
"""


@pytest.fixture
def module(tmp_path) -> Path:
    """The folder of a program for Node.js."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    shutil.copy(ADAPTERS / "leakcheck-adapter.mjs", tmp_path)
    file = tmp_path / "leaks.mjs"
    file.write_text(MODULE.lstrip())
    file.chmod(0o755)
    return tmp_path


def test_a_program_for_node_is_judged_by_its_heap_and_its_objects(module):
    found = results(module, "./leaks.mjs")
    assert {name: each["verdict"] for name, each in found.items()} == {
        "innocent": "clean", "wait": "clean", "keep": "leak", "buffer": "leak", "raise": "error",
    }  # fmt: skip
    assert growth(found["keep"], "Session") == (1.0, 1.0, 1.0)
    assert growth(found["buffer"], "heap.bytes")[1] == pytest.approx(10_000, rel=0.1)
    assert {tool["name"]: tool["status"] for tool in found["buffer"]["tools"]}["valgrind"] == "skipped"
    raised = found["raise"]
    assert (raised["failure"]["type"], "s3cret" in json.dumps(raised)) == ("RangeError", False)
    assert raised["failure"]["message"].startswith("at raise (leaks.mjs:")
    said = (module / "leakcheck-adapter.mjs").read_text()
    floor = float(re.search(r"FLOOR = (\d+) \* 1024;", said)[1]) * 1024
    for name in ("innocent", "wait"):
        (heap,) = (each for each in found[name]["meters"] if each["name"] == "heap.bytes")
        values = [value for iterations, value in heap["samples"] if iterations >= 16]
        assert max(values) - min(values) < floor, "as much as the adapter says, at most"


@pytest.mark.slow
def test_the_program_for_node_of_the_page_is_judged_as_the_page_says(module):
    page = (ADAPTERS.parents[1] / "docs" / "protocol.md").read_text("utf-8")
    block = re.search(r"<!-- module: sessions.mjs -->\n```js\n(.*?)```", page, re.S)
    assert block is not None
    (module / "leaks.mjs").write_text(block[1])
    found = results(module, "./leaks.mjs")
    assert {name: each["verdict"] for name, each in found.items()} == {
        "parse": "clean", "wait": "clean", "connect": "leak",
    }  # fmt: skip
    assert f"`{found['connect']['reason']}`" in page


def test_a_program_for_node_without_its_collector_says_so(module):
    file = module / "leaks.mjs"
    file.write_text(file.read_text().replace(" --expose-gc", ""))
    done = leakcheck(module, "run", "./leaks.mjs::keep", "--no-control")
    assert done.returncode == 1
    assert "let its first line start node with --expose-gc" in done.stdout


def test_both_adapters_speak_the_version_of_the_tool():
    assert f"#define LEAKCHECK_VERSION {VERSION}\n" in (ADAPTERS / "leakcheck.h").read_text()
    assert f"const VERSION = {VERSION};" in (ADAPTERS / "leakcheck-adapter.mjs").read_text()


def test_a_meter_that_is_read_less_exactly_has_the_floor_that_it_says():
    exact, rough = meters.of("heap.bytes", "B"), meters.of("heap.bytes", "B", 300_000.0)
    assert rough == exact._replace(thresholds=exact.thresholds._replace(floor=300_000.0))
    assert meters.of("heap.bytes", "B", 1.0) == exact

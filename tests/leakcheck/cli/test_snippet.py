"""`elkyn-leakcheck snippet` and a script's `main`: a verdict without a scenario file."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

from leakcheck.agent.loading import load
from leakcheck.cli.snippet import _check_names


def leakcheck(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leakcheck", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_COLOR": "1", "CI": "true", "COLUMNS": "100"},
    )


def snippet(folder, *arguments: str) -> tuple[int, dict]:
    done = leakcheck(folder, "snippet", "--no-control", "--report", "report", "--time-budget", "1", *arguments)
    told = json.loads((folder / "report" / "results.json").read_text())
    return done.returncode, told["scenarios"][0]


def test_a_clean_statement_exits_with_0(tmp_path):
    code, result = snippet(tmp_path, "-s", "import json", "json.loads('[1]')")
    assert (code, result["verdict"]) == (0, "clean")
    assert result["id"] == "snippet::json.loads('[1]')"


@pytest.mark.parametrize(
    ("setup", "statement"),
    [
        ("", "[json for json in (1, 2)]"),
        ("", "import json; json.loads('1')"),
        ("from json import *", "json = loads('1')"),
        ("def json(): ...", "json()"),
        ("import os.path as json", "json.join('a', 'b')"),
    ],
)
def test_a_name_that_something_binds_is_not_asked_for(setup, statement):
    _check_names(statement, setup)


def test_a_leaking_statement_exits_with_1_and_names_what_holds_it(tmp_path):
    code, result = snippet(tmp_path, "-s", "kept = []", "-s", "class Row: pass", "kept.append(Row())")
    assert (code, result["verdict"]) == (1, "leak")
    assert "leaks 1 Row" in result["reason"]
    assert "snippet.kept" in result["reason"]
    assert "snippet.py:3" in result["reason"]


def test_the_statement_changes_names_of_the_setup_as_in_timeit(tmp_path):
    code, result = snippet(tmp_path, "-s", "count = 0", "count += 1")
    assert (code, result["verdict"]) == (0, "clean")


def test_a_statement_may_await(tmp_path):
    code, result = snippet(tmp_path, "-s", "import asyncio", "await asyncio.sleep(0)")
    assert (code, result["verdict"]) == (0, "clean")


def test_it_imports_from_the_current_folder(tmp_path):
    (tmp_path / "mine.py").write_text("def work(): return [1]\n")
    code, result = snippet(tmp_path, "-s", "import mine", "mine.work()")
    assert (code, result["verdict"]) == (0, "clean")


def test_the_command_to_see_it_again_is_the_snippet_itself(tmp_path):
    _, result = snippet(tmp_path, "-s", "x = {'a b': 1}", "x['a b']")
    assert shlex.split(result["command"])[:5] == ["elkyn-leakcheck", "snippet", "-s", "x = {'a b': 1}", "x['a b']"]


def test_a_statement_that_raises_is_an_error_with_its_traceback(tmp_path):
    code, result = snippet(tmp_path, "1 / 0")
    assert (code, result["verdict"]) == (1, "error")
    assert "ZeroDivisionError" in result["reason"]
    assert "1 / 0" in result["failure"]["traceback"]


@pytest.mark.parametrize(("arguments", "what"), [(["1 +"], "the statement"), (["-s", "for", "1"], "--setup")])
def test_wrong_syntax_is_said_before_anything_runs(tmp_path, arguments, what):
    done = leakcheck(tmp_path, "snippet", *arguments)
    assert done.returncode == 4
    assert f"{what}: invalid syntax" in done.stderr
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("line", ["sys.exit()", "sys.exit(0)", "return", "sys.exit(2)"])
def test_the_main_of_a_script_is_the_step(tmp_path, line):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\n\ndef main():\n    'Works.'\n    {line}\n\nif __name__ == '__main__':\n    main()\n"
    )
    done = leakcheck(tmp_path, "run", "script.py", "--no-control", "--report", "report", "--time-budget", "1")
    result = json.loads((tmp_path / "report" / "results.json").read_text())["scenarios"][0]
    assert result["id"] == "script.py::main"
    if line == "sys.exit(2)":
        assert done.returncode == 1
        assert "main() ended with exit code 2" in result["reason"]
    else:
        assert (done.returncode, result["verdict"], result["doc"]) == (0, "clean", "Works.")


def test_a_folder_is_searched_for_scenarios_only_never_for_main(tmp_path):
    (tmp_path / "deploy.py").write_text("def main():\n    'Sets the scenario up.'\n    raise SystemExit(1)\n")
    assert leakcheck(tmp_path, "list", ".").returncode == 5


def test_an_imported_main_is_not_the_scripts_own(tmp_path):
    (tmp_path / "other.py").write_text("def main(): pass\n")
    (tmp_path / "script.py").write_text("from other import main\n")
    sys_path = list(sys.path)
    try:
        assert load(str(tmp_path / "script.py")) == []
    finally:
        sys.path[:] = sys_path

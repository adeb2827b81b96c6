"""What is mistyped is said in one sentence, with the documented exit code, before anything is started or written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from leakcheck.cli import main
from leakcheck.cli.command import EXIT_CODES

ROOT = Path(__file__).parents[3]
SCENARIOS = """
from leakcheck import scenario

@scenario
def parses():
    pass

@scenario
def renders():
    pass
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "good.py").write_text(SCENARIOS)
    (tmp_path / "broken.py").write_text("import json, jsn\n\ndef work():\n    pass\n")
    (tmp_path / "test_good.py").write_text("def test_it(): pass\n")
    (tmp_path / "package.json").write_text('{"name": "good"}\n')
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    (tmp_path / "pack" / "parser.py").write_text("class Parser:\n    limit = 3\n    def parse(self): pass\n")
    return tmp_path


def leakcheck(folder, *arguments, module="leakcheck"):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "NO_COLOR": "1", "CI": "true"},
    )  # fmt: skip


MISTAKES = [
    (["run", "good.py", "--on", "10.0.0.1:8786"], "give the address of a scheduler, as dask://127.0.0.1:8786"),
    (["run", "good.py", "--confirm", "2"], "--confirm is for the nodes of a cluster: --on names one, or leave it out"),
    (["run", "good.py", "--lock", "good.py"], "--lock is for the nodes of a cluster: --on names one, or leave it out"),
    (
        ["run", "good.py", "--on", "dask://10.0.0.1:8786", "--graph"],
        "--graph does not go with --on: its files would stay on the nodes; leave out one of both",
    ),
    (
        ["run", "good.py", "--on", "dask://10.0.0.1:8786", "--lock", "good.py", "--python", sys.executable],
        "--lock makes the interpreter that --python would name; leave out one of both",
    ),
    (["run", "os.path:joi"], "os.path:joi: module os.path has no 'joi' (did you mean join?)"),
    (
        ["run", "nosuchthing:loads"],
        f"there is no module 'nosuchthing' in {sys.executable} (--python names ",
    ),
    (["snippet", "json.loads('1')"], "the statement uses 'json', which nothing imports: add -s 'import json'"),
    (["run", "jsn:loads"], "jsn:loads: there is no module 'jsn' (did you mean json?)"),
    (["run", "pack.parsr:Parser"], "there is no module 'pack.parsr' (did you mean parser?)"),
    (["run", "os.paht:join"], "there is no module 'os.paht' (did you mean path?)"),
    (["run", "pack.parser:Parser.pars"], "Parser has no 'pars' (did you mean parse?)"),
    (["run", "pack.parser:Parser.limit"], "it is int, not a function that can be called"),
    (["run", "good.py::parse"], "no such scenario in that file (did you mean parses?); it has: parses, renders"),
    (
        ["run", "test_good.py::test_it"],
        "there is no scenario in that file, but tests: pytest --leakcheck test_good.py::test_it",
    ),
    (["run", "good"], "good: no such file or folder (did you mean good.py?); a function is named by its module"),
    (["run", "goood.py"], "goood.py: no such file or folder (did you mean good.py?)\n"),
    (["run", "good.parses"], "(did you mean good.py?); a function is named by its module, as good:parses"),
    (["run", "good.py", "--time-budget", "1m"], "'1m' is not a valid number of seconds"),
    (["run", "good.py", "--max-iterations", "1e6"], "'1e6' is not a valid whole number"),
    (["run", "good.py", "--jobs", "many"], "'many' is not a valid whole number"),
    (
        ["run", "good.py", "--timeouts", "slow"],
        "'slow' is not seconds above 0 for some of import, setup, call, teardown",
    ),
    (["run", "good.py::"], "name the scenario after the colons"),
    (["run", "good.py", "god.py"], "god.py: no such file or folder (did you mean good.py?)"),
    (["run", "good.py", "os.path:joi"], "did you mean join?"),
    (["run", "x" * 5000], "no such file or folder"),
    (["run", ""], "it is empty"),
    (["run", "good.py", "--report", ""], "Invalid value for '--report': it is empty"),
    (["run", "good.py", "--report", "good.py"], "--report good.py: cannot be made"),
    (["run", "good.py", "--python", " "], "Invalid value for '--python': it is empty"),
    (["run", "good.py", "-k", ""], "Invalid value for '-k': it is empty"),
    (["run", "good.py", "-m", ""], "Invalid value for '-m': it is empty"),
    (["run", "good.py", "-k", "parses and"], "-k 'parses and': the expression ends too early"),
    (["run", "good.py", "--tools", "memry"], "'memry' is not some of auto, growth, memray, valgrind"),
    (["run", "good.py", "--max-growth", "5 apples"], "'5 apples' is not whole bytes, or a size"),
    (["run", "good.py", "--time-budget", "nan"], "nan is no number of seconds"),
    (["run", "good.py", "--time-budget", "inf"], "inf is no number of seconds"),
    (["run", "good.py", "--gc", "colect"], "'colect'"),
    (["run", "good.py", "--reprot", "x"], "--reprot"),
    (["run", "good.py", "--suppressions", "none.supp"], "none.supp"),
    (["snippet", ""], "it is empty"),
    (["snippet", "json.loads("], "the statement: "),
    (["list", "os.path:joi"], "did you mean join?"),
    (["list", "good.py", "-k", "("], "-k '('"),
    (["report", "good.py"], "good.py is not JSON, as the results of a run are; give the directory of a run or its res"),
    (["report", "package.json"], 'it has no "schema": "leakcheck/1"; give the directory of a run or its results.json'),
    (["gate", "nowhere"], "does not exist"),
    (["gate", ""], "it is empty"),
    (["report", "nowhere"], "does not exist"),
    (["explain", "nowhere"], "does not exist"),
    (["compare", "nowhere", "nowhere"], "nowhere"),
    (["monitor", "os.path:joi", "--duration", "1"], "did you mean join?"),
    (["monitor", "--report", "", "--", "sleep", "1"], "Invalid value for '--report': it is empty"),
    (["monitor", "--interval", "nan", "--", "sleep", "1"], "nan is no number of seconds"),
    (["monitor", "--", "no-such-program"], "cannot start no-such-program"),
    (["service", "sleep 1"], "where does the service answer? Write {port} in its command"),
    (["service", "'sleep"], "the command: No closing quotation"),
    (
        ["service", "--get", "items", "--", "server", "{port}"],
        "--get 'items': a request needs a path that begins with /",
    ),
    (["service", "--post", "/login", "@none.json", "--", "server", "{port}"], "none.json cannot be read: No such file"),
    (
        ["service", "--get", "/", "--", "no-such-server", "{port}"],
        "cannot start no-such-server: there is no such program here, nor on PATH",
    ),
    (["service", "--drive", "lod.py::visit", "--", "server", "{port}"], "there is no file lod.py"),
    (["service", "--drive", "load.py", "--", "server", "{port}"], "name a file and a function in it, as in load.py::"),
    (
        ["service", "--drive", "load.py::visit", "--get", "/", "--", "server", "{port}"],
        "--get or --post and --drive: one of them visits the service; leave out the other",
    ),
    (["service", "--drive-command", "k6 {url}", "--", "server", "{port}"], "how many visits does it make? Write {n}"),
    (
        ["service", "--drive-command", "k6 {n}", "--", "server", "{port}"],
        "where does it visit the service? Write {url}",
    ),
    (
        ["service", "--drive-command", "k6 {n} {url} {vus}", "--", "server", "{port}"],
        "--drive-command: {vus} stands for nothing; {n}, {c}, {url}, {port} do",
    ),
    (["service", "--drive-command", "k6 '{n}", "--", "server", "{port}"], "--drive-command: No closing quotation"),
    (["init", ""], "it is empty"),
]


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES, ids=[" ".join(words)[:60] for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence_before_anything_is_started(folder, arguments, sentence):
    before = {path.name for path in folder.iterdir()}
    done = leakcheck(folder, *arguments)
    assert done.returncode == 4, done.stdout + done.stderr
    assert sentence in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == before


def test_an_empty_value_in_the_configuration_is_refused_as_one_that_was_typed(folder):
    (folder / "pyproject.toml").write_text('[tool.leakcheck]\nreport = ""\n')
    done = leakcheck(folder, "run", "good.py")
    assert (done.returncode, "'--report': it is empty" in done.stderr) == (4, True)


def test_what_stands_after_two_dashes_may_be_empty(folder):
    done = leakcheck(folder, "monitor", "--duration", "0.3", "--interval", "0.1", "--", "sleep", "2", "")
    assert "it is empty" not in done.stderr


@pytest.mark.parametrize(
    ("option", "sentence"),
    [("--leakcheck-report=", "invalid name of a folder"), ("--leakcheck-select=", "--leakcheck-select ''")],
)
def test_pytest_refuses_an_empty_value(folder, option, sentence):
    (folder / "test_it.py").write_text("def test_it(): pass\n")
    done = leakcheck(folder, "--leakcheck", option, "-p", "no:cacheprovider", module="pytest")
    assert done.returncode == 4
    assert sentence in done.stdout + done.stderr


def test_an_import_that_fails_inside_of_what_was_named_is_an_error_and_no_mistake_of_typing(folder):
    done = leakcheck(folder, "run", "broken:work", "--no-control")
    assert done.returncode == 1
    assert "No module named 'jsn'" in done.stdout


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("time_budget='3 s'", "time_budget is a number above 0, not '3 s'"),
        ("max_iterations=0", "max_iterations is a number above 0, not 0"),
        ("expect='leaks'", "expect is 'clean' or 'leak', not 'leaks'"),
    ],
)
def test_an_option_of_a_scenario_that_cannot_be_is_the_users_mistake_with_its_line(folder, option, sentence):
    (folder / "wrong.py").write_text(f"from leakcheck import scenario\n\n@scenario({option})\ndef f(): pass\n")
    done = leakcheck(folder, "run", "wrong.py")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == f"elkyn-leakcheck: wrong.py: @scenario: {sentence}, at wrong.py:3 in <module>\n"


def test_tests_in_a_folder_without_scenarios_are_for_pytest(folder):
    (folder / "tests" / "unit").mkdir(parents=True)
    (folder / "tests" / "unit" / "test_it.py").write_text("def test_it(): pass\n")
    (folder / "empty").mkdir()
    done = leakcheck(folder, "run", "tests", "--no-control")
    assert done.returncode == 5
    assert "no scenario in tests; for the tests that are there: pytest --leakcheck tests\n" in done.stderr
    assert "pytest" not in leakcheck(folder, "run", "empty", "--no-control").stderr


def test_what_could_be_selected_is_named(folder):
    (folder / "many.py").write_text(SCENARIOS + "".join(f"@scenario\ndef s{n}(): pass\n" for n in range(8)))
    done = leakcheck(folder, "run", "good.py", "-k", "nothing")
    assert done.returncode == 5
    assert "no scenario in good.py matches the selection; it has: good.py::parses, good.py::renders\n" in done.stderr
    assert "many.py::s2 and 5 more\n" in leakcheck(folder, "run", "many.py", "-k", "nothing").stderr


def test_another_json_file_is_no_baseline_and_is_not_overwritten(folder):
    assert leakcheck(folder, "run", "good.py", "--no-control", "--report", "run").returncode == 0
    for command in (["gate", "run"], ["baseline", "update", "run", "--scenarios"]):
        done = leakcheck(folder, *command, "--baseline", "package.json")
        assert done.returncode == 4, done.stdout
        assert 'package.json is no baseline: it has no "schema": "leakcheck-baseline/2"' in done.stderr
    assert (folder / "package.json").read_text() == '{"name": "good"}\n'


def test_a_crash_shows_the_calls_of_the_user_and_none_of_the_tool(folder):
    deep = "def dive(n):\n    return dive(n - 1) if n else ctypes.string_at(0)\n"
    (folder / "crash.py").write_text(
        f"import ctypes\nfrom leakcheck import scenario\n{deep}@scenario\ndef f(): dive(30)\n"
    )
    done = leakcheck(folder, "run", "crash.py", "--no-control")
    assert done.returncode == 1
    shown = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("File ")]
    assert re.search(r'ctypes.__init__\.py", line \d+ in string_at', shown[0])
    assert all(line.endswith('crash.py", line 4 in dive') for line in shown[1:]), "the nearest calls come first"
    assert "agent" not in done.stdout


@pytest.mark.parametrize(
    ("body", "leaves_out"), [("1 / 0", False), ("raise ValueError('sec' + 'ret')", True), ("print(1); 1 / 0", True)]
)
def test_that_something_is_left_out_is_said_where_something_is(folder, body, leaves_out):
    (folder / "fails.py").write_text(f"from leakcheck import scenario\n\n@scenario\ndef f():\n    {body}\n")
    done = leakcheck(folder, "run", "fails.py", "--no-control")
    assert done.returncode == 1
    assert ("are left out; --values shows them" in done.stdout) == leaves_out, done.stdout
    assert "secret" not in done.stdout


def test_a_file_that_is_no_source_is_said_to_have_null_bytes(folder):
    (folder / "photo.py").write_bytes(b"x = 1\0")
    assert "null bytes" in leakcheck(folder, "run", "photo.py", "--no-control").stdout


def test_links_that_lead_nowhere_are_passed_over_in_a_folder(folder):
    (folder / ".#good.py").symlink_to("someone@somewhere.4711:1")
    done = leakcheck(folder, "list", ".")
    assert done.returncode == 0, done.stderr
    assert "parses" in done.stdout


def test_readme_help_and_documentation_say_the_same_of_exit_codes():
    for file in ("README.md", "docs/ci.md"):
        text = re.sub(r"\s+", " ", (ROOT / file).read_text("utf-8").replace("`", ""))
        assert EXIT_CODES in text, file
    for arguments in (["--help"], ["run", "--help"], ["snippet", "--help"]):
        shown = CliRunner().invoke(main.command_line, arguments, terminal_width=100).output
        assert EXIT_CODES in re.sub(r"\s+", " ", shown), arguments


@pytest.mark.needs_valgrind
def test_suppressions_that_valgrind_cannot_read_are_named_with_their_line(folder):
    (folder / "none.supp").write_text("{\n  bogus\n")
    done = leakcheck(
        folder, "run", "good.py::parses", "--tools", "valgrind", "--suppressions", "none.supp", "--no-control"
    )
    assert "valgrind cannot read none.supp, near line 2" in done.stdout, done.stdout

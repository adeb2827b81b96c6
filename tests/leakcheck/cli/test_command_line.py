"""The command as a user types it: what it prints, what it writes, and its exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap

import pytest
from click.testing import CliRunner

from leakcheck.cli import main


@pytest.fixture
def project(tmp_path):
    """A folder with scenario files; returns a function that writes one."""

    def write(name: str, source: str) -> str:
        (tmp_path / name).write_text(textwrap.dedent(source))
        return name

    write.folder = tmp_path
    return write


def leakcheck(folder, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leakcheck", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "NO_COLOR": "1", "CI": "true", "COLUMNS": "80"},
    )


def measure(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run without looking for places, and without the planted scenarios that prove the readings."""
    return leakcheck(folder, "run", *arguments, "--tools", "growth", "--no-control")


def results(folder) -> dict:
    return json.loads((folder / "reports" / "latest" / "results.json").read_text())


def verdicts(folder) -> dict[str, str]:
    return {each["id"]: each["verdict"] for each in results(folder)["scenarios"]}


CLEAN = """
    from leakcheck import scenario

    @scenario(tags={"quick"})
    def nothing():
        "Does nothing."

    @scenario(params={"size": [1, 1000]}, tags={"memory"})
    def buffers(size):
        bytes(size)
"""
LEAKING = """
    from leakcheck import scenario

    kept = []

    @scenario
    def forgets():
        kept.append(bytearray(100))
"""


def test_a_clean_run_exits_0_and_writes_all_files(project):
    project("clean.py", CLEAN)
    done = leakcheck(project.folder, "run", "clean.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(verdicts(project.folder).values()) == {"clean"}
    assert results(project.folder)["control"]["status"] == "ok"
    written = {file.name for file in (project.folder / "reports" / "latest").iterdir()}
    assert written >= {"results.json", "index.html", "junit.xml", "summary.md", "leaks.sarif"}


def test_a_leak_exits_1_and_names_its_line(project):
    project("leaking.py", LEAKING)
    done = leakcheck(project.folder, "run", "leaking.py")
    assert done.returncode == 1
    assert "leaking.py:8" in done.stdout
    assert "forgets" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if "verdict" in line)


def test_the_command_to_see_it_again_works_where_it_was_printed(project, tmp_path_factory):
    file = project.folder / project("leaking.py", LEAKING)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for folder, argument in ((project.folder, "leaking.py"), (elsewhere, str(file))):
        measure(folder, argument)
        program, run, *again = shlex.split(results(folder)["scenarios"][0]["command"])
        assert (program, run) == ("elkyn-leakcheck", "run")
        assert measure(folder, *again).returncode == 1


def test_an_expected_leak_exits_0_and_a_planted_leak_that_is_not_there_exits_1(project):
    project("expected.py", LEAKING.replace("@scenario", '@scenario(expect="leak")'))
    assert measure(project.folder, "expected.py").returncode == 0
    project("absent.py", CLEAN.replace('tags={"quick"}', 'expect="leak"'))
    assert measure(project.folder, "absent.py::nothing").returncode == 1


def test_one_broken_scenario_or_file_leaves_the_others_their_results(project):
    project("a_clean.py", CLEAN)
    project("b_syntax.py", "from leakcheck import scenario\ndef broken(:\n")
    project(
        "c_bad.py",
        """
        import ctypes, os, signal
        from leakcheck import scenario

        @scenario
        def ends():
            os._exit(3)

        @scenario
        def killed():
            os.kill(os.getpid(), signal.SIGKILL)

        @scenario
        def crashes():
            ctypes.string_at(0)

        @scenario
        def raises():
            raise ValueError("no such thing")
        """,
    )
    done = measure(project.folder, ".")
    assert done.returncode == 1
    found = {each["id"].rpartition("/")[2]: each for each in results(project.folder)["scenarios"]}
    assert found["a_clean.py::nothing"]["verdict"] == "clean"
    assert found["b_syntax.py"]["verdict"] == "error"
    assert "SyntaxError" in found["b_syntax.py"]["failure"]["traceback"]
    assert "exit code 3" in found["c_bad.py::ends"]["reason"]
    assert "SIGKILL" in found["c_bad.py::killed"]["reason"]
    assert "SIGSEGV" in found["c_bad.py::crashes"]["reason"]
    assert "raised ValueError: at c_bad.py:19 in raises" in found["c_bad.py::raises"]["reason"]


def test_running_out_of_descriptors_is_the_leak_and_not_an_error(project):
    project(
        "descriptors.py",
        """
        import os, resource
        from leakcheck import scenario

        resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))

        @scenario
        def forgets_to_close():
            os.open(os.devnull, os.O_RDONLY)
        """,
    )
    done = measure(project.folder, "descriptors.py")
    assert done.returncode == 1
    assert verdicts(project.folder) == {"descriptors.py::forgets_to_close": "leak"}


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["run", "nowhere/"], 4, "no such file"),
        (["run", "empty.py"], 5, "package.module:function, and a script with a main()"),
        (["run", "clean.py::absent"], 4, "no such scenario"),
        (["run", "clean.py:absent"], 4, "clean.py::absent: no such scenario"),
        (["run", "clean.py", "--tools", "magic"], 4, "magic"),
        (["run", "clean.py", "--max-growth", "lots"], 4, "lots"),
        (["run", "clean.py", "-k", "a and"], 4, "-k"),
        (["run", "clean.py", "-k", "nothing_like_this"], 5, "selection"),
        (["run"], 4, "Missing argument"),
        (["rnu", "clean.py"], 4, "No such command 'rnu' (did you mean run?)."),
        (["xyzzy"], 4, "No such command 'xyzzy'.\n"),
        (["run", "clean.py", "--nonsense"], 4, "--nonsense"),
        (["run", "no.such.module:function"], 4, "no.such.module:function: there is no module 'no'"),
    ],
)
def test_bad_input_is_told_in_a_sentence_with_its_exit_code(project, arguments, code, word):
    project("clean.py", CLEAN)
    project("empty.py", "answer = 42  # no scenario here\n")
    done = leakcheck(project.folder, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert word in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_an_interpreter_in_which_nothing_can_be_measured_is_told_in_a_sentence(project):
    project("clean.py", CLEAN)
    old = project.folder / "python3.8"
    old.write_text("#!/bin/sh\nprintf 'leakcheck 3 8'\n")
    old.chmod(0o755)
    (project.folder / "venv" / "bin").mkdir(parents=True)
    (project.folder / "venv" / "bin" / "python").symlink_to(sys.executable)
    for python, problem in {
        str(old): "it is Python 3.8; Python 3.11 or newer can be measured",
        "nowhere/python": "it cannot be started: No such file or directory",
        "venv": "it is a folder; name the interpreter in it, venv/bin/python",
        "/bin/true": "it is no Python interpreter",
    }.items():
        for command in (["run", "clean.py"], ["list", "clean.py"], ["snippet", "1"]):
            done = leakcheck(project.folder, *command, "--python", python)
            assert (done.returncode, done.stdout) == (4, "")
            assert done.stderr == f"elkyn-leakcheck: --python {python}: {problem}\n"
    told = leakcheck(project.folder, "doctor", "--python", str(old)).stdout
    assert "is Python 3.8" in " ".join(told.split())


def test_a_step_without_an_end_is_an_error_with_its_stack(project):
    project(
        "hangs.py",
        """
        from leakcheck import scenario

        @scenario
        def spins():
            while True:
                pass
        """,
    )
    done = measure(project.folder, "hangs.py", "--timeouts", "call=1")
    assert done.returncode == 1
    (result,) = results(project.folder)["scenarios"]
    assert result["verdict"] == "error"
    assert result["reason"] == "hangs: the step did not come back within 1 s; --timeouts call=2 allows more"
    assert "in spins" in result["failure"]["traceback"]


def test_list_shows_ids_tags_and_what_it_is_about(project):
    project("clean.py", CLEAN)
    done = leakcheck(project.folder, "list", "clean.py")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "clean.py::nothing  [quick]  Does nothing.",
        "clean.py::buffers[1]  [memory]",
        "clean.py::buffers[1000]  [memory]",
    ]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (["-m", "memory"], {"buffers[1]", "buffers[1000]"}),
        (["-m", "not memory"], {"nothing"}),
        (["-k", "buffers and not 1000"], {"buffers[1]"}),
        (["-k", "nothing or (buffers and 1000)"], {"nothing", "buffers[1000]"}),
    ],
)
def test_selection_by_name_and_tag(project, selection, expected):
    project("clean.py", CLEAN)
    done = leakcheck(project.folder, "list", "clean.py", *selection)
    assert {line.split()[0].partition("::")[2] for line in done.stdout.splitlines()} == expected


@pytest.mark.parametrize("argument", ["clean.py::nothing", "clean.py:nothing"])
def test_a_scenario_is_named_after_its_file_with_two_colons_or_one(project, argument):
    project("clean.py", CLEAN)
    done = leakcheck(project.folder, "list", argument)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["clean.py::nothing"], done.stderr


def test_a_function_of_a_module_needs_no_decorator(project):
    project("package_like.py", "def parse():\n    return int('1')\n")
    done = measure(project.folder, "package_like:parse")
    assert done.returncode == 0
    assert verdicts(project.folder) == {"package_like:parse": "clean"}


def test_options_may_stand_in_pyproject_toml(project):
    project("pyproject.toml", "[tool.leakcheck]\nmax-iterations = 50\ntools = 'growth'\n")
    project("clean.py", CLEAN)
    measure(project.folder, "clean.py::nothing")
    (result,) = results(project.folder)["scenarios"]
    assert result["iterations"] == 50


def test_growth_within_its_budget_is_accepted(project):
    project("leaking.py", LEAKING.replace("@scenario", '@scenario(budget={"heap.bytes": 1000, "py.objects": 1})'))
    assert measure(project.folder, "leaking.py").returncode == 0
    project("leaking.py", LEAKING.replace("@scenario", '@scenario(budget={"heap.bytes": 50})'))
    done = measure(project.folder, "leaking.py")
    assert done.returncode == 1
    assert "budget" in done.stdout


@pytest.mark.parametrize(("mode", "code"), [("auto", 0), ("off", 1)])
def test_cyclic_garbage_is_a_leak_where_nobody_collects_it(project, mode, code):
    project(
        "cycles.py",
        """
        from leakcheck import scenario

        @scenario
        def makes_cycles():
            cycle = []
            cycle.append(cycle)
        """,
    )
    done = measure(project.folder, "cycles.py", "--gc", mode)
    assert done.returncode == code, done.stdout


def test_a_large_cache_that_cannot_fill_in_time_is_named_and_not_accused(project):
    project(
        "cached.py",
        """
        import functools, itertools
        from leakcheck import scenario

        numbers = itertools.count()

        @functools.lru_cache(maxsize=50_000_000)
        def answer(number):
            return bytes(100)

        @scenario
        def asks():
            answer(next(numbers))
        """,
    )
    done = measure(project.folder, "cached.py", "--time-budget", "2")
    assert done.returncode == 0, done.stdout
    (result,) = results(project.folder)["scenarios"]
    assert result["verdict"] == "bounded"
    assert "cached.answer" in result["reason"]


def test_what_is_kept_for_a_second_is_no_leak_and_what_is_kept_with_a_time_is(project):
    project(
        "clocked.py",
        """
        import time
        from collections import deque
        from itertools import count
        from leakcheck import scenario

        @scenario
        def for_a_second():
            kept = deque()

            def step():
                now = time.monotonic()
                kept.append((now, bytes(100)))
                while kept[0][0] < now - 1:
                    kept.popleft()

            yield step

        @scenario(expect="leak")
        def for_good():
            kept = []
            yield lambda: kept.append((time.time(), bytes(100)))

        @scenario(expect="leak")
        def for_a_second_and_a_name_for_good():
            kept, names, numbers = deque(), [], count()

            def step():
                now = time.monotonic()
                kept.append((now, bytes(200)))
                names.append(f"name {next(numbers)}")
                while kept[0][0] < now - 1:
                    kept.popleft()

            yield step
        """,
    )
    done = leakcheck(project.folder, "run", "clocked.py")
    assert done.returncode == 0, done.stdout
    for_a_second, for_good, beside = results(project.folder)["scenarios"]
    # Where the machine was busy for all of the first second, no reading saw that it grew.
    assert for_a_second["verdict"] == "clean" or "for a time" in for_a_second["reason"]
    assert for_a_second["ok"]
    assert for_good["verdict"] == "leak"
    heap = next(meter for meter in beside["meters"] if meter["name"] == "heap.bytes")
    assert 60 < heap["growth"] < 110, "one name, not what is kept for a second"
    (finding,) = beside["findings"]
    assert finding["path"][-2]["name"] == ".<local names>"
    assert finding["share"] > 0.8


def test_without_a_command_it_says_what_can_be_done_by_task():
    done = CliRunner().invoke(main.command_line, [])
    assert done.exit_code == 4
    words = re.findall(r"elkyn-leakcheck (\w+)", done.output.replace("elkyn-leakcheck says", ""))
    assert {"run", "snippet", "explain", "doctor", "init"} <= set(words) <= set(main._COMMANDS)
    assert max(map(len, done.output.splitlines())) <= 100


def test_every_help_page_reads_well():
    from click.testing import CliRunner

    from leakcheck.cli.main import command_line

    def pages(command, words):
        yield words, CliRunner().invoke(command_line, [*words, "--help"]).output
        for name in getattr(command, "commands", None) or (command.list_commands(None) if not words else ()):
            yield from pages(command.get_command(None, name), [*words, name])

    told = list(pages(command_line, []))
    assert len(told) > 14
    assert [words for words, text in told if "\\b" in text or "Usage: " not in text] == []


def test_a_full_cache_whose_entries_get_larger_is_named_where_nothing_else_is_decided(project):
    project(
        "enlarged.py",
        """
        import functools, itertools
        from leakcheck import scenario

        numbers = itertools.count()

        @functools.lru_cache(maxsize=1000)
        def answer(number):
            return bytes(40 * int(number**0.5))

        @scenario
        def asks():
            answer(next(numbers))
        """,
    )
    done = measure(project.folder, "enlarged.py", "--time-budget", "2")
    assert done.returncode == 0, done.stdout
    (result,) = results(project.folder)["scenarios"]
    assert result["verdict"] == "bounded"
    assert "enlarged.answer" in result["reason"]


def test_the_command_line_starts_without_loading_what_only_some_commands_need(project):
    heavy = "{'rich', 'jinja2', 'memray', 'psutil'}"
    script = f"import sys, leakcheck.cli.main; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=project.folder)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("before", "begun", "offered"),
    [
        ([], "sn", "snippet"),
        (["run"], "--time-b", "--time-budget"),
        (["run", "--gc"], "fr", "freeze"),
        (["run"], "s", "file"),
    ],
)
def test_every_shell_is_told_commands_options_their_values_and_that_files_come_next(shell, before, begun, offered):
    words = ["elkyn-leakcheck", *before, begun]
    asked = {
        "_ELKYN_LEAKCHECK_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": begun if shell == "fish" else str(len(words) - 1),
    }
    command = [os.path.join(os.path.dirname(sys.executable), "elkyn-leakcheck")]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, timeout=30)
    assert offered in done.stdout.replace(",", "\n").split(), done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_given_its_script(shell):
    command = [os.path.join(os.path.dirname(sys.executable), "elkyn-leakcheck")]
    asked = {**os.environ, "_ELKYN_LEAKCHECK_COMPLETE": f"{shell}_source"}
    done = subprocess.run(command, env=asked, capture_output=True, text=True, timeout=30)
    assert f"_ELKYN_LEAKCHECK_COMPLETE={shell}_complete" in done.stdout
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, timeout=30).returncode == 0


HANGS = """
    import time
    from leakcheck import scenario
    {at_import}

    @scenario{options}
    def hangs():
        {in_set_up}
        yield step
        {in_tear_down}

    def step():
        {in_step}
"""
IDLE = dict.fromkeys(("at_import", "in_set_up", "in_tear_down", "in_step"), "pass")


@pytest.mark.parametrize(
    ("where", "what", "name"),
    [
        ("at_import", "the import", "import"),
        ("in_set_up", "the set-up", "setup"),
        ("in_step", "the step", "call"),
        ("in_tear_down", "the tear-down", "teardown"),
    ],
)
def test_what_hangs_is_named_with_the_option_that_allows_more(project, where, what, name):
    project("hangs.py", HANGS.format(options="", **{**IDLE, where: "time.sleep(600)"}))
    limits = ",".join(f"{each}=1" for each in ("import", "setup", "call", "teardown"))
    done = measure(project.folder, "hangs.py", "--timeouts", limits)
    assert done.returncode == 1
    (result,) = results(project.folder)["scenarios"]
    message = f"{what} did not come back within 1 s; --timeouts {name}=2 allows more"
    assert (result["failure"]["type"], result["failure"]["message"]) == ("timeout", message)
    assert bool(result["meters"]) == (where in ("in_step", "in_tear_down")), "what was read is kept"


@pytest.mark.parametrize("where", ["decorator", "configuration", "command"])
def test_a_limit_can_be_set_in_each_place(project, where):
    options = '(timeouts={"call": 1})' if where == "decorator" else ""
    project("hangs.py", HANGS.format(options=options, **{**IDLE, "in_step": "time.sleep(600)"}))
    if where == "configuration":
        project("pyproject.toml", "[tool.leakcheck]\ntimeouts = { call = 1 }\n")
    limits = ["--timeouts", "call=1"] if where == "command" else []
    measure(project.folder, "hangs.py", *limits)
    (result,) = results(project.folder)["scenarios"]
    assert "did not come back within 1 s" in result["reason"]
    assert ("--timeouts call=1" in result["command"]) == (where != "decorator"), "it can be seen again"


def test_a_wrong_limit_is_told_in_a_sentence(project):
    project("clean.py", CLEAN)
    done = leakcheck(project.folder, "run", "clean.py", "--timeouts", "lunch=600")
    assert done.returncode == 4
    assert "import, setup, call, teardown, diagnosis" in done.stderr


def test_a_crash_after_a_clear_leak_is_a_leak_with_the_crash(project):
    project(
        "crashes.py",
        """
        import os, time
        from leakcheck import scenario

        kept = []

        @scenario
        def case():
            time.sleep(0.02)
            kept.append(bytearray(100_000))
            if len(kept) > 60:
                os.abort()
        """,
    )
    done = measure(project.folder, "crashes.py", "--time-budget", "2")
    assert done.returncode == 1, done.stdout
    (result,) = results(project.folder)["scenarios"]
    assert result["verdict"] == "leak"
    assert "SIGABRT" in result["failure"]["message"]
    assert result["advice"][0].startswith("the measurement ended early (signal: the process was ended by SIGABRT)")

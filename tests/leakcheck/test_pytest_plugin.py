"""`pytest --leakcheck` on suites as people have them, each in a pytest process of its own."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pytest_suites import results, run

SUITES = Path(__file__).parent / "suites"
QUICK = ("--leakcheck-time-budget", "0.5")


def growth_at_the_end(result: dict, meter: str) -> float:
    """Change of a meter between the last two readings."""
    samples = next(each["samples"] for each in result["meters"] if each["name"] == meter)
    return samples[-1][1] - samples[-2][1]


LEAK_AND_CLEAN = """
    class Hub:
        def __init__(self):
            self.listeners = []

        def on(self, listener):
            self.listeners.append(listener)

    hub = Hub()

    def test_subscribes():
        hub.on(bytearray(100))

    def test_clean():
        assert sum(range(10)) == 45
"""


def test_without_the_option_nothing_is_measured_and_nothing_is_said(suite):
    done = run(suite(LEAK_AND_CLEAN))
    assert done.returncode == 0
    assert "2 passed" in done.stdout
    assert "leakcheck summary" not in done.stdout


def test_a_leaking_test_fails_with_the_sentence_the_line_and_the_container(suite):
    folder = suite(LEAK_AND_CLEAN)
    done = run(folder, "-v", "--leakcheck", "--leakcheck-report", "report", "--junitxml", "junit.xml")
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "test_it.py::test_subscribes measuring FAILED" in done.stdout, "what the line waits for"
    failure = done.stdout.partition("test_subscribes ___")[2].partition("leakcheck summary")[0]
    assert "leak: leaks 1 bytearray" in failure
    assert "added at test_it.py:7 in Hub.on" in failure
    assert "test_it.py:7: self.listeners.append(listener)" in failure
    assert "held by test_it.hub.listeners" in failure
    assert "2 measured: 1 clean, 1 leak" in done.stdout
    assert "FAILED test_it.py::test_subscribes - leak: leaks 1 bytearray" in done.stdout
    case = ElementTree.parse(folder / "junit.xml").find(".//testcase[@name='test_subscribes']")
    assert case is not None
    assert "leaks 1 bytearray" in case.find("failure").get("message")
    assert case.find(".//property[@name='leakcheck']").get("value") == "leak"
    assert {path.name for path in (folder / "report").iterdir()} >= {"results.json", "index.html", "junit.xml"}
    told = json.loads((folder / "report" / "results.json").read_text())
    assert told["control"]["status"] == "ok"


def test_marks_accept_a_growth_plant_a_leak_or_leave_a_test_out(suite):
    folder = suite("""
        import pytest
        kept = []

        @pytest.mark.leakcheck(budget={"heap.bytes": 1000})
        def test_within_its_budget():
            kept.append(bytearray(100))

        @pytest.mark.leakcheck(expect="leak", tools=["growth"])
        def test_planted():
            kept.append(bytearray(100))

        @pytest.mark.leakcheck(expect="leak")
        def test_planted_and_not_found():
            pass

        @pytest.mark.no_leakcheck("known, to be fixed")
        def test_left_out():
            kept.append(bytearray(100))
    """)
    done = run(folder, "--leakcheck", "--leakcheck-report", "report", *QUICK)
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert "FAILED test_it.py::test_planted_and_not_found" in done.stdout
    assert results(folder).keys() == {"test_within_its_budget", "test_planted", "test_planted_and_not_found"}


@pytest.mark.parametrize("arguments", [[], pytest.param(["-n", "1"], marks=pytest.mark.slow)])
def test_a_wrong_mark_fails_its_test_and_says_what_it_takes(suite, arguments):
    folder = suite("""
        import pytest

        @pytest.mark.leakcheck(budgets={"heap.bytes": 3})
        def test_name():
            pass

        @pytest.mark.leakcheck({"heap.bytes": 3})
        def test_by_position():
            pass

        @pytest.mark.leakcheck(expect="leek")
        def test_expect():
            pass

        @pytest.mark.leakcheck(budget=5)
        def test_budget():
            pass

        @pytest.mark.leakcheck(time_budget=0)
        def test_time():
            pass

        @pytest.mark.leakcheck(tools=["growht"])
        def test_tools():
            pass

        @pytest.mark.no_leakcheck(reasn="known")
        def test_reason():
            pass

        @pytest.mark.no_leakcheck(123)
        def test_number():
            pass

        @pytest.mark.leakcheck(tools="growth")
        def test_right():
            pass
    """)
    done = run(folder, "--leakcheck", *QUICK, *arguments)
    assert done.returncode == 1, done.stdout
    assert "8 failed, 1 passed" in done.stdout
    assert "test_name - @pytest.mark.leakcheck takes budget, errors, expect, " in done.stdout
    assert "not budgets (did you mean budget?)" in done.stdout
    assert "by name, not {'heap.bytes': 3}" in done.stdout
    assert "expect is one of 'clean', 'leak', not 'leek'" in done.stdout
    assert "budget is the accepted growth by meter, {'heap.bytes': 100}, not 5" in done.stdout
    assert "time_budget is seconds above 0, not 0" in done.stdout
    assert "@pytest.mark.no_leakcheck takes reason by name, not reasn (did you mean reason?)" in done.stdout
    assert "@pytest.mark.no_leakcheck: reason is a text, not 123" in done.stdout
    assert "tools is some of auto, growth, memray, valgrind, not ['growht']" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["-n", "1"]])
def test_what_is_left_alone_is_told_with_its_reason(suite, arguments):
    folder = suite("""
        import pytest

        @pytest.mark.parametrize("number", [1, 2])
        @pytest.mark.no_leakcheck("known, issue 123")
        def test_known(number):
            pass

        @pytest.mark.no_leakcheck(reason="flaky")
        def test_flaky():
            pass

        @pytest.mark.no_leakcheck
        def test_without_a_reason():
            pass
    """)
    done = run(folder, "--leakcheck", *arguments)
    assert done.returncode == 0, done.stdout
    told = done.stdout.partition("leakcheck summary")[2].splitlines()[1:5]
    assert sorted(told) == [
        "1 left alone",
        "1 left alone: flaky",
        "2 left alone: known, issue 123",
        "no test was measured",
    ]


def test_what_cannot_be_repeated_is_skipped_and_said_and_fails_only_when_strict(suite):
    folder = suite("""
        calls = []

        def test_once():
            calls.append(1)
            assert len(calls) == 1
    """)
    done = run(folder, "--leakcheck", *QUICK)
    assert done.returncode == 0, done.stdout
    assert "1 not measured" in done.stdout
    assert "cannot be repeated: raised AssertionError" in done.stdout
    assert run(folder, "--leakcheck", "--leakcheck-strict", *QUICK).returncode == 1


def test_a_call_that_cannot_be_decided_fails_only_when_strict(suite):
    folder = suite("""
        from leakcheck.unittest import LeakTestCase

        kept = []

        def test_too_few(leakcheck):
            assert leakcheck(kept.append, bytes, max_iterations=3).verdict == "inconclusive"

        def test_expected(leakcheck):
            assert leakcheck(lambda: kept.append(bytes(1000)), expect="leak").verdict == "leak"

        class InATestCase(LeakTestCase):
            def test_too_few(self):
                self.assertDoesNotLeak(lambda: kept.append(bytes(1000)), max_iterations=3)
    """)
    done = run(folder, "--leakcheck", *QUICK)
    assert done.returncode == 0, done.stdout
    strict = run(folder, "--leakcheck", "--leakcheck-strict", *QUICK)
    assert strict.returncode == 1, strict.stdout
    assert "2 failed, 1 passed" in strict.stdout
    assert "FAILED test_it.py::test_too_few - inconclusive: " in strict.stdout
    assert "FAILED test_it.py::InATestCase::test_too_few - inconclusive: " in strict.stdout


def test_a_test_that_fails_anyway_fails_as_ever_and_is_not_measured(suite):
    folder = suite("""
        import pytest

        def test_wrong():
            assert 1 == 2

        @pytest.mark.skip
        def test_skipped():
            pass

        @pytest.mark.xfail
        def test_expected_to_fail():
            assert 0
    """)
    done = run(folder, "--leakcheck")
    assert "1 failed, 1 skipped, 1 xfailed" in done.stdout
    assert "no test was measured" in done.stdout


def test_only_what_is_selected_is_measured_and_doctests_are_left_alone(suite):
    folder = suite('''
        def add(a, b):
            """
            >>> add(1, 2)
            3
            """
            return a + b

        def test_parser():
            pass

        def test_slow_parser():
            pass

        def test_printer():
            pass
    ''')
    done = run(
        folder, "--leakcheck", "--leakcheck-select", "parser and not slow", "--doctest-modules",
        "--leakcheck-report", "report", *QUICK,
    )  # fmt: skip
    assert "4 passed" in done.stdout, done.stdout
    assert results(folder).keys() == {"test_parser"}


@pytest.mark.parametrize("arguments", [[], pytest.param(["-n", "1"], marks=pytest.mark.slow)])
def test_a_selection_that_matches_nothing_is_said_and_fails_when_strict(suite, arguments):
    folder = suite(LEAK_AND_CLEAN)
    done = run(folder, "--leakcheck", "--leakcheck-select", "test_claen", *arguments)
    assert done.returncode == 0, done.stdout
    assert "no test was measured" in done.stdout
    assert "warning: --leakcheck-select 'test_claen' matches none of the tests that ran (2)" in done.stdout
    strict = run(folder, "--leakcheck", "--leakcheck-select", "test_claen", "--leakcheck-strict", *arguments)
    assert strict.returncode == 5, strict.stdout
    assert "warning: --leakcheck-select" in strict.stdout


@pytest.mark.parametrize(
    "option", [["--leakcheck-select", "clean"], ["--leakcheck-select=clean"], ["--leakcheck-strict"]]
)
def test_an_option_that_needs_leakcheck_is_an_error_where_it_is_typed_without(suite, option):
    folder = suite("def test_it():\n    pass\n")
    done = run(folder, *option)
    assert done.returncode == 4, done.stdout
    assert (
        f"{option[0].partition('=')[0]} says which tests --leakcheck measures and fails: add --leakcheck" in done.stderr
    )
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    (folder / "pytest.ini").write_text(f"[pytest]\naddopts = {' '.join(option)}\n")
    assert run(folder).returncode == 0, "kept for the runs that have --leakcheck"


def test_a_report_without_leakcheck_says_what_is_missing_where_it_is_empty(suite):
    done = run(suite("def test_it():\n    pass\n"), "--leakcheck-report", "report")
    assert "no test was measured: without --leakcheck, only those are that measure something themselves" in done.stdout


def test_a_wrong_selection_is_a_usage_error(suite):
    done = run(suite(LEAK_AND_CLEAN), "--leakcheck", "--leakcheck-select", "(a or")
    assert done.returncode == 4
    assert "--leakcheck-select" in done.stderr


def test_a_wrong_budget_of_time_or_folder_is_said_before_the_tests_run(suite):
    folder = suite("def test_it():\n    pass\n")
    for seconds in ("-1", "0", "soon", "inf"):
        done = run(folder, "--leakcheck", "--leakcheck-time-budget", seconds)
        assert done.returncode == 4, done.stdout
        assert f"invalid number of seconds value: {seconds!r}" in done.stderr
    for report in ("test_it.py", "test_it.py/report"):
        done = run(folder, "--leakcheck", "--leakcheck-report", report)
        assert done.returncode == 4, done.stdout
        assert f"--leakcheck-report {report}: {folder / 'test_it.py'} is a file, not a folder" in done.stderr


def test_a_crash_in_the_repetition_is_an_error_of_the_test(suite):
    folder = suite("""
        import os, signal

        calls = []

        def test_crashes_later():
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = run(folder, "--leakcheck", *QUICK)
    assert done.returncode == 1
    assert "SIGKILL" in done.stdout


def test_the_suite_keeps_its_options_configuration_conftest_and_working_folder(suite):
    folder = suite("""
        import os, sys

        def test_all_is_as_in_the_first_run(pytestconfig, service):
            assert pytestconfig.getoption("--service") == "fast"
            assert pytestconfig.getini("service_name") == "main"
            assert service == "made by conftest"
            assert os.path.basename(os.getcwd()) == "project"
    """)
    project = folder / "project"
    project.mkdir()
    (folder / "test_it.py").rename(project / "test_it.py")
    (project / "pytest.ini").write_text("[pytest]\nservice_name = main\naddopts = --service fast\n")
    (project / "conftest.py").write_text(
        textwrap.dedent("""
        import pytest

        def pytest_addoption(parser):
            parser.addoption("--service")
            parser.addini("service_name", "its name")

        @pytest.fixture(scope="session")
        def service():
            return "made by conftest"
    """)
    )
    done = run(project, "--leakcheck", "--leakcheck-report", "report", *QUICK)
    assert done.returncode == 0, done.stdout
    assert results(project)["test_all_is_as_in_the_first_run"]["verdict"] == "clean"


def test_a_report_folder_elsewhere_that_exists_already_changes_nothing(suite, tmp_path_factory):
    """Pytest takes it for an argument by which to guess where names of tests begin."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = run(suite("def test_it(): pass"), "--leakcheck", "--leakcheck-report", str(elsewhere), *QUICK)
    assert "1 measured: 1 clean" in done.stdout, done.stdout


@pytest.mark.slow
def test_under_xdist_and_coverage_the_results_of_all_processes_come_together(suite):
    folder = suite(LEAK_AND_CLEAN)
    done = run(folder, "--leakcheck", "-n", "2", "--cov", "--leakcheck-report", "report")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 measured: 1 clean, 1 leak" in done.stdout
    assert "test_it.py" in done.stdout.partition("coverage:")[2]
    assert {name: each["verdict"] for name, each in results(folder).items()} == {
        "test_subscribes": "leak",
        "test_clean": "clean",
    }


def test_the_fixture_measures_what_the_test_has_made(suite):
    folder = suite("""
        import asyncio, threading
        import pytest

        class Hub:
            def __init__(self):
                self.lock = threading.Lock()  # cannot be sent to another process
                self.listeners = []

            def on(self, listener):
                with self.lock:
                    self.listeners.append(listener)

        @pytest.fixture
        def hub():
            return Hub()

        def test_leaks(leakcheck, hub):
            first = leakcheck(lambda: hub.lock.locked())
            assert first.verdict == "clean" and first.iterations > 10
            leakcheck(hub.on, 1.5)

        def test_expected(leakcheck, hub):
            assert leakcheck(lambda: hub.on(2.5), expect="leak").growth

        def test_error_path(leakcheck):
            leakcheck(int, "no number", raises=ValueError)

        def test_async_function(leakcheck):
            async def step():
                await asyncio.sleep(0)
            leakcheck(step)

        @pytest.mark.asyncio
        async def test_inside_a_loop(leakcheck):
            queue = asyncio.Queue()
            async def step():
                await queue.put(1)
                await queue.get()
            assert (await leakcheck.awaiting(step)).ok
    """)
    done = run(folder, "--leakcheck-report", "report", "--leakcheck-time-budget", "2")
    assert "1 failed, 4 passed" in done.stdout, done.stdout
    failure = done.stdout.partition("test_leaks ___")[2].partition("leakcheck summary")[0]
    assert ">       leakcheck(hub.on, 1.5)" in failure
    assert "leaks 1 float" in failure
    assert "added at test_it.py:12 in Hub.on" in failure
    told = results(folder)
    assert {name: each["verdict"] for name, each in told.items()} == {
        "test_leaks::call 1": "clean",
        "test_leaks::call 2": "leak",
        "test_expected::call 1": "leak",
        "test_error_path::call 1": "clean",
        "test_async_function::call 1": "clean",
        "test_inside_a_loop::call 1": "clean",
    }


def test_a_wrong_option_of_the_fixture_is_said_at_the_line_of_the_test(suite):
    folder = suite("""
        def test_it(leakcheck):
            leakcheck(int, "1", expects="leak")
    """)
    done = run(folder)
    assert '>       leakcheck(int, "1", expects="leak")' in done.stdout
    assert "by name, not expects (did you mean expect?)" in done.stdout
    assert "def examine" not in done.stdout


@pytest.mark.parametrize("arguments", [[], pytest.param(["-n", "1"], marks=pytest.mark.slow)])
def test_a_leak_test_case_is_measured_unless_it_measures_itself_and_told_either_way(suite, arguments):
    folder = suite("""
        from leakcheck.unittest import LeakTestCase, does_not_leak

        kept = []

        class HubTest(LeakTestCase):
            def test_neither_mark_nor_assertion(self):
                kept.append(bytearray(100))

            def test_clean(self):
                pass

            def test_assertions(self):
                self.assertDoesNotLeak(int, "12", time_budget=1)
                self.assertDoesNotLeak(lambda: kept.append(bytearray(100)), time_budget=1)

            @does_not_leak(time_budget=1)
            def test_marked(self):
                pass
    """)
    done = run(folder, "--leakcheck", "--leakcheck-report", "report", *QUICK, *arguments)
    assert "2 failed, 2 passed" in done.stdout, done.stdout
    assert "5 measured: 3 clean, 2 leak" in done.stdout
    assert {name.partition("::")[2]: each["verdict"] for name, each in results(folder).items()} == {
        "test_neither_mark_nor_assertion": "leak",
        "test_clean": "clean",
        "test_assertions::call 1": "clean",
        "test_assertions::call 2": "leak",
        "test_marked": "clean",
    }


def test_a_test_that_has_the_fixture_and_does_not_call_it_is_measured_as_a_whole(suite):
    folder = suite("""
        def test_called(leakcheck):
            leakcheck(int, "12")

        def test_not_called(leakcheck):
            pass
    """)
    run(folder, "--leakcheck", "--leakcheck-report", "report", *QUICK)
    assert results(folder).keys() == {"test_called::call 1", "test_not_called"}


def test_a_with_statement_is_told_that_a_function_is_needed(suite):
    folder = suite("""
        def test_with_a_call(leakcheck):
            with leakcheck(int, "12"):
                pass

        def test_with_the_fixture(leakcheck):
            with leakcheck:
                pass
    """)
    done = run(folder)
    assert "2 failed" in done.stdout
    assert done.stdout.count("E       TypeError: leakcheck is no context manager, as Python cannot run the body") == 2
    assert "def step(): ..., and pass that: leakcheck(step)" in done.stdout


LEAKS = {
    "test_list_of_the_module": ("test_it.py:10 in test_list_of_the_module", "test_it.kept[*]"),
    "test_fixture": ("conftest.py:6 in service", "conftest.registry[*]"),
    "test_fixture_of_the_session": ("conftest.py:14 in connection", "<closure fixtures>['pool'][*]"),
    "CaseTest::test_case": ("test_it.py:21 in CaseTest.setUp", "test_it.CaseTest.made[*]"),
    "test_async": ("test_it.py:28 in test_async", "test_it.kept[*]"),
    "test_environment": ("test_it.py:31 in test_environment", "posix.environ[*]"),
    "test_native": ("test_it.py:34 in test_native", ""),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_first_finding_names_the_innermost_line_of_the_user_and_never_the_test_runner(suite):
    folder = suite("""
        import ctypes, os, unittest
        import pytest

        kept = []
        malloc = ctypes.CDLL(None).malloc
        malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p

        def test_list_of_the_module():
            kept.append(bytearray(100))

        def test_fixture(service):
            assert service

        def test_fixture_of_the_session(connection):
            assert connection

        class CaseTest(unittest.TestCase):
            made = []
            def setUp(self):
                self.made.append([1])

            def test_case(self):
                pass

        @pytest.mark.asyncio
        async def test_async():
            kept.append(object())

        def test_environment():
            os.environ["A%d" % len(os.environ)] = "x" * 50

        def test_native():
            malloc(300)
    """)
    suite(
        """
        import pytest
        registry = []
        @pytest.fixture
        def service():
            registry.append(bytearray(200))
            yield object()
        @pytest.fixture(scope="session")
        def pool():
            return []
        @pytest.fixture
        def connection(pool):
            made = bytearray(150)
            pool.append(made)
            return made
        """,
        "conftest.py",
    )
    run(folder, "--leakcheck", "--leakcheck-report", "report", "-n", "2", *QUICK, timeout=500)
    told = results(folder)
    assert {name: each["verdict"] for name, each in told.items()} == dict.fromkeys(LEAKS, "leak")
    for name, (place, held) in LEAKS.items():
        first = told[name]["findings"][0]
        assert place in first["title"], name
        assert "".join(node["name"] for node in first["path"]).endswith(held), name
        assert [frame["file"] for frame in first["stack"] if "/_pytest/" in frame["file"]] == [], name


@pytest.mark.slow
def test_what_pytest_keeps_of_a_run_is_not_charged_to_the_test(suite):
    folder = suite((SUITES / "ordinary.py").read_text())
    done = run(folder, "--leakcheck", "--leakcheck-report", "report", "-n", "2")
    assert done.returncode == 0, done.stdout
    told = results(folder)
    assert len(told) == 16
    assert {name: each["reason"] for name, each in told.items() if each["verdict"] not in ("clean", "bounded")} == {}
    grown = {name: growth_at_the_end(each, "heap.bytes") for name, each in told.items()}
    assert abs(grown["test_nothing"]) <= 64, "as far as the reading of a no-op may move, over thousands of runs"
    assert {name: bytes_ for name, bytes_ in grown.items() if abs(bytes_) > 2000} == {}
    assert {name for name, each in told.items() if growth_at_the_end(each, "disk.files")} == set()


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize(
    "arguments",
    [(), ("--log-level=DEBUG", "-o", "log_cli=true"), ("-n", "2"), ("--cov",)],
    ids=["alone", "logging", "xdist", "coverage"],
)
def test_it_is_right_on_all_targets_on_which_leak_testers_differ(suite, arguments):
    folder = suite((SUITES / "targets.py").read_text())
    done = run(folder, "--leakcheck", "--leakcheck-report", "report", *arguments, timeout=900)
    assert done.returncode == 0, done.stdout
    told = results(folder)
    assert len(told) == 17
    assert [name for name, each in told.items() if each["verdict"] in ("inconclusive", "skipped", "error")] == []


STRICT = """
import threading

import pytest

kept = []


def test_clean():
    pass


def test_leaks():
    kept.append(bytearray(100))


def test_calls(leakcheck):
    leakcheck(lambda: [1])


def test_starts_a_thread():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize("how", ["configuration", "environment"])
def test_where_warnings_are_errors_none_of_ours_skips_or_fails_a_test(suite, how):
    folder = suite(STRICT)
    strict = "filterwarnings = error\n" if how == "configuration" else ""
    (folder / "pytest.ini").write_text(f"[pytest]\nasyncio_default_fixture_loop_scope = function\n{strict}")
    environment = {"PYTHONWARNINGS": "error"} if how == "environment" else {}
    done = run(folder, "--leakcheck", *QUICK, **environment)
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert "4 measured: " in done.stdout
    assert "skipped" not in done.stdout
    assert "leak: leaks 1 bytearray" in done.stdout


def test_an_error_of_the_tools_own_is_never_that_a_test_cannot_be_repeated():
    from leakcheck.agent.origin import HERE
    from leakcheck.agent.session import ANSWER, describe_error
    from leakcheck.pytest_plugin.measuring import unless_not_repeatable
    from leakcheck.records import Failure, ScenarioResult

    def raised_in(file: str, kind: str = "RuntimeError", during: str = ANSWER) -> str:
        try:
            exec(compile(f"raise {kind}('a warning')", file, "exec"))
        except Exception as error:
            own = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)  # without this test's frame
            return describe_error(own, during).type
        raise AssertionError

    def repeatable(kind: str) -> bool:
        failure = Failure(type=kind, message="")
        result = ScenarioResult(id="x", verdict="error", ok=False, reason="", failure=failure)
        return unless_not_repeatable(result) == result

    settle = f"{HERE.roots.own[0]}settle.py"
    for file in (settle, os.__file__):  # what we call of the standard library may warn too
        for kind in ("RuntimeError", "OSError", "DeprecationWarning"):
            assert repeatable(raised_in(file, kind)), (file, kind)
    assert not repeatable(raised_in("/src/test_it.py"))
    assert not repeatable(raised_in(os.__file__, during="step"))
    assert repeatable(raised_in(settle, during="List"))


def test_a_call_that_hangs_names_the_option_that_allows_more_and_a_wrong_one_is_told(suite):
    folder = suite("""
        import time

        def test_hangs(leakcheck):
            leakcheck(lambda: time.sleep(600))
    """)
    done = run(folder, "--leakcheck-timeouts", "call=1", *QUICK)
    assert "the step did not come back within 1 s; --leakcheck-timeouts call=2 allows more" in done.stdout
    done = run(folder, "--leakcheck", "--leakcheck-timeouts", "lunch=1")
    assert done.returncode == 4
    assert "invalid list of seconds by name value: 'lunch=1'" in done.stderr


def test_a_test_also_fails_where_the_tested_code_makes_calls_and_what_stays_is_told(suite):
    folder = suite("""
        import pytest, hub

        @pytest.mark.leakcheck(errors=ValueError, tools="growth")
        def test_subscribes():
            hub.subscribed(str(1))

        @pytest.mark.leakcheck(errors=(ValueError, "KeyError"))
        def test_wrong():
            pass
    """)
    (folder / "hub.py").write_text(
        "listeners = []\n"
        "def subscribed(name):\n"
        "    listeners.append(bytearray(100))\n"
        "    name.upper()\n"
        "    listeners.pop()\n"
    )
    done = run(folder, "--leakcheck", "--leakcheck-report", "report", "--leakcheck-time-budget", "2")
    assert done.returncode == 1, done.stdout
    assert "leak: when ValueError is raised at hub.py:4 (name.upper): heap.bytes grows by" in done.stdout
    assert "@pytest.mark.leakcheck: errors is True, False, a class of exceptions or a tuple of some" in done.stdout
    found = results(folder)
    assert {name: each["verdict"] for name, each in found.items()} == {
        "test_subscribes": "clean",
        "test_subscribes!errors": "screened",
        "test_subscribes!subscribed:name.upper": "leak",
    }
    assert found["test_subscribes!errors"]["reason"].startswith("4 failures at 4 points, 1 point leaves something")

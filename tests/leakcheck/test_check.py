"""`leakcheck.check` and `LeakTestCase`: verdicts as values, wherever the function lives."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import textwrap
import threading
import time
import unittest
import venv

import pytest
from suites.functions import kept, leaks, waits

import leakcheck
from leakcheck.errors import UsageError
from leakcheck.unittest import does_not_leak

check = functools.partial(leakcheck.check, time_budget=1.0)
judge = functools.partial(check, tools="growth")


def test_a_function_of_a_module_is_measured_where_it_lives():
    result = check(leaks, 1000)
    assert result.verdict == "leak"
    assert not result.ok
    assert 1000 <= result.growth["heap.bytes"] < 1400
    assert "held by" in result.reason
    assert kept == [], "the calls happen in another process"


def test_a_closure_is_measured_by_value_and_what_it_keeps_is_found():
    inbox: list[object] = []
    result = check(lambda: inbox.append(object()))
    assert result.verdict == "leak"
    assert "inbox" in result.reason
    assert inbox == []


@pytest.mark.parametrize("function", [waits, lambda: None, functools.partial(int, "1"), dict])
def test_any_callable_can_be_clean(function):
    result = judge(function)
    assert (result.verdict, result.ok, result.growth, result.findings) == ("clean", True, {}, [])
    assert result.iterations > 10


def test_it_works_under_a_running_loop_and_beside_it():
    async def main() -> list[str]:
        at_once = check(waits)
        in_a_thread = await asyncio.to_thread(check, waits)
        return [at_once.verdict, in_a_thread.verdict]

    assert asyncio.run(main()) == ["clean", "clean"]


def test_expectation_budget_and_error_path():
    assert judge(leaks, expect="leak").ok
    assert judge(leaks, budget={"heap.bytes": 1000.0}).verdict == "clean"
    assert judge(int, "no number", raises=ValueError).verdict == "clean"
    assert judge(int, "no number").verdict == "error"


def test_a_budget_that_leaves_a_meter_out_says_which():
    rows: list[object] = []
    told = str(judge(lambda: rows.append([1]), budget={"heap.bytes": 1000}))
    assert "py.objects (+1 object/iteration) has no budget" in told
    assert "heap.bytes (" not in told
    assert "has a budget of 10" in str(judge(leaks, budget={"heap.bytes": 10}))


def test_a_budget_for_a_meter_that_there_is_not_is_an_error():
    result = check(waits, budget={"heap.byte": 10})
    assert not result.ok
    assert "the budget names 'heap.byte', which is no meter here (did you mean heap.bytes?)" in result.reason
    assert check(waits, budget={"tasks": 0, "disk.files": 0}).ok


def test_what_would_decide_is_said_in_the_words_of_the_call():
    result = check(waits, max_iterations=5)
    assert result.verdict == "inconclusive"
    assert result.reason.endswith("raise max_iterations")


def test_raise_unless_ok_is_an_assertion_with_the_whole_story():
    result = check(leaks)
    with pytest.raises(
        AssertionError, match=r"leak: leaks 1 bytearray(.|\n)*functions\.py:\d+: kept\.append"
    ) as failed:
        result.raise_unless_ok()
    assert isinstance(failed.value, leakcheck.LeakcheckError)
    assert failed.value.result is result
    assert check(waits).raise_unless_ok().ok


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"expect": "leek"}, "expect is one of 'clean', 'leak', not 'leek'"),
        ({"time_budget": 0}, "time_budget is seconds above 0, not 0"),
        ({"max_iterations": 1.5}, "max_iterations is a whole number above 0, not 1.5"),
        ({"budget": {"heap.bytes": "1 MB"}}, "budget is the accepted growth by meter"),
        ({"raises": 5}, "raises is a class of exceptions"),
        ({"gc": "on"}, "gc is one of 'collect', 'auto', 'off', 'freeze', not 'on'"),
        ({"allocator": "jemalloc"}, "allocator is one of 'malloc', 'pymalloc', not 'jemalloc'"),
    ],
)
def test_a_wrong_option_is_one_sentence(options, told):
    with pytest.raises(UsageError, match=r"check\(suites\.functions\.waits\): ") as wrong:
        leakcheck.check(waits, **options)
    assert told in str(wrong.value)


def test_what_is_no_function_is_said_to_be_none():
    with pytest.raises(UsageError, match="first argument is a function, not int; pass it without calling it"):
        check(5)


def test_another_environment_is_measured_with_its_own_packages(tmp_path):
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "only_there.py").write_text("kept = []")

    def fills() -> None:
        import only_there

        only_there.kept.append(bytearray(100))

    result = check(fills, python=str(python))
    assert "held by only_there.kept" in result.reason
    assert check(waits, python=str(python)).verdict == "clean", "of a module here"
    assert "No module named 'msgspec'" in check(lambda: __import__("msgspec"), python=str(python)).reason


def test_code_goes_to_no_other_version_of_python(tmp_path):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nprintf 'leakcheck 3 99'\n")
    other.chmod(0o755)
    with pytest.raises(UsageError, match=r"the same version of Python only, and .*/python is 3\.99; put the function"):
        check(lambda: None, python=str(other))
    with pytest.raises(UsageError, match="python='nowhere' cannot be started"):
        check(waits, python="nowhere")


def test_what_cannot_be_sent_is_said_with_the_way_out():
    with pytest.raises(leakcheck.LeakcheckError, match=r"argument 1 \(lock\) cannot be sent .* make it inside"):
        check(len, threading.Lock())


def test_a_result_shows_itself_in_a_terminal_and_in_a_notebook():
    result = check(leaks)
    assert repr(result).startswith("<leakcheck.Result leak: leaks 1 bytearray")
    assert "<strong" in result._repr_html_()
    assert "&lt;" in check(int, "<b>", values=True)._repr_html_()


def test_a_function_of_a_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import leakcheck
        rows = []
        def add():
            rows.append([1])
        print("measuring")
        print(leakcheck.check(add, time_budget=1).reason)
    """)
    )
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60).stdout
    assert told.count("measuring") == 1
    assert "script.py:5 in add" in told
    assert "script.rows" in told


def test_a_function_that_comes_by_value_keeps_the_file_of_all_its_code():
    def outer() -> None:
        def inner() -> None:
            rows.append([1])

        inner()

    rows: list[object] = []
    frames = check(outer).findings[0].stack
    assert [(frame.file, frame.function.rpartition(".")[2]) for frame in frames if frame.user] == [
        (__file__, "inner"),
        (__file__, "outer"),
    ]


def test_importing_leakcheck_stays_cheap():
    code = "import leakcheck, sys; print([n for n in ('msgspec', 'rich', 'psutil', 'cloudpickle') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


UNITTEST = """
    import threading
    import unittest
    from leakcheck.unittest import LeakTestCase

    class Hub:
        def __init__(self):
            self.lock, self.listeners = threading.Lock(), []
        def on(self, listener):
            self.listeners.append(listener)

    class HubTest(LeakTestCase):
        def setUp(self):
            self.hub = Hub()

        def test_subscribing_leaks(self):
            first = self.assertDoesNotLeak(self.hub.lock.locked, time_budget=1)
            assert first.iterations > 10
            self.assertDoesNotLeak(self.hub.on, 1.5, time_budget=1, tools="growth")

        def test_error_path(self):
            self.assertDoesNotLeak(int, "x", raises=ValueError, time_budget=1)

        def test_planted(self):
            self.assertDoesNotLeak(self.hub.on, 1.5, expect="leak", time_budget=1, tools="growth")

    if __name__ == "__main__":
        unittest.main()
"""


@pytest.mark.parametrize(
    "command",
    [
        ["test_hub.py"],
        pytest.param(["-m", "unittest", "test_hub"], marks=pytest.mark.slow),
        ["-m", "pytest", "test_hub.py"],
    ],
)
def test_a_leak_test_case_runs_under_every_runner(tmp_path, command):
    (tmp_path / "test_hub.py").write_text(textwrap.dedent(UNITTEST))
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    told = done.stdout + done.stderr
    assert done.returncode == 1, told
    assert "leak: heap.bytes grows" in told
    assert "failures=1" in told or "1 failed, 2 passed" in told


WHOLE = """
    import unittest
    from leakcheck.unittest import LeakTestCase, does_not_leak

    kept = []

    @does_not_leak(time_budget=1)
    class HubTest(LeakTestCase):
        @classmethod
        def setUpClass(cls):
            cls.listeners, cls.times_made = [], len(kept)

        def tearDown(self):
            kept.clear()

        def test_cleared_by_its_tear_down(self):
            kept.append(bytearray(100))
            assert self.assertDoesNotLeak(int, "12", time_budget=1).iterations > 10

        def test_leaks_into_its_class(self):
            with self.subTest("inner"):
                self.listeners.append(bytearray(100))

        @does_not_leak(expect="leak", time_budget=1)
        def test_planted(self):
            self.listeners.append(bytearray(100))

        def test_cannot_be_repeated(self):
            self.listeners.append(1)
            assert len(self.listeners) == 1, "twice in one process"

        def test_fails_anyway(self):
            assert 0, "as ever"

        @unittest.skip("not here")
        def test_skipped(self):
            pass

    @does_not_leak(time_budget=1)
    class AsyncTest(LeakTestCase, unittest.IsolatedAsyncioTestCase):
        async def test_async(self):
            kept.append(1)
            kept.clear()
"""


@pytest.mark.parametrize("runner", ["unittest", pytest.param("pytest", marks=pytest.mark.slow)])
def test_a_marked_test_case_is_measured_from_set_up_to_tear_down(tmp_path, runner):
    (tmp_path / "test_hub.py").write_text(textwrap.dedent(WHOLE))
    command = [sys.executable, "-m", runner, "test_hub" if runner == "unittest" else "test_hub.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    told = done.stdout + done.stderr
    assert done.returncode == 1, told
    assert "failures=3, skipped=1" in told or "3 failed, 3 passed, 1 skipped" in told
    assert "leak: leaks 1 bytearray" in told
    assert "held by test_hub.HubTest.listeners[*]" in told
    assert "error: raised AssertionError: at test_hub.py:" in told
    assert "AssertionError: as ever" in told
    assert "raised AssertionError: as ever" not in told, "what fails anyway is not measured"


def test_the_mark_says_where_it_cannot_work():
    with pytest.raises(TypeError, match="Plain is no LeakTestCase; derive it from"):

        @does_not_leak
        class Plain(unittest.TestCase):
            pass

    with pytest.raises(UsageError, match=r"takes .* not budgets \(did you mean budget\?\)"):
        does_not_leak(budgets={"heap.bytes": 1})


def test_a_call_that_hangs_is_told_with_the_argument_that_allows_more():
    record = leakcheck.check(time.sleep, 600, timeouts={"call": 1}).record
    assert record.reason == "hangs: the step did not come back within 1 s; timeouts={'call': 2} allows more"

"""`pytest --leakcheck=screen`: whole suites, of which a few calls of each test are looked at first."""

from __future__ import annotations

import subprocess
from datetime import date

import pytest
from pytest_suites import results, run

from leakcheck.gate.baseline import Baseline
from leakcheck.gate.gate import judge
from leakcheck.results import merge, read

QUICK = ("--leakcheck-time-budget", "0.5")

MIXED = """
    import functools
    import os
    import pytest

    kept = []
    ran = []

    @pytest.fixture(scope="module")
    def pool():
        made = []
        yield made
        assert made, "it was used"

    @pytest.fixture(scope="session")
    def once(tmp_path_factory):
        ran.append("once")
        assert ran == ["once"]
        return tmp_path_factory.mktemp("once")

    @functools.lru_cache(maxsize=64)
    def cached(key):
        return bytearray(1000)

    class Key:
        pass

    def test_nothing(once):
        assert once.is_dir()

    def test_keeps(once):
        kept.append(bytearray(100))

    def test_pools(pool, capsys):
        pool[:] = [bytearray(1000)]
        print("said")
        assert capsys.readouterr().out == "said\\n"

    def test_fills_a_cache_with_a_limit(caplog):
        cached(Key())

    def test_counts():
        ran.append("again")
        assert ran.count("again") == 1

    class TestOfAClass:
        @pytest.fixture(scope="class", autouse=True)
        def open_file(self, request):
            with open(__file__) as request.cls.file:
                yield

        @pytest.mark.parametrize("number", [1, 2])
        def test_reads(self, number, tmp_path):
            (tmp_path / "x").write_text(str(number))
            assert not self.file.closed

    @pytest.mark.leakcheck(budget={"heap.bytes": 1000}, tools=["growth"], time_budget=60)
    def test_may_grow():
        kept.append(bytearray(100))

    @pytest.mark.no_leakcheck("known")
    def test_left_alone():
        kept.append(bytearray(100))

    def test_fails():
        assert not kept
"""


@pytest.mark.parametrize("arguments", [[], pytest.param(["-n", "2"], marks=pytest.mark.slow)])
def test_what_leaves_nothing_is_screened_and_what_moves_is_judged(suite, arguments):
    folder = suite(MIXED)
    done = run(folder, "--leakcheck=screen", "--leakcheck-report", "report", *arguments, *QUICK)
    assert done.returncode == 1, done.stdout
    told = results(folder)
    assert {name: each["verdict"] for name, each in told.items()} == {
        "test_nothing": "screened",
        "test_keeps": "leak",
        "test_pools": "screened",
        "test_fills_a_cache_with_a_limit": "screened",
        "test_counts": "skipped",
        "TestOfAClass::test_reads[1]": "screened",
        "TestOfAClass::test_reads[2]": "screened",
        "test_may_grow": "clean",
    }
    assert "held by test_it.kept" in done.stdout
    assert "2 failed, 8 passed" in done.stdout
    assert "7 measured: 1 clean, 5 screened, 1 leak" in done.stdout
    assert "1 not measured" in done.stdout
    assert "skipped test_it.py::test_counts: cannot be repeated: raised AssertionError" in done.stdout
    assert "of heap lost in every call would have shown; not judged" in done.stdout
    assert "1 left alone: known" in done.stdout
    flat = told["test_nothing"]
    assert "would have shown, in every call: " in flat["reason"]
    assert 0 < flat["detectable"]["heap.bytes"] <= 1040
    assert flat["meters"] == []


def test_a_test_that_crashes_when_it_is_repeated_takes_no_other_with_it(suite):
    folder = suite("""
        import os, signal
        calls = []

        def test_before():
            pass

        def test_crashes():
            calls.append(1)
            if len(calls) > 1:
                os.kill(os.getpid(), signal.SIGSEGV)

        def test_after():
            pass
    """)
    done = run(folder, "--leakcheck=screen", "--leakcheck-report", "report", *QUICK)
    assert done.returncode == 1, done.stdout
    verdicts = {name: each["verdict"] for name, each in results(folder).items()}
    assert verdicts == {"test_before": "screened", "test_crashes": "error", "test_after": "screened"}
    assert "ended by SIGSEGV" in done.stdout


def test_many_tests_are_a_whole_suite_and_few_are_not(suite):
    folder = suite("""
        import pytest

        @pytest.mark.parametrize("number", range(51))
        def test_many(number):
            pass
    """)
    done = run(folder, "--leakcheck")
    assert "51 measured: 51 screened" in done.stdout, done.stdout
    assert done.returncode == 0
    few = run(folder, "--leakcheck", "--leakcheck-select", "many and 33")
    assert "1 measured: 1 clean" in few.stdout


def test_suspects_of_the_last_run_are_judged_again(suite):
    folder = suite("""
        kept = []

        def test_keeps():
            kept.append(bytearray(100))

        def test_nothing():
            pass
    """)
    early = run(folder, "--leakcheck-last-suspects", "-p", "cacheprovider")
    assert early.returncode == 4
    assert "nothing was screened yet" in early.stderr
    run(folder, "--leakcheck=screen", "-p", "cacheprovider", *QUICK)
    done = run(folder, "--leakcheck-last-suspects", "-p", "cacheprovider", *QUICK)
    assert "1 measured: 1 leak" in done.stdout, done.stdout
    assert "2 passed" not in done.stdout


PROJECT = {
    "used.py": "import below\n",
    "below.py": "ONE = 1\n",
    "other.py": "TWO = 2\n",
    "test_used.py": "import used\ndef test_used():\n    pass\n",
    "test_other.py": "from other import TWO\ndef test_other():\n    assert TWO\n",
}


@pytest.mark.parametrize("arguments", [[], pytest.param(["-n", "1"], marks=pytest.mark.slow)])
def test_only_what_has_changed_since_it_was_green_is_measured(suite, arguments):
    for name, source in PROJECT.items():
        folder = suite(source, name)

    def measured():
        done = run(folder, "--leakcheck=changed", "-p", "cacheprovider", *QUICK, *arguments, *measured.more)
        assert done.returncode == 0, done.stdout + done.stderr
        return next(line for line in done.stdout.splitlines() if "measured" in line)

    measured.more = []
    assert measured() == "2 measured: 2 clean"
    assert measured().startswith("no test was measured")
    (folder / "below.py").write_text("ONE = 11\n")
    assert measured() == "1 measured: 1 clean"
    assert measured().startswith("no test was measured")


@pytest.mark.slow
def test_only_what_has_changed_since_a_revision_is_measured(suite):
    for name, source in PROJECT.items():
        folder = suite(source, name)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], cwd=folder, check=True)

    def measured():
        done = run(folder, "--leakcheck=changed", "--leakcheck-since", "HEAD", *QUICK)
        return done.stdout + done.stderr

    assert "no test was measured" in measured()
    (folder / "other.py").write_text("TWO = 22\n")
    assert "1 measured: 1 clean" in measured()
    (folder / "notes.md").write_text("no test depends on it\n")
    assert "1 measured: 1 clean" in measured()
    (folder / "native.c").write_text("int x;\n")
    assert "2 measured: 2 clean" in measured()
    wrong = run(folder, "--leakcheck=changed", "--leakcheck-since", "nowhere")
    assert wrong.returncode == 4
    assert "'nowhere' is neither a file nor a revision" in wrong.stderr


@pytest.mark.parametrize("arguments", [[], pytest.param(["-n", "1"], marks=pytest.mark.slow)])
def test_parts_of_a_suite_are_one_whole_for_the_gate(suite, arguments):
    for number in range(3):
        folder = suite(f"def test_{number}():\n    pass\n", f"test_{number}.py")
    for number in (1, 2):
        part = f"{number}/2"
        done = run(
            folder, "--leakcheck=screen", "--leakcheck-shard", part, "--leakcheck-report", f"p{number}", *arguments
        )
        assert done.returncode == 0, done.stdout + done.stderr
    parts = [read(folder / name) for name in ("p1", "p2")]
    assert sorted(len(each.scenarios) for each in parts) == [1, 2]
    whole = merge(parts)
    assert {each.id for each in whole.scenarios} == {f"test_{n}.py::test_{n}" for n in range(3)}
    assert not [line for line in judge(whole, Baseline(), [], date(2026, 1, 1)).lines if line.level == "red"]
    one = judge(parts[0], Baseline(), [], date(2026, 1, 1)).lines
    assert any("of 2 shards 2 is missing" in line.message for line in one)


@pytest.mark.slow
def test_tests_of_hypothesis_have_the_same_examples_in_each_call(suite):
    folder = suite("""
        from hypothesis import given, settings, strategies
        from hypothesis.stateful import RuleBasedStateMachine, rule

        kept = []

        @settings(max_examples=200)
        @given(strategies.lists(strategies.text()))
        def test_nothing(values):
            assert len(values) >= 0

        @given(strategies.binary(min_size=100))
        def test_keeps(value):
            kept.append(value)

        class Machine(RuleBasedStateMachine):
            @rule(value=strategies.integers())
            def put(self, value):
                assert value == value

        TestMachine = Machine.TestCase
    """)
    done = run(folder, "--leakcheck=screen", "--leakcheck-report", "report", *QUICK)
    verdicts = {name: each["verdict"] for name, each in results(folder).items()}
    assert verdicts == {"test_nothing": "screened", "test_keeps": "leak", "TestMachine::runTest": "screened"}, (
        done.stdout
    )


def test_a_session_that_ends_early_says_that_nothing_was_screened(suite):
    folder = suite("""
        def test_nothing():
            pass

        def test_fails():
            assert False
    """)
    done = run(folder, "--leakcheck=screen", "-x")
    assert done.returncode == 1, done.stdout
    assert "1 test not screened: the session ended before" in done.stdout
    assert "would have shown" not in done.stdout


def test_a_test_whose_child_lives_on_is_judged_for_screening_does_not_see_what_grows_there(suite):
    folder = suite(
        """
        import multiprocessing
        import pytest

        kept = []

        def handle(number):
            kept.append(bytearray(2000))
            return number

        @pytest.fixture(scope="module")
        def pool():
            with multiprocessing.get_context("fork").Pool(1) as made:
                yield made

        def test_handles(pool):
            assert pool.apply(handle, (1,)) == 1
        """
    )
    done = run(folder, "--leakcheck=screen", "--leakcheck-report", "report")
    assert done.returncode == 1, done.stdout
    assert results(folder)["test_handles"]["verdict"] == "leak"
    assert "added at test_it.py:8 in handle, held by test_it.kept[*], never removed; in worker" in done.stdout

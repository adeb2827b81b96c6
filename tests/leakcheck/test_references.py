"""Reference counts that drift, in real processes: what costs no memory is found, and no innocent is accused.

On Python 3.12 and later `None`, small numbers and the like are immortal, so what is shared here is the program's own.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
from processes import job_of, run

from benchmarks.detection import faults
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.meters import REFERENCES
from leakcheck.records import Meter, ScenarioResult

HEAD = """
    import collections, ctypes, datetime, itertools
    take, give = ctypes.pythonapi.Py_IncRef, ctypes.pythonapi.Py_DecRef
    take.argtypes = give.argtypes = [ctypes.py_object]
    numbers = itertools.count(1)
    class Shared:
        pass
    shared = Shared()
    kept = []
"""
DRIFTS = [name for name in faults.faults() if "reference-" in name]


def references_of(result: ScenarioResult) -> Meter:
    return next(meter for meter in result.meters if meter.name == REFERENCES)


@pytest.mark.parametrize("name", DRIFTS)
def test_a_planted_drift_is_a_leak_and_its_call_is_named(name: str, extension: Path) -> None:
    file = extension / "workload.py"
    file.write_text(f"{faults.faults()[name].workload}\nfrom leakcheck import scenario\nscenario(call)\n")
    result = run(Job(scenario=ScenarioInfo(id="w::call", target=str(file), name="call"), cwd=extension), "auto")
    assert result.verdict == "leak"
    assert faults.wrong(name, result.findings) == ""
    assert result.reason == result.findings[0].title
    assert result.explained == 1.0


ENDS = {
    "in a variable": "instance = planted.Forgetful()",
    "in an attribute": "holder = Shared(); holder.instance = planted.Forgetful()",
    "in a cycle": "holder = [planted.Forgetful()]; holder.append(holder)",
    "within native code": "collections.deque(itertools.starmap(planted.Forgetful, [()]), maxlen=0)",
}


@pytest.mark.parametrize("body", ENDS.values(), ids=ENDS)
def test_a_type_that_stays_loses_nothing_by_instances_that_keep_their_reference(extension: Path, body: str) -> None:
    result = run(job_of(extension, f"""{HEAD}
    import planted
    @scenario
    def case():
        {body}
        len(kept)
    """))  # fmt: skip
    assert result.verdict == "clean", result.reason
    advice = "1 reference to type planted.Forgetful with each call: its instances, when they end, do not give back"
    assert any(each.startswith(advice) for each in result.advice), result.advice


def test_a_reference_that_is_taken_while_an_instance_lives_is_not_the_instances(extension: Path) -> None:
    result = run(job_of(extension, f"""{HEAD}
    import planted
    @scenario
    def case():
        instance = Shared()
        planted.kind(instance)
        del instance
        len(kept)
    """))  # fmt: skip
    assert result.verdict == "leak", result.advice
    assert "1 reference to type" in result.reason


@pytest.mark.parametrize(("calls", "rate"), [(1, 1.0), (3, 1 / 3), (20, 1 / 20)])
def test_a_drift_need_not_come_with_each_call(tmp_path: Path, calls: int, rate: float) -> None:
    result = run(job_of(tmp_path, f"""{HEAD}
    @scenario
    def case():
        if next(numbers) % {calls} == 0:
            take(shared)
    """))  # fmt: skip
    assert result.verdict == "leak", result.reason
    assert references_of(result).growth == pytest.approx(rate, rel=0.01)
    assert "references to scenarios_under_test.shared" in result.reason or "1 reference to" in result.reason


def test_what_only_the_interpreter_s_own_modules_hold_is_counted(tmp_path: Path) -> None:
    result = run(job_of(tmp_path, f"""{HEAD}
    @scenario
    def case():
        take(print)
    """))  # fmt: skip
    assert result.verdict == "leak", result.reason
    assert "1 reference to function print" in result.reason


INNOCENT = {
    "instances that come and go": "shared_kind = Shared(); kept[:] = [shared_kind] * 50",
    "what the collector does not see is flushed": """kept.append(datetime.datetime(2020, 1, 1, tzinfo=zone))
        if len(kept) == 5000: kept.clear()""",
    "a table made beforehand is filled": "table[next(numbers) % len(table)] = shared",
}
"""The hardest; there are more in `benchmarks/beyond_bytes`."""


@pytest.mark.parametrize("body", INNOCENT.values(), ids=INNOCENT)
def test_the_innocent_are_not_accused(tmp_path: Path, body: str) -> None:
    result = run(job_of(tmp_path, f"""{HEAD}
    zone = datetime.timezone(datetime.timedelta(hours=3))
    table = [None] * 300_000
    @scenario
    def case():
        {body}
    """))  # fmt: skip
    assert result.verdict in ("clean", "bounded"), result.reason
    assert references_of(result).growth == 0, references_of(result).reason
    assert "no reference count drifts" in references_of(result).reason


def test_what_only_native_code_holds_is_counted_where_the_scenario_shows_it(tmp_path: Path) -> None:
    source = f"""{HEAD}
    number = ctypes.pythonapi.PyFloat_FromDouble
    number.restype, number.argtypes = ctypes.c_void_p, [ctypes.c_double]
    address = number(0.25)
    def lose():
        ctypes.PyDLL(None).Py_IncRef(ctypes.c_void_p(address))
    @scenario
    def case():
        lose()
    @scenario
    def shown(ctx):
        ctx.watch(ctypes.cast(address, ctypes.py_object).value)
        yield lose
    """
    assert run(job_of(tmp_path, source)).verdict == "clean"
    shown = run(job_of(tmp_path, source, "shown"))
    assert shown.verdict == "leak"
    assert "to float with each call" in shown.reason


@pytest.mark.parametrize("body", ["gc.freeze()", "take(shared)"])
def test_what_was_put_aside_is_counted_too(tmp_path: Path, body: str) -> None:
    result = run(job_of(tmp_path, f"""{HEAD}
    import gc
    gc.freeze()
    @scenario
    def case():
        {body}
    """))  # fmt: skip
    assert result.verdict == ("leak" if "take" in body else "clean"), result.reason
    assert (references_of(result).growth == 1.0) == ("take" in body)


def test_a_drift_in_a_test_of_pytests_is_a_leak(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent(f"""{HEAD}
    def test_it():
        take(shared)
    """)
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--leakcheck", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "leaks 1 reference to test_it.shared (test_it.Shared) per iteration" in done.stdout, done.stdout


def test_a_budget_for_references_is_held(tmp_path: Path) -> None:
    job = job_of(tmp_path, f"""{HEAD}
    @scenario
    def case():
        take(shared)
    """)  # fmt: skip

    def with_budget(limit: float) -> ScenarioResult:
        budgeted = msgspec.structs.replace(job.scenario, budget={REFERENCES: limit})
        return run(msgspec.structs.replace(job, scenario=budgeted))

    assert with_budget(1.0).verdict == "clean"
    assert with_budget(0.5).verdict == "leak"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"gc": "auto"}, "the collector is left to the program"),
        ({"gc": "off"}, "the collector is left to the program"),
    ],
)
def test_where_counts_say_nothing_it_is_said(tmp_path: Path, settings: dict[str, str], why: str) -> None:
    result = run(job_of(tmp_path, """
    @scenario
    def case():
        sum(range(9))
    """, **settings))  # fmt: skip
    assert result.verdict == "clean"
    assert f"not looked at: reference counts ({why})" in result.advice


def test_no_call_is_made_beyond_the_limit_that_was_given(tmp_path: Path) -> None:
    job = job_of(tmp_path, f"""{HEAD}
    @scenario
    def case():
        if next(numbers) > 1000:
            raise ValueError
    """)  # fmt: skip
    limited = msgspec.structs.replace(job, budget=msgspec.structs.replace(job.budget, max_iterations=1000))
    result = run(limited)
    assert result.failure is None
    assert "not looked at: reference counts (the calls are too slow, or too few, for them)" in result.advice


def test_a_drift_is_found_on_a_busy_machine(tmp_path: Path) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        result = run(job_of(tmp_path, f"""{HEAD}
    @scenario
    def case():
        take(shared)
        """))  # fmt: skip
    finally:
        for each in busy:
            each.kill()
            each.wait()
    assert result.verdict == "leak"
    assert references_of(result).growth == 1.0

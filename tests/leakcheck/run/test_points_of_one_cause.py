"""Points of failure that have one cause are one result, which names how many they are."""

from __future__ import annotations

import msgspec
import sample_run

from leakcheck.agent.protocol import Fault
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.records import ScenarioResult
from leakcheck.run.failing import Screening, Suspect, results
from leakcheck.run.points import Failing

JOB = Job(scenario=ScenarioInfo(id="a.py::step", target="a.py", name="step"))


def suspect(line: int, call: str, growth: float) -> Suspect:
    fault = Fault("call", "/src/a.py", "step", 1, 2 * line, 1, "OSError")
    return Suspect(Failing(fault, "/src/a.py", line, call), {"heap.bytes": growth})


def told(suspects: list[Suspect], causes: dict[str, object]) -> tuple[list[ScenarioResult], list[str]]:
    """The results, with a judge that finds the cause that goes with each point, and what it was asked to judge."""
    asked: list[str] = []

    def judge(job: Job) -> ScenarioResult:
        point = job.scenario.id.rpartition(":")[2]
        asked.append(point)
        cause = causes.get(point)
        if cause is None:
            return sample_run.scenario(job.scenario.id)
        return sample_run.leaking(job.scenario.id, [cause])

    screening = Screening(calls=900, points=5, tried=9, suspects=suspects, unrepeatable=0, untried=0)
    return results(JOB, screening, judge, lambda: 1.0), asked


def test_what_leaves_the_same_is_not_judged_again() -> None:
    found, asked = told([suspect(3, "connect", 500.0), suspect(5, "read", 500.0)], {"connect": sample_run.BUFFER})
    whole, leak = found
    assert asked == ["connect"]
    assert leak.failing == "OSError is raised at a.py:3 (connect), or at 1 point more"
    assert leak.advice[0] == "the same stays when OSError is raised at a.py:5 (read)"
    assert whole.reason == "9 failures at 5 points, 2 points leave something behind"


def test_what_leaves_more_but_has_the_same_finding_is_one() -> None:
    causes = {"connect": sample_run.BUFFER, "read": sample_run.BUFFER}
    found, asked = told([suspect(3, "connect", 500.0), suspect(5, "read", 900.0)], causes)
    assert asked == ["connect", "read"]
    assert [each.id for each in found] == ["a.py::step!errors", "a.py::step!step:connect"]
    assert found[1].advice[0] == "the same stays when OSError is raised at a.py:5 (read)"


def test_two_causes_are_two_results() -> None:
    causes = {"connect": sample_run.BUFFER, "read": sample_run.LISTENER}
    found, _ = told([suspect(3, "connect", 500.0), suspect(5, "read", 900.0)], causes)
    assert [each.id for each in found[1:]] == ["a.py::step!step:connect", "a.py::step!step:read"]
    assert [each.failing for each in found[1:]] == [
        "OSError is raised at a.py:3 (connect)", "OSError is raised at a.py:5 (read)",
    ]  # fmt: skip


def test_a_point_that_the_judge_finds_clean_is_no_result() -> None:
    (whole,), _ = told([suspect(3, "connect", 500.0)], {})
    assert whole.verdict == "screened"
    assert whole.reason == "9 failures at 5 points, none leaves anything behind"


def test_a_point_that_comes_twice_has_two_names() -> None:
    causes = {"connect": sample_run.BUFFER, "connect~2": sample_run.LISTENER}
    found, _ = told([suspect(3, "connect", 500.0), suspect(8, "connect", 900.0)], causes)
    assert [each.id for each in found[1:]] == ["a.py::step!step:connect", "a.py::step!step:connect~2"]


def test_more_than_can_be_judged_is_undecided() -> None:
    suspects = [suspect(line, f"call{line}", 100.0 * line * line) for line in range(1, 10)]
    (whole, *_), asked = told(suspects, {})
    assert len(asked) == 6
    assert whole.verdict == "inconclusive"
    assert whole.reason.endswith("3 more that leave something were not judged")
    assert msgspec.json.decode(msgspec.json.encode(whole), type=ScenarioResult) == whole

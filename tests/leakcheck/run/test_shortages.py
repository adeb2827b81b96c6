"""Which allocations are suspects: they fail in groups that are halved, and what nobody could help is left out."""

from __future__ import annotations

from collections.abc import Callable

from leakcheck.agent.faults.messages import Point
from leakcheck.agent.protocol import Fault
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.records import Failure
from leakcheck.run.failing_process import Left, Unrepeatable
from leakcheck.run.points import Failing, short_of_memory
from leakcheck.run.shortages import Shortage, _Search, chosen

JOB = Job(scenario=ScenarioInfo(id="a.py::step", target="a.py", name="step"), budget=Budget(time_s=10.0))
FLAT = Left({}, whole=True, struck=True)
LOST = Left({"heap.bytes": 64.0}, whole=True, struck=True)
Answer = Callable[[Fault], Left]


def point(offset: int, made: int) -> Failing:
    fault = Fault("allocation", "/src/a.py", "step", 1, offset, 1, "MemoryError", turns=made)
    return Failing(fault, "/src/a.py", 7, "load")


class Scripted:
    """A process that answers for each allocation; a group leaves what any of it does."""

    def __init__(self, answer: Answer, instead: dict[str, float] | None = None, after: bool = False) -> None:
        self.calls, self.spent, self.call_s = 0, 0.0, 1e-5
        self.asked: list[int] = []
        self.dropped = 0
        self._answer, self._instead, self._after = answer, instead, after

    def screened(self, *faults: Fault) -> Left:
        self.asked.append(len(faults))
        left = [self._answer(each) for each in faults]
        return next((each for each in left if each.growth), FLAT)

    def left_once(self, fault: Fault) -> dict[str, float] | None:
        assert fault.kind == "instruction"
        return ({"heap.bytes": 64.0} if self._after else None) if fault.after else self._instead

    def drop(self) -> None:
        self.dropped += 1


def found(process: Scripted, *points: Failing) -> Shortage:
    return _Search(JOB, process, points).result(lambda *_: None)  # type: ignore[arg-type]


def raises(error: Exception) -> Answer:
    def answer(fault: Fault) -> Left:
        if fault.offset == 4:
            raise error
        return FLAT

    return answer


def loses(fault: Fault) -> Left:
    return LOST if (fault.offset, fault.turn) == (4, 3) else FLAT


def test_where_nothing_stays_a_group_is_asked_for_once():
    process = Scripted(lambda _: FLAT)
    shortage = found(process, point(2, 20), point(4, 12))
    assert process.asked == [32]
    assert (shortage.made, shortage.tried, shortage.suspects) == (32, 32, ())
    assert shortage.in_words() == " and of 32 allocations"


def test_the_one_that_leaves_something_is_found():
    shortage = found(Scripted(loses), point(2, 20), point(4, 12))
    (suspect,) = shortage.suspects
    assert (suspect.failing.fault.offset, suspect.failing.fault.turn) == (4, 3)
    assert suspect.growth == LOST.growth


def test_an_instruction_that_gives_back_is_none():
    instead = {"heap.bytes": 64.0}
    assert found(Scripted(loses, instead), point(4, 12)).suspects == ()
    assert found(
        Scripted(loses, instead, after=True), point(4, 12)
    ).suspects  # it stays also where that was carried out


def test_what_was_never_hit_is_none():
    lost = LOST._replace(struck=False)
    assert found(Scripted(lambda _: lost), point(4, 1)).suspects == ()


def test_where_the_interpreter_dies_is_told_and_the_others_are_tried():
    died = WorkerFailed(Failure(type="signal", message="the process was ended by SIGSEGV"))
    shortage = found(Scripted(raises(died)), point(2, 3), point(4, 1), point(6, 3))
    assert shortage.tried == 7
    assert shortage.died == ("the interpreter died when allocation 1 failed at a.py:7 (load)",)
    assert shortage.in_words() == " and of 7 allocations (at 1 of which the interpreter died)"


def test_a_step_that_hangs_afterwards_is_a_suspect_and_one_that_cannot_be_called_is_not():
    late = WorkerFailed(Failure(type="timeout", message="the step did not come back"))
    (suspect,) = found(Scripted(raises(late)), point(4, 1)).suspects
    assert suspect.growth == {}
    shortage = found(Scripted(raises(Unrepeatable())), point(4, 1))
    assert (shortage.suspects, shortage.unrepeatable) == ((), 1)


def test_of_too_many_those_are_tried_that_an_instruction_makes_first():
    tried = chosen([point(2, 2), point(4, 200), point(6, 200)], 10)
    assert [(each.fault.offset, each.fault.turn) for each in tried] == [
        (2, 1), (2, 2), (4, 1), (4, 2), (4, 3), (4, 4), (6, 1), (6, 2), (6, 3), (6, 4),
    ]  # fmt: skip
    assert len(chosen([point(offset, 1) for offset in range(0, 200, 2)], 10)) == 10


def test_what_cleans_up_or_gives_back_is_no_point(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("def step():\n    try:\n        use()\n    finally:\n        tidy()\n    pool.put()\n")

    def at(line: int, *outside: tuple[str, int, str]) -> Point:
        stack = (str(file), line, "step"), *outside
        return Point("allocation", str(file), "step", 1, 2 * line, 2, stack, (0, 0, 0, 0), "")

    outer = str(file), 6, "step"
    assert [each.line for each in short_of_memory([at(3), at(5), at(3, outer)], {outer})] == [3]

"""A step whose allocations fail, one in each call: what stays is lost by code that cannot cope with too little memory.

There are many, and most are innocent. So they fail in groups first, each allocation of a group in a call of its own;
a group after which something stays is halved until it is one. Where a call has thousands, those that an instruction
makes first are tried. The interpreter itself may end where it is short of memory: all of it happens in a process of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from leakcheck import units
from leakcheck.agent.faults.messages import AllocationsFound, FindAllocations
from leakcheck.agent.protocol import HOSTED, Fault, Place
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Job
from leakcheck.execution.worker import INTERRUPT
from leakcheck.run.failing_process import FailingProcess, Start, Suspect, Unrepeatable
from leakcheck.run.points import Failing, words
from leakcheck.run.points import short_of_memory as to_fail

_GROUP = 32
"""Allocations of a group: with more, a suspect takes more halves to be found; with fewer, innocents take longer."""
_MOST_TRIED = 512
"""Allocations that are tried: in a step that makes more, most are of a few kinds."""
_SCREENED_S = 1.0
"""Times of the budget of a verdict that they may be screened for."""
_CALLS_EACH = 30
"""Calls of the step that each takes: a few with exact readings, and those in which references are counted."""

Tell = Callable[[int, int], None]
"""Told how many failures of how many have been tried."""


class Shortage(NamedTuple):
    """What became of the allocations of a call."""

    made: int = 0
    tried: int = 0
    suspects: tuple[Suspect, ...] = ()
    unrepeatable: int = 0
    """Allocations after whose failure the step raised something else when it was called again."""
    died: tuple[str, ...] = ()
    """At which the interpreter ended, in words."""
    calls: int = 0
    """Of the step."""
    why_not: str = ""
    """Why none was tried; empty where some were, or nobody wants it."""

    def in_words(self) -> str:
        """` and of 212 of 1,904 allocations`; empty where none was tried."""
        if not self.tried:
            return ""
        part = "" if self.tried >= self.made else f"{self.tried:,} of "
        died = f" (at {len(self.died)} of which the interpreter died)" if self.died else ""
        return f" and of {part}{units.count(self.made, 'allocation')}{died}"


NOT_ASKED = Shortage()


def short_of_memory(job: Job, giving_back: Collection[Place], start: Start, tell: Tell) -> Shortage:
    """Let allocations of the step fail, but not where the calls at `giving_back` are under way.

    Raises `WorkerFailed` where the run is interrupted.
    """
    if job.scenario.target.startswith(HOSTED) and job.scenario.name != "call":
        return Shortage(why_not="those of a whole test are the test runner's too")
    process = FailingProcess(job, start)
    try:
        found = process.open().ask(FindAllocations(), AllocationsFound)
        if found.why_not:
            return Shortage(why_not=found.why_not)
        return _Search(job, process, to_fail(found.points, giving_back)).result(tell)
    except Unrepeatable:
        return Shortage(why_not="the step raises when it is called again")
    except WorkerFailed as failed:
        if failed.failure.type == INTERRUPT:
            raise
        return Shortage(why_not=failed.failure.message)
    finally:
        process.drop()


def died_in_words(failing: Failing) -> str:
    """What is said where the interpreter ends."""
    return f"the interpreter died when {words(failing).replace(' fails', ' failed', 1)}"


class _Search:
    """Which allocations leave something when they fail."""

    def __init__(self, job: Job, process: FailingProcess, points: Sequence[Failing]) -> None:
        self._limit = _SCREENED_S * job.budget.time_s
        self._process = process
        self._made = sum(each.fault.turns for each in points)
        affordable = int(self._limit / _CALLS_EACH / max(process.call_s, 1e-9))
        self._chosen = chosen(points, max(1, min(_MOST_TRIED, affordable)))
        self._tried = 0
        self._suspects: dict[tuple[str, str, int, int, str], Suspect] = {}
        self._innocent: set[tuple[str, str, int, int, str]] = set()
        self._unrepeatable = 0
        self._died: list[str] = []

    def result(self, tell: Tell) -> Shortage:
        """Try as many as the time allows."""
        groups = [self._chosen[at : at + _GROUP] for at in range(0, len(self._chosen), _GROUP)][::-1]
        while groups and self._process.spent < self._limit:
            tell(self._tried, len(self._chosen))
            group = groups.pop()
            if len(group) > 1 and not self._leave_nothing(group):
                half = len(group) // 2
                groups += [group[half:], group[:half]]
                continue
            if len(group) == 1:
                self._look_at(group[0])
            self._tried += len(group)
        return Shortage(
            self._made,
            self._tried,
            tuple(self._suspects.values()),
            self._unrepeatable,
            tuple(self._died),
            self._process.calls,
        )

    def _leave_nothing(self, group: Sequence[Failing]) -> bool:
        try:
            return not self._process.screened(*(each.fault for each in group)).growth
        except Unrepeatable:
            self._process.drop()
            return False
        except WorkerFailed as failed:
            self._process.drop()
            if failed.failure.type == INTERRUPT:
                raise
            return False

    def _look_at(self, one: Failing) -> None:
        """Whether that one is a suspect: not where another of its instruction is one, or nobody could help it."""
        if one.place in self._suspects or one.place in self._innocent:
            return
        try:
            left = self._process.screened(one.fault)
            if not left.growth:
                return
            self._process.drop()
            if not left.struck or self._gives_back(one.fault):
                self._innocent.add(one.place)
            else:
                self._suspects[one.place] = Suspect(one, left.growth)
        except Unrepeatable:
            self._process.drop()
            self._unrepeatable += 1
        except WorkerFailed as failed:
            self._process.drop()
            if failed.failure.type == INTERRUPT:
                raise
            if failed.failure.type == "timeout":
                self._suspects[one.place] = Suspect(one, {})
            else:
                self._died.append(died_in_words(one))

    def _gives_back(self, fault: Fault) -> bool:
        """Whether an instruction of Python's gives something back, or takes it over: without it all is lost anyway.

        Something stays where it is not carried out at all, and nothing where the step fails right after it.
        """
        instead = fault._replace(kind="instruction", turn=1)
        return (
            self._process.left_once(instead) is not None
            and self._process.left_once(instead._replace(after=True)) is None
        )


def chosen(points: Sequence[Failing], wanted: int) -> list[Failing]:
    """Of each point those allocations that it makes first, as many as are wanted in all; each by itself."""
    points = points[:: -(-len(points) // wanted)] if points else ()
    most = max((each.fault.turns for each in points), default=0)
    while sum(min(each.fault.turns, most) for each in points) > wanted:
        most -= 1
    return [
        one._replace(fault=one.fault._replace(turn=number, turns=1))
        for one in points
        for number in range(1, min(one.fault.turns, most) + 1)
    ]

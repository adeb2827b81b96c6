"""A whole suite in minutes: what leaves nothing in a few calls is screened, and only what moves is judged in full.

It begins when the suite has been run, so that nothing of ours is there while the tests run for the user.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec
import pytest

from leakcheck import units
from leakcheck.agent.protocol import ScreenTest, SuiteRequest, TestScreened
from leakcheck.checking import MeasurementInterrupted, Unseen
from leakcheck.execution.crew import Crew
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker
from leakcheck.meters import CATALOGUE, LEDGER
from leakcheck.pytest_plugin.measuring import TOOLS, Wanted, as_started, target, template, unless_not_repeatable
from leakcheck.records import ScenarioResult
from leakcheck.run.runner import Plan, Runner
from leakcheck.verdict import result as verdicts

_PAGE_BYTES = 4096.0
"""Bytes of a page, the least that a meter of pages shows."""


class Screening:
    """The tests of one session, screened and then judged where that is called for."""

    def __init__(self, config: pytest.Config, wanted: Sequence[Wanted], jobs: int) -> None:
        self._config = config
        self._template = template(config)
        self._jobs = jobs
        self._crew = Crew()
        self._files: deque[list[Wanted]] = deque()
        self._why_not = ""
        """Why no process could be started that screens."""
        self.results: dict[str, list[ScenarioResult]] = {}
        """By node id, as they come: of a test its own, and those of its points of failure."""
        self.suspects: list[Wanted] = [each for each in wanted if each.is_marked]
        """Those for the judge; tests that say themselves how they are judged are among them from the start."""
        by_file: dict[str, list[Wanted]] = {}
        for each in wanted:
            if not each.is_marked:
                by_file.setdefault(each.scenario.file, []).append(each)
        self._files.extend(by_file.values())

    def screen(self) -> None:
        """Look at all of them once. `KeyboardInterrupt` ends it early, and what was found until then is kept."""
        waiting = [each for file in self._files for each in file]
        with ThreadPoolExecutor(max_workers=self._jobs) as pool:
            try:
                for done in [pool.submit(self._screen_files) for _ in range(min(self._jobs, len(self._files)))]:
                    done.result()
            except BaseException:
                self._files.clear()
                self._crew.interrupt()
                raise
        seen = {each.nodeid for each in self.suspects} | self.results.keys()
        for each in waiting:
            if each.nodeid not in seen:  # the tests could not be collected there
                reason = f"cannot be screened: {self._why_not}"
                job = self._job(each.scenario, "")
                self.results[each.nodeid] = [verdicts.describe(job, verdict="skipped", ok=True, reason=reason)]

    def judge(self) -> None:
        """Judge the suspects, each in a process of its own. Raises `MeasurementInterrupted`."""
        jobs = [
            self._job(each.scenario, target(self._config, each.nodeid, each.scenario.file)) for each in self.suspects
        ]
        plan = Plan(
            scenarios=[job.scenario for job in jobs], broken=[], template=self._template, tools=TOOLS, jobs=self._jobs
        )
        run = Runner(plan, Unseen()).run()
        by_id = {each.scenario.id: each for each in self.suspects}
        wanted = self.suspects[0]
        for result in run.scenarios:
            wanted = by_id.get(result.id, wanted)  # after that of a test come those of its points
            found = result if wanted.is_marked or result.failing else unless_not_repeatable(result)
            self.results.setdefault(wanted.nodeid, []).append(found)
        if run.interrupted:
            raise MeasurementInterrupted(None)

    def _job(self, scenario: ScenarioInfo, opened: str) -> Job:
        return msgspec.structs.replace(self._template, scenario=msgspec.structs.replace(scenario, target=opened))

    def _screen_files(self) -> None:
        """Screen files as long as there are some; a process that is gone has the next one for its successor."""
        worker: Worker | None = None
        try:
            with suppress(IndexError):  # another thread has taken the last one
                while True:
                    for wanted in self._files.popleft():
                        if worker is None or worker.gone:
                            if worker is not None:
                                worker.stop()
                            worker = self._started()
                        self._one(worker, wanted)
        except WorkerFailed as failed:
            if self._crew.interrupted:
                return
            self._why_not = self._why_not or failed.failure.message
            self._files.clear()
        finally:
            if worker is not None:
                worker.stop()

    def _started(self) -> Worker:
        request = SuiteRequest(**as_started(self._config), meters=[spec.name for spec in CATALOGUE if spec.screened])
        job = self._job(ScenarioInfo(id="", target="", name=""), f"pytest_suite://{json.dumps(request)}")
        worker = self._crew.start(job)
        try:
            worker.open()
        except BaseException:
            worker.stop()
            raise
        return worker

    def _one(self, worker: Worker, wanted: Wanted) -> None:
        job = self._job(wanted.scenario, "")
        try:
            seen = worker.ask(ScreenTest(wanted.nodeid, wanted.took_s), TestScreened)
        except WorkerFailed as failed:
            if self._crew.interrupted:
                raise
            if worker.gone:  # a crash or a hang: the judge says which, with nothing else in the process
                self.suspects.append(wanted)
                return
            self.results[wanted.nodeid] = [unless_not_repeatable(verdicts.failed(job, failed.failure))]
            return
        if seen.flat:
            self.results[wanted.nodeid] = [_screened(job, seen)]
        else:
            self.suspects.append(wanted)


def _screened(job: Job, seen: TestScreened) -> ScenarioResult:
    """The result of a test that left nothing, with what would have shown."""
    pages = {spec.name for spec in CATALOGUE if spec.family == "pages"}
    detectable = {
        name: masked if name == LEDGER else max(masked, _PAGE_BYTES if name in pages else 1.0)
        for name, masked in seen.masked.items()
    }
    shown = [f"{units.size(detectable[LEDGER])} of heap"] if LEDGER in detectable else []
    if memory := [loss for name, loss in detectable.items() if name in pages]:
        shown.append(f"{units.size(max(memory))} of other memory")
    return verdicts.describe(
        job,
        verdict="screened",
        ok=True,
        reason=f"left nothing in {units.count(seen.calls, 'call')}; would have shown, in every call: "
        + ", ".join([*shown, "1 resource, 1 file"]),
        iterations=seen.calls,
        duration_s=seen.seconds,
        detectable=detectable,
        once_in=dict.fromkeys(detectable, 1),
    )

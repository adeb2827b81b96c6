"""What the whole session says: the control, the summary section, the report files, the exit code."""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leakcheck import units
from leakcheck.execution.environment import left_out
from leakcheck.meters import LEDGER
from leakcheck.pytest_plugin.choosing import remember_green, remember_suspects
from leakcheck.pytest_plugin.dividing import SHARD, history_of
from leakcheck.pytest_plugin.keys import MEASURING
from leakcheck.pytest_plugin.measuring import (
    IN_FLIGHT,
    LEFT_ALONE,
    WANTED,
    Wanted,
    attach,
    attached,
    in_terminal,
    own_results,
    representation,
    template,
)
from leakcheck.records import VERDICTS, Control, RunResult, ScenarioResult, Shard, summarize
from leakcheck.report import failing
from leakcheck.report.folder import write_run
from leakcheck.report.sentences import relative
from leakcheck.report.text import line
from leakcheck.run import provenance
from leakcheck.run.control import BackgroundControl

_PRINTS = "leakcheck_prints"
"""Where a process of pytest-xdist puts what it has found out of the files of tests."""
_SHARD = "leakcheck_shard"
"""Where it puts which part of the suite was run."""
_CONTROL_FAILED = 3
"""Exit code: no verdict of this session can be relied on. It is pytest's own for an internal error."""


class Session:
    """Lives in the process that the user started; those of pytest-xdist have one that only passes reports on."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._is_controller = not hasattr(config, "workerinput")
        self._results: list[ScenarioResult] = []
        self._ran: set[str] = set()
        self._left_alone: Counter[str] = Counter()
        self._wanted: list[Wanted] = []
        self._screened = False
        self._red: set[str] = set()
        """Files of tests of which one failed or leaks."""
        self._prints: dict[str, str] = {}
        self._began = time.perf_counter()
        self._started = datetime.now(UTC)
        self._control: BackgroundControl | None = None
        self._interrupted = False
        self._verdict_of_control = Control(status="off", reason="no test was measured")
        self._written: Path | None = None
        self._directory = _writable(config) if self._is_controller else None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give what the test has measured itself to its report, and to its last one what the screening must know."""
        report = yield
        if call.when == "call" and (measured := own_results(item)):
            attach(report, measured)
        measuring = self._config.stash.get(MEASURING, None)
        if measuring is not None and measuring.screens and measuring.wants(item):
            measuring.note(item, report)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather the results that reports bring, from wherever they were made."""
        if not self._is_controller:
            return
        self._ran.add(report.nodeid)
        if report.failed:
            self._red.add(report.nodeid.partition("::")[0])
        if (wanted := getattr(report, WANTED, None)) is not None:
            self._wanted.append(msgspec.json.decode(wanted, type=Wanted))
        if (reason := getattr(report, LEFT_ALONE, None)) is not None:
            self._left_alone[reason] += 1
        results = attached(report)
        self._results += results
        if results:
            self._begin_control()

    def _begin_control(self) -> None:
        if self._control is None:
            self._control = BackgroundControl(template(self._config))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """What a process of pytest-xdist has found out of the files of tests."""
        output = getattr(node, "workeroutput", {})
        self._prints |= output.get(_PRINTS, {})
        if _SHARD in output:
            self._config.stash[SHARD] = msgspec.json.decode(output[_SHARD], type=Shard)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Screen the tests when all of them have been run."""
        ran = yield
        if self._is_controller and self._wanted:
            self._screen()
        return ran

    def _screen(self) -> None:
        from leakcheck.pytest_plugin.screening import Screening

        self._screened = True
        self._begin_control()
        jobs = int(getattr(self._config.option, "numprocesses", None) or 1)
        screening = Screening(self._config, self._wanted, jobs)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the user's filters are for the user's code, which runs elsewhere
                self._tell(f"leakcheck: {units.count(len(self._wanted), 'test')} to screen")
                screening.screen()
                if screening.suspects:
                    self._tell(f"leakcheck: {len(screening.suspects)} of them to judge in full")
                    screening.judge()
        finally:
            remember_suspects(self._config, [each.nodeid for each in screening.suspects])
            for wanted in self._wanted:
                if wanted.nodeid in screening.results:
                    self._conclude(wanted, screening.results[wanted.nodeid])

    def _tell(self, text: str) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(text)

    def _conclude(self, wanted: Wanted, results: list[ScenarioResult]) -> None:
        """Take in the results of a test that has been run before; one that is wrong fails it now."""
        wrong = list(filter(self._config.stash[MEASURING].is_wrong, results))
        if not wrong:
            self._results += results
            return
        report = pytest.TestReport(
            nodeid=wanted.nodeid,
            location=wanted.location,
            keywords={},
            outcome="failed",
            longrepr=representation(wanted.scenario, "\n\n".join(map(failing.text, wrong))),
            when="call",
        )
        attach(report, results)
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:  # a test is counted once
            passed = terminal.stats.get("passed", [])
            passed[:] = [each for each in passed if each.nodeid != wanted.nodeid]
        self._config.hook.pytest_runtest_logreport(report=report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Wait for the control, write the reports, say the exit code."""
        measuring = self._config.stash.get(MEASURING, None)
        prints = {} if measuring is None else measuring.prints
        if not self._is_controller:
            output = self._config.workeroutput  # type: ignore[attr-defined]
            output[_PRINTS] = prints
            if SHARD in self._config.stash:
                output[_SHARD] = msgspec.json.encode(self._config.stash[SHARD]).decode()
            return
        self._interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
        if (in_flight := self._config.stash.get(IN_FLIGHT, None)) is not None:
            self._results.append(in_flight)
        if self._control is not None:
            self._verdict_of_control = self._controlled(self._control)
        if self._verdict_of_control.status == "failed":
            session.exitstatus = _CONTROL_FAILED
        elif session.exitstatus == pytest.ExitCode.OK and self._config.option.leakcheck_strict and self._unmatched():
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        if self._results and not self._interrupted and self._verdict_of_control.status == "ok":
            remember_green(self._config, self._prints | prints, self._red)
        directory = self._directory
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            write_run(self._run(), directory, history=history_of(self._config))
            self._written = directory

    def _controlled(self, control: BackgroundControl) -> Control:
        """The verdict of the control; of one that is not done when the session is interrupted there is none."""
        if self._interrupted and not control.result.done():
            control.stop()
            return Control(status="off", reason="interrupted")
        with control:
            return control.result.result()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The section `leakcheck summary`."""
        terminalreporter.ensure_newline()
        terminalreporter.section("leakcheck summary")
        for text in self._summary():
            terminalreporter.write_line(in_terminal(text), yellow=text.startswith("warning: "))

    def _unmatched(self) -> str:
        """The selection, if it matches no test that ran: then it has a typo, or is older than the names."""
        measuring = self._config.stash.get(MEASURING, None)
        if measuring is None or not self._ran or any(map(measuring.selects, self._ran)):
            return ""
        return str(self._config.option.leakcheck_select)

    def _summary(self) -> Iterator[str]:
        if self._interrupted:
            yield "interrupted: what is missing here was not measured"
        counts = summarize(self._results)
        counted = ", ".join(f"{counts[each]} {each}" for each in VERDICTS if counts[each] and each != "skipped")
        if len(self._results) > counts["skipped"]:
            yield f"{len(self._results) - counts['skipped']} measured: {counted}"
        elif not self._results:
            yield self._nothing()
        if counts["skipped"]:
            yield f"{counts['skipped']} not measured"
        if any(LEDGER in each.detectable for each in self._results if each.verdict == "screened"):
            yield self._sensitivity()
        if self._results:
            yield from left_out()
        if unmatched := self._unmatched():
            yield f"warning: --leakcheck-select {unmatched!r} matches none of the tests that ran ({len(self._ran)})"
        if self._wanted and not self._screened:
            yield f"{units.count(len(self._wanted), 'test')} not screened: the session ended before"
        for reason, count in self._left_alone.items():
            yield f"{count} left alone: {line(reason, 300)}" if reason else f"{count} left alone"
        for verdict in ("leak", "error", "inconclusive", "skipped", "bounded"):
            for result in self._results:
                if result.verdict == verdict:
                    yield f"{verdict} {result.id}: {line(result.reason, 300)}"
        if self._verdict_of_control.status == "failed":
            yield f"the control failed, no verdict can be relied on: {line(self._verdict_of_control.reason)}"
        if self._written is not None:
            yield f"report: {relative(str(self._written / 'index.html'))}"

    def _sensitivity(self) -> str:
        """What would have shown in each of those that were screened."""
        losses = [each.detectable.get(LEDGER, 0.0) for each in self._results if each.verdict == "screened"]
        return f"screened: {units.size(max(losses))} of heap lost in every call would have shown; not judged"

    def _nothing(self) -> str:
        if self._config.option.leakcheck:
            return "no test was measured"
        return "no test was measured: without --leakcheck, only those are that measure something themselves"

    def _run(self) -> RunResult:
        environment = provenance.environment(template(self._config))
        shard = self._config.stash.get(SHARD, None)
        commit = str(environment.get("commit") or "")
        return RunResult(
            tool=provenance.tool(),
            environment=environment,
            shards=[] if shard is None else [msgspec.structs.replace(shard, commit=commit)],
            started=self._started.isoformat(timespec="seconds"),
            duration_s=time.perf_counter() - self._began,
            control=self._verdict_of_control,
            summary=summarize(self._results),
            scenarios=self._results,
            interrupted=self._interrupted,
        )


def _writable(config: pytest.Config) -> Path | None:
    """Where the reports go. It is made when they are there: pytest takes folders that exist for places of tests."""
    asked: Path | None = config.option.leakcheck_report
    if asked is None:
        return None
    directory: Path = config.invocation_params.dir / asked
    there = next(each for each in (directory, *directory.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise pytest.UsageError(
            f"--leakcheck-report {asked}: {there} is {'not writable' if there.is_dir() else 'a file, not a folder'}"
        )
    return directory

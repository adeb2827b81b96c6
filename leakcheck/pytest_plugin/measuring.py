"""In the user's pytest process: which tests are measured, one run of the measurement, and its verdict in the report."""

from __future__ import annotations

import json
import linecache
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from leakcheck import validation
from leakcheck.agent.protocol import INTERNAL, PytestRequest
from leakcheck.agent.scenario import is_name_in
from leakcheck.checking import CallOptions, MeasurementInterrupted, Result, measured_with_errors
from leakcheck.errors import UsageError
from leakcheck.execution.job import Budget, Job, ScenarioInfo, asked
from leakcheck.pytest_plugin.choosing import Choice
from leakcheck.records import POINT, Record, ScenarioResult
from leakcheck.report import failing
from leakcheck.run.discovery import select
from leakcheck.signs import printable

if TYPE_CHECKING:
    from _pytest._code.code import ReprExceptionInfo

ATTRIBUTE = "leakcheck_result"
"""Where a report carries the result as JSON: reports travel between the processes of pytest-xdist."""

LEFT_ALONE = "leakcheck_left_alone"
"""Where a report carries the reason of a test that is not measured, which may be empty."""

RESULTS: pytest.StashKey[list[ScenarioResult]] = pytest.StashKey()
"""Where a test keeps the results of its calls of the fixture until its report is made."""

IN_FLIGHT: pytest.StashKey[ScenarioResult] = pytest.StashKey()
"""Where a session keeps what was known of the test that was being measured when it was interrupted."""

WANTED = "leakcheck_wanted"
"""Where the last report of a test carries what finds it again, a `Wanted` as JSON."""

NOTED: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
"""Where a test that is to be screened keeps what its mark says."""

TOOK: pytest.StashKey[float] = pytest.StashKey()
"""Where it keeps how many seconds its phases took."""

WHOLE_SUITE = 50
"""Tests beyond which `--leakcheck` takes them for a whole suite, and screens it: to judge so many takes minutes."""

_BROKEN = ("signal", "exit", "memory", "protocol", INTERNAL)
"""Types of failures that say more than that a test cannot be repeated."""

_ENVIRONMENT = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")
TOOLS = frozenset({"growth", "memray"})
"""Not valgrind: all of pytest under it takes a minute, for each test that leaks."""
_UNDECIDED = ("inconclusive", "skipped")


class Wanted(Record, frozen=True, kw_only=True):
    """A test that has passed and is to be screened."""

    scenario: ScenarioInfo
    nodeid: str
    location: tuple[str, int | None, str]
    took_s: float
    """Seconds that it took with its fixtures."""
    is_marked: bool
    """Whether it says itself how it is judged."""


class Measuring:
    """What `--leakcheck` means in this session."""

    def __init__(self, config: pytest.Config) -> None:
        self.template = template(config)
        self._select: str | None = config.option.leakcheck_select
        self._strict: bool = config.option.leakcheck_strict
        self._errors: bool = config.option.leakcheck_errors
        self._choice = Choice(config)
        self.screens = config.option.leakcheck == "screen"
        """Whether tests are run as ever, and screened when all are done; see `screening`."""
        self._decides_by_number = config.option.leakcheck in ("auto", "changed")
        try:
            self.selects("")
        except UsageError as error:
            raise pytest.UsageError(str(error).replace("-k", "--leakcheck-select", 1)) from None

    def selects(self, nodeid: str) -> bool:
        """Whether `--leakcheck-select` matches a test, or is not given."""
        return bool(select([ScenarioInfo(id=nodeid, target="", name="")], self._select, None))

    def wants(self, item: pytest.Item) -> bool:
        """Python test functions and methods, unless not selected."""
        return isinstance(item, pytest.Function) and self.selects(item.nodeid) and self._choice.has(item)

    def plan(self, items: Sequence[pytest.Item]) -> None:
        """Screen a whole suite, judge a few tests in full: decided by how many are to be measured."""
        if self._decides_by_number and not self._errors:
            self.screens = sum(map(self.wants, items)) > WHOLE_SUITE

    @property
    def prints(self) -> dict[str, str]:
        """What the chosen files look like: remembered where nothing in them leaks."""
        return self._choice.prints

    def note(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Let the last report of a test that has passed carry what finds it again for the screening."""
        took = item.stash[TOOK] = item.stash.get(TOOK, 0.0) + report.duration
        if report.when == "call" and report.passed:
            options = self._options(item, report)
            if options is not None and report.passed:
                item.stash[NOTED] = options
        elif report.when == "teardown" and report.passed and (noted := item.stash.get(NOTED, None)) is not None:
            wanted = Wanted(
                scenario=info_of(item, noted),
                nodeid=_nodeid(item),
                location=item.location,
                took_s=took,
                is_marked=item.get_closest_marker("leakcheck") is not None,
            )
            setattr(report, WANTED, msgspec.json.encode(wanted).decode())

    def _options(self, item: pytest.Item, call: pytest.TestReport) -> dict[str, Any] | None:
        """What the mark of a test says; None where it is not to be measured, and then the report says why."""
        try:
            reason = _reason_to_leave_alone(item.get_closest_marker("no_leakcheck"))
            options = _mark_options(item.get_closest_marker("leakcheck"))
        except UsageError as error:
            call.outcome, call.longrepr = "failed", representation(info_of(item, {}), str(error))
            return None
        if hasattr(call, ATTRIBUTE):  # what leaks has failed it already
            self._fail_by(item, call, [each for each in attached(call) if each.ok])
            return None
        if reason is not None:
            setattr(call, LEFT_ALONE, reason)
            return None
        return options

    def measure(self, item: pytest.Item, reports: Sequence[pytest.TestReport]) -> None:
        """Measure a test that has passed, and turn its report into a failure where it leaks.

        Not one that has measured itself, or that is left alone by its mark: then the report says why.
        """
        _, call, teardown = reports
        options = self._options(item, call)
        if options is None:
            return
        cancel_timer(item)
        job = job_of(item, self.template, options)
        result, *errors = _measured(job, item)
        if item.get_closest_marker("leakcheck") is None:
            result = unless_not_repeatable(result)
        self._fail_by(item, call, [result, *errors])
        attach(call, [result, *errors])
        teardown.user_properties.append(("leakcheck", result.verdict))

    def _fail_by(self, item: pytest.Item, call: pytest.TestReport, results: Sequence[ScenarioResult]) -> None:
        """Make a failure of a report where a result is not as expected, or strictness asks for a decision."""
        wrong = list(filter(self.is_wrong, results))
        if wrong:
            text = "\n\n".join(map(failing.text, wrong))
            call.outcome, call.longrepr = "failed", representation(info_of(item, {}), text)

    def is_wrong(self, result: ScenarioResult) -> bool:
        """Whether a result is not as expected, or strictness asks for a decision."""
        return not result.ok or (self._strict and result.verdict in _UNDECIDED)


def measure_call(item: pytest.Item, before: Sequence[Result], options: CallOptions) -> Result:
    """Measure the call of the fixture that comes after those `before` in its test."""
    __tracebackhide__ = True
    validation.examine("leakcheck(...)", options, validation.names("call"))
    cancel_timer(item)
    record, *_ = _measured(job_of(item, template(item.config), options, before), item)
    item.stash[RESULTS] = [*item.stash.get(RESULTS, []), record]
    return Result(record)


def _measured(job: Job, item: pytest.Item) -> list[ScenarioResult]:
    """As `measured_with_errors`; what is known when Ctrl-C comes the session keeps, for the test has no report then."""
    _say_so(item.config)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user's filters are for the user's code, which runs elsewhere
            return measured_with_errors(job, TOOLS)
    except MeasurementInterrupted as interrupted:
        if interrupted.record is not None:
            item.config.stash[IN_FLIGHT] = interrupted.record
        raise


def _say_so(config: pytest.Config) -> None:
    """With `-v` a test's line says that it is being measured, which takes seconds."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and config.option.verbose > 0:
        reporter.write("measuring ", flush=True)


def own_results(item: pytest.Item) -> list[ScenarioResult]:
    """What a test has measured itself: by calls of the fixture, or as a `LeakTestCase`, under names as pytest has."""
    found = list(item.stash.get(RESULTS, ()))
    if hasattr(getattr(item, "cls", None), "leakcheck_results"):
        for result in item.instance.leakcheck_results():  # type: ignore[attr-defined]
            _, separator, number = result.record.id.rpartition("::call ")
            nodeid = item.nodeid.partition("@")[0]
            _, mark, point = result.record.id.partition(POINT)
            identifier = f"{nodeid}{separator}{number}" if separator else f"{nodeid}{mark}{point}"
            found.append(msgspec.structs.replace(result.record, id=identifier))
    return found


def cancel_timer(item: pytest.Item) -> None:
    """A time-out that is set for the test is not meant for its thousand repetitions."""
    hook = getattr(item.config.hook, "pytest_timeout_cancel_timer", None)
    if hook is not None:
        hook(item=item)


def attach(report: pytest.TestReport, results: list[ScenarioResult]) -> None:
    """Let a report carry results to the session."""
    setattr(report, ATTRIBUTE, msgspec.json.encode(results).decode())


def attached(report: pytest.TestReport) -> list[ScenarioResult]:
    """The results that a report carries; the test that made them may be gone by now."""
    carried = getattr(report, ATTRIBUTE, None)
    return [] if carried is None else msgspec.json.decode(carried, type=list[ScenarioResult])


def template(config: pytest.Config) -> Job:
    """The job that those of all tests are made from."""
    return Job(
        scenario=ScenarioInfo(id="", target="", name=""),
        budget=Budget(time_s=config.option.leakcheck_time_budget),
        cwd=config.invocation_params.dir,
        values=config.option.leakcheck_values,
        timeouts=config.option.leakcheck_timeouts,
    )


def job_of(item: pytest.Item, template: Job, options: Mapping[str, Any], before: Sequence[Result] | None = None) -> Job:
    """How the worker finds the test again, or in it the call after those `before`: as pytest was started here."""
    info = info_of(item, options, before)
    scenario = msgspec.structs.replace(info, target=target(item.config, _nodeid(item), info.file, before))
    return msgspec.structs.replace(template, scenario=scenario)


def target(config: pytest.Config, nodeid: str, file: str, before: Sequence[Result] | None = None) -> str:
    """What the worker opens: everything that finds a test again."""
    request = PytestRequest(
        nodeid=nodeid,
        path=f"{file}::{nodeid.partition('::')[2]}",
        explicit=before is not None,
        before=[each.summary for each in before or ()],
        **as_started(config),
    )
    return f"pytest_item://{json.dumps(request)}"


def as_started(config: pytest.Config) -> dict[str, Any]:
    """The fields of a request that are the same for all tests: how pytest was started here."""
    return {
        "arguments": [str(each) for each in config.invocation_params.args],
        "more_arguments": _more_arguments(config),
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        "sys_path": sys.path,
        "plugin": __package__,
    }


def _nodeid(item: pytest.Item) -> str:
    """Without the group that pytest-xdist appends."""
    return item.nodeid.partition("@")[0]


def info_of(item: pytest.Item, options: Mapping[str, Any], before: Sequence[Result] | None = None) -> ScenarioInfo:
    """What is known of a test, or of the call in it after those `before`; all but how it is found again."""
    nodeid = _nodeid(item)
    named = _without_values(item, nodeid)
    if before is None and item.config.option.leakcheck_errors:
        options = {"errors": True, **options}
    return ScenarioInfo(
        id=named if before is None else f"{named}::call {len(before) + 1}",
        target="",
        name=named if before is None else "call",
        doc=(getattr(getattr(item, "obj", None), "__doc__", None) or "").strip().partition("\n")[0],
        file=str(item.path),
        line=(item.location[1] or 0) + 1,
        tags=sorted({mark.name for mark in item.iter_markers()} - {"parametrize", "usefixtures"}),
        command=["pytest", "--leakcheck", nodeid if named == nodeid else nodeid.partition("[")[0]],
        **asked(options),
    )


def _without_values(item: pytest.Item, nodeid: str) -> str:
    """The test's id; its parameters are told where they are numbers, or names that its source has, else by position.

    An id goes into files that leave the machine, and a parameter may be any value.
    """
    callspec = getattr(item, "callspec", None)
    if callspec is None or item.config.option.leakcheck_values:
        return nodeid
    source = "".join(linecache.getlines(str(item.path)))
    by_position = [f"{name}{index}" for name, index in callspec.indices.items()]
    told = [_told(value, place, source) for value, place in zip(callspec.params.values(), by_position, strict=True)]
    if callspec.id == "-".join(told) or is_name_in(source, callspec.id):
        return nodeid
    return f"{nodeid.partition('[')[0]}[{'-'.join(by_position)}]"


def _told(value: object, place: str, source: str) -> str:
    """How pytest names a parameter where it is no value of the data."""
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, str):
        return value if is_name_in(source, value) else place
    name = getattr(value, "__name__", place)
    return name if isinstance(name, str) else place


def _more_arguments(config: pytest.Config) -> list[str]:
    """What is added to the user's arguments.

    The folder that names of tests begin at is pytest's guess from the arguments, and a report folder that exists by now
    changes it. Directories of a passed test go at once, coverage is not ours to count.
    """
    more = [f"--rootdir={config.rootpath}", "-o", "tmp_path_retention_policy=failed"]
    return [*more, "--no-cov"] if hasattr(config.option, "no_cov") else more


def _mark_options(mark: pytest.Mark | None) -> dict[str, Any]:
    if mark is None:
        return {}
    options = {**dict.fromkeys(map(repr, mark.args)), **mark.kwargs}
    validation.examine("@pytest.mark.leakcheck", options, validation.names("test"))
    return options


def _reason_to_leave_alone(mark: pytest.Mark | None) -> str | None:
    if mark is None:
        return None
    options = {**dict.fromkeys(map(repr, mark.args[1:])), **mark.kwargs}
    if mark.args:
        options["reason"] = mark.args[0]
    validation.examine("@pytest.mark.no_leakcheck", options, ("reason",))
    return str(options.get("reason", ""))


def unless_not_repeatable(result: ScenarioResult) -> ScenarioResult:
    """A test that fails or hangs when it is repeated or alone says nothing of leaks; one that crashes is broken."""
    failure = result.failure
    if result.verdict != "error" or failure is None or failure.type in _BROKEN:
        return result
    return msgspec.structs.replace(result, verdict="skipped", ok=True, reason=f"cannot be repeated: {result.reason}")


def in_terminal(text: str) -> str:
    """As the terminal can print it: of what it cannot, pytest would make one line of numbers."""
    return printable(text, sys.__stdout__.encoding if sys.__stdout__ is not None else None)


def representation(info: ScenarioInfo, text: str) -> ReprExceptionInfo:
    """The failure as pytest shows it; its first line is what the short summary repeats."""
    from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

    text = in_terminal(text)
    where = ReprFileLocation(info.file, info.line, text.partition("\n")[0])
    trace = ReprTraceback([ReprEntryNative([f"{text}\n"])], None, "native")
    return ReprExceptionInfo(reprtraceback=trace, reprcrash=where)

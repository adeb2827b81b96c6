"""One test of pytest in the measured process: its full protocol (set-up, call, tear-down) is the step.

pytest runs here as it does for the user: same arguments, folder, configuration and conftest files, so that the test
finds all it needs; fixtures of wider scope are made once. Only what writes files, prints, or would start more
processes is silenced, and what pytest keeps of each run is taken from it after each step: the test does not pay for it.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from leakcheck.agent.channel import Channel
from leakcheck.agent.hosts.host import MEASURED, Host
from leakcheck.agent.loading import of_call
from leakcheck.agent.protocol import MeasuredBefore, Open, PytestRequest
from leakcheck.agent.scenario import Options, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_SILENT: dict[str, Any] = {
    # pytest-xdist: this process is the only one
    "numprocesses": None, "maxprocesses": None, "dist": "no", "tx": [], "distload": False, "looponfail": False,
    # what is written, printed, remembered or selected
    "xmlpath": None, "report_log": None, "htmlpath": None, "json_report": False, "allure_report_dir": None,
    "lf": False, "failedfirst": False, "newfirst": False, "stepwise": False, "stepwise_skip": False, "cacheshow": None,
    "keyword": "", "markexpr": "", "deselect": None, "pyargs": False, "pastebin": None, "durations": None,
    "collectonly": False, "setuponly": False, "setupshow": False, "setupplan": False, "usepdb": False, "trace": False,
    "maxfail": 0, "reruns": 0, "leakcheck": False, "leakcheck_report": None,
}  # fmt: skip
_UNWATCHED = ("-o", "faulthandler_timeout=0")
"""pytest's own watchdog is a thread for each repetition; who hangs here is found by the tool."""
_BLOCKED = ("terminalreporter", "lfplugin", "nfplugin", "stepwiseplugin")


class TestNotReachedError(Exception):
    """pytest ended, or failed, before it came to the test. `told` is what may be said of it anywhere."""

    __test__ = False

    def __init__(self, told: str, report: str = "") -> None:
        super().__init__(f"{told}: {report}" if report else told)
        self.told = told


class TestDidNotPassError(TestNotReachedError):
    """The test was skipped, or a report of it says failure without an exception."""


def hold(channel: Channel, opening: Open, request_text: str) -> None:
    """Run pytest for the one test of the request, and hold the conversation where the test is."""
    request = PytestRequest(*json.loads(request_text))
    os.environ.update(request.environment)
    sys.argv[:] = ["pytest", *request.arguments]
    sys.path[:] = request.sys_path
    from _pytest.config import _prepareconfig

    plugin = import_module(request.plugin)
    runner = _Runner(Host(channel, opening, request.before), request)
    config = _prepareconfig(
        # The plugin is given as a module: it need not be installed here, and must not be registered twice.
        ["-p", "no:leakcheck", *request.arguments, "--capture=no", *request.more_arguments, *_UNWATCHED],
        [plugin, runner],
    )
    try:
        for name in _BLOCKED:
            config.pluginmanager.set_blocked(name)
        for name, value in _SILENT.items():
            if hasattr(config.option, name):
                setattr(config.option, name, value)
        config.args = [request.path]
        config.stash[plugin.HOST] = runner
        runner.config = config
        config.hook.pytest_cmdline_main(config=config)
    finally:
        config._ensure_unconfigure()
    if runner.error is not None:
        raise runner.error
    if not runner.host.held:
        raise TestNotReachedError(*(runner.why_not or (f"pytest did not come to {request.nodeid}",)))


class _Runner:
    """The plugin that takes the place of pytest's main loop."""

    def __init__(self, host: Host, request: PytestRequest) -> None:
        self.host = host
        self.error: BaseException | None = None
        self.why_not: tuple[str, str] | None = None
        """What may be told of the reason for which there was no test, and pytest's own report of it."""
        self.config: Any = None
        self._nodeid = request.nodeid
        self._explicit = request.explicit
        self._raised: BaseException | None = None
        self._outcome: tuple[str, str] | None = None
        """How a test ended that did not pass, and pytest's report of it."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the one test; a path may name several where ids are alike."""
        items[:] = [item for item in items if item.nodeid.partition("@")[0] == self._nodeid][:1]

    def pytest_collectreport(self, report: Any) -> None:
        """Remember why there is no test."""
        if report.failed:
            self.why_not = f"pytest cannot collect {self._nodeid} here", str(report.longrepr)[-4000:]

    def pytest_internalerror(self, excrepr: Any) -> None:
        """Remember what broke."""
        self.why_not = "pytest failed", str(excrepr)[-4000:]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of running all tests once, run one as often as the parent asks."""
        try:
            for item in session.items:
                if self._explicit:
                    self._run_once(item)
                else:
                    self.host.hold(Scenario(item.nodeid, self._repeated(item), {}, Options()))
        except BaseException as error:  # noqa: BLE001 - pytest would print it; it is for the parent
            self.error = error
        return True

    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> None:  # noqa: ARG002
        """Keep the exception of a test that fails: what it is decides whether a limit was met."""
        if call.excinfo is not None:
            self._raised = call.excinfo.value

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep how the test ended."""
        if not report.passed and not self._outcome:
            self._outcome = f"{report.outcome} in {report.when}", report.longreprtext[-2000:]

    def _run_once(self, item: pytest.Item) -> None:
        """Up to the call of the fixture that is wanted; the test must come so far."""
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        if self._outcome and not self.host.held:
            raise _told(self._raised, self._outcome)

    def _repeated(self, item: pytest.Item) -> Callable[..., Iterator[Callable[[], None]]]:
        # Another test of the same parents comes next, or so pytest believes: else it would end the wider fixtures, or
        # not even those of the test itself.
        twin = copy.copy(item)
        protocol = item.config.hook.pytest_runtest_protocol
        forget = _Forgetting(item)
        fixtures: dict[str, Any] = {}  # under this name the diagnosis reports what hangs on them

        def step() -> None:
            protocol(item=item, nextitem=twin)
            forget(fixtures)
            if self._outcome:
                raised, outcome = self._raised, self._outcome
                self._raised, self._outcome = None, None
                raise _told(raised, outcome)

        def protocol_of_the_test() -> Iterator[Callable[[], None]]:
            yield step

        return protocol_of_the_test

    def call(
        self, item: pytest.Item, function: Callable[..., Any], arguments: tuple[Any, ...], raises: Any
    ) -> MeasuredBefore:
        """A call of the fixture: the conversation, if this is the call that is wanted; then the test ends."""
        if self.host.wants():
            self.host.hold(of_call(function, arguments, raises, _forget_output(item)))
            _end_test()
        return self.host.answer()

    async def call_in_loop(
        self, item: pytest.Item, function: Callable[..., Any], arguments: tuple[Any, ...], raises: Any
    ) -> MeasuredBefore:
        """The same inside an async test."""
        if self.host.wants():
            await self.host.hold_in_loop(of_call(function, arguments, raises, _forget_output(item)))
            _end_test()
        return self.host.answer()


def _end_test() -> NoReturn:
    import pytest

    pytest.skip(MEASURED)


def _told(raised: BaseException | None, outcome: tuple[str, str]) -> BaseException:
    if not isinstance(raised, Exception):
        return TestDidNotPassError(*outcome)  # skipped, or given up by pytest.exit: never ours to pass on
    frames = raised.__traceback__
    while frames is not None and frames.tb_next is not None and _is_pytest(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return raised.with_traceback(frames)


def _is_pytest(file: str) -> bool:
    return f"{os.sep}_pytest{os.sep}" in file or f"{os.sep}pluggy{os.sep}" in file or file == __file__


class _Forgetting:
    """Takes from pytest what it has kept of a run, so that it is as if the test had run once."""

    def __init__(self, item: Any) -> None:
        self._item = item
        self._lists: list[tuple[list[Any], int]] = [
            (each, len(each)) for each in (item._report_sections, item.user_properties, item.own_markers)
        ]
        factory = getattr(item.config, "_tmp_path_factory", None)
        self._numbers: dict[str, int] = getattr(factory, "_next_number", {})
        self._folders: list[Path] = []
        if factory is not None:
            factory.mktemp = self._remembering(factory.mktemp)
        self._first = True

    def __call__(self, fixtures: dict[str, Any]) -> None:
        """Also gathers the values of fixtures of wider scope, when they have been made."""
        if self._first:
            # A fixture of wider scope is told by each fixture that uses it to end that one first, and keeps it: those
            # of the test's own scope have ended by now. What the first run added stays.
            self._lists += [(each, len(each)) for each in (*self._finalizers(fixtures), *self._histories())]
            self._folders.clear()  # some of them are fixtures' of wider scope
            self._first = False
        for each, length in self._lists:
            if len(each) > length:
                del each[length:]
        for folder in self._folders:  # those of `tmp_path_factory` stay until pytest ends
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=True)
        self._folders.clear()
        self._numbers.clear()  # of the temporary directories: those before are gone
        if self._item.cls is not None and vars(self._item).get("_instance", self) is None:
            del self._item._instance  # pytest 8.2 leaves none of a TestCase behind, and would not make another

    def _remembering(self, make: Callable[..., Path]) -> Callable[..., Path]:
        def mktemp(*arguments: Any, **options: Any) -> Path:
            made = make(*arguments, **options)
            self._folders.append(made)
            return made

        return mktemp

    def _finalizers(self, fixtures: dict[str, Any]) -> Iterator[list[Any]]:
        manager = self._item.session._fixturemanager
        waiting = [vars(manager).get("_arg2fixturedefs"), vars(manager).get("_arg2node2fixturedefs")]
        while waiting:
            each = waiting.pop()
            if isinstance(each, Mapping):  # by name, and by node since pytest 9
                waiting += each.values()
            elif isinstance(each, list | tuple):
                waiting += each
            elif getattr(each, "scope", "function") != "function" and each.cached_result is not None:
                fixtures[each.argname] = each.cached_result[0]
                yield each._finalizers

    def _histories(self) -> Iterator[list[Any]]:
        """Calls of hooks that plugins which come later are to see: warnings, above all."""
        for hook in vars(self._item.config.hook).values():
            if getattr(hook, "_call_history", None) is not None:
                yield hook._call_history


def _forget_output(item: Any) -> Callable[[], None]:
    """Empties what pytest gathers while a test runs: log records for caplog and the report, output for capsys."""
    manager = item.config.pluginmanager
    logging_plugin, capture = manager.get_plugin("logging-plugin"), manager.get_plugin("capturemanager")
    handlers = [
        handler
        for name in ("caplog_handler", "report_handler")
        if (handler := getattr(logging_plugin, name, None)) is not None
    ]

    def forget() -> None:
        for handler in handlers:
            if handler.records:
                handler.clear()
        capturing = capture._capture_fixture
        if capturing is not None:
            capturing.readouterr()

    return forget

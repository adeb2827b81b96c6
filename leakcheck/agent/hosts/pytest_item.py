"""One test of pytest in the measured process: its full protocol (set-up, call, tear-down) is the step.

pytest runs here as it does for the user, so that the test finds all it needs; fixtures of wider scope are made once.
What pytest keeps of each run is taken from it after each step: the test does not pay for it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from leakcheck.agent.channel import Channel
from leakcheck.agent.hosts.host import MEASURED, Host
from leakcheck.agent.hosts.not_reached import TestNotReachedError
from leakcheck.agent.hosts.pytest_forgetting import Forgetting
from leakcheck.agent.hosts.pytest_protocol import Repeater, Step
from leakcheck.agent.hosts.pytest_start import run_pytest
from leakcheck.agent.loading import of_call
from leakcheck.agent.protocol import MeasuredBefore, Open, PytestRequest
from leakcheck.agent.scenario import Options, Scenario

if TYPE_CHECKING:
    import pytest


def hold(channel: Channel, opening: Open, request_text: str) -> None:
    """Run pytest for the one test of the request, and hold the conversation where the test is."""
    request = PytestRequest(*json.loads(request_text))
    runner = _Runner(Host(channel, opening, request.before), request)
    run_pytest(request, runner, [request.path])
    if runner.error is not None:
        raise runner.error
    if not runner.host.held:
        raise TestNotReachedError(*(runner.why_not or (f"pytest did not come to {request.nodeid}",)))


class _Runner(Repeater):
    """The plugin that takes the place of pytest's main loop."""

    def __init__(self, host: Host, request: PytestRequest) -> None:
        super().__init__()
        self.host = host
        self.error: BaseException | None = None
        self.why_not: tuple[str, str] | None = None
        """What may be told of the reason for which there was no test, and pytest's own report of it."""
        self._nodeid = request.nodeid
        self._explicit = request.explicit

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
                    self._hold(item)
        except BaseException as error:  # noqa: BLE001 - pytest would print it; it is for the parent
            self.error = error
        return True

    def _run_once(self, item: pytest.Item) -> None:
        """Up to the call of the fixture that is wanted; the test must come so far."""
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        if not self.host.held:
            self.raise_outcome()

    def _hold(self, item: pytest.Item) -> None:
        """Hold the conversation about the test as a whole."""
        # Another test of the same parents comes next, or so pytest believes: else it would end the wider fixtures, or
        # not even those of the test itself.
        twin = copy.copy(item)
        forget = Forgetting(item)
        fixtures: dict[str, Any] = {}  # under this name the diagnosis reports what hangs on them

        def hold(run_once: Step) -> None:
            def step() -> None:
                run_once()
                forget(fixtures)

            def protocol_of_the_test() -> Iterator[Step]:
                yield step

            self.host.hold(Scenario(item.nodeid, protocol_of_the_test, {}, Options()))

        self.inside(item, twin, hold)

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

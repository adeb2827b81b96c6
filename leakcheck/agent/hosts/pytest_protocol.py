"""One test's set-up, call and tear-down, again and again, without what the runner says and writes of each run.

Of half a millisecond that pytest takes for a test that does nothing, nine tenths are reports, captured output, marks
that are evaluated anew, and filters of warnings that are parsed anew. None of it is the test's. So all repetitions take
place inside one protocol of pytest's, whose wrappers (warnings, assertions) are entered once, and in each of them the
hooks of set-up, call and tear-down are called as pytest calls them, without those plugins of pytest's own that would
find nothing to do. A test that needs one of them has it: output that is captured by a fixture, logs that are read by
one, marks that skip. Where somebody else's plugin takes part in the whole protocol, that is what is repeated.

The names of pytest's that are not public are in this package (`hosts`) alone.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from leakcheck.agent.hosts.hypothesis_tests import with_the_same_examples
from leakcheck.agent.hosts.not_reached import TestDidNotPassError

Step = Callable[[], None]

_CAPTURING = ("capsys", "capsysbinary", "capfd", "capfdbinary", "capteesys")
_OURS_AND_PYTESTS = ("_pytest.", "leakcheck.", "xdist.", "pytest_timeout", "pytest_cov", "_hypothesis_pytestplugin")
"""Modules of plugins whose part in the whole protocol is reporting, or is done once around all repetitions."""
_WHOLE = (
    *("pytest_runtest_protocol", "pytest_runtest_makereport", "pytest_runtest_logreport"),
    *("pytest_runtest_logstart", "pytest_runtest_logfinish"),
)


class Repeater:
    """A plugin of pytest's that runs tests as often as it is asked."""

    def __init__(self) -> None:
        self.outcome: tuple[str, str] | None = None
        """How a test ended that did not pass, and pytest's report of it."""
        self._raised: BaseException | None = None
        self._work: Callable[[], None] | None = None

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> bool | None:  # noqa: ARG002
        """Instead of one run: what is to be done inside the protocol of a test."""
        work, self._work = self._work, None
        if work is None:
            return None
        work()
        return True

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:  # noqa: ARG002
        """Keep the exception of a test that fails: what it is decides whether a limit was met."""
        if call.excinfo is not None:
            self._raised = call.excinfo.value

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep how the test ended."""
        if not report.passed and not self.outcome:
            self.outcome = f"{report.outcome} in {report.when}", report.longreprtext[-2000:]

    def inside(self, item: Any, twin: Any, work: Callable[[Step], None]) -> None:
        """Call `work` with a step that runs the test once, and raises what it raises.

        `twin` is what pytest takes for the test that comes next: one with the same parents.
        """
        forget = with_the_same_examples(item)
        if forget is not None:
            plain = work

            def work(step: Step) -> None:
                plain(_followed_by(step, forget))

        if _others_take_part(item):
            work(lambda: self.whole(item, twin))
            return
        timer = item.config.pluginmanager.get_plugin("timeout")  # it is for one run; who hangs is found by the tool
        protocol = _without(item, "pytest_runtest_protocol", () if timer is None else (timer,))
        raised: list[BaseException] = []

        def held() -> None:
            try:
                with _logs_are_handled(item):
                    work(self._step(item, twin))
            except BaseException as error:  # noqa: BLE001 - it is for our caller, and not for what pytest does around
                raised.append(error)

        self._work = held
        protocol(item=item, nextitem=twin)
        if raised:
            raise raised[0]

    def whole(self, item: Any, nextitem: Any) -> None:
        """Run the test by the whole protocol of pytest; raises what the test raises."""
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        self.raise_outcome()

    def raise_outcome(self) -> None:
        """Raise what the whole protocol has reported, if the test did not pass."""
        if self.outcome:
            raised, outcome = self._raised, self.outcome
            self._raised = self.outcome = None
            raise told(raised, outcome)

    def _step(self, item: Any, twin: Any) -> Step:
        quick = _quick(item, twin)
        tried = False

        def step() -> None:
            nonlocal quick, tried
            if tried:
                quick()
                return
            tried = True
            try:
                quick()
            except Exception:  # noqa: BLE001 - it may need what has been left out; then it has it from now on
                quick = lambda: self.whole(item, twin)  # noqa: E731
                quick()

        return step


def _quick(item: Any, twin: Any) -> Step:
    """Set-up, call and tear-down by their hooks, as pytest calls them."""
    from _pytest.tmpdir import tmppath_result_key

    idle = list(_idle_plugins(item))
    early = [*idle, *_plugins(item, ("unraisableexception", "threadexception"))]  # they report it after the tear-down
    set_up = _bound(_without(item, "pytest_runtest_setup", early), item=item)
    call = _bound(_without(item, "pytest_runtest_call", early), item=item)
    tear_down = _bound(_without(item, "pytest_runtest_teardown", idle), item=item, nextitem=twin)
    has_request = hasattr(item, "_request")
    passed = {"setup": True, "call": True, "teardown": True}
    handlers = _log_handlers(item)
    record_warnings = warnings.catch_warnings

    def step() -> None:
        when = "setup"
        raised: BaseException | None = None
        with record_warnings(record=True):
            if has_request and not item._request:
                item._initrequest()
            item.stash[tmppath_result_key] = passed  # by which `tmp_path` knows that its folder may go
            try:
                set_up()
                when = "call"
                call()
            except BaseException as error:  # noqa: BLE001 - as pytest does it, the tear-down comes first
                raised = error
            try:
                tear_down()
            except BaseException as error:  # noqa: BLE001
                if raised is None:
                    when, raised = "teardown", error
            if has_request:
                item._request = False
                item.funcargs = None
        for handler in handlers:
            if handler.records:
                handler.reset()
        failures = getattr(item, "_excinfo", None)  # a unittest.TestCase keeps them
        if failures:
            raised = failures.pop(0).value
            failures.clear()
        if raised is not None:
            if isinstance(raised, KeyboardInterrupt):
                raise raised
            how = "skipped" if type(raised).__name__ in ("Skipped", "SkipTest") else "failed"
            raise told(raised, (f"{how} in {when}", str(raised)))

    return step


def _bound(hook: Any, **arguments: Any) -> Step:
    """A call of the hook's implementations in their order; of all but the quick ones by the hook itself."""
    implementations = hook.get_hookimpls()
    if any(each.hookwrapper or each.wrapper for each in implementations):
        return lambda: hook(**arguments)
    calls = [partial(each.function, *(arguments[name] for name in each.argnames)) for each in reversed(implementations)]

    def in_order() -> None:
        for each in calls:
            each()

    return in_order


def _followed_by(step: Step, last: Step) -> Step:
    def both() -> None:
        try:
            step()
        finally:
            last()

    return both


def _idle_plugins(item: Any) -> Iterator[object]:
    """Plugins whose part in set-up, call and tear-down is nothing for this test, or is not the test's."""
    used = set(item.fixturenames) if hasattr(item, "fixturenames") else set()
    idle = ["timeout", "pytest_cov", "_cov"]
    if not hasattr(getattr(item, "obj", None), "is_hypothesis_test"):
        idle.append("hypothesispytest")
    if "caplog" not in used:
        idle.append("logging-plugin")
    if used.isdisjoint(_CAPTURING):
        idle.append("capturemanager")
    if not any(mark.name in ("skip", "skipif", "xfail") for mark in item.iter_markers()):
        idle.append("skipping")
    return _plugins(item, idle)


def _plugins(item: Any, names: Iterable[str]) -> Iterator[object]:
    """Those that are there."""
    return filter(None, map(item.config.pluginmanager.get_plugin, names))


def _without(item: Any, name: str, plugins: Iterable[object]) -> Any:
    """A hook as it is called for the test (by conftest files that apply), without some plugins."""
    left_out = {*getattr(item.ihook, "remove_mods", ()), *plugins}
    return item.config.pluginmanager.subset_hook_caller(name, left_out)


def _others_take_part(item: Any) -> bool:
    """Whether a plugin that is not known here has a part in the whole protocol."""
    elsewhere = getattr(item.ihook, "remove_mods", ())
    for name in _WHOLE:
        for implementation in getattr(item.config.hook, name).get_hookimpls():
            plugin = implementation.plugin
            module = f"{getattr(plugin, '__name__', type(plugin).__module__)}."
            if plugin not in elsewhere and not module.startswith(_OURS_AND_PYTESTS):
                return True
    return False


def _log_handlers(item: Any) -> list[Any]:
    """Those in which pytest gathers records: for caplog and for the report."""
    plugin = item.config.pluginmanager.get_plugin("logging-plugin")
    names = ("caplog_handler", "report_handler")
    return [handler for name in names if (handler := getattr(plugin, name, None)) is not None]


@contextmanager
def _logs_are_handled(item: Any) -> Iterator[None]:
    """A logger has a handler while a test runs, or it would print by itself, and `basicConfig` would do something."""
    handlers = _log_handlers(item)
    if not handlers:
        yield
        return
    from _pytest.logging import catching_logs

    level = getattr(item.config.pluginmanager.get_plugin("logging-plugin"), "log_level", None)
    with ExitStack() as stack:
        for handler in handlers:
            stack.enter_context(catching_logs(handler, level=level))
        yield


def told(raised: BaseException | None, outcome: tuple[str, str]) -> BaseException:
    """What a test that did not pass raises: its own exception, without the frames of pytest at the top."""
    if not isinstance(raised, Exception):
        return TestDidNotPassError(*outcome)  # skipped, or given up by pytest.exit: never ours to pass on
    frames = raised.__traceback__
    while frames is not None and frames.tb_next is not None and _is_pytest(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return raised.with_traceback(frames)


def _is_pytest(file: str) -> bool:
    return (
        f"{os.sep}_pytest{os.sep}" in file
        or f"{os.sep}pluggy{os.sep}" in file
        or os.path.dirname(file) == os.path.dirname(__file__)
    )

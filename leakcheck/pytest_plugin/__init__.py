"""The pytest plugin: `pytest --leakcheck` repeats each test in a process of its own and fails those that leak.

On by being installed, silent until asked, and light: the measured process imports this module too. The tests themselves
run as ever; what is measured is measured afterwards, in `leakcheck.pytest_plugin.measuring`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from leakcheck.pytest_plugin.keys import HOST, MEASURING

if TYPE_CHECKING:
    from leakcheck.pytest_plugin.call import LeakcheckCall

_MARKS = (
    "leakcheck(budget={}, expect='clean', time_budget=None, max_iterations=None, tools=None, timeouts=None): how "
    "`pytest --leakcheck` judges this test: accepted growth per run by meter, 'leak' where one is planted, seconds "
    "that it may take, ['growth'] where nobody need ask why, seconds after which it counts as hanging ({'call': 600}).",
    "no_leakcheck(reason=''): `pytest --leakcheck` runs this test once, as ever, and does not measure it.",
)


_MODES = {
    "screen": "Screen all tests by a few calls of each, and judge in full those that leave something.",
    "full": "Judge every test in full.",
    "changed": "Measure tests of files that have changed, or import what has, since they were last without a leak.",
}
"""Each is an option of its own: one that takes a value would take a path that comes after it for that."""


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(text)
    return seconds


def _folder(text: str) -> Path:
    if not text.strip():
        raise ValueError(text)
    return Path(text)


def _timeouts(text: str) -> dict[str, float]:
    from leakcheck.validation import timeouts

    found = timeouts(text)
    if found is None:
        raise ValueError(text)
    return found


_folder.__name__ = "name of a folder"
_timeouts.__name__ = "list of seconds by name"
_seconds.__name__ = "number of seconds"  # as argparse names it: invalid number of seconds value: '-1'


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, all named `--leakcheck...`."""
    group = parser.getgroup("leakcheck", "memory leaks (elkyn-leakcheck)")
    group.addoption(
        "--leakcheck",
        action="store_const",
        const="auto",
        default="",
        help="Repeat each passing test and fail those that leak; a whole suite (more than 50 tests) is screened.",
    )
    for mode, text in _MODES.items():
        group.addoption(f"--leakcheck={mode}", action="store_const", const=mode, dest="leakcheck", help=text)
    group.addoption(
        "--leakcheck-since",
        metavar="REV",
        default="",
        help="With --leakcheck=changed: changed since this git revision.",
    )
    group.addoption(
        "--leakcheck-last-suspects", action="store_true", help="Measure only what the last screening did not find flat."
    )
    group.addoption(
        "--leakcheck-select", metavar="EXPR", help="Measure only tests whose node id matches: 'parser and not slow'."
    )
    group.addoption(
        "--leakcheck-time-budget",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="Seconds that a suspicious test may run (default: 10); clean ones need far less.",
    )
    group.addoption(
        "--leakcheck-timeouts",
        type=_timeouts,
        default={},
        metavar="LIST",
        help="Seconds after which a set-up, call, tear-down or look of the diagnosis counts as hanging: call=600.",
    )
    group.addoption(
        "--leakcheck-report",
        type=_folder,
        metavar="DIR",
        help="Write results.json, index.html, ... of the measured tests.",
    )
    group.addoption(
        "--leakcheck-shard",
        metavar="K/N",
        help="Run the tests of the K-th of N parts of the files, which take about as long by the report's history.",
    )
    group.addoption(
        "--leakcheck-errors",
        action="store_true",
        help="Let each test that leaks nothing also fail, at each call that the tested code makes and wherever it "
        "waits; tests are not screened then.",
    )
    group.addoption(
        "--leakcheck-tasks",
        action="store_true",
        help="Fail each test that leaves a task or thread that waits for ever: found in one run, without --leakcheck.",
    )
    group.addoption(
        "--leakcheck-values",
        action="store_true",
        help="Show what the program keeps and the messages of exceptions, in the terminal and in the report.",
    )
    group.addoption(
        "--leakcheck-strict",
        action="store_true",
        help="Fail also tests that could not be measured or decided, and a selection that matches none.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks; start nothing unless asked."""
    for mark in _MARKS:
        config.addinivalue_line("markers", mark)
    options = config.option
    if options.leakcheck_last_suspects:
        options.leakcheck = "full" if options.leakcheck in ("", "auto") else options.leakcheck
    if not options.leakcheck and HOST not in config.stash:
        _refuse_what_needs_the_option(config)
    if options.leakcheck_since and options.leakcheck not in ("", "changed"):
        raise pytest.UsageError("--leakcheck-since is for --leakcheck=changed")
    if options.leakcheck_tasks and HOST not in config.stash:
        from leakcheck.pytest_plugin.waiting import WaitingTests

        config.pluginmanager.register(WaitingTests(), "leakcheck-waiting")
    if options.collectonly or not (options.leakcheck or options.leakcheck_report):
        return
    from leakcheck.pytest_plugin.measuring import Measuring
    from leakcheck.pytest_plugin.session import Session

    if options.leakcheck:
        config.stash[MEASURING] = Measuring(config)
    config.pluginmanager.register(Session(config), "leakcheck-session")


def _refuse_what_needs_the_option(config: pytest.Config) -> None:
    """For what was typed only: kept in `addopts`, it is for the runs that have `--leakcheck`."""
    for typed in map(str, config.invocation_params.args):
        name = typed.partition("=")[0]
        if name in ("--leakcheck-select", "--leakcheck-strict", "--leakcheck-since"):
            raise pytest.UsageError(f"{name} says which tests --leakcheck measures and fails: add --leakcheck")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what other machines run."""
    if config.option.leakcheck_shard:
        from leakcheck.pytest_plugin.dividing import keep_part

        keep_part(config, items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Decide whether it is a whole suite."""
    measuring = session.config.stash.get(MEASURING, None)
    if measuring is not None:
        measuring.plan(session.items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test as ever; if it passes, measure it before its reports go out."""
    measuring = item.config.stash.get(MEASURING, None)
    if measuring is None or measuring.screens or not measuring.wants(item):
        return None
    from _pytest.runner import runtestprotocol

    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if [report.outcome for report in reports] == ["passed"] * 3:
        measuring.measure(item, reports)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture
def leakcheck(request: pytest.FixtureRequest) -> LeakcheckCall:
    """`leakcheck(function, *arguments)`: fails the test where the function leaks; returns the `leakcheck.Result`.

    The function may use anything that the test has made: the test itself is run again in the measured process, up to
    this call. `await leakcheck.awaiting(function, ...)` is the same inside an async test.
    """
    from leakcheck.pytest_plugin.call import LeakcheckCall

    return LeakcheckCall(request)

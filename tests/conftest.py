"""What holds for all tests.

In CI a skipped test is a failure: a tool that is missing there must be installed, not passed over in silence. And a
shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C: they take it back.
"""

from __future__ import annotations

import os
import signal

import pytest

_skipped: list[str] = []


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skipped and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped:
        terminalreporter.section("skipped, which is a failure in CI")
        for line in _skipped:
            terminalreporter.write_line(line)

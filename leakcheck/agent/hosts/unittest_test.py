"""One test of a `LeakTestCase` in the measured process: up to the call that is wanted, or as a whole the step."""

from __future__ import annotations

import importlib
import json
import sys
import unittest
import weakref
from collections.abc import Callable
from typing import Any

from leakcheck.agent.channel import Channel
from leakcheck.agent.hosts.host import Answers, Host
from leakcheck.agent.hosts.not_reached import TestDidNotPassError, TestNotReachedError
from leakcheck.agent.loading import import_file, of_call
from leakcheck.agent.protocol import Open, UnittestRequest


def hold(channel: Channel, opening: Open, request_text: str) -> None:
    """Run the test of the request as unittest does, and hold the conversation where it calls, or in its place."""
    request = UnittestRequest(*json.loads(request_text))
    sys.path[:] = request.sys_path
    is_script = request.module == "__main__"
    found: Any = import_file(request.file) if is_script else importlib.import_module(request.module)
    for part in request.class_name.split("."):
        found = getattr(found, part)
    test = found(request.method)
    host = test.leakcheck_host = Host(channel, opening, request.before)
    error: list[BaseException] = []
    if request.whole:
        step = _repetition(weakref.ref(found), request)

        def run(_result: unittest.TestResult) -> None:
            try:
                host.hold(of_call(step, (), None))
            except BaseException as raised:  # noqa: BLE001 - the suite would keep it; it is for the parent
                error.append(raised)

        test.run = run  # around it, the suite runs once what belongs to the class and the module
    result = _Result()
    unittest.TestSuite([test]).run(result)
    if error:
        raise error[0]
    if not host.held:
        messages = [text for _, text in (*result.errors, *result.failures)] or [
            f"{reason}" for _, reason in result.skipped
        ]
        raise TestNotReachedError(
            f"{test.id()} did not come to the call again", messages[0][-4000:] if messages else ""
        )


class _Result(unittest.TestResult):
    """Keeps the exception itself: what it is decides whether a limit was met."""

    raised: BaseException | None = None

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self.raised = self.raised or err[1]
        super().addError(test, err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.raised = self.raised or err[1]
        super().addFailure(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        self.raised = self.raised or (err[1] if err else None)
        super().addSubTest(test, subtest, err)


def _repetition(case: weakref.ref[Any], request: UnittestRequest) -> Callable[[], None]:
    """Each repetition has an instance and a result of its own, as in a run of unittest, and nothing is kept of either.

    The class is not held here: what hangs on it shall be found by its name in the module.
    """

    def step() -> None:
        test, result = case()(request.method), _Result()  # type: ignore[misc]
        test.leakcheck_host = Answers(request.before)
        test.run(result)
        if result.raised is not None:
            raise result.raised
        if result.skipped or not result.wasSuccessful():
            skipped = ("it was skipped", result.skipped[0][1]) if result.skipped else ("it was expected to fail",)
            raise TestDidNotPassError(*skipped)

    return step

"""One test of a `LeakTestCase` in the measured process: it runs as unittest runs it, up to the call that is wanted."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from leakcheck.worker.channel import Channel
from leakcheck.worker.hosting import Host
from leakcheck.worker.loading import import_file


class TestNotReachedError(Exception):
    """The test ended before it came to the call."""

    __test__ = False


def hold(channel: Channel, message: dict[str, Any], request_text: str) -> None:
    """Run the test of the request once, and hold the conversation where it calls."""
    import unittest

    request = json.loads(request_text)
    sys.path[:] = request["sys_path"]
    is_script = request["module"] == "__main__"
    found: Any = import_file(request["file"]) if is_script else importlib.import_module(request["module"])
    for part in request["class"].split("."):
        found = getattr(found, part)
    test = found(request["method"])
    host = test.leakcheck_host = Host(channel, message, request["before"])
    result = unittest.TestResult()
    unittest.TestSuite([test]).run(result)
    if not host.held:
        told = [text for _, text in (*result.errors, *result.failures)] or [f"{reason}" for _, reason in result.skipped]
        raise TestNotReachedError(told[0][-4000:] if told else f"{test.id()} did not come to the call again")

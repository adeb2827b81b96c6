"""Why a test cannot be measured: pytest and unittest end in more ways than by coming to the call."""

from __future__ import annotations


class TestNotReachedError(Exception):
    """The test ended, or failed, before it came to its call. `told` is what may be said of it anywhere."""

    __test__ = False

    def __init__(self, told: str, report: str = "") -> None:
        super().__init__(f"{told}: {report}" if report else told)
        self.told = told


class TestDidNotPassError(TestNotReachedError):
    """The test passes once, and repeated it is skipped, or fails without an exception of its own."""

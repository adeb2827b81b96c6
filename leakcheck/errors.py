"""The errors that leakcheck raises; each message says what was wrong, where, and what to do."""

from __future__ import annotations


class LeakcheckError(Exception):
    """Base of all errors of the toolkit."""


class UsageError(LeakcheckError):
    """A wrong option, path, file or configuration (exit code 4)."""


class NothingCollectedError(LeakcheckError):
    """No scenario was found where one was asked for (exit code 5)."""


class ControlError(LeakcheckError):
    """The planted controls did not come out as planted: this machine's readings cannot be trusted (exit code 3)."""


def guess(name: str, names: list[str]) -> str:
    """What a mistyped name may have been meant for, in parentheses after a blank; empty where nothing is near."""
    from difflib import get_close_matches  # only for this one sentence

    close = get_close_matches(name, names, 1)
    return f" (did you mean {close[0]}?)" if close else ""

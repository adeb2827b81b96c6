"""The errors that leakcheck raises; each message says what was wrong, where, and what to do."""


class LeakcheckError(Exception):
    """Base of all errors of the toolkit."""


class UsageError(LeakcheckError):
    """A wrong option, path, file or configuration (exit code 4)."""


class NothingCollectedError(LeakcheckError):
    """No scenario was found where one was asked for (exit code 5)."""


class ControlError(LeakcheckError):
    """The planted controls did not come out as planted: this machine's readings cannot be trusted (exit code 3)."""

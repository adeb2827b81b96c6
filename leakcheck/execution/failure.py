"""Why a job came to no verdict, as it may be told anywhere, and with all that the program said of it.

The message of an exception, and what a program prints, may hold any value of it. Both forms are made together: the one
without values is for the results, the whole one for whoever sits before the run.
"""

from __future__ import annotations

import os
import re

from leakcheck.agent.channel import CLOSED_OURS
from leakcheck.agent.protocol import Failed
from leakcheck.errors import LeakcheckError
from leakcheck.records import Failure

_OF_FAULTHANDLER = re.compile(
    r'(?:Fatal Python error: .*|(?:Current )?[Tt]hread .*:|Stack .*:|  File ".*", line \d+ in .*|  \.\.\.|  <.*>'
    r"|Extension modules: .*|Python runtime state: .*|)"
)
"""A line that the interpreter prints where it ends by a signal: code, and no value."""
_OURS = f'  File "{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}{os.sep}'
"""How a frame of this tool begins there: it called the step, and says nothing of it."""


class WorkerFailed(LeakcheckError):  # noqa: N818 - the field's word: the worker failed, we did not
    """The worker cannot go on; `failure` says why, and `whole` with all that the program said, if it said more."""

    def __init__(self, failure: Failure, whole: Failure | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.whole = whole or failure


def of_exception(failed: Failed, output: str, *, values: bool, after: str = "") -> WorkerFailed:
    """What the measured process raised; `after` says how far it had come."""
    whole = Failure(type=failed.type, message=failed.message + after, traceback=failed.traceback, output=output)
    said = Failure(type=failed.type, message=failed.said + after, traceback=failed.stack)
    if failed.message in failed.said and not output and failed.stack.count("Traceback (") <= 1:
        whole = said  # but for messages of causes, which are in the traceback
    return WorkerFailed(whole if values else said, whole)


def of_process(kind: str, message: str, printed: str, stack: str, *, values: bool) -> WorkerFailed:
    """How the process ended, with the stacks that faulthandler printed at last; our own last words are told too."""
    if CLOSED_OURS in printed:
        message = f"{message}: {CLOSED_OURS}"
    rows = [row for row in stack.splitlines() if not row.startswith(_OURS)]
    whole = Failure(type=kind, message=message, traceback="\n".join(rows), output=printed)
    code = "\n".join(row for row in rows if _OF_FAULTHANDLER.fullmatch(row))
    said = Failure(type=kind, message=message, traceback=code)
    return WorkerFailed(whole if values else said, whole)

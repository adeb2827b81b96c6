"""The conversation with the swept interpreter: what is asked goes in, records come out until it has no more to say."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from leakcheck.agent import lifeline
from leakcheck.errors import LeakcheckError, UsageError
from leakcheck.execution.environment import worker_environment
from leakcheck.execution.interpreter import allocator_in
from leakcheck.sweep import inside
from leakcheck.sweep.apart import Apart
from leakcheck.sweep.inside import messages

_KNOWN: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        messages.Began,
        messages.Broken,
        messages.Crash,
        messages.Done,
        messages.Failed,
        messages.Inventory,
        messages.Looked,
        messages.Suspect,
        messages.Swept,
    )
}
_LAST_WORDS = 600
"""Characters that an interpreter printed which ended without a word."""


class SweepError(LeakcheckError):
    """The swept interpreter ended before it was done."""


def sweep(asked: messages.Asked, python: str) -> Iterator[NamedTuple]:
    """What the interpreter says, message by message, but for the last.

    Raises `UsageError` where it can sweep nothing, `SweepError` where it ended too soon.
    """
    with Apart() as place, tempfile.TemporaryFile() as output:
        replies, write = os.pipe()
        ours, held = os.pipe()
        script = Path(inside.__file__).with_name("__main__.py")
        command = [*place.before(), python, str(script), str(write), str(place.package)]
        environment = {
            **worker_environment(allocator_in(python, "malloc"), str(place.work)),
            lifeline.VARIABLE: str(ours),
        }
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=(write, ours),
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(write)
            os.close(ours)
        try:
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin as stream:
                stream.write(msgspec.json.encode(list(asked)))
            with os.fdopen(replies, "rb") as lines:
                for line in lines:
                    name, *fields = msgspec.json.decode(line)
                    message = msgspec.convert(fields, _KNOWN[name])
                    if isinstance(message, messages.Failed):
                        raise UsageError(message.message)
                    if isinstance(message, messages.Done):
                        return
                    yield message
            process.wait()
            output.seek(0)
            said = output.read()[-_LAST_WORDS:].decode(errors="replace").strip()
            raise SweepError(f"the interpreter that was swept ended too soon (exit code {process.returncode}): {said}")
        finally:
            os.close(held)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

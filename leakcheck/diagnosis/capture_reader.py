"""Reads memray's captures in a process of its own, for what memray learns of symbols stays in memory until it ends.

It learns them anew for each process that made a capture, some 50 MiB at a time: a suite with many leaks would make a
leak of its diagnosis. The reader is started before there is a capture, so that nobody waits for its start.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple, Self

import msgspec

from leakcheck.agent.inquiry import Capture
from leakcheck.agent.origin import Origin
from leakcheck.agent.protocol import Roots
from leakcheck.diagnosis.memray import Survivors, read_survivors


class _Request(NamedTuple):
    captures: tuple[Capture, ...]
    roots: Roots


class _Answer(NamedTuple):
    survivors: Survivors | None
    error: str = ""


class CaptureReader:
    """A process that reads the captures of one diagnosis. A context manager, which ends it."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", __name__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def read(self, captures: Sequence[Capture], roots: Roots) -> Survivors:
        """As `read_survivors`. Once in the life of a reader."""
        reply, _ = self._process.communicate(msgspec.msgpack.encode(_Request(tuple(captures), roots)))
        if not reply:
            raise OSError(f"the process that reads it ended with exit code {self._process.returncode}")
        answer = msgspec.msgpack.decode(reply, type=_Answer)
        if answer.survivors is None:
            raise OSError(answer.error)
        return answer.survivors


def _main() -> None:
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    try:
        answer = _Answer(read_survivors(request.captures, Origin(request.roots)))
    except OSError as error:
        answer = _Answer(None, str(error))
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    import memray  # noqa: F401  (before there is anything to read)

    _main()

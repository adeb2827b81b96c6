"""One line of JSON a message, over two pipes that only the parent and the worker know."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

from leakcheck.agent.protocol import Failed

Answer = tuple[Any, ...] | list[Any] | None
"""A record of the protocol, or a list of such."""

CLOSED_OURS = (
    "the scenario closed descriptors that it did not open, those of this measurement among them; let it close "
    "only its own"
)


class Channel:
    """The worker's end: blocking, for one thread. Files that a step opens never get these numbers by accident."""

    def __init__(self, commands: int, replies: int) -> None:
        self._commands = commands
        self._replies = replies
        self._pending = b""
        # Bound now: the user's code may replace the functions of a module, and its step some more at each call.
        self._encode, self._decode = json.JSONEncoder(ensure_ascii=False).encode, json.JSONDecoder().decode
        self._read, self._write = os.read, os.write
        os.set_inheritable(commands, False)
        os.set_inheritable(replies, False)

    def receive(self) -> tuple[str, list[Any]] | None:
        """Name and fields of the parent's next request, or None when the parent has gone."""
        request = self.receive_any()
        if request is None:
            return None
        name, *fields = request
        return name, fields

    def receive_any(self) -> Any:
        """The next message, decoded, or None when the other side has gone."""
        while b"\n" not in self._pending:
            try:
                part = self._read(self._commands, 65536)
            except OSError as error:
                raise _explained(error) from None
            if not part:
                return None
            self._pending += part
        line, _, self._pending = self._pending.partition(b"\n")
        return self._decode(line.decode())

    def send(self, answer: Answer) -> None:
        """Hand one answer to the parent; waits while the pipe is full."""
        self._send(answer)

    def fail(self, failed: Failed) -> None:
        """Answer that the request came to nothing."""
        self._send({"failed": failed})

    def _send(self, message: Any) -> None:
        # A name may have bytes that are no text, which the parent would refuse to read.
        rest = memoryview(self._encode(message).encode(errors="replace") + b"\n")
        while rest:
            try:
                rest = rest[self._write(self._replies, rest) :]
            except OSError as error:
                raise _explained(error) from None


def _explained(error: OSError) -> BaseException:
    """Ends the process: where the parent has gone, or with a clear word where the user's code has closed our ends."""
    if error.errno == errno.EPIPE:
        return SystemExit(1)
    return SystemExit(f"leakcheck: {CLOSED_OURS}") if error.errno == errno.EBADF else error

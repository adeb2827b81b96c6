"""Words in the memory of another process, read by `/proc/PID/mem`: nothing runs there, and nothing can be changed."""

from __future__ import annotations

import os
import struct
from types import TracebackType
from typing import Self

WORD = struct.calcsize("P")
"""Bytes of an address."""
_MOST_BYTES = 1 << 16
"""Of one block that is looked at; what is further inside is not seen."""
_LONGEST_TEXT = 200
"""Bytes of a text: the name of a type is shorter."""
_CHUNK_FLAGS = 7
"""The bits of malloc's size word that are none of the size."""


class ProcessMemory:
    """The memory of a process that this one may trace. Not thread-safe.

    Raises `OSError` where it cannot be opened: on systems without `/proc`, and where the kernel forbids it.
    """

    def __init__(self, pid: int) -> None:
        self._file = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def words(self, address: int, size: int) -> tuple[int, ...]:
        """The words of `size` bytes from an aligned address on; none where there is no memory."""
        wanted = min(size, _MOST_BYTES) // WORD * WORD
        if address <= 0 or address % WORD or wanted <= 0:
            return ()
        try:
            found = os.pread(self._file, wanted, address)
        except (OSError, OverflowError):  # not mapped
            return ()
        return struct.unpack(f"{len(found) // WORD}P", found[: len(found) // WORD * WORD])

    def text(self, address: int) -> str:
        """The printable ASCII text that ends with a zero byte at an address; empty where there is none."""
        try:
            found = os.pread(self._file, _LONGEST_TEXT, address) if address > 0 else b""
        except (OSError, OverflowError):
            return ""
        text, end, _ = found.partition(b"\0")
        return text.decode() if end and text.isascii() and text.decode().isprintable() else ""

    def block(self, address: int) -> tuple[int, ...]:
        """The words of a block that glibc's malloc has given out at an address; a guess for any other address."""
        header = self.words(address - WORD, WORD)
        size = (header[0] & ~_CHUNK_FLAGS) - WORD if header else 0
        return self.words(address, size) if 0 < size <= _MOST_BYTES else ()

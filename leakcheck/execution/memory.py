"""Words in the memory of another process, read by `/proc/PID/mem`: nothing runs there, and nothing can be changed."""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

WORD = struct.calcsize("P")
"""Bytes of an address."""
_MOST_BYTES = 1 << 16
"""Of one block that is looked at; what is further inside is not seen."""
_LONGEST_TEXT = 200
"""Bytes of a text: the name of a type is shorter."""
_ALIGNMENT, _SMALLEST_CHUNK, _LARGEST_CHUNK = 2 * WORD, 4 * WORD, 1 << 40
"""Of glibc's malloc, in bytes."""
_CHUNK_FLAGS = 7
"""The bits of malloc's size word that are none of the size."""


def _allocated(maps: str) -> list[tuple[int, int]]:
    """Begin and end of what may be allocated memory, by `/proc/PID/maps`: what can be written and is no file's.

    A library's variables that begin as zero are among it: the kernel may join them with what is allocated behind them.
    """
    rows = [row.split(maxsplit=5) for row in maps.splitlines()]
    return [
        (int(begin, 16), int(end, 16))
        for place, access, _, _, _, *name in rows
        if "w" in access and (not name or name[0] == "[heap]" or name[0].startswith("[anon"))
        for begin, _, end in [place.partition("-")]
    ]


class ProcessMemory:
    """The memory of a process that this one may trace. Not thread-safe.

    Raises `OSError` where it cannot be opened: on systems without `/proc`, and where the kernel forbids it.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._file = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    @cached_property
    def _heap(self) -> list[tuple[int, int]]:
        return _allocated(Path(f"/proc/{self._pid}/maps").read_text(errors="replace"))

    def is_heap(self, address: int) -> bool:
        """Whether what lay at an address when this was first asked may be allocated: no file's, not the stack's.

        Raises `OSError` where the process is gone by then.
        """
        at = bisect_right(self._heap, address, key=lambda each: each[0]) - 1
        return at >= 0 and address < self._heap[at][1]

    def words(self, address: int, size: int) -> tuple[int, ...]:
        """The words of `size` bytes from an aligned address on; none where there is no memory."""
        return () if address % WORD else self._words(address, size)

    def _words(self, address: int, size: int) -> tuple[int, ...]:
        wanted = min(size, _MOST_BYTES) // WORD * WORD
        if address <= 0 or wanted <= 0:
            return ()
        try:
            found = os.pread(self._file, wanted, address)
        except (OSError, OverflowError):  # not mapped
            return ()
        return struct.unpack(f"{len(found) // WORD}P", found[: len(found) // WORD * WORD])

    def addresses(self, address: int, size: int) -> tuple[int, ...]:
        """What may be an address among `size` bytes: each word, and those that begin in the middle of one.

        A structure that is packed has a pointer behind half a word.
        """
        return (*self.words(address, size), *self._words(address + WORD // 2, size - WORD // 2))

    def text(self, address: int) -> str:
        """The printable ASCII text that ends with a zero byte at an address; empty where there is none."""
        try:
            found = os.pread(self._file, _LONGEST_TEXT, address) if address > 0 else b""
        except (OSError, OverflowError):
            return ""
        text, end, _ = found.partition(b"\0")
        return text.decode() if end and text.isascii() and text.decode().isprintable() else ""

    def block(self, address: int) -> tuple[int, int]:
        """Start and size of the block of glibc's malloc that begins at an address, or a word or two before it.

        A count of references that comes first is passed over by those who point to what it counts. (0, 0) where there
        is none: the sizes there are none of malloc's.
        """
        for start in range(address - address % _ALIGNMENT, address - 2 * WORD - 1, -_ALIGNMENT):
            size = self._chunk_size(start)
            if address < start + size - WORD <= start + _MOST_BYTES and self._chunk_size(start + size):
                return start, size - WORD
        return 0, 0

    def _chunk_size(self, start: int) -> int:
        """Bytes from one block to the next; 0 where what lies before it is no size."""
        header = self.words(start - WORD, WORD)
        size = header[0] & ~_CHUNK_FLAGS if header else 0
        return size if _SMALLEST_CHUNK <= size <= _LARGEST_CHUNK and not size % _ALIGNMENT else 0

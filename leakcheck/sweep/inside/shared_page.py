"""Memory that a child and its parent share: what the child runs now, so that whatever ends it can be blamed."""

from __future__ import annotations

import mmap
import struct

_BYTES = 16384
"""Of source that is kept; a longer one is blamed by its beginning."""
_HEAD = struct.Struct("QQI")
"""Index of the recipe, how often something began, length of the source."""


class Page:
    """One for each child."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _BYTES)

    def begin(self, index: int, source: str) -> None:
        """The child runs this now."""
        text = source.encode("utf-8", "replace")[: _BYTES - _HEAD.size]
        _, count, _ = _HEAD.unpack_from(self._memory)
        _HEAD.pack_into(self._memory, 0, index, count + 1, len(text))
        self._memory[_HEAD.size : _HEAD.size + len(text)] = text

    def read(self) -> tuple[int, int, str]:
        """Index of the recipe, how many have begun, and the source; what a child has written over is no source."""
        index, count, length = _HEAD.unpack_from(self._memory)
        return index, count, self._memory[_HEAD.size : _HEAD.size + length].decode("utf-8", "replace")

    def close(self) -> None:
        """Give it back."""
        self._memory.close()

"""Native frames of libraries without symbols: the shared object and the offset in it, as debuggers print them.

Memray resolves what has a name. For the rest its capture has the addresses and the segments of what was loaded.
"""

from __future__ import annotations

import bisect
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from leakcheck.diagnosis.frames import NativeFrame, is_interpreter
from leakcheck.execution import elf

UNRESOLVED = "<unknown>"
"""What memray calls a function without a name."""


class _Segment(NamedTuple):
    start: int
    end: int
    base: int
    file: str


class Offsets:
    """Names for the frames of one capture that have none."""

    def __init__(self, capture: Path) -> None:
        self._frames: list[tuple[int, int]] = []
        """Address, and index of the caller, of each frame; that of a stack is its innermost, counted from 1."""
        self._segments: list[_Segment] = []
        self._read(capture)

    def named(self, frames: list[tuple[str, str, int]], stack: int) -> list[tuple[str, str, int]]:
        """The frames of a stack as memray gives them, with the unresolved ones named.

        They stay as they are where it cannot be told which address is whose.
        """
        wanted = sum(function == UNRESOLVED for function, _, _ in frames)
        unresolved = [where for address in self._addresses(stack) if (where := self._without_symbol(address))]
        # What a library has no symbol for may have a name even so, where its debug information is a file of its own.
        others = [where for where in unresolved if not is_interpreter(where)]
        found = next((each for each in (unresolved, others) if len(each) == wanted), None)
        if found is None:
            return frames
        names = iter(found)
        return [next(names) if frame[0] == UNRESOLVED else frame for frame in frames]

    def _addresses(self, stack: int) -> Iterable[int]:
        while 0 < stack <= len(self._frames):
            address, stack = self._frames[stack - 1]
            yield address

    def _without_symbol(self, address: int) -> NativeFrame | None:
        """The frame of an address that no symbol covers; None for one that has a name."""
        index = bisect.bisect_right(self._segments, (address,)) - 1
        segment = self._segments[index] if index >= 0 else None
        if segment is None or not segment.start <= address < segment.end:
            return NativeFrame(UNRESOLVED, "", 0)  # code that was made at run time, or the kernel's page
        offset = address - segment.base
        if _has_symbol(segment.file, offset - 1):  # the address is the one to return to
            return None
        return NativeFrame(f"{segment.file.rpartition('/')[2]}+{offset:#x}", segment.file, 0)

    def _read(self, capture: Path) -> None:
        command = [sys.executable, "-m", "memray", "parse", str(capture)]
        segments: dict[int, _Segment] = {}
        base, file = 0, ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as records:
            assert records.stdout is not None
            for line in records.stdout:
                kind, _, rest = line.rstrip("\n").partition(" ")
                if kind == "NATIVE_FRAME_ID":
                    ip, index = rest.removeprefix("ip=").split(" index=")
                    self._frames.append((int(ip, 16), int(index)))
                elif kind == "SEGMENT_HEADER":
                    file, _, where = rest.removeprefix("filename=").rpartition(" num_segments=")
                    base = int(where.rpartition("addr=")[2].replace("(nil)", "0"), 16)
                elif kind == "SEGMENT":
                    address, size = (int(part.replace("(nil)", "0"), 16) for part in rest.split(" ")[:2])
                    segments[base + address] = _Segment(base + address, base + address + size, base, file)
        self._segments = sorted(segments.values())


@lru_cache(maxsize=64)
def _functions(file: str) -> list[tuple[int, int]]:
    """Where functions that have a symbol begin and end."""
    try:
        return sorted(elf.functions(Path(file).read_bytes()))
    except (OSError, ValueError):
        return []


def _has_symbol(file: str, offset: int) -> bool:
    functions = _functions(file)
    index = bisect.bisect_right(functions, (offset, sys.maxsize)) - 1
    return index >= 0 and functions[index][0] <= offset < functions[index][1]

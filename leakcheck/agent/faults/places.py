"""Where a point is: the same in each call of the step, and in another process."""

from __future__ import annotations

from collections.abc import Sequence
from opcode import opname
from types import CodeType, FrameType
from zlib import crc32

from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import Place

Where = tuple[str, str, int, int]
"""File, qualified name of the function, its first line, and the offset of the instruction."""
_DEPTH = 40
"""Frames of a stack that are told."""


def is_users(code: CodeType) -> bool:
    """Whether code is part of the user's project."""
    return HERE.rank(code.co_filename) == 0


def of(code: CodeType, offset: int) -> Where:
    """The place of an instruction."""
    return code.co_filename, code.co_qualname, code.co_firstlineno, offset


def where(waiting: Sequence[FrameType]) -> Where:
    """The place at which a coroutine waits: one for each way that leads there.

    It has the name of the user's innermost function, and for an offset a sum over all functions that lead there: what
    a library waits for in one call of the user's are different places.
    """
    code = users_innermost(waiting).f_code
    way = "".join(f"{frame.f_code.co_qualname} {frame.f_lasti} " for frame in waiting)
    return of(code, crc32(way.encode()))


def users_innermost(waiting: Sequence[FrameType]) -> FrameType:
    """The innermost frame of the user's; the outermost of all where none is."""
    return next((frame for frame in reversed(waiting) if is_users(frame.f_code)), waiting[0])


def stack(frame: FrameType | None) -> tuple[Place, ...]:
    """The places from a frame outwards, up to the step."""
    found: list[Place] = []
    while frame is not None and len(found) < _DEPTH and not HERE.own(frame.f_code.co_filename):
        found.append(place(frame))
        frame = frame.f_back
    return tuple(found)


def place(frame: FrameType) -> Place:
    """The place where a frame is."""
    return frame.f_code.co_filename, frame.f_lineno or frame.f_code.co_firstlineno, frame.f_code.co_qualname


def span(code: CodeType, offset: int) -> tuple[int, int, int, int]:
    """First and last line, first and last column of an instruction's source; zeros where they are not known."""
    for at, (line, last, column, end) in enumerate(code.co_positions()):
        if 2 * at == offset:
            return line or 0, last or 0, column or 0, end or 0
    return 0, 0, 0, 0


_LEAVES_BY_ERROR = "WITH_EXCEPT_START"
_PUSHES = ("LOAD_CONST", "LOAD_COMMON_CONSTANT")
_BETWEEN = ("CACHE", "EXTENDED_ARG", "PRECALL", "PUSH_NULL")
"""Instructions that may stand between an argument and its call."""


def leaving_blocks(code: CodeType) -> frozenset[int]:
    """Offsets of the instructions that call `__exit__` or `__aexit__` at the end of a `with` block.

    Where all is well it is a call with three constants, of which each has the very span of the call: a call that is
    written so has arguments with spans of their own.
    """
    raw, found, pushed = code.co_code, set[int](), list[object]()
    for offset, position in zip(range(0, len(raw), 2), code.co_positions(), strict=True):
        name = opname[raw[offset]]
        if name == _LEAVES_BY_ERROR or (name == "CALL" and pushed == [position] * 3):
            found.add(offset)
        if name in _PUSHES:
            pushed = [*pushed[-2:], position]
        elif name not in _BETWEEN:
            pushed = []
    return frozenset(found)

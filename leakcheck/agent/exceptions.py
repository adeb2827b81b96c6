"""What of an exception may be told anywhere: its type, where it was raised, and no value of the program.

A message may hold whatever the program has: a password, a customer's name. Those that the interpreter itself makes of
names of the code are kept, as are those of this tool.
"""

from __future__ import annotations

import os
import re
from types import TracebackType

from leakcheck.agent.origin import HERE

_FIXED = frozenset(
    {
        "can't start new thread",
        "division by zero",
        "list index out of range",
        "maximum recursion depth exceeded",
        "source code string cannot contain null bytes",
    }
)
_OF_NAMES = re.compile(
    r"[\w.<>]+\(\) (?:missing \d+ required (?:positional|keyword-only) arguments?: ['\w, ]+"
    r"|takes [\w ]+ positional arguments? but \d+ (?:was|were) given|got an unexpected keyword argument '\w+')"
    r"|'[\w.]+' object is not (?:callable|iterable|subscriptable|an iterator)"
)
"""Messages of the interpreter that are made of names and numbers of parameters."""


def said(error: BaseException, frames: TracebackType | None) -> str:
    """The message as far as it holds no values, and the innermost line."""
    return ", ".join(filter(None, (_message(error), _place(frames)))) or "in native code"


def stack(error: BaseException, frames: TracebackType | None) -> str:
    """The traceback with its lines of source, and the types of what was raised without the messages."""
    import traceback  # dear to import, and most scenarios raise nothing

    parts: list[str] = []
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        message = _message(each)
        last = f"{type(each).__name__}{f': {message}' if message else ''}\n"
        inner = getattr(each, "exceptions", ())
        last += "".join(f"  {type(one).__name__}\n" for one in inner) if isinstance(inner, tuple) else ""
        rows = "".join(traceback.format_tb(frames)) + _line_of_syntax(each)
        parts.append(f"Traceback (most recent call last):\n{rows}{last}" if rows else last)
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        frames = each.__traceback__ if each is not None else None
    return "\nThe exception above led to this one:\n\n".join(reversed(parts))


def _message(error: BaseException) -> str:
    told = getattr(error, "told", None)
    if type(error).__module__.startswith("leakcheck."):
        return told if isinstance(told, str) else str(error)
    name = getattr(error, "name", None)
    name = name if isinstance(name, str) and name.replace(".", "_").isidentifier() else ""
    if isinstance(error, ModuleNotFoundError) and name:
        return f"No module named {name!r}"
    if isinstance(error, ImportError) and name:
        return f"cannot import what was asked for from {name!r}"
    if isinstance(error, NameError) and name:
        return f"name {name!r} is not defined"
    if isinstance(error, AttributeError) and name:
        return f"{type(getattr(error, 'obj', None)).__name__!r} object has no attribute {name!r}"
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.msg} ({os.path.basename(error.filename)}, line {error.lineno})"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return os.strerror(error.errno)
    text = error.args[0] if len(error.args) == 1 and type(error.args[0]) is str else ""
    return text if text in _FIXED or _OF_NAMES.fullmatch(text) else ""


def _line_of_syntax(error: BaseException) -> str:
    """The line that cannot be read, which is code."""
    if not isinstance(error, SyntaxError) or not (error.filename and error.lineno and error.text):
        return ""
    return f'  File "{error.filename}", line {error.lineno}\n    {error.text.strip()}\n'


def _place(frames: TracebackType | None) -> str:
    """The innermost line, of this tool's only where there is no other: it is what called it that is to be mended."""
    found = None
    while frames is not None:
        if found is None or not HERE.own(frames.tb_frame.f_code.co_filename):
            found = frames
        frames = frames.tb_next
    if found is None:
        return ""
    code = found.tb_frame.f_code
    return f"at {os.path.basename(code.co_filename)}:{found.tb_lineno} in {code.co_qualname}"

"""Other signs for a terminal that cannot print ours: each as wide as the one that it stands for.

What has no other sign, a name of the user's for example, is written by its number, `\\u4e2d`. Nothing that is printed
may end a run: its results would be lost.
"""

from __future__ import annotations

import codecs
import io

_OTHERS = {
    "✓": "+", "✗": "x", "◠": "~", "∘": "o", "·": "-", "…": "~", "¦": "|",
    "▁": "_", "▂": ".", "▃": "-", "▄": "=", "▅": "+", "▆": "*", "▇": "#", "█": "@",
}  # fmt: skip
_HANDLER = "leakcheck-signs"


def adapt(*streams: object) -> None:
    """Let text streams print another sign where their encoding does not have one."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def printable(text: str, encoding: str | None) -> str:
    """`text` as a stream of that encoding can print it."""
    name = encoding or "utf-8"
    return text.encode(name, _HANDLER).decode(name)


def _other_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failing = error.object[error.start : error.end]
    return "".join(map(_other_sign, failing)), error.end


def _other_sign(character: str) -> str:
    return _OTHERS.get(character) or character.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(_HANDLER, _other_signs)

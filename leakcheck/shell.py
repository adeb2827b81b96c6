"""Command lines that can be pasted into a shell: each on one line, whatever is in its words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"""\$'((?:[^'\\]|\\.)*)'|((?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\])+)""")
"""A word with escapes, or one that is quoted or plain."""
_SHORT = {"\n": "\\n", "\t": "\\t", "\\": "\\\\", "'": "\\'"}


def pasteable(words: Iterable[str]) -> str:
    """The words as a command of bash, zsh, or any shell of POSIX 2024, which have `$'...'` with its escapes.

    What would not survive where a command is shown is escaped: line breaks, hidden characters, spaces in a row.
    """
    return " ".join(shlex.quote(word) if _survives(word) else f"$'{''.join(_escaped(word))}'" for word in words)


def words_of(command: str) -> list[str]:
    """The words that such a command was made of."""
    return [
        _unescaped(escaped) if escaped is not None else shlex.split(plain)[0]
        for escaped, plain in (match.groups() for match in _WORD.finditer(command))
    ]


def _unescaped(text: str) -> str:
    return text.encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")


def _survives(word: str) -> bool:
    return word.isprintable() and word == word.strip() and "  " not in word


def _escaped(word: str) -> Iterator[str]:
    for before, character in zip(" " + word, word, strict=False):
        if character == " ":
            yield "\\x20" if before == " " else " "
        elif character in _SHORT or character.isprintable():
            yield _SHORT.get(character, character)
        else:
            yield "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))

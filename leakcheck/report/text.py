"""Text from outside made safe to show: hidden characters visible, endless texts cut with a word."""

from __future__ import annotations

import re

LINE = 400
"""Characters of a one-line text (a name, a sentence, a source line) that a report shows."""
BLOCK = 20_000
"""Characters of a text of many lines (a traceback, the output of a child) that a report shows."""

# Everything that moves the cursor, hides, or turns the direction of reading: C0 and C1 controls but tab and
# newline, zero-width and direction marks, bidi embeddings and isolates, line separators, byte-order mark, tags,
# surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """`text` in which every hidden character is written as `[U+202E]`; newlines and tabs stay."""
    return _HIDDEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


def line(text: str, limit: int = LINE) -> str:
    """`text` as one visible line of at most about `limit` characters."""
    return _cut(visible(" ".join(text[: limit * 4].split())), limit, len(text))


def source(text: str, limit: int = LINE) -> str:
    """One line of source code: as `line`, but with its indentation."""
    stripped = text.lstrip()
    indentation = text[: len(text) - len(stripped)].expandtabs(4).replace("\n", "")[:80]
    return indentation + line(stripped, limit)


def block(text: str, limit: int = BLOCK) -> str:
    """`text` with its lines, visible; of a long one the beginning and the longer end, where errors stand."""
    if len(text) <= limit:
        return visible(text)
    head, tail = limit // 4, limit - limit // 4
    left_out = len(text) - head - tail
    return f"{visible(text[:head])}\n... {left_out:,} characters left out ...\n{visible(text[-tail:])}"


def middle(text: str, limit: int) -> str:
    """A name cut in its middle, where paths say least: `scenarios/subscr...forgotten[1024]`.

    What stands after `::` stays whole, if there is room for it.
    """
    text = line(text, 4 * LINE)
    if len(text) <= limit:
        return text
    _, colons, name = text.rpartition("::")
    named = len(colons + name)
    tail = named if colons and named < limit else (limit - 1) * 2 // 3
    return f"{text[: limit - 1 - tail]}…{text[-tail:]}" if limit > 2 else text[:limit]


def _cut(text: str, limit: int, length: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({max(length - limit, len(text) - limit):,} more characters)"

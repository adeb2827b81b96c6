"""Numbers as a person reads them: `432 B`, `1.2 MiB`, `+1.00 objects/iteration`, `2.3 s`."""

from __future__ import annotations

import math

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def quantity(value: float, unit: str) -> str:
    """A value with its unit; bytes in steps of 1024."""
    if not math.isfinite(value):
        return "?"
    return _bytes(value) if unit == "B" else f"{plain(value)} {unit}".rstrip()


def rate(value: float, unit: str) -> str:
    """A growth per iteration, with its sign."""
    sign = "+" if value > 0 else ""
    return f"{sign}{quantity(value, unit)}/iteration"


def noticed(value: float, unit: str) -> str:
    """The smallest growth that is noticed: `40 B`, or for things `1 in 3,277`: one in so many iterations."""
    if unit == "B" or value >= 1 or value <= 0 or not math.isfinite(value):
        return quantity(value, unit)
    return f"1 in {1 / value:,.0f}"


def plain(value: float) -> str:
    """A number in three significant digits, whole ones without a fraction."""
    if not math.isfinite(value):
        return "?"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 4)}f}"


def seconds(value: float) -> str:
    """A duration: `0.4 s`, `12 s`, `3 min 20 s`."""
    if not math.isfinite(value) or value < 0:
        return "?"
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 119.5:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def count(number: int, word: str) -> str:
    """`1 leak`, `2 leaks`."""
    if number == 1:
        return f"1 {word}"
    return f"{number:,} {word[:-1] + 'ies' if word.endswith('y') else word + 's'}"


def _bytes(value: float) -> str:
    size, step = abs(value), 0
    while size >= 1023.5 and step < len(_BYTES) - 1:
        size /= 1024
        step += 1
    return f"{'-' if value < 0 else ''}{plain(size)} {_BYTES[step]}"

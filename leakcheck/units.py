"""Numbers as a person reads them: one spelling of bytes, counts, rates and times, wherever they stand."""

from __future__ import annotations

import math

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
_RARE = 0.1
"""Things per iteration below which it says more in how many iterations there is one."""


def quantity(value: float, unit: str) -> str:
    """A value with its unit: `432 B`, `8.0 MiB`, `1 object`, `0.15 blocks`."""
    if not math.isfinite(value):
        return "?"
    if unit == "B":
        return size(value)
    text = plain(value)
    return f"{text} {singular(unit) if text == '1' else unit}".rstrip()


def rate(value: float, unit: str) -> str:
    """A growth per iteration, with its sign."""
    sign = "+" if value > 0 else ""
    return f"{sign}{quantity(value, unit)}/iteration"


def noticed(rate: float, once_in: int | None, unit: str) -> str:
    """The smallest loss that is noticed: `48 B once in 9,362 calls`, `1 fd in each call`; `rate` is per iteration."""
    calls = once_in or 1
    return f"{quantity(rate * calls, unit)} {often(calls)}"


def often(calls: int) -> str:
    """How often a loss must come: `once in 9,362 calls`."""
    return "in each call" if calls == 1 else f"once in {calls:,} calls"


def size(value: float) -> str:
    """Bytes in steps of 1024: `432 B`, `0.15 B`, `8.0 MiB`."""
    number, step = abs(value), 0
    while number >= 1023.5 and step < len(_BYTES) - 1:
        number /= 1024
        step += 1
    return f"{'-' if value < 0 else ''}{f'{number:,.1f}' if step else plain(number)} {_BYTES[step]}"


def plain(value: float) -> str:
    """A number in three significant digits, without zeros at the end of its fraction."""
    if not math.isfinite(value):
        return "?"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    digits = max(0, min(4, 2 - math.floor(math.log10(abs(value)))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def recurrence(count: float) -> tuple[float, str]:
    """How often things come, and by what to multiply: `per iteration`; of what is rare, one `in 2,000 iterations`."""
    if 0 < count < _RARE:
        return 1 / count, f"in {float(f'{1 / count:.2g}'):,.0f} iterations"
    return 1.0, "per iteration"


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
    return f"{number:,} {word if number == 1 else _plural(word)}"


def number(value: float, noun: str) -> str:
    """`1 file descriptor`, `0.5 child processes`, `2 watches of inotify`."""
    text = plain(value)
    return f"{text} {noun if text == '1' else _plural(noun)}"


def _plural(noun: str) -> str:
    """`leaks`, `queries`, `keys in a keyring`, `processes`, `watches of inotify`."""
    head, link, rest = next((noun.partition(link) for link in (" of ", " in ") if link in noun), (noun, "", ""))
    if head.endswith("y") and head[-2:-1] not in "aeiou":
        return f"{head[:-1]}ies{link}{rest}"
    return f"{head}{'es' if head.endswith(('s', 'ch')) else 's'}{link}{rest}"


def singular(unit: str) -> str:
    """`object` of `objects`, `process` of `processes`, `watch` of `watches`."""
    return unit[:-2] if unit.endswith(("sses", "ches")) else unit.removesuffix("s")

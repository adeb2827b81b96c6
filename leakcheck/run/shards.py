"""Parts of a suite that run on different machines, each of which takes about as long."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from statistics import median

from leakcheck.errors import UsageError
from leakcheck.records import Shard

_UNKNOWN_S = 1.0
"""Seconds that are expected of everything where nothing is known."""


def parse(text: str, option: str = "--shard") -> tuple[int, int]:
    """Number and count of `2/8`. Raises `UsageError`."""
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"{option} {text}: give the number of this part and how many there are, from 1/8 to 8/8")
    return number, count


def divided(names: Sequence[str], took_s: Mapping[str, float], count: int) -> dict[str, int]:
    """The number of the part that each is in, from 1 on: the longest first, each to whom has least so far.

    What is not known takes as long as the middle one of what is. The order of the names does not matter.
    """
    usual = median(known) if (known := [took_s[name] for name in names if name in took_s]) else _UNKNOWN_S
    load = [0.0] * count
    parts = {}
    for name in sorted(names, key=lambda each: (-took_s.get(each, usual), each)):
        lightest = load.index(min(load))
        load[lightest] += took_s.get(name, usual)
        parts[name] = lightest + 1
    return parts


def shard_of(parts: Mapping[str, int], number: int, count: int, commit: str) -> Shard:
    """What the results of one part say of it."""
    text = "\n".join(f"{name}\t{part}" for name, part in sorted(parts.items()))
    return Shard(number=number, of=count, plan=hashlib.sha256(text.encode()).hexdigest()[:16], commit=commit)

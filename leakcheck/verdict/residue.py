"""What stays of a growth when what is kept for a time only has gone: the level after equal stretches, each left alone.

Tables do not shrink when their entries go, so that some of it may stay for ever after the first stretch, and is no
leak. After a second one of the same length nothing more may stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from leakcheck.verdict.process import Process

_STRETCHES = 3
"""Levels that are compared: two gains."""
_MOST_APART = 2.0
"""How many times as much as in the other stretch may stay in one: what stays for good stays at a rate."""


class Left(NamedTuple):
    """The readings after a stretch, when what could go has gone."""

    values: Sequence[float]
    calls: int
    """Iterations that this took."""


class Residue(NamedTuple):
    """What stays, per iteration: the mean, and the least and most of a stretch."""

    growth: float
    low: float
    high: float


def stays_at_a_rate(stayed: Sequence[float], trifle: float) -> bool:
    """Whether what stayed of equal stretches is more than a trifle, and in each about the same."""
    return min(stayed) > trifle and max(stayed) <= _MOST_APART * min(stayed)


def residues(
    process: Process, count: int, leave: Callable[[], Left | None], trifles: Mapping[int, float]
) -> dict[int, Residue]:
    """What stays of `count` iterations, by the index of the meter; empty where the step raised.

    `leave` lets go what can go, and reads. Of a meter in whose stretches no more stays than its trifle there is none.
    """
    levels = []
    for _ in range(_STRETCHES):
        if process.run(count).raised is not None or (left := leave()) is None:
            return {}
        levels.append(left)
    found = {}
    for index, trifle in trifles.items():
        stayed = [after.values[index] - before.values[index] for before, after in pairwise(levels)]
        if stays_at_a_rate(stayed, trifle):
            rates = [more / (count + left.calls) for more, left in zip(stayed, levels[1:], strict=True)]
            found[index] = Residue(sum(rates) / len(rates), min(rates), max(rates))
    return found

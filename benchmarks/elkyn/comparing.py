"""Two sides measured in turn, and the row that comes of it.

Every comparison is interleaved: a short round of ours, one of the peer, and so on, and the medians are compared: a busy
moment of the machine hits both, and rounds shorter than a time slice mostly escape it.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

import elkyn

Round = Callable[[], float]
"""Runs a number of operations and returns the seconds that one took."""


class Row(NamedTuple):
    """One line of the table. `ratio` is cost against the peer's, or its inverse where `faster` is asked for.

    `low` and `high` are the quartiles of the ratios of single rounds. A peer without a bound is there to compare with.
    """

    what: str
    against: str
    ours_us: float
    peer_us: float
    ratio: float
    low: float
    high: float
    bound: float | None
    faster: bool

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.bound is None or (self.ratio >= self.bound if self.faster else self.ratio <= self.bound)


def row_of(
    what: str, against: str, pairs: list[tuple[float, float]], bound: float | None, *, faster: bool = False
) -> Row:
    """Compare the medians of (seconds of ours, seconds of the peer)."""
    our, their = (statistics.median(side) for side in zip(*pairs, strict=True))
    low, _, high = statistics.quantiles([b / a if faster else a / b for a, b in pairs], n=4)
    return Row(what, against, our * 1e6, their * 1e6, their / our if faster else our / their, low, high, bound, faster)


def compare(
    what: str, against: str, ours: Round, peer: Round, bound: float | None, *, faster: bool = False, rounds: int = 101
) -> Row:
    """Measure both sides in turn and compare their medians."""
    ours(), peer()
    gc.collect()
    return row_of(what, against, [(ours(), peer()) for _ in range(rounds)], bound, faster=faster)


def each(times: int, operation: Callable[[], object]) -> Round:
    """Return a round of `times` operations."""

    def run() -> float:
        begin = time.perf_counter()
        for _ in range(times):
            operation()
        return (time.perf_counter() - begin) / times

    return run


@contextmanager
def opened(directory: Path, name: str, durability: Any = "none") -> Iterator[elkyn.Store]:
    with elkyn.open(directory / name, durability=durability, map_size=1 << 30) as store:
        yield store


@contextmanager
def raw(directory: Path, name: str) -> Iterator[lmdb.Environment]:
    with lmdb.open(str(directory / name), map_size=1 << 30, sync=False) as env:
        yield env


def nothing(_: Any) -> None:
    """The cheapest handler."""


# --- as text


def header(*names: str) -> tuple[str, ...]:
    """Return the first lines of a table, behind an empty one."""
    return "", f"| {' | '.join(names)} |", "|" + "---|" * len(names)


def figure(number: float) -> str:
    """Spell a number with as many digits as mean something."""
    return f"{number:.2f}" if number < 1 else f"{number:.1f}" if number < 100 else f"{number:,.0f}"

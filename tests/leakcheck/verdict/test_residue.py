from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from leakcheck.verdict.residue import Left, Residue, residues


class Round:
    def __init__(self, raised: Any = None) -> None:
        self.raised = raised


class FakeWorker:
    """Counts the iterations."""

    def __init__(self, raised: Any = None) -> None:
        self.iterations = 0
        self._raised = raised

    def run(self, count: int) -> Round:
        self.iterations += count
        return Round(self._raised)


def left(levels: Iterable[float], calls: int = 0) -> Any:
    values: Iterator[float] = iter(levels)
    return lambda: Left([next(values)], calls)


@pytest.mark.parametrize(
    ("levels", "stays"),
    [
        ((5000, 6000, 7000), Residue(10.0, 10.0, 10.0)),
        ((5000, 5900, 7000), Residue(10.0, 9.0, 11.0)),
        ((9000, 9000, 9000), None),  # a table that was made in the first stretch
        ((1000, 9000, 9000), None),
        ((1000, 1100, 9000), None),  # a table that grew
        ((9000, 5000, 7000), None),
        ((9000, 9040, 9080), None),  # less than the readings may be off by
    ],
)
def test_what_stays_stays_after_each_stretch(levels: tuple[float, ...], stays: Residue | None) -> None:
    worker = FakeWorker()
    assert residues(worker, 100, left(levels), {0: 50.0}).get(0) == stays  # type: ignore[arg-type]
    assert worker.iterations == 300


def test_iterations_that_the_leaving_takes_count_too() -> None:
    found = residues(FakeWorker(), 80, left((0, 1000, 2000), calls=20), {0: 50.0})  # type: ignore[arg-type]
    assert found == {0: Residue(10.0, 10.0, 10.0)}


def test_a_step_that_raises_leaves_it_open() -> None:
    assert residues(FakeWorker({"type": "E"}), 100, left((0, 1000, 2000)), {0: 50.0}) == {}  # type: ignore[arg-type]
    assert residues(FakeWorker(), 100, lambda: None, {0: 50.0}) == {}  # type: ignore[arg-type]

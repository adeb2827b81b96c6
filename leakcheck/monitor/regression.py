"""Least squares over groups of points that each have a level of their own, one column more or less at a time.

    value(point) = level(group) + size1 * column1(point) + size2 * column2(point) + ...

The levels go first: the mean of each group is subtracted from the values and from every column. What remains are the
normal equations, of which only those products of columns are worked out that some combination asks for.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import mul
from typing import NamedTuple

INDEPENDENT = 1e-7
"""Part of the squares of a column that other columns must leave of it: where they leave less, it is a sum of them."""


class Point(NamedTuple):
    """What the process held at one time."""

    time: float
    """In periods."""
    uptime: float
    """In periods, since the process was started."""
    value: float
    """In the meter's unit."""
    group: int
    """Points of one group (an hour of the day; a run of the process) have a level of their own."""


class System:
    """The normal equations of all columns, each of which is known by its number.

    Columns are arrays: for months of points, lists of floats would take megabytes of the service.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        groups: dict[int, list[int]] = {}
        for index, point in enumerate(points):
            groups.setdefault(point.group, []).append(index)
        self.members = list(groups.values())
        self.values, self.levels = self._centred(point.value for point in points)
        self.free = len(points) - len(self.members)
        """Degrees of freedom: points less levels."""
        self.total: float = sum(map(mul, self.values, self.values))
        self.columns: list[array[float]] = []
        self.means: list[array[float]] = []
        """Mean of each column in each group."""
        self.gram: list[array[float]] = []
        """Products of each column with those before it and with itself; NaN where none was asked for yet."""
        self.right = array("d")
        self.ends = array("d")
        """The value of each column at the last point."""

    def add(self, columns: Iterable[Iterable[float]]) -> range:
        """Add columns; returns their numbers."""
        first = len(self.columns)
        for column in columns:
            values = array("d", column)
            self.ends.append(values[-1] if values else 0.0)
            centred, means = self._centred(values)
            self.columns.append(centred)
            self.means.append(means)
            self.gram.append(array("d", [math.nan]) * len(self.columns))
            self.right.append(sum(map(mul, centred, self.values)))
        return range(first, len(self.columns))

    def forget(self, first: int, kept: int | None = None) -> None:
        """Remove the columns from `first` on, but for `kept`, which is column `first` from now on."""
        if kept is not None:
            self.columns[first], self.means[first] = self.columns[kept], self.means[kept]
            self.right[first], self.ends[first] = self.right[kept], self.ends[kept]
            self.gram[first] = self.gram[kept][:first] + self.gram[kept][-1:]
            first += 1
        del self.columns[first:], self.means[first:], self.gram[first:], self.right[first:], self.ends[first:]

    def product(self, one: int, other: int) -> float:
        """The product of two columns."""
        if one < other:
            one, other = other, one
        known = self.gram[one][other]
        if known != known:  # NaN
            known = self.gram[one][other] = sum(map(mul, self.columns[one], self.columns[other]))
        return known

    def fit(self, chosen: Sequence[int]) -> tuple[float, list[float]] | None:
        """The residual sum of squares and the size of each column; None where the columns are dependent."""
        found = self._solve(chosen, [self.right[one] for one in chosen])
        if found is None:
            return None
        return self.total - sum(value * self.right[one] for value, one in zip(found, chosen, strict=True)), found

    def extend(self, chosen: Sequence[int], more: Iterable[int]) -> Iterator[tuple[int, float, list[float]]]:
        """Fit `chosen` with each of `more` added: (which, residual sum of squares, sizes, its own the last).

        The inverse for `chosen` is bordered by one row: a fraction of the work of solving each system anew.
        """
        fitted = self.fit(chosen)
        if fitted is None:
            return
        rest, found = fitted
        size = range(len(chosen))
        inverse = [self._solve(chosen, [float(row == column) for column in size]) or [] for row in size]
        for one in more:
            shared = [self.product(one, other) for other in chosen]
            turned = [sum(map(mul, row, shared)) for row in inverse]
            own = self.product(one, one)
            free = own - sum(map(mul, turned, shared))
            if free > INDEPENDENT * own:
                left = self.right[one] - sum(map(mul, found, shared))
                factor = left / free
                sizes = [value - factor * turn for value, turn in zip(found, turned, strict=True)]
                yield one, rest - factor * left, [*sizes, factor]

    def unshared(self, chosen: Sequence[int]) -> float:
        """The squares that the other columns leave of the first; variance / this = variance of its size."""
        first, *others = chosen
        own = self.product(first, first)
        shared = [self.product(first, other) for other in others]
        found = self._solve(others, shared)
        return max(own if found is None else own - sum(map(mul, found, shared)), 1e-12 * own)

    def sizes(self, chosen: Sequence[int]) -> list[float]:
        """The size of each of some independent columns."""
        return self._solve(chosen, [self.right[one] for one in chosen]) or []

    def residuals(self, chosen: Sequence[int]) -> array[float]:
        """The residual of each point."""
        left = self.values
        for one, factor in zip(chosen, self.sizes(chosen), strict=True):
            left = array("d", [value - factor * x for value, x in zip(left, self.columns[one], strict=True)])
        return left

    def unevenness(self, chosen: Sequence[int]) -> float:
        """Mean square difference of the levels of the groups, the columns subtracted."""
        levels = list(self.levels)
        for one, factor in zip(chosen, self.sizes(chosen), strict=True):
            levels = [level - factor * mean for level, mean in zip(levels, self.means[one], strict=True)]
        middle = sum(levels) / len(levels)
        return sum((level - middle) ** 2 for level in levels) / len(levels)

    def steps(self, chosen: Sequence[int], rests: Sequence[float]) -> list[int]:
        """The points before which a step may be, that which takes most of the residuals `rests` of `chosen` first.

        A step's product with a column whose groups have mean 0 is the sum of that column from the step on, so one pass
        backwards finds it for all places. With an orthonormal base q of the chosen columns, a step s takes
        (s r)^2 / (s s - sum (s q)^2) from the sum of the squared residuals r.
        """
        base = self._base(chosen)
        counts = [len(members) for members in self.members]
        group = array("l", bytes(8 * len(rests)))
        for number, members in enumerate(self.members):
            for index in members:
                group[index] = number
        after = [0] * len(counts)
        square = taken = 0.0
        shared = [0.0] * len(base)
        gains: list[tuple[float, int]] = []
        for index in range(len(rests) - 1, 0, -1):
            own = group[index]
            square += 1 - (2 * after[own] + 1) / counts[own]
            after[own] += 1
            taken += rests[index]
            free = square
            for number, column in enumerate(base):
                shared[number] += column[index]
                free -= shared[number] ** 2
            if free > INDEPENDENT * square > 0:
                gains.append((taken * taken / free, index))
        gains.sort(reverse=True)
        return [index for _, index in gains]

    def _base(self, chosen: Sequence[int]) -> list[array[float]]:
        """An orthonormal base of independent columns (Gram-Schmidt)."""
        base: list[array[float]] = []
        for one in chosen:
            left = self.columns[one]
            for unit in base:
                factor: float = sum(map(mul, left, unit))
                left = array("d", [value - factor * x for value, x in zip(left, unit, strict=True)])
            length = math.sqrt(sum(map(mul, left, left)))
            base.append(array("d", [value / length for value in left]))
        return base

    def _solve(self, chosen: Sequence[int], right: Sequence[float]) -> list[float] | None:
        """Sizes of columns whose products with something are `right` (Gauss); None where they are dependent."""
        size = len(chosen)
        rows = [[*(self.product(one, other) for other in chosen), end] for one, end in zip(chosen, right, strict=True)]
        for pivot in range(size):
            top = rows[pivot]
            if top[pivot] <= INDEPENDENT * self.product(chosen[pivot], chosen[pivot]):
                return None
            for below in range(pivot + 1, size):
                row = rows[below]
                factor = row[pivot] / top[pivot]
                if factor:
                    for column in range(pivot + 1, size + 1):
                        row[column] -= factor * top[column]
        found = [0.0] * size
        for pivot in range(size - 1, -1, -1):
            row = rows[pivot]
            known = sum(row[column] * found[column] for column in range(pivot + 1, size))
            found[pivot] = (row[size] - known) / row[pivot]
        return found

    def _centred(self, column: Iterable[float]) -> tuple[array[float], array[float]]:
        """A column less the means of its groups, and these means."""
        centred = array("d", column)
        means = array("d", bytes(8 * len(self.members)))
        for number, group in enumerate(self.members):
            means[number] = sum(centred[index] for index in group) / len(group)
            for index in group:
                centred[index] -= means[number]
        return centred, means

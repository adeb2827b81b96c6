"""Scripted series: a process that is a formula, and tells the time that it would take: for testing by the thousand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from leakcheck import meters
from leakcheck.execution.job import Budget
from leakcheck.execution.worker import Round
from leakcheck.meters import LEDGER
from leakcheck.verdict.judgement import Judgement
from leakcheck.verdict.measure import Measurement, Suspected, Unsuspecting, measure
from leakcheck.verdict.process import Answer

Formula = Callable[[int], float]
"""Bytes in use after so many iterations."""


class ScriptedProcess:
    """Runs no step: its heap follows a formula, `others` follow theirs, and time passes as it would."""

    def __init__(
        self,
        formula: Formula,
        *,
        seconds_per_step: float | Formula,
        jitter: bool,
        seed: int,
        others: Sequence[Formula] = (),
    ) -> None:
        self._formula = formula
        self._others = others
        self._seconds_per_step = seconds_per_step
        self._random = random.Random(seed)
        self._jitter = jitter
        self._iterations = 0

    def ask(self, question: NamedTuple, answer: type[Answer]) -> Answer:
        raise AssertionError(f"nobody should ask {question}")

    def run(self, count: int, /, *, watch: int = 0, whole: bool = True) -> Round:
        watched = range(self._iterations + count - watch, self._iterations + count)
        lowest = min((1_000_000 + self._formula(n + 1) for n in watched), default=None)
        self._iterations += count
        cost = self._seconds_per_step
        seconds = count * (cost(self._iterations) if callable(cost) else cost) + watch * 4e-6
        # What a reading of malloc's ledger varies by: a chunk of 16 bytes more or less.
        noise = self._random.choice([0, 0, 0, 16, -16, 32]) if self._jitter else 0
        value = 1_000_000 + self._formula(self._iterations) + noise
        values = [value, *(1_000_000 + formula(self._iterations) for formula in self._others)]
        return Round(self._iterations, seconds, seconds + 0.0012, 0, values, None, lowest)


def judged(
    formula: Formula,
    *,
    seconds_per_step: float | Formula = 1e-6,
    budget: Budget = Budget(),  # noqa: B008
    jitter: bool = True,
    seed: int = 1,
    suspected: Suspected | None = None,
    others: Mapping[str, Formula] = MappingProxyType({}),
) -> tuple[Judgement, Measurement]:
    """What the judge says of the heap; `others` are further meters."""
    process = ScriptedProcess(
        formula, seconds_per_step=seconds_per_step, jitter=jitter, seed=seed, others=list(others.values())
    )
    read = [meters.of(name, "B") for name in (LEDGER, *others)]
    measured = measure(process, read, budget, suspected or Unsuspecting())
    return measured.judgements["heap.bytes"], measured


def constant(_: int) -> float:
    return 0.0


def steady(size: float, every: int = 1, start: int = 0) -> Formula:
    """`size` bytes lost each `every` iterations, from iteration `start` on."""
    return lambda n: size * (max(0, n - start) // every)


def steady_from(size: float, every: int, phase: int) -> Formula:
    """The same, for the first time after `every - phase` iterations."""
    return lambda n: size * ((n + phase) // every)


def at_random(chance: float, size: float, seed: int) -> Formula:
    """`size` bytes lost with a chance of `chance` in each iteration."""
    source = random.Random(seed)
    lost = 0.0
    until = 0

    def formula(n: int) -> float:
        nonlocal lost, until
        expected = max(0, n - until) * chance
        until = max(n, until)
        events = source.gauss(expected, math.sqrt(expected)) if expected > 30 else _poisson(source, max(expected, 0.0))
        lost += max(0.0, round(events)) * size
        return lost

    return formula


def _poisson(source: random.Random, mean: float) -> int:
    """Knuth's method: multiply uniform numbers until they fall below exp(-mean)."""
    limit, product, count = math.exp(-mean), source.random(), 0
    while product > limit:
        product *= source.random()
        count += 1
    return count


def fills(capacity: int, size: float) -> Formula:
    return lambda n: size * min(n, capacity)


def saturates(keys: int, size: float) -> Formula:
    """A cache of `keys` entries asked for at random: the expected number that is filled."""
    return lambda n: size * keys * (1 - math.exp(-n / keys))


def sawtooth(period: int, size: float, left: float = 0.0) -> Formula:
    """Grows by `size` an iteration, flushed each `period`; `left` bytes stay behind each time."""
    return lambda n: size * (n % period) + left * (n // period)


def noise(amplitude: float, seed: int) -> Formula:
    source = random.Random(seed)
    return lambda _: source.uniform(0, amplitude)


def steps_once(at: int, size: float) -> Formula:
    return lambda n: size if n >= at else 0.0


def logarithmic(size: float) -> Formula:
    return lambda n: size * math.log1p(n)


def hash_table(entry: float) -> Formula:
    """Objects kept in a dict: the table doubles when it is two thirds full."""
    return lambda n: entry * n + 24 * 2 ** math.ceil(math.log2(max(n, 8) * 1.5))


def together(*formulas: Formula) -> Formula:
    return lambda n: sum(formula(n) for formula in formulas)


def spikes(chance: float, size: float, seed: int) -> Formula:
    source = random.Random(seed)
    return lambda _: size if source.random() < chance else 0.0

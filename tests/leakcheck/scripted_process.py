"""A process that answers questions and reads meters from a script: for challenges, and for whole verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from leakcheck import meters
from leakcheck.execution.worker import Round
from leakcheck.records import Sample
from leakcheck.verdict.caches import CacheSuspicion
from leakcheck.verdict.challenges import Suspicion
from leakcheck.verdict.judgement import Judgement
from leakcheck.verdict.measure import Measurement


class Scripted:
    """Reads its one meter from `levels`, in order; the last stays. Answers each question by its type."""

    def __init__(
        self, levels: Sequence[float], answers: Mapping[type, NamedTuple | Callable[[], NamedTuple]] | None = None
    ) -> None:
        self._levels = list(levels)
        self._answers = dict(answers or {})
        self.iterations = 0
        self.asked: list[NamedTuple] = []

    def run(self, count: int, /, *, watch: int = 0, whole: bool = True) -> Round:
        self.iterations += count
        value = self._levels.pop(0) if len(self._levels) > 1 else self._levels[0]
        return Round(self.iterations, 0.0, 0.0, 0, [value], None, None)

    def ask(self, question: NamedTuple, answer: type) -> Any:
        self.asked.append(question)
        found = self._answers[type(question)]
        found = found() if callable(found) else found
        assert isinstance(found, answer), f"{question} is answered by {answer.__name__}"
        return found


def judgement(verdict: Any, growth: float = 64.0) -> Judgement:
    return Judgement(verdict, "linear", growth, growth, growth, None, "as the judge said", "line")


def suspicion(
    process: Scripted,
    verdict: str = "leak",
    *,
    iterations: int = 10_000,
    growth: float = 64.0,
    gc: Any = "collect",
    filling: Sequence[Any] = (),
    full_at: int = 0,
    samples: Sequence[Sample] | None = None,
) -> Suspicion:
    """One meter, the heap, that grew by `growth` in each of the iterations."""
    series = samples or [
        Sample(0, 0.0),
        Sample(iterations // 2, growth * iterations / 2),
        Sample(iterations, growth * iterations),
    ]
    measured = Measurement(
        meters=[meters.of(meters.LEDGER, "B")],
        samples={meters.LEDGER: list(series)},
        pace=[],
        judgements={meters.LEDGER: judgement(verdict, growth)},
        iterations=iterations,
        step_seconds=0.0,
        seconds=0.0,
        cycles_per_iteration=0.0,
        ended_by=None,
        raised=None,
    )
    caches = CacheSuspicion(process)
    caches.filling, caches.full_at = list(filling), full_at
    return Suspicion(measured, measured.judgements, gc, caches)

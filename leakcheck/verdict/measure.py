"""The growth measurement of one scenario: runs rounds, judges after each doubling, stops as soon as it may."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from leakcheck.agent.protocol import Failed
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Budget
from leakcheck.meters import BYTES, LEDGER, LIVE_OBJECTS, MeterSpec
from leakcheck.records import Failure, Sample, Verdict
from leakcheck.verdict.contradiction import contradicted
from leakcheck.verdict.doublings import after_first_call
from leakcheck.verdict.judge import judge
from leakcheck.verdict.judgement import Evidence, Judgement, Shape
from leakcheck.verdict.patience import evidence, may_be_hastened
from leakcheck.verdict.process import Process
from leakcheck.verdict.rounds import (
    Ended,
    Progress,
    exhausted,
    growth_since_first,
    next_round,
    rounds_per_doubling,
    too_early,
    towards_ceiling,
    watched,
)


class Measurement(NamedTuple):
    """All that the rounds of one scenario showed."""

    meters: list[MeterSpec]
    samples: dict[str, list[Sample]]
    pace: list[Sample]
    """Seconds that the step had taken by each reading."""
    judgements: dict[str, Judgement]
    iterations: int
    step_seconds: float
    seconds: float
    cycles_per_iteration: float
    ended_by: Ended | None
    """Why no more rounds were run, where it was not the judge who had enough."""
    raised: Failed | None
    """The exception that ended the last round, if one did."""
    broken: Failure | None = None
    """Why no further round could be read: the process has ended, did not answer, or was called off. What was read
    before is judged as if it went on."""
    unanswered: bool = False
    """Whether it was a question that ended the process: the step would have gone on."""

    @property
    def per_iteration(self) -> float:
        """Seconds that one call of the step took; never 0."""
        return max(self.step_seconds, 1e-9) / max(self.iterations, 1)

    @property
    def leaking(self) -> list[str]:
        """Names of the decisive meters that leak."""
        return [spec.name for spec in decisive(self.meters, self.judgements, "leak")]


def decisive(meters: Sequence[MeterSpec], judgements: Mapping[str, Judgement], verdict: Verdict) -> list[MeterSpec]:
    """The decisive meters of that verdict; what is not decided is `inconclusive`."""
    return [spec for spec in meters if spec.decisive and (judgements[spec.name].verdict or "inconclusive") == verdict]


Watch = Callable[[Progress, Mapping[str, Sequence[Sample]], Mapping[str, Judgement]], None]
"""Called after each round with what is known: for the live view."""


class Suspected(Protocol):
    """What is asked of the process besides its meters before a leak is pronounced: see `caches.CacheSuspicion`."""

    def look(self, progress: Progress, /) -> None:
        """Something seems to grow: note what there is that could be holding it."""

    def may_be_cached(self, progress: Progress, /) -> bool:
        """Whether something that could be holding what grows has become larger since then; true where unknown."""

    def needed(self, progress: Progress, /) -> int:
        """How many iterations would show whether it is a cache with a limit that fills; 0 for no more."""


def measure(
    process: Process,
    meters: Sequence[MeterSpec],
    budget: Budget,
    suspected: Suspected,
    watch: Watch = lambda *_: None,
) -> Measurement:
    """Run rounds until every decisive meter is decided, or the budget is used up.

    Once one meter leaks there is nothing left to wait for: the others are reported as they stand.
    """
    run = _Run(process, meters, budget, watch)
    run.round(0)
    must_reach = 0
    looked = False
    while True:
        if not run.over and too_early(run.progress, budget):
            run.doubling()
            continue
        judgements = run.judge_all(hold_leaks=run.progress.iterations < must_reach)
        decided = all(judgements[meter.name].verdict is not None for meter in meters if meter.decisive)
        leaks = decisive(meters, judgements, "leak")
        if run.over:
            return run.result(judgements)
        try:
            if leaks and run.held is None:
                # Where the patience for caches is used up anyhow, nobody need ask whether it was called for.
                run.held = evidence(run.progress, budget).enough_for_leak or suspected.may_be_cached(run.progress)
                if run.held:
                    must_reach = suspected.needed(run.progress)
                    continue
            if decided or leaks:
                return run.result(judgements)
            if run.suspicious and not looked and may_be_hastened(run.progress):
                looked = True
                suspected.look(run.progress)
        except WorkerFailed as failed:
            return run.without_answer(judgements, failed.failure)
        run.doubling()


def _whole_rounds(series: Sequence[Sample]) -> list[Sample]:
    """Without the readings after a round that was cut short: it may have no trough, where the others have one."""
    kept = [*series[:1]]
    longest = 0
    for sample in series[1:]:
        length = sample.iterations - kept[-1].iterations
        if 4 * length >= longest or sample.value <= kept[-1].value:
            kept.append(sample)
            longest = max(longest, length)
    return kept


def _lowest_of_two(series: Sequence[Sample]) -> list[Sample]:
    """The lower of each two neighbours, the last two first: a stretch shorter than the period may have no trough."""
    pairs = [(series[index - 1], series[index]) for index in range(len(series) - 1, 0, -2)]
    found = [Sample(later.iterations, min(earlier.value, later.value)) for earlier, later in reversed(pairs)]
    return [*series[: len(series) % 2], *found]


_WARM_CALLS = 64
"""Calls after which garbage is the step's: the first ones make some once, with modules and tables."""

_FAIR_SHARE = 0.5
"""Part of the time budget after which a process that is gone is judged as at the end of one: with as much of it, the
same readings would have been the last."""

_MANY_OBJECTS = 40_000
"""Objects of which a whole collection costs milliseconds."""


class Unsuspecting:
    """Stands in for the suspicion where questions are no good: what grows may be held by anything."""

    def look(self, progress: Progress, /) -> None:
        """Nothing is noted."""

    def may_be_cached(self, progress: Progress, /) -> bool:  # noqa: ARG002
        """It may."""
        return True

    def needed(self, progress: Progress, /) -> int:  # noqa: ARG002
        """Nobody knows."""
        return 0


class _Run:
    """The state of one measurement."""

    def __init__(
        self,
        process: Process,
        meters: Sequence[MeterSpec],
        budget: Budget,
        watch: Watch,
    ) -> None:
        self._process = process
        self._meters = list(meters)
        self._budget = budget
        self._watch = watch
        self._step_seconds = 0.0
        self._spent = 0.0
        self._rounds = 0
        self._cycles = 0
        self._cycles_from = 0
        self._left_cycles = True
        self._watched_from: int | None = None
        self._judgements: dict[str, Judgement] = {}
        self.suspicious: set[Shape] = set()
        self.held: bool | None = None
        """Whether something that could be a cache gets larger; None as long as nobody has asked."""
        self.samples: dict[str, list[Sample]] = {meter.name: [] for meter in meters}
        self.pace: list[Sample] = []
        """Seconds that the step took up to each reading."""
        self.raised: Failed | None = None
        self.broken: Failure | None = None
        self.unanswered = False
        self.ended_by: Ended | None = None
        self.progress = Progress(0, 0.0, 0.0, {})

    @property
    def over(self) -> bool:
        """Whether no more rounds can be run."""
        return self.raised is not None or self.broken is not None or self.ended_by is not None

    @property
    def _cut_short(self) -> bool:
        """Whether the process was gone before there was much to judge; one that took all memory had its time."""
        broken = self.broken is not None and self.broken.type != "memory"
        return broken and self._step_seconds < _FAIR_SHARE * self._budget.time_s

    def round(self, count: int, *, whole: bool = True) -> None:
        """Run one round and take its readings."""
        watch = 0 if self._watched_from is None else watched(count)
        try:
            done = self._process.run(count, watch=watch, whole=whole)
        except WorkerFailed as failed:
            if not self._rounds:  # there is nothing to judge
                raise
            self.broken = failed.failure
            return
        self._step_seconds += done.seconds
        self._spent += done.spent
        self._rounds += 1
        for meter, value in zip(self._meters, done.values, strict=True):
            lowest = done.lowest if meter.name == LEDGER and done.lowest is not None else value
            self.samples[meter.name].append(Sample(done.iterations, min(value, lowest)))
        self._watch_where_it_falls()
        if done.iterations >= _WARM_CALLS:
            self._cycles_from = self._cycles_from or done.iterations
            self._cycles += done.cycles if done.iterations > self._cycles_from else 0
        self.raised = done.raised
        self.progress = Progress(
            done.iterations,
            self._step_seconds,
            self._spent,
            growth_since_first(self.samples),
            towards_ceiling(self.samples),
            done.seconds / max(count, 1),
        )
        self.pace.append(Sample(done.iterations, self._step_seconds))
        self._watch(self.progress, self.samples, self._judgements)

    def doubling(self) -> None:
        """Run as many rounds as double the number of iterations."""
        start = self.progress.iterations
        reading_seconds = (self.progress.seconds - self._step_seconds) / max(self._rounds, 1)
        cuts = min(rounds_per_doubling(self.progress, self._budget, self.suspicious, reading_seconds), max(start, 1))
        cycles = self._cycles
        for position in range(cuts):
            # A step that left no cycles in the last doubling leaves none now, or the end of this one shows some.
            many = LIVE_OBJECTS in self.samples and self.samples[LIVE_OBJECTS][-1].value > _MANY_OBJECTS
            whole = position == cuts - 1 or self._left_cycles or not many
            self.round(next_round(start, position, self.progress, self._budget, cuts), whole=whole)
            self.ended_by = exhausted(self.progress, self._budget)
            if self.over:
                return
        self._left_cycles = self._cycles > cycles

    def judge_all(self, *, hold_leaks: bool) -> dict[str, Judgement]:
        """Judge every meter by what is known now."""
        known = evidence(self.progress, self._budget, held=bool(self.held))
        if self.over and not self._cut_short:
            known = Evidence(final=True, ceiling=self.ended_by is not None and self.ended_by.is_ceiling)
        elif hold_leaks:
            known = known._replace(enough_for_leak=False, enough_for_rough=False, enough_for_rare=False)
        each = {meter.name: self._judge(meter, known) for meter in self._meters}
        self._judgements = contradicted(each, self._meters, known)
        decisive = [self._judgements[meter.name] for meter in self._meters if meter.decisive]
        self.suspicious = {judgement.shape for judgement in decisive if judgement.suspicious}
        return self._judgements

    def _judge(self, meter: MeterSpec, known: Evidence) -> Judgement:
        limits = meter.thresholds
        series = self.samples[meter.name]
        if meter.family == "children":  # in other processes nobody can ask what holds it: it may be a cache that fills
            known = known._replace(enough_for_leak=known.enough_for_rough)
        if meter.name == LEDGER and self._watched_from is not None:
            watched, began = _whole_rounds(series[self._watched_from :]), after_first_call(series)
            troughs = judge(watched, limits, known, began=began)
            if troughs.verdict in ("clean", "bounded"):
                deeper = judge(_lowest_of_two(watched), limits, known, began=began)
                if deeper.shape == "linear":
                    return deeper
            if troughs.verdict != "inconclusive":
                return troughs
        return judge(series, limits, known)

    def _watch_where_it_falls(self) -> None:
        """From the first fall on, know the troughs: a sawtooth read at any moment is a cloud, its bottom is a line."""
        series = self.samples.get(LEDGER, [])
        if self._watched_from is not None or len(series) < 2 or series[-1].iterations < 16:
            return
        if series[-2].value - series[-1].value > BYTES.floor:
            self._watched_from = len(series)

    def without_answer(self, judgements: dict[str, Judgement], failure: Failure) -> Measurement:
        """What came out where a question, and not the step, has ended the process."""
        self.broken, self.unanswered = failure, True
        return self.result(judgements)

    def result(self, judgements: dict[str, Judgement]) -> Measurement:
        """What came out."""
        iterations = self.progress.iterations
        measured = iterations - self._cycles_from
        return Measurement(
            meters=self._meters,
            samples=self.samples,
            pace=self.pace,
            judgements=judgements,
            iterations=iterations,
            step_seconds=self._step_seconds,
            seconds=self.progress.seconds,
            cycles_per_iteration=self._cycles / measured if measured > 0 else 0.0,
            ended_by=self.ended_by,
            raised=self.raised,
            broken=self.broken,
            unanswered=self.unanswered,
        )

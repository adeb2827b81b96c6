"""Before a leak is reported, it is asked whether the collector, time, or emptied caches would take it away.

A challenge is a function of a suspicion and the process. For each meter that it can say something of, it rules that the
growth is acquitted, smaller, or upheld; None where it has nothing to say. `CHALLENGES` are asked in order, each of what
those before have left. To add one: write the function, put it into the list, add a row to `docs/verdicts.md`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from leakcheck.agent.protocol import (
    ClockRead,
    Collect,
    Collected,
    GcMode,
    KeysCame,
    KeysComeAgain,
    LetTimePass,
    ReadsClock,
    Stayed,
    TimePassed,
    WhatStays,
)
from leakcheck.execution.failure import WorkerFailed
from leakcheck.meters import BYTES, LEDGER
from leakcheck.records import Verdict
from leakcheck.series import changes
from leakcheck.verdict import caches
from leakcheck.verdict.caches import CacheSuspicion
from leakcheck.verdict.judgement import Judgement
from leakcheck.verdict.measure import Measurement, decisive
from leakcheck.verdict.process import Process
from leakcheck.verdict.residue import Left, Residue, residues, stays_at_a_rate

_GONE_SHARE = 0.8
"""Part of a growth that must go away with caches or garbage for these to be its explanation."""
_WENT_SHARE = 0.5
"""The same for what goes by itself with the time: it leaves tables that do not shrink when their entries go."""
_FELL_SHARE = 0.1
"""Part of a growth that must go by itself for the rest to be looked at apart from it."""
_WARM_UP_SHARE = 0.02
"""Part of a growth that may stay when caches are emptied, whenever it came: warm-up, smaller caches."""
_PAUSE_S = 0.5
"""Seconds that are waited at a time for something to go."""
_FIRST_GONE_S = 2.5
"""Seconds after which something must have gone. What lives for longer looks like a leak until it ends."""
_ALL_GONE_S = 6.0
"""Seconds after which all must have gone."""
_LAST_SHARE = 0.01
"""Part of a growth that goes in a pause in which the last has gone, and no more."""
_SENSITIVITY_CALLS = 1000
"""Calls of which one may leave a small object and be seen."""
_STRETCH_SHARE = 8
"""Part of the measured iterations that a stretch has after which it is looked what stays."""
_AHEAD_S = 3600.0
"""Seconds by which the clock is put forward: what lives for longer is as good as kept for ever."""
_AHEAD_SHARE = 16
"""Part of the measured iterations that are run meanwhile: some look at the clock once in many calls."""
_MORE_HOURS = 3
"""Hours that pass to see whether something that has grown goes on."""
_LEAST_DUE = 3
"""Of the smallest things, how many a leak must have left in them for their absence to mean anything."""
_STOPPED_SHARE = 0.25
"""Part of what a leak would have left that what has stopped may leave."""
_LEAST_KEY_CALLS = 64
"""Calls in which keys may come again."""
_LEAST_AGAIN = 4
"""Keys that must come again: one or two are fixed."""
_AGAIN_SHARE = 0.02
"""Part of the keys that come again which makes what has them a cache."""
_CLOCK_CALLS = 16
"""Calls of the step in which it reads a clock, if it does."""
_CACHE_CALLS = 16
"""Calls of the step in which it asks a cache, if that is its own; fewer of a slow one, of which few were measured."""
_MOST_NAMED = 3
"""Caches that are named in the advice."""


_NEIGHBOURS_S = 1.0
"""Seconds for which it is looked what grows without the step: processes that make things make some in that time."""
_NEIGHBOURS_SHARE = 0.25
"""Part of what the step's time brought that must come without it to be a neighbour's."""


class Acquitted(NamedTuple):
    """No leak, as far as it can be shown within the budget."""

    reason: str
    verdict: Literal["bounded", "inconclusive"] = "bounded"


class Leaks(NamedTuple):
    """A leak of so much: the rest of the growth, where there is more, has another explanation."""

    rate: Residue
    reason: str


class Upheld(NamedTuple):
    """A leak, now for one more reason."""

    reason: str


Answer = Acquitted | Leaks | Upheld


class Ruling(NamedTuple):
    """What a challenge says."""

    answers: Mapping[str, Answer]
    """By meter; what is not named stays as it is."""
    advice: Sequence[str] = ()
    pause_s: float = 0.0
    """Seconds after which what the step keeps for a time only has gone; 0 where it keeps nothing so."""


class Suspicion(NamedTuple):
    """What is held against a scenario when a challenge is asked."""

    measured: Measurement
    judgements: Mapping[str, Judgement]
    """As the challenges before have left them."""
    gc: GcMode
    caches: CacheSuspicion

    @property
    def leaking(self) -> list[str]:
        """Decisive meters that leak."""
        return self._decisive("leak")

    @property
    def bounded(self) -> list[str]:
        """Decisive meters that grew and stopped."""
        return self._decisive("bounded")

    @property
    def undecided(self) -> list[str]:
        """Decisive meters that could not be decided."""
        return self._decisive("inconclusive")

    def _decisive(self, verdict: Verdict) -> list[str]:
        return [spec.name for spec in decisive(self.measured.meters, self.judgements, verdict)]

    def at(self, meter: str) -> int:
        """Where a meter's value stands in a reading."""
        return next(index for index, spec in enumerate(self.measured.meters) if spec.name == meter)

    def grown(self, meters: Sequence[str] = ()) -> dict[str, float]:
        """How far each of the meters has grown; those that leak, where none are named."""
        samples = self.measured.samples
        return {name: samples[name][-1].value - samples[name][0].value for name in meters or self.leaking}

    def trifle(self, meter: str, count: int) -> float:
        """What `count` iterations may leave of a meter without being a leak."""
        quantum = self.measured.meters[self.at(meter)].thresholds.quantum
        return quantum * max(4.0, count / _SENSITIVITY_CALLS)


Challenge = Callable[[Suspicion, Process], Ruling | None]


class Challenged(NamedTuple):
    """What is left when all challenges have been asked."""

    judgements: dict[str, Judgement]
    advice: list[str]
    pause_s: float


def challenge(suspicion: Suspicion, process: Process, challenges: Sequence[Challenge] | None = None) -> Challenged:
    """Ask the challenges in order."""
    advice: list[str] = []
    pause_s = 0.0
    for ask in CHALLENGES if challenges is None else challenges:
        try:
            ruling = ask(suspicion, process)
        except WorkerFailed as failed:
            name, why = ask.__name__.replace("_", " "), failed.failure.message
            advice.append(f"not looked at: whether it has an innocent explanation, from {name!r} on ({why})")
            break  # who did not answer, or has crashed, answers no more
        if ruling is not None:
            judgements = {
                name: _ruled(judgement, ruling.answers.get(name)) for name, judgement in suspicion.judgements.items()
            }
            suspicion = suspicion._replace(judgements=judgements)
            advice += ruling.advice
            pause_s = max(pause_s, ruling.pause_s)
    return Challenged(dict(suspicion.judgements), advice, pause_s if suspicion.leaking else 0.0)


def _ruled(judgement: Judgement, answer: Answer | None) -> Judgement:
    if answer is None:
        return judgement
    changed = judgement._replace(reason=answer.reason, rule="challenged", limit=None)
    if isinstance(answer, Acquitted):
        return changed._replace(verdict=answer.verdict)
    if not isinstance(answer, Leaks):
        return changed
    return changed._replace(verdict="leak", shape="linear", detectable=None, **answer.rate._asdict())


def garbage(suspicion: Suspicion, process: Process) -> Ruling | None:
    """Cyclic garbage that waits for the collector, where the run leaves that to the program (`--gc auto`, `off`)."""
    if not suspicion.leaking or suspicion.gc not in ("auto", "off"):
        return None
    before = process.run(0).values
    cycles = process.ask(Collect(), Collected).found
    after = process.run(0).values
    acquitted: dict[str, Answer] = {
        name: Acquitted("grows by cyclic garbage that waits for the collector")
        for name, grown in suspicion.grown().items()
        if before[suspicion.at(name)] - after[suspicion.at(name)] >= _GONE_SHARE * grown
    }
    rate = cycles / max(suspicion.measured.iterations, 1)
    return Ruling(acquitted, [f"{rate:.2f} objects of cyclic garbage per iteration"]) if acquitted else None


def neighbours(suspicion: Suspicion, process: Process) -> Ruling | None:
    """What the system counts for all processes of a user, and may be another's: it grows without the step."""
    shared = [name for name in suspicion.leaking if suspicion.measured.meters[suspicion.at(name)].of_all]
    if not shared:
        return None
    before = process.run(0).values
    time.sleep(_NEIGHBOURS_S)
    after = process.run(0).values
    part = _NEIGHBOURS_S / max(suspicion.measured.seconds, _NEIGHBOURS_S)
    theirs = [
        name
        for name, grown in suspicion.grown(shared).items()
        if after[suspicion.at(name)] - before[suspicion.at(name)] > _NEIGHBOURS_SHARE * part * grown
    ]
    reason = "grows while the step does not run too: another process of this user makes them"
    return Ruling(dict.fromkeys(theirs, Acquitted(reason, "inconclusive"))) if theirs else None


def expiry(suspicion: Suspicion, process: Process) -> Ruling | None:
    """What is kept for a time: wait, go on, and see what stays. Steps that read no clock do not wait.

    A verdict comes within a second where calls are quick, sooner than such things end. That most of it goes acquits
    nobody: what stays of equal stretches is a leak beside it. What lives for longer than anybody waits goes when the
    clock is put forward. What could not be decided is asked too: things that come and go with the time hide a line.
    """
    accused = [*suspicion.leaking, *suspicion.undecided]
    if not accused or not process.ask(ReadsClock(_CLOCK_CALLS), ClockRead).reads:
        return None
    grown = {name: more for name, more in suspicion.grown(accused).items() if more > 0}
    if not grown:  # the last reading was in a trough: nothing could be seen to go
        return None
    began = process.run(0).values
    batch = max(1, suspicion.measured.iterations // 1024)  # what these calls keep is all that a reading may be off by
    waited_s, went = 0.0, dict.fromkeys(grown, 0.0)
    indexes = [suspicion.at(name) for name in grown]
    while True:
        # To walk all that stays takes the longer the more it is: for cycles that have gone it is done once, at the end.
        last = waited_s + _PAUSE_S >= _FIRST_GONE_S
        left = _left_alone(process, _PAUSE_S, batch, indexes, whole=last or max(went.values()) >= _FELL_SHARE)
        if left is None:
            return None
        waited_s += _PAUSE_S
        before = went
        went = {
            name: (began[suspicion.at(name)] - left.values[suspicion.at(name)]) / more for name, more in grown.items()
        }
        goes = any(went[name] - before[name] > _LAST_SHARE for name in grown)
        if max(went.values()) >= _FELL_SHARE:
            if not goes or waited_s >= _ALL_GONE_S:
                break  # it was made all the time, so it goes all the time until the last has gone
        elif waited_s >= _FIRST_GONE_S:
            return _with_the_clock_ahead(suspicion, process, grown)
    stayed = _stays(suspicion, process, grown, waited_s, batch)
    if not stayed and max(went.values()) < _WENT_SHARE:
        return None
    reason = "keeps for a time what it makes: it went when that was over"
    return Ruling(_apart(grown, stayed, reason, "what is kept for a time has gone"), pause_s=waited_s)


def _with_the_clock_ahead(suspicion: Suspicion, process: Process, grown: Mapping[str, float]) -> Ruling | None:
    """The same for what lives for up to an hour, where it is Python that looks at the clock."""
    process.ask(LetTimePass(0.0, 1), TimePassed)  # what this loads is in the next reading
    began = process.run(0)
    batch = max(1, suspicion.measured.iterations // _AHEAD_SHARE)
    left = _left_alone(process, _AHEAD_S, batch, [suspicion.at(name) for name in grown])
    if left is None:
        return None
    went = [(began.values[suspicion.at(name)] - left.values[suspicion.at(name)]) / more for name, more in grown.items()]
    if max(went) < _WENT_SHARE:
        return _stopped_with_the_clock(suspicion, process, list(grown), batch)
    stayed = _stays(suspicion, process, grown, _AHEAD_S, batch)
    reason = "keeps for a time what it makes: it went when its clock was put forward"
    return Ruling(_apart(grown, stayed, reason, "what is kept for a time has gone"), pause_s=_AHEAD_S)


def _stopped_with_the_clock(suspicion: Suspicion, process: Process, names: Sequence[str], batch: int) -> Ruling | None:
    """What fills by the clock, a bucket a second, is full after an hour; what each hour's calls add to is the leak."""
    levels = []  # each after an hour: what its last calls keep, with their time, is in all of them
    for _ in range(1 + _MORE_HOURS):
        if process.ask(LetTimePass(_AHEAD_S, batch), TimePassed).raised:
            return None
        levels.append(process.run(0).values)
    answers: dict[str, Answer] = {}
    for name in names:
        index = suspicion.at(name)
        came = [after[index] - before[index] for before, after in pairwise(levels)]
        due = suspicion.judgements[name].growth * _MORE_HOURS * batch
        quantum = suspicion.measured.meters[index].thresholds.quantum
        if stays_at_a_rate(came, suspicion.trifle(name, batch)):
            rates = [more / batch for more in came]
            stays = Residue(sum(rates) / len(rates), min(rates), max(rates))
            answers[name] = Leaks(stays, "that much is added when its clock is put forward")
        elif due >= _LEAST_DUE * quantum and sum(came) <= _STOPPED_SHARE * due:
            answers[name] = Acquitted("fills with the time: it stopped growing when its clock was put forward")
    return Ruling(answers) if set(suspicion.leaking) <= answers.keys() else None


def recurring_keys(suspicion: Suspicion, process: Process) -> Ruling | None:
    """A cache without a limit that is not full: emptied, it is asked for keys that it had.

    How many keys there are is not known, so nothing is decided.
    """
    grown = [name for name in suspicion.leaking if name == LEDGER]
    if not grown:
        return None
    calls = max(_LEAST_KEY_CALLS, suspicion.measured.iterations // _STRETCH_SHARE)
    came = process.ask(KeysComeAgain(calls), KeysCame)
    enough = came.again >= max(_LEAST_AGAIN, _AGAIN_SHARE * came.added)
    if not enough or came.weight < _WENT_SHARE * suspicion.judgements[LEDGER].growth:
        return None
    reason = (
        f"fills what has keys, and they come again: of {came.added:,} that were put into it when it had been emptied, "
        f"{came.again:,} had been there; how many there are is not known"
    )
    return Ruling(dict.fromkeys(suspicion.leaking, Acquitted(reason, "inconclusive")))


def hidden(suspicion: Suspicion, process: Process) -> Ruling | None:
    """Two trends that cancel: the heap falls, as something is worked off, and containers grow beside it."""
    if suspicion.leaking or LEDGER not in suspicion.measured.samples:
        return None
    series = suspicion.measured.samples[LEDGER]
    half = [sample for sample in series if 2 * sample.iterations >= series[-1].iterations]
    fell = half[0].value - half[-1].value
    if len(half) < 2 or fell <= BYTES.notable or any(rise > fell for rise in changes(half)):
        return None
    stayed = process.ask(WhatStays(max(1, suspicion.measured.iterations // _STRETCH_SHARE), 0.0), Stayed).bytes
    if min(stayed) <= 0:
        return None
    rate = Residue(sum(stayed) / len(stayed), min(stayed), max(stayed))
    return Ruling({LEDGER: Leaks(rate, "that much stays of each call, while other things are worked off")})


def filling_caches(suspicion: Suspicion, process: Process) -> Ruling | None:
    """Caches with a limit that are not full yet: the growth goes when they are emptied."""
    filling = suspicion.caches.filling
    if not suspicion.leaking or not filling or suspicion.measured.iterations >= suspicion.caches.full_at:
        return None
    names = ", ".join(dict.fromkeys(map(caches.title, filling)))
    grown = suspicion.grown()
    first = next(iter(grown))
    if _emptied(process, suspicion.at(first)) >= _GONE_SHARE * grown[first]:
        count = max(1, suspicion.measured.iterations // 4)
        trifles = {suspicion.at(name): suspicion.trifle(name, count) for name in grown}
        stayed = _by_name(suspicion, residues(process, count, lambda: caches.emptied(process), trifles))
        reason = f"fills {names}, and goes back when that is emptied"
        return Ruling(_apart(grown, stayed, reason, "caches have been emptied"))
    if any(each.kind == "deque" for each in filling):
        reason = f"{names} is not full yet: needs about {suspicion.caches.full_at:,} iterations"
        return Ruling(dict.fromkeys(suspicion.leaking, Acquitted(reason, "inconclusive")))
    return None


def full_caches(suspicion: Suspicion, process: Process) -> Ruling | None:
    """What could not be decided may be full caches whose entries get larger: it goes when they are emptied."""
    if suspicion.leaking or not suspicion.undecided:
        return None
    names = ", ".join(caches.title(each) for each in caches.full(process) if each.kind == "lru_cache")
    if not names:
        return None
    undecided = suspicion.undecided[0]
    series = suspicion.measured.samples[undecided]
    grown = series[-1].value - series[0].value
    half = suspicion.measured.iterations / 2
    lately = series[-1].value - min(each.value for each in series if each.iterations >= half)
    remains = grown - _emptied(process, suspicion.at(undecided))
    # Of what came last more than half has gone with them; of what came before, some may be other caches, and warm-up.
    if remains > max(min(lately / 2, (1 - _GONE_SHARE) * grown), _WARM_UP_SHARE * grown):
        return None
    return Ruling({undecided: Acquitted(f"is held by {names}, and goes back when that is emptied")})


def names_of_caches(suspicion: Suspicion, process: Process) -> Ruling | None:
    """Changes nothing: says in the advice which caches a bounded growth is likely to be."""
    filling = suspicion.caches.filling
    if filling:
        named = [] if suspicion.leaking else [f"{caches.title(each)} filled up" for each in filling]
    elif suspicion.bounded:
        calls = max(1, min(_CACHE_CALLS, suspicion.measured.iterations // _CACHE_CALLS))
        named = [f"{caches.title(each)} is full" for each in caches.full_by(process, calls)]
    else:
        named = []
    return Ruling({}, named[:_MOST_NAMED]) if named else None


CHALLENGES: tuple[Challenge, ...] = (
    hidden, garbage, neighbours, expiry, filling_caches, recurring_keys, full_caches, names_of_caches,
)  # fmt: skip
"""In the order of asking."""


def _stays(
    suspicion: Suspicion, process: Process, grown: Mapping[str, float], pause_s: float, batch: int
) -> dict[str, Residue]:
    """What is left of equal stretches after a pause: by the containers that hold it, else by the bytes."""
    iterations = max(suspicion.measured.iterations, 1)
    count = max(1, iterations // _STRETCH_SHARE)
    left = process.ask(WhatStays(count, pause_s), Stayed).bytes
    if LEDGER in grown and min(left) > 0:
        return {LEDGER: Residue(sum(left) / len(left), min(left), max(left))}
    indexes = [suspicion.at(name) for name in grown]
    trifles = {
        suspicion.at(name): max(2 * batch * more / iterations, suspicion.trifle(name, count))
        for name, more in grown.items()
    }
    return _by_name(suspicion, residues(process, count, lambda: _left_alone(process, pause_s, batch, indexes), trifles))


def _left_alone(
    process: Process, pause_s: float, batch: int, indexes: Sequence[int], *, whole: bool = True
) -> Left | None:
    """Wait, and run on for as long as it falls: some forget a few things at each call. None where the step raises."""
    before = process.run(0, whole=whole).values
    if pause_s < _AHEAD_S:
        time.sleep(pause_s)
    elif process.ask(LetTimePass(pause_s, batch), TimePassed).raised:
        return None
    calls = 0
    while True:
        done = process.run(batch, whole=whole)
        calls += batch
        if done.raised is not None:
            return None
        if not all(done.values[index] < before[index] for index in indexes):
            return Left(done.values, calls)
        before = done.values


def _emptied(process: Process, index: int) -> float:
    """How far a meter falls when the caches are emptied."""
    before = process.run(0).values[index]
    return before - caches.emptied(process).values[index]


def _by_name(suspicion: Suspicion, stayed: Mapping[int, Residue]) -> dict[str, Residue]:
    return {suspicion.measured.meters[index].name: rate for index, rate in stayed.items()}


def _apart(grown: Mapping[str, float], stayed: Mapping[str, Residue], reason: str, when: str) -> dict[str, Answer]:
    """What stays is the leak where something does, and the rest explains the others."""
    return {
        name: Leaks(stayed[name], f"that much stays when {when}") if name in stayed else Acquitted(reason)
        for name in grown
    }

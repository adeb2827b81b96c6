"""Before a leak is told: whether it would be gone if the collector ran, some time passed, or caches were emptied."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from leakcheck.execution.job import Job
from leakcheck.execution.worker import Worker
from leakcheck.records import Meter
from leakcheck.verdict import caches
from leakcheck.verdict.judge import thresholds_for
from leakcheck.verdict.measure import Measurement
from leakcheck.verdict.residue import Left, Residue, residues

_GONE_SHARE = 0.8
"""Part of a growth that must go away with caches or garbage for these to be its explanation."""

_WENT_SHARE = 0.5
"""The same for what goes by itself with the time: it leaves tables that do not shrink when their entries go."""

_FELL_SHARE = 0.1
"""Part of a growth that must go by itself for the rest to be looked at apart from it."""

_TRIFLE = 0.02
"""Part of a growth that may stay when caches are emptied, whenever it came: warm-up, smaller caches."""

_PAUSE_S = 0.5
"""Seconds that are waited at a time for something to go."""

_PATIENCE_S = 2.5
"""Seconds after which something must have gone. What lives for longer looks like a leak until it ends."""

_LONGEST_S = 6.0
"""Seconds after which all must have gone."""

_FADES = 0.01
"""Part of a growth that goes in a pause in which the last has gone, and no more."""

_FOR_A_TIME = "keeps for a time what it makes: it went when that was over"

_RARE = 1000
"""Calls of which one may leave a small object and be seen."""


class Considered(NamedTuple):
    """What is left of the meters' verdicts."""

    meters: list[Meter]
    advice: list[str]
    pause: float = 0.0
    """Seconds after which what the step keeps for a time only has gone; 0 where it keeps nothing so."""


def second_thoughts(
    worker: Worker, job: Job, measured: Measurement, read: list[Meter], doubt: caches.CacheDoubt
) -> Considered:
    """Whether what leaks would be gone if the collector ran, if it were left alone, or if caches were emptied."""
    advice: list[str] = []
    pause = 0.0
    if _leaking(read) and job.gc in ("auto", "off"):
        read, advice = _without_cycles(worker, measured, read)
    if _leaking(read):
        read, pause = _after_a_while(worker, measured, read)
    if _leaking(read) and doubt.filling and measured.iterations < doubt.full_at:
        read = _without_caches(worker, measured, read, doubt)
    if not _leaking(read):
        read = _in_full_caches(worker, measured, read, doubt)
        pause = 0.0
    if any(meter.verdict == "bounded" and meter.decisive for meter in read) and not doubt.filling:
        advice += [f"{each.title} is full" for each in caches.full(worker)[:3]]
    elif doubt.filling and not _leaking(read):
        advice += [f"{each.title} filled up" for each in doubt.filling[:3]]
    return Considered(read, advice, pause)


def _leaking(read: list[Meter]) -> list[str]:
    return [meter.name for meter in read if meter.verdict == "leak" and meter.decisive]


def _grown(measured: Measurement, read: list[Meter]) -> dict[int, float]:
    """How far each leaking meter has grown, by its index."""
    leaking = _leaking(read)
    return {
        index: measured.samples[each.name][-1].value - measured.samples[each.name][0].value
        for index, each in enumerate(measured.meters)
        if each.name in leaking
    }


def _without_cycles(worker: Worker, measured: Measurement, read: list[Meter]) -> tuple[list[Meter], list[str]]:
    before = worker.run(0).values
    cycles = worker.probe("leakcheck.agent.probes.collection", {})["found"]
    after = worker.run(0).values
    explained = {
        measured.meters[index].name: "grows by cyclic garbage that waits for the collector"
        for index, grown in _grown(measured, read).items()
        if before[index] - after[index] >= _GONE_SHARE * grown
    }
    advice = f"{cycles / max(measured.iterations, 1):.2f} objects of cyclic garbage per iteration"
    return [_explained(meter, "bounded", explained) for meter in read], [advice] if explained else []


def _after_a_while(worker: Worker, measured: Measurement, read: list[Meter]) -> tuple[list[Meter], float]:
    """What a step keeps that asks for the time may live for a time only: wait, go on, and see what stays.

    The other steps do not wait. A verdict comes within a second where calls are quick, sooner than such things end.
    """
    if not worker.probe("leakcheck.agent.probes.clock_reads", {})["reads"]:
        return read, 0.0
    grown = {index: more for index, more in _grown(measured, read).items() if more > 0}
    if not grown:  # the last reading was in a trough: nothing could be seen to go
        return read, 0.0
    began = worker.run(0).values
    batch = max(1, measured.iterations // 1024)  # what is kept of these calls is all that the readings may be off by
    waited, went = 0.0, dict.fromkeys(grown, 0.0)
    while True:
        left = _left_alone(worker, _PAUSE_S, batch, grown)
        if left is None:
            return read, 0.0
        waited += _PAUSE_S
        before = went
        went = {index: (began[index] - left.values[index]) / more for index, more in grown.items()}
        goes = any(went[index] - before[index] > _FADES for index in grown)
        if max(went.values()) >= _FELL_SHARE:
            if not goes or waited >= _LONGEST_S:
                break  # it was made all the time, so it goes all the time until the last has gone
        elif waited >= _PATIENCE_S:
            return read, 0.0
    stayed = _what_stays(worker, measured, grown, waited, batch)
    if not stayed and max(went.values()) < _WENT_SHARE:
        return read, 0.0
    explained = {measured.meters[index].name: _FOR_A_TIME for index in grown}
    return _apart(measured, read, stayed, explained, "what is kept for a time has gone"), waited


def _what_stays(
    worker: Worker, measured: Measurement, grown: Mapping[int, float], pause: float, batch: int
) -> dict[int, Residue]:
    """What is left of equal stretches after a pause: by the containers that hold it, else by the bytes."""
    count = max(1, measured.iterations // 8)
    left = worker.probe("leakcheck.agent.probes.expiring", {"count": count, "pause": pause})["bytes"]
    heap = next((index for index in grown if measured.meters[index].name == "heap.bytes"), None)
    if heap is not None and min(left) > 0:
        return {heap: Residue(sum(left) / len(left), min(left), max(left))}
    trifles = {
        index: max(2 * batch * more / max(measured.iterations, 1), _trifle(measured, index, count))
        for index, more in grown.items()
    }
    return residues(worker, count, lambda: _left_alone(worker, pause, batch, grown), trifles)


def _left_alone(worker: Worker, pause: float, batch: int, indexes: Iterable[int]) -> Left | None:
    """Wait, and run on for as long as it falls: some forget a few things at each call. None where the step raises."""
    before = worker.run(0).values
    time.sleep(pause)
    calls = 0
    while True:
        done = worker.run(batch)
        calls += batch
        if done.raised is not None:
            return None
        if not all(done.values[index] < before[index] for index in indexes):
            return Left(done.values, calls)
        before = done.values


def _without_caches(worker: Worker, measured: Measurement, read: list[Meter], doubt: caches.CacheDoubt) -> list[Meter]:
    """Where caches with a limit are not full yet: whether the growth goes when they are emptied."""
    names = ", ".join(dict.fromkeys(each.title for each in doubt.filling))
    grown = _grown(measured, read)
    index = next(iter(grown))
    if doubt.emptied(index) >= _GONE_SHARE * grown[index]:
        count = max(1, measured.iterations // 4)
        stayed = residues(worker, count, doubt.left, {index: _trifle(measured, index, count) for index in grown})
        explained = {
            measured.meters[index].name: f"fills {names}, and goes back when that is emptied" for index in grown
        }
        return _apart(measured, read, stayed, explained, "caches have been emptied")
    if any(each.kind == "deque" for each in doubt.filling):
        explained = dict.fromkeys(_leaking(read), f"{names} is not full yet: needs about {doubt.full_at:,} iterations")
        return [_explained(meter, "inconclusive", explained) for meter in read]
    return read


def _trifle(measured: Measurement, index: int, count: int) -> float:
    info = measured.meters[index]
    return thresholds_for(info.name, info.unit).quantum * max(4.0, count / _RARE)


def _apart(
    measured: Measurement, read: list[Meter], stayed: Mapping[int, Residue], explained: Mapping[str, str], when: str
) -> list[Meter]:
    """The meters: what stays is the leak where something does, and the rest explains the others."""
    rates = {measured.meters[index].name: rate for index, rate in stayed.items()}
    return [
        msgspec.structs.replace(meter, **rates[meter.name]._asdict(), reason=f"that much stays when {when}")
        if meter.name in rates
        else _explained(meter, "bounded", explained)
        for meter in read
    ]


def _in_full_caches(worker: Worker, measured: Measurement, read: list[Meter], doubt: caches.CacheDoubt) -> list[Meter]:
    """What is not decided may be full caches whose entries get larger: bounded, if it goes when they are emptied."""
    undecided = next((meter.name for meter in read if meter.verdict == "inconclusive" and meter.decisive), None)
    names = ", ".join(each.title for each in caches.full(worker) if each.kind == "lru_cache") if undecided else ""
    if undecided is None or not names:
        return read
    index = next(index for index, info in enumerate(measured.meters) if info.name == undecided)
    series = measured.samples[undecided]
    grown = series[-1].value - series[0].value
    lately = series[-1].value - min(each.value for each in series if 2 * each.iterations >= measured.iterations)
    remains = grown - doubt.emptied(index)
    # Of what came last more than half has gone with them; of what came before, some may be other caches, and warm-up.
    if remains > max(min(lately / 2, (1 - _GONE_SHARE) * grown), _TRIFLE * grown):
        return read
    reason = {undecided: f"is held by {names}, and goes back when that is emptied"}
    return [_explained(meter, "bounded", reason) for meter in read]


def _explained(meter: Meter, verdict: Any, explained: Mapping[str, str]) -> Meter:
    if meter.name not in explained:
        return meter
    return msgspec.structs.replace(meter, verdict=verdict, reason=explained[meter.name])

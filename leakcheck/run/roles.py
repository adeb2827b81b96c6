"""In which processes of a program something grows, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from leakcheck import units
from leakcheck.agent.protocol import Grower, Growers, Opened, WhoGrows
from leakcheck.execution.worker import Worker
from leakcheck.meters import BYTES, CHILDREN_BYTES, CLIENT_BYTES, LEDGER
from leakcheck.records import Finding
from leakcheck.verdict.reach import Reached

_LEAST_ALONE = 64
"""Requests that show by how much one process of a service grows."""
_ALONE_S = 1.0
"""Seconds that they may take."""
_GROWS_SHARE = 0.05
"""Part of what the whole program grows by that a process must have for it to be one that grows."""
_MOST_PLACES = 3
"""Roles that are looked into: each takes as long as a diagnosis does."""
MAIN = "main process"
"""The process that calls the step, where it is one of the program."""
_READ_FROM_OUTSIDE = (
    f"{CHILDREN_BYTES} is memory of processes that are read from outside, in whole pages: other programs, and Pythons "
    "with -I, -E or -S, with an environment of their own, or older than 3.11; no line in them is known"
)


def growers(worker: Worker, reached: Reached, opened: Opened) -> Growers | None:
    """In which processes of a program something leaks, while they are still there; None where there is but one."""
    meter = next(iter(reached.leaking), "" if opened.service else LEDGER)
    if not meter or not opened.answers_probes or not (opened.service or reached.had_children):
        return None
    calls = max(_LEAST_ALONE, min(reached.measured.iterations // 8, int(_ALONE_S / reached.measured.per_iteration)))
    return worker.ask(WhoGrows(meter, calls), Growers)


class Place(NamedTuple):
    """Processes that are diagnosed together."""

    asked: str
    """Their role, as in `Open`."""
    where: str
    """What their findings say of it."""
    part: float
    """What they grow by, as a part of what the program does; of a service, per request that one of them answers."""


def places(known: Growers | None, leaking: Mapping[str, float], *, service: bool) -> list[Place]:
    """Where the growth is looked for: in each role that grows, that which grows most first."""
    growing = _growing(known.roles if known else [])
    first = next(iter(leaking.values()), 0.0)
    if known is None or not growing or first <= 0:
        return [Place("", "", 1.0)]
    if service:
        where = " and ".join(_counted(role, count) for role, count, _ in growing)
        return [Place("", f"; in {where}", known.alone / first if known.alone > 0 else 1.0)]
    totals = {each.role: sum(more for more in each.growth if more > 0) for each in known.roles}
    whole = sum(totals.values())
    found = [
        Place("" if role == MAIN else role, f"; in {_counted(role, count)}", totals[role] / whole)
        for role, count, _ in sorted(growing, key=lambda each: -totals[each[0]])
    ]
    return [Place("", "", 1.0)] if [each.asked for each in found] == [""] else found[:_MOST_PLACES]


def named(findings: Sequence[Finding], place: Place) -> list[Finding]:
    """The findings of one place: `...; in worker x4`, and as a part of what all of them grow by."""
    return [
        msgspec.structs.replace(
            each,
            title=f"{each.title}{place.where}",
            share=None if each.share is None else round(each.share * min(1.0, place.part), 4),
        )
        for each in findings
    ]


def explained(found: Sequence[Place], parts: Sequence[float | None]) -> float | None:
    """The part of the whole growth that is explained, of what is explained in each place."""
    known = [part * min(1.0, place.part) for place, part in zip(found, parts, strict=True) if part is not None]
    return round(sum(known), 4) if known else None


def _counted(role: str, count: int) -> str:
    return f"{role} x{count}" if count > 1 else role


def advice(growers: Growers | None, leaking: Iterable[str], *, service: bool) -> list[str]:
    """How many of the processes grow, where not all of a role do, or several roles; and which came and went."""
    outside = [_READ_FROM_OUTSIDE] if CHILDREN_BYTES in leaking else []
    if growers is None:
        return outside
    remarks = [*outside, "an iteration is one visit: a request, or what the client does"] if service else outside
    for role, count, processes in _growing(growers.roles):
        if count < processes:
            per = ": a finding is per request that such a process answers" if service else ""
            remarks.append(
                f"{count} of {processes} processes of the role {role!r} {'grows' if count == 1 else 'grow'}{per}"
            )
    return remarks + [_replaced(each) for each in growers.roles if each.ended and each.went > BYTES.notable]


def client(reached: Reached) -> list[str]:
    """What the process that sends a service its requests keeps itself: no part of the verdict, and said."""
    judgement, samples = reached.judgements.get(CLIENT_BYTES), reached.measured.samples.get(CLIENT_BYTES)
    if judgement is None or not samples or not judgement.suspicious:
        return []
    grown, visits = samples[-1].value - samples[1 % len(samples)].value, samples[-1].iterations
    if grown < BYTES.notable or judgement.growth <= 0:
        return []
    return [
        f"the client itself has grown by {units.size(grown)} over {visits:,} iterations ({CLIENT_BYTES}): that is no "
        "part of the verdict, which speaks of the service"
    ]


def _replaced(grower: Grower) -> str:
    ended, went = units.quantity(grower.ended, "processes"), units.quantity(grower.went, "B")
    return (
        f"{ended} of the role {grower.role!r} ended meanwhile, and with them went what they had grown by (up to {went} "
        "each): as long as they are replaced, that is bounded"
    )


def _growing(growers: Sequence[Grower]) -> list[tuple[str, int, int]]:
    """Roles that grow: name, how many of the processes do, how many there are."""
    total = sum(max(0.0, more) for each in growers for more in each.growth)
    if not total:
        return []
    counted = [(each, sum(more > _GROWS_SHARE * total for more in each.growth)) for each in growers]
    return [(each.role, count, each.processes) for each, count in counted if count]

"""In which processes of a program something grows, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from leakcheck import units
from leakcheck.agent.protocol import Grower, Growers, Opened, WhoGrows
from leakcheck.execution.worker import Worker
from leakcheck.meters import BYTES, CHILDREN_BYTES, LEDGER
from leakcheck.records import Finding
from leakcheck.verdict.reach import Reached

_LEAST_ALONE = 64
"""Requests that show by how much one process of a service grows."""
_ALONE_S = 1.0
"""Seconds that they may take."""
_GROWS_SHARE = 0.05
"""Part of what the whole program grows by that a process must have for it to be one that grows."""
_READ_FROM_OUTSIDE = (
    f"{CHILDREN_BYTES} is memory of processes that are read from outside, in whole pages: other programs, and Pythons "
    "with -I, -E or -S, with an environment of their own, or older than 3.11; no line in them is known"
)


def growers(worker: Worker, reached: Reached, opened: Opened) -> Growers | None:
    """In which processes of a program something leaks, while they are still there; None where there is but one."""
    meter = next(iter(reached.leaking), "" if opened.service else LEDGER)
    if not meter or not (opened.service or reached.had_children):
        return None
    calls = max(_LEAST_ALONE, min(reached.measured.iterations // 8, int(_ALONE_S / reached.measured.per_iteration)))
    return worker.ask(WhoGrows(meter, calls), Growers)


def of_the_process(leaking: dict[str, float], known: Growers | None) -> dict[str, float]:
    """Growth per iteration of the process that is diagnosed: of a service, per request that this one answers."""
    first = next(iter(leaking.values()), 0.0)
    if known is None or known.alone <= 0 or first <= 0:
        return leaking
    return {name: rate * known.alone / first for name, rate in leaking.items()}


def named(findings: Sequence[Finding], growers: Growers | None) -> list[Finding]:
    """The findings, their titles with the processes in which it grows: `...; in worker x4`.

    Where it is the process of the step that was looked at, nothing need be said.
    """
    roles = [
        f"{role}{f' x{count}' if count > 1 else ''}" for role, count, _ in _growing(growers.roles if growers else [])
    ]
    if not roles or growers is None or not growers.asked:
        return [*findings]
    return [msgspec.structs.replace(each, title=f"{each.title}; in {' and '.join(roles)}") for each in findings]


def advice(growers: Growers | None, leaking: Iterable[str], *, service: bool) -> list[str]:
    """How many of the processes grow, where not all of a role do, or several roles; and which came and went."""
    outside = [_READ_FROM_OUTSIDE] if CHILDREN_BYTES in leaking else []
    if growers is None:
        return outside
    remarks = [*outside, "an iteration is one request, or what the scenario sends"] if service else outside
    for role, count, processes in _growing(growers.roles):
        if count < processes:
            per = ": a finding is per request that such a process answers" if service else ""
            remarks.append(
                f"{count} of {processes} processes of the role {role!r} {'grows' if count == 1 else 'grow'}{per}"
            )
        elif role != (growers.asked or MAIN) and not service:
            remarks.append(f"the {role} grows too: the findings are of the {growers.asked or MAIN}, which grows more")
    return remarks + [_replaced(each) for each in growers.roles if each.ended and each.went > BYTES.notable]


MAIN = "main process"


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

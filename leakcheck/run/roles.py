"""In which processes of a service something grows, in words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from leakcheck.agent.protocol import Grower, Growers
from leakcheck.records import Finding

_GROWS_SHARE = 0.05
"""Part of what the whole service grows by that a process must have for it to be one that grows."""


def named(findings: Sequence[Finding], growers: Growers | None) -> list[Finding]:
    """The findings, their titles with the processes in which it grows: `...; in worker x4`."""
    roles = [
        f"{role}{f' x{count}' if count > 1 else ''}" for role, count, _ in _growing(growers.roles if growers else [])
    ]
    if not roles:
        return [*findings]
    return [msgspec.structs.replace(each, title=f"{each.title}; in {' and '.join(roles)}") for each in findings]


def advice(growers: Growers | None) -> list[str]:
    """How many of the processes grow, where not all of a role do, or several roles are there."""
    remarks = [
        f"{count} of {processes} processes of the role {role!r} {'grows' if count == 1 else 'grow'}: a finding is per "
        "request that such a process answers"
        for role, count, processes in _growing(growers.roles if growers else [])
        if count < processes
    ]
    return ["an iteration is one request, or what the scenario sends", *remarks] if growers else []


def _growing(growers: Sequence[Grower]) -> list[tuple[str, int, int]]:
    """Roles that grow: name, how many of the processes do, how many there are."""
    total = sum(max(0.0, more) for each in growers for more in each.growth)
    if not total:
        return []
    counted = [(each, sum(more > _GROWS_SHARE * total for more in each.growth)) for each in growers]
    return [(each.role, count, each.processes) for each, count in counted if count]

"""What grows below the keys of one mapping has one cause: `tenants['a'][*]` and its like are `tenants[*][*]`."""

from __future__ import annotations

from typing import NamedTuple

from leakcheck.agent.probes.growing import Growing

_FEWEST = 3
"""So many that grow alike are told as one."""

Path = list[list[str]]


class Candidate(NamedTuple):
    """What may be a cause: a growing node, or several that differ in keys only."""

    growing: Growing
    nodes: tuple[int, ...]
    path: Path


def together(found: list[Growing], paths: dict[int, Path]) -> list[Candidate]:
    """The growing nodes, those together that differ in keys only, by rate; what becomes heavier comes last."""
    groups: dict[tuple[object, ...], list[Growing]] = {}
    for each in found:
        groups.setdefault((each.shape, *_without_keys(paths[each.node])), []).append(each)
    candidates = []
    for members in groups.values():
        first = members[0]
        if len(members) < _FEWEST or first.shape == "heavier":
            candidates += [Candidate(each, (each.node,), paths[each.node]) for each in members]
            continue
        steps = zip(*(paths[each.node] for each in members), strict=True)
        path = [["[*]" if len({label for label, _ in step}) > 1 else step[0][0], step[0][1]] for step in steps]
        rate = sum(each.per_iteration for each in members)
        candidates.append(Candidate(first._replace(per_iteration=rate), tuple(each.node for each in members), path))
    return sorted(candidates, key=lambda each: (each.growing.shape == "heavier", -each.growing.per_iteration))


def _without_keys(path: Path) -> list[tuple[str, str]]:
    return [("[*]" if label.startswith(("['", '["')) else label, kind) for label, kind in path]

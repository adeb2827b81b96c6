"""The rule that tells a growing container from its surroundings: object graphs at several points in, growing nodes out.

Pure: it sees numbers by path and knows nothing of Python's heap. A *node* is all objects that are reached by the same
path, so that `users[*].history` is one node whatever the number of users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from leakcheck.agent.inquiry import Node

LEAST_EVENTS = 3
"""Additions below which a growth is no evidence: a table that was made late adds one or two."""
_MARGIN = 3
"""How many times as large as the old ones the new objects may be and still be the reason."""
_PAYLOAD = 1024
"""Bytes that each new object may bring along: a text that it holds is no growth of its own."""
_FADING = 0.5
"""A leak keeps its rate; a node whose rate halves between two equal stretches is filling up."""


class Point(NamedTuple):
    """One picture of the graph: numbers by node."""

    iterations: int
    objects: Mapping[int, int]
    """How many objects are at the node."""
    children: Mapping[int, int]
    """How many references they hold altogether."""
    bytes: Mapping[int, int] = {}
    """What those of them weigh that grow without referring to more."""


class Growing(NamedTuple):
    """A node that grows by itself and not because something above it does."""

    node: int
    per_iteration: float
    shape: Literal["wider", "deeper", "heavier"]
    """`wider`: a container with ever more elements. `deeper`: a chain (of tracebacks, of nodes) that gets longer, or
    a tree that gets more nodes of a kind. `heavier`: an object that refers to no more than before, and takes ever more
    bytes: a text, a buffer."""


def growing(points: Sequence[Point], parents: Mapping[int, int], chains: frozenset[int] | set[int]) -> list[Growing]:
    """The topmost growing nodes, the fastest first.

    A container grows by itself when its references become more while the objects at its own node stay as many as they
    were: below a growing list everything grows, and all of that is explained by the list, as is what lies below roots
    that become more. `chains` are the nodes into which recurring stretches of a path were folded; such a node grows by
    its own objects. What becomes heavier comes last: its rate is in bytes.
    """
    found = []
    fresh_roots: dict[int, float] = {}
    last = points[-1]
    for node in last.children:
        objects = [point.objects.get(node, 0) for point in points]
        more = _keeps_growing(points, objects)
        if more and node not in parents:
            fresh_roots[node] = _rate(points, objects)
        if more and node in chains:
            found.append(Growing(node, _rate(points, objects), "deeper"))
            continue
        children = [point.children.get(node, 0) for point in points]
        if _keeps_growing(points, children) and not _brought_by_objects(objects, children):
            found.append(Growing(node, _rate(points, children), "wider"))
    rates = fresh_roots | {each.node: each.per_iteration for each in found}
    found += [each for each in _heavier(points) if each.node not in rates]
    top = [each for each in found if not _explained_above(each, rates, parents, points[0])]
    return sorted(top, key=lambda each: (each.shape == "heavier", -each.per_iteration))


def _heavier(points: Sequence[Point]) -> list[Growing]:
    found = []
    for node in points[-1].bytes:
        weights = [point.bytes.get(node, 0) for point in points]
        objects = [point.objects.get(node, 0) for point in points]
        if not objects[0]:  # what was not there has come with its weight
            continue
        if _keeps_growing(points, weights) and not _brought_by_objects(objects, weights):
            found.append(Growing(node, _rate(points, weights), "heavier"))
    return found


def _brought_by_objects(objects: Sequence[int], children: Sequence[int]) -> bool:
    """Whether more objects are the reason for more references: each new one brings about as many as the old.

    Where there were none before, what several bring is their own.
    """
    more = objects[-1] - objects[0]
    if not objects[0] and more >= LEAST_EVENTS:
        return True
    usual = 1 + children[0] / max(1, objects[0])
    return more > 0 and children[-1] - children[0] <= _MARGIN * more * usual


def _rate(points: Sequence[Point], series: Sequence[int]) -> float:
    return (series[-1] - series[0]) / (points[-1].iterations - points[0].iterations)


def _keeps_growing(points: Sequence[Point], series: Sequence[int]) -> bool:
    if series[-1] - series[0] < LEAST_EVENTS:
        return False
    rates = [
        (after - before) / (later.iterations - earlier.iterations)
        for before, after, earlier, later in zip(series, series[1:], points, points[1:], strict=False)
    ]
    return min(rates) > 0 and rates[-1] >= _FADING * max(rates)


def _explained_above(each: Growing, rates: Mapping[int, float], parents: Mapping[int, int], first: Point) -> bool:
    """Whether a node above adds elements often enough to be the reason.

    Each of them may bring a whole tree: of links as many as there were for each of the old ones.
    """
    node = parents.get(each.node)
    brought = _PAYLOAD if each.shape == "heavier" else 4
    while node is not None:
        rate = rates.get(node, 0.0)
        if rate * brought >= each.per_iteration:
            return True
        if rate and each.shape == "deeper":
            usual = rate * first.objects.get(each.node, 0) / max(1, first.children.get(node, 0))
            if usual <= _MARGIN * each.per_iteration and each.per_iteration <= _MARGIN * usual:
                return True
        node = parents.get(node)
    return False


_FEWEST_SIBLINGS = 3
"""So many that grow alike are reported as one: what grows below the keys of one mapping has one cause."""

Path = tuple[Node, ...]


class Candidate(NamedTuple):
    """What may be a cause: a growing node, or several that differ in keys only."""

    growing: Growing
    nodes: tuple[int, ...]
    path: Path


def together(found: list[Growing], paths: dict[int, Path]) -> list[Candidate]:
    """The growing nodes, those together that differ in keys only, by rate; what becomes heavier comes last.

    `tenants['a'][*]` and its like are `tenants[*][*]`.
    """
    groups: dict[tuple[object, ...], list[Growing]] = {}
    for each in found:
        groups.setdefault((each.shape, *_without_keys(paths[each.node])), []).append(each)
    candidates = []
    for members in groups.values():
        first = members[0]
        if len(members) < _FEWEST_SIBLINGS or first.shape == "heavier":
            candidates += [Candidate(each, (each.node,), paths[each.node]) for each in members]
            continue
        steps = zip(*(paths[each.node] for each in members), strict=True)
        path = tuple(Node(_common_label(step), step[0].type) for step in steps)
        rate = sum(each.per_iteration for each in members)
        candidates.append(Candidate(first._replace(per_iteration=rate), tuple(each.node for each in members), path))
    return sorted(candidates, key=lambda each: (each.growing.shape == "heavier", -each.growing.per_iteration))


def _common_label(step: Sequence[Node]) -> str:
    """How one step is called in several paths: `[*]` where they differ."""
    return step[0].label if len({each.label for each in step}) == 1 else "[*]"


def _without_keys(path: Path) -> list[tuple[str, str]]:
    return [("[*]" if label.startswith(("['", '["')) else label, kind) for label, kind in path]

"""Marks along a retaining path where the forgotten reference must be.

Modules, classes and frames are where they belong: innocent. The growing container is where the removal is missing, and
what lies between the last innocent node and it is where the reference was forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

from leakcheck.records import PathNode, Suspicion

_INNOCENT = {
    "module": "a module lives as long as the process",
    "type": "a class lives as long as its module",
    "frame": "a frame that is still running",
    "function": "a function lives as long as its module",
}
_GROWS = {
    "wider": "a container that only ever grows",
    "deeper": "a chain or tree that only ever grows",
    "heavier": "an object that only ever gets larger",
}
_GUILTY = {
    "threading.Thread": "a thread that has ended",
    "_asyncio.Task": "a task that is done or waits for ever",
}


def judge_path(path: Sequence[tuple[str, str]], element: str, shape: str, many: str = "[*]") -> list[PathNode]:
    """The nodes of a path with their status; the suspect stretch runs from after the last innocent node to the end.

    A container that grows wider is followed by a node for its elements, which is called `many`.
    """
    statuses: list[tuple[Suspicion, str]] = []
    for _label, kind in path:
        if kind in _INNOCENT:
            statuses.append(("innocent", _INNOCENT[kind]))
        elif kind in _GUILTY:
            statuses.append(("guilty", _GUILTY[kind]))
        else:
            statuses.append(("unknown", ""))
    last = len(path) - 1
    if path:
        statuses[last] = ("guilty", _GROWS[shape])
    innocent = max((i for i, (status, _) in enumerate(statuses) if status == "innocent"), default=-1)
    nodes = [
        PathNode(name=label, type=kind, suspect=index > innocent, status=status, why=why)
        for index, ((label, kind), (status, why)) in enumerate(zip(path, statuses, strict=True))
    ]
    if shape == "wider":
        nodes.append(PathNode(name=many, type=element, suspect=True, status="guilty", why="never removed"))
    return nodes

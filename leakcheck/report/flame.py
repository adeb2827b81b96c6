"""The growth flame graph: which calls the surviving memory comes from, as boxes as wide as their share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from leakcheck import units
from leakcheck.records import Finding, Frame
from leakcheck.report import sentences

_DEPTH = 40
"""Frames of a stack that are drawn."""
_MOST = 400
"""Boxes that are drawn, the widest first; what is too narrow to see is seen when the box around it is chosen."""


@dataclass(frozen=True)
class Box:
    """One call in the graph. Positions are per cent of the width; `depth` counts from the step's entry."""

    left: float
    width: float
    depth: int
    label: str
    title: str
    kind: str


@dataclass
class _Node:
    frame: Frame | None
    weight: float = 0.0
    children: dict[tuple[str, int, str], _Node] = field(default_factory=dict)


def boxes(findings: Sequence[Finding]) -> list[Box]:
    """The boxes of the findings that hold memory and have a stack, outermost call first.

    Empty where it all comes by one way: the stack says that already.
    """
    root = _Node(None)
    for finding in findings:
        weight = finding.bytes_per_iteration or 0.0
        if weight > 0 and finding.stack and finding.kind != "resource":
            _add(root, finding.stack, weight)
    if not _forks(root):
        return []
    placed = _layout(root, 0.0, 100.0, 0, root.weight)
    least = sorted((box.width for box in placed), reverse=True)[:_MOST][-1]
    return [box for box in placed if box.width >= least][:_MOST]


def _forks(node: _Node) -> bool:
    return len(node.children) > 1 or any(map(_forks, node.children.values()))


def depth(placed: Sequence[Box]) -> int:
    """Rows that the graph needs."""
    return max((box.depth for box in placed), default=-1) + 1


def _add(node: _Node, stack: Sequence[Frame], weight: float) -> None:
    node.weight += weight
    for frame in list(reversed(stack))[:_DEPTH]:
        key = (frame.file, frame.line, frame.function)
        node = node.children.setdefault(key, _Node(frame))
        node.weight += weight


def _layout(node: _Node, left: float, width: float, level: int, total: float) -> list[Box]:
    placed = [_box(node, left, width, level, total)]
    for child in sorted(node.children.values(), key=lambda one: -one.weight):
        share = width * child.weight / node.weight
        placed.extend(_layout(child, left, share, level + 1, total))
        left += share
    return placed


def _box(node: _Node, left: float, width: float, level: int, total: float) -> Box:
    size = f"{units.quantity(node.weight, 'B')}/iteration, {node.weight / total * 100:.0f} %"
    if node.frame is None:
        return Box(left, width, level, "all surviving memory", f"all surviving memory: {size}", "root")
    frame = node.frame
    kind = "native" if frame.native else "user" if frame.user else "library"
    where = sentences.location(frame)
    return Box(left, width, level, frame.function, f"{frame.function} at {where}: {size}", kind)

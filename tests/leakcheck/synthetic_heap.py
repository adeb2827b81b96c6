"""A language for object graphs that grow: a few lines make one, so that a rule has a test that can be read.

Each line is a node: its label, how many objects are there, and how many references they hold altogether. Deeper
indentation is further from the root. A number is a sum of terms in the number of iterations n:

    7       seven, always
    +1      one more each iteration; +0.01 one more each hundredth
    <500    grows by one each iteration until there are 500
    /       the square root of n: ever more, ever slower
    %300    grows by one each iteration, and is emptied each 300

A number that ends with `B` is what the objects weigh, in bytes, for those that grow without referring to more.
`...` at the end of a line is a chain: a stretch of the path that was repeated and is folded into the node.

    app                 1
      .hub              1     1
        .listeners      1     3+1
          [*]           3+1   3+1
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from leakcheck.agent.probes.growing import Growing, Point, growing

_TERM = re.compile(r"([+<%]?)(\d+(?:\.\d+)?)|/")


def growing_paths(text: str, at: Sequence[int] = (0, 300, 600)) -> dict[str, Growing]:
    """What the rules call growing, by path, when the graph is looked at after so many iterations."""
    nodes = _parse(text)
    weights = {node: weight for node, (_, _, _, weight, _, _) in enumerate(nodes) if weight}
    paths = {node: path for node, (path, *_) in enumerate(nodes)}
    points = [
        Point(
            n,
            {node: _value(objects, n) for node, (_, objects, *_) in enumerate(nodes)},
            {node: _value(references, n) for node, (_, _, references, *_) in enumerate(nodes)},
            {node: _value(weight, n) for node, weight in weights.items()},
        )
        for n in at
    ]
    parents = {node: parent for node, (*_, parent, _) in enumerate(nodes) if parent is not None}
    chains = {node for node, (*_, chain) in enumerate(nodes) if chain}
    return {paths[each.node]: each for each in growing(points, parents, chains)}


def _parse(text: str) -> list[tuple[str, str, str, str, int | None, bool]]:
    nodes: list[tuple[str, str, str, str, int | None, bool]] = []
    above: list[tuple[int, int]] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        label, objects, *rest = line.split()
        chain = "..." in rest
        weight = next((word.removesuffix("B") for word in rest if word.endswith("B")), "")
        references = next((word for word in rest if word != "..." and not word.endswith("B")), "0")
        while above and above[-1][0] >= indent:
            above.pop()
        parent = above[-1][1] if above else None
        path = label if parent is None else nodes[parent][0] + label
        nodes.append((path, objects, references, weight, parent, chain))
        above.append((indent, len(nodes) - 1))
    return nodes


def _value(expression: str, n: int) -> int:
    total = 0.0
    for term in _TERM.finditer(expression):
        sign, number = term.group(1), float(term.group(2) or 0)
        if term.group() == "/":
            total += math.sqrt(n)
        elif sign == "+":
            total += number * n
        elif sign == "<":
            total += min(n, number)
        elif sign == "%":
            total += n % number
        else:
            total += number
    return int(total)

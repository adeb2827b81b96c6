"""Suspects that are one leak, as far as can be seen from outside, and which of them are worth a judge's time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from leakcheck.sweep.inside.messages import Kind, Suspect

LIKELIHOOD: dict[Kind, float] = {
    "call": 1.0,
    "unusual value": 0.5,
    "error": 0.5,
    "two calls": 0.5,
    "abandoned": 0.4,
    "closed twice": 0.4,
    "callback raises": 0.3,
    "cycle": 0.3,
    "copied": 0.3,
    "subclass": 0.1,
    "initialized twice": 0.05,
    "without initialization": 0.02,
    "out of memory": 0.01,
}
"""How likely the program of a user does this, from 0 to 1: an estimate by hand, from what programs do all the time to
what only a test does."""
_BYTES_OF_A_THING = 4096.0
"""Bytes that a descriptor or thread counts for in the order of finds: what the kernel keeps for it, about."""
_FAMILIES: dict[Kind, str] = {"callback raises": "error", "unusual value": "call"}
"""Kinds that come to the same: what matters is whether the call has failed."""
_WITH_RESULT = re.compile(
    r"\b(?:iter|zip|next|copy|deepcopy|dumps|repr|hash|dir|list|memoryview)\(|\.(?:__enter__|send)\("
)
"""What recipes do with the result of a call."""
_RETURNING = frozenset({"call", "unusual value"})
"""Kinds of which one find says all of a target: it keeps something though all went well."""
_BLOCK = 16.0
"""Bytes by which the growth of one leak may differ: the step of the allocator's sizes."""
_NO_MORE = 1.25
"""Times the growth of a program that is a part of another, up to which it explains that one's."""
_MOST_OF_A_TARGET = 3
"""Clusters of one target and kind that are judged."""


class Cluster(NamedTuple):
    """One suspected leak."""

    suspect: Suspect
    """The shortest program that shows it."""
    kind: Kind
    target: str
    """What its program calls, as far as that can be read there: the shortest name of a target that is in it."""

    @property
    def likelihood(self) -> float:
        """See `LIKELIHOOD`."""
        return LIKELIHOOD[self.kind]

    @property
    def fingerprint(self) -> str:
        """The same for other values, paths and amounts."""
        parts = [self.target, self.kind, self.suspect.exception]
        return hashlib.sha256("\n".join(parts).encode(errors="replace")).hexdigest()[:16]

    @property
    def rank(self) -> float:
        """Bytes a call times likelihood: the larger, the earlier."""
        return worth(self.suspect.growth) * self.likelihood


def worth(growth: dict[str, float]) -> float:
    """Bytes a call; of what is counted, what a thing counts for."""
    sizes = [value if name.endswith(".bytes") else value * _BYTES_OF_A_THING for name, value in growth.items()]
    return max(sizes, default=0.0)


def clusters(suspects: Iterable[Suspect], targets: Sequence[str]) -> list[Cluster]:
    """One of each sort, the worst first.

    Of one sort are those that do the same to the same target and keep as much. A program that does what a shorter one
    does, and keeps no more, is explained by that.
    """
    known = set(targets)
    found: list[Cluster] = []
    shorter: list[Suspect] = []
    for suspect in sorted(suspects, key=lambda each: (len(each.step), -LIKELIHOOD[each.kind])):
        if any(_explains(other, suspect) for other in shorter):
            continue
        shorter.append(suspect)
        cluster = Cluster(suspect, _kind(suspect), _called(suspect, known))
        if not any(_is_the_same(other, cluster) for other in found):
            found.append(cluster)
    counted: dict[tuple[str, str], int] = {}
    chosen = []
    for cluster in sorted(found, key=lambda each: -each.rank):
        sort = cluster.target, _FAMILIES.get(cluster.kind, cluster.kind)
        counted[sort] = counted.get(sort, 0) + 1
        if counted[sort] <= (1 if cluster.kind in _RETURNING else _MOST_OF_A_TARGET):
            chosen.append(cluster)
    return chosen


def _is_the_same(one: Cluster, other: Cluster) -> bool:
    """Whether two clusters are most likely one leak.

    How much is kept depends on the values that a failing call was given, and on what a cycle goes through.
    """
    if one.target != other.target or _FAMILIES.get(one.kind, one.kind) != _FAMILIES.get(other.kind, other.kind):
        return False
    if one.kind == "cycle" or (one.suspect.exception and one.suspect.exception == other.suspect.exception):
        return True
    first, second = one.suspect.growth, other.suspect.growth
    return first.keys() == second.keys() and all(abs(first[name] - second[name]) <= _BLOCK for name in first)


def _explains(shorter: Suspect, suspect: Suspect) -> bool:
    """Whether a program does what a shorter one does, and keeps no more than that."""
    core = shorter.step.removeprefix("subject = ")
    return core in suspect.step and worth(suspect.growth) <= _NO_MORE * worth(shorter.growth)


def _kind(suspect: Suspect) -> Kind:
    """What the program does once it is as short as can be, which may be less than what it was made for."""
    step, kind = suspect.step, suspect.kind
    if kind in ("error", "callback raises") and not suspect.exception:
        return "unusual value"
    failed = suspect.exception not in ("", "StopIteration")
    if failed and kind in ("cycle", "abandoned", "copied", "call"):
        if step.startswith("with "):
            return kind
        # The call has failed, or what was done with its result: then it may have kept something on purpose.
        return "call" if _WITH_RESULT.search(step) else "error"
    lines = step.strip().splitlines()
    if kind in ("two calls", "closed twice", "abandoned", "initialized twice", "copied", "cycle") and len(lines) == 1:
        shortened = kind not in ("abandoned", "copied") or not re.search(r"\b(iter|next|copy|pickle|__enter__)\b", step)
        return ("error" if failed else "call") if shortened else kind
    if kind == "subclass" and "class " not in step:
        return "error" if failed else "call"
    return kind


def _called(suspect: Suspect, known: set[str]) -> str:
    """The target that a program calls: the one that it was made for, if that is still in it."""
    last = suspect.target.rpartition(".")[2]
    names = [name for name in sorted(known, key=len) if re.search(rf"\b{re.escape(name)}\b", suspect.step)]
    if suspect.target in names or re.search(rf"\.{re.escape(last)}\b", suspect.step):
        return suspect.target
    return names[-1] if names else suspect.target

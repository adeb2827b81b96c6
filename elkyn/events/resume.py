"""Where a watch goes on from a revision: the nodes that have been written since, from the log of the latest writes."""

from elkyn._native import ChangeLog
from elkyn.errors import HistoryLost
from elkyn.events.subscriptions import Watcher
from elkyn.paths import key_of


def nodes_since(log: ChangeLog, rev: int, latest: int, watcher: Watcher) -> list[str]:
    """Return the paths that `watcher` is to be told of after revision `rev`, in the order of their keys.

    The mutex is held; `latest` is the revision of the latest commit. Raises `HistoryLost` where they cannot be known,
    `ValueError` for a revision that is not there yet.
    """
    if rev > latest:
        raise ValueError(f"since={rev} is not there yet: the latest revision is {latest}")
    writes = log.since(rev)
    if writes is None:
        raise HistoryLost(
            f"the store remembers its writes after revision {log.complete_since}, not after {rev}; "
            "read the state anew, with initial=True"
        )
    found = {path for _, written, merged in writes for path in _concerned(watcher, written, merged)}
    return sorted(found, key=key_of)


def _concerned(watcher: Watcher, written: str, merged: bool) -> list[str]:
    """The node of `watcher` that a write at a path concerns, by the rules of `watch()`."""
    place, segments = watcher.place, [] if written == "/" else written[1:].split("/")
    if any(wanted not in ("*", segment) for wanted, segment in zip(place, segments, strict=False)):
        return []
    depth = len(segments) - len(place)
    if merged:  # its children are written one by one, and tell those who watch them or below
        return [written] if depth == 0 and watcher.slot == "exact" else []
    if depth < 0 and "*" in place[depth:]:
        raise HistoryLost(
            f"{written} was written as a whole, and what that has removed below is not known to one who follows "
            f"{watcher.pattern}; read the state anew, with initial=True"
        )
    if depth <= 0:
        return [_path(segments + list(place[len(segments) :]))]
    if watcher.slot == "deep":
        return [written]
    return [_path(segments[: len(place)])] if watcher.slot == "family" else []


def _path(segments: list[str]) -> str:
    return "/" + "/".join(segments)

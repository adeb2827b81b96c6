"""What one write call does, checked and encoded before anything is touched."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from elkyn.paths import child_path, key_of, plain
from elkyn.storage import LmdbTransaction
from elkyn.tree import Tree
from elkyn.values import Leaves, flatten

Write: TypeAlias = tuple[str, bytes, Leaves | None]
"""A path, its key and the leaves to put there; None deletes."""


@dataclass(slots=True)
class Call:
    """The writes of one call, or of one transaction, in their order."""

    writes: list[Write]
    merged: tuple[str, ...] = ()
    """Paths of `update()`s, which count as written too."""
    ends: dict[bytes, int] | None = None
    """When nodes end that are written with `ttl=`: by key, in milliseconds since 1970."""

    @property
    def frees(self) -> bool:
        """Whether it deletes and nothing else."""
        return all(leaves is None for _, _, leaves in self.writes)

    def apply(self, tree: Tree, txn: LmdbTransaction) -> bool:
        """Do the writes; False where they changed nothing."""
        changed = False
        for _, key, leaves in self.writes:
            if leaves is None:
                changed |= tree.delete(txn, key)
            else:
                tree.set(txn, key, leaves)
                if self.ends and key in self.ends:
                    tree.expire(txn, key, self.ends[key])
                changed = True
        return changed

    def extend(self, other: "Call") -> None:
        """Add the writes of `other`."""
        self.writes += other.writes
        self.merged += other.merged
        ends = self.ends or {}
        for _, key, _ in other.writes:
            ends.pop(key, None)  # a later write has its own end, or none
        self.ends = ends | (other.ends or {})


def setting(path: str, value: Any, deadline: int | None = None) -> Call:
    """Replace the whole subtree at `path` by `value`, until `deadline` where there is one."""
    path = plain(path)
    return setting_at(path, key_of(path), value, deadline)


def setting_at(path: str, key: bytes, value: Any, deadline: int | None = None) -> Call:
    """The same where the key of `path` is known."""
    return Call([(path, key, flatten(key, value))], (), None if deadline is None else {key: deadline})


def deleting(path: str) -> Call:
    """Remove `path` and everything below it."""
    path = plain(path)
    return Call([(path, key_of(path), None)])


def updating(path: str, values: dict[str, Any]) -> Call:
    """Set the children of `path` that `values` names and leave the others."""
    path = plain(path)
    key_of(path)
    if type(values) is not dict:
        raise TypeError(f"update() takes a dict of children, not {type(values).__name__}; set() stores a value")
    writes: list[Write] = []
    for name, value in values.items():
        child = child_path(path, name)
        key = key_of(child)
        writes.append((child, key, flatten(key, value)))
    return Call(writes, (path,))

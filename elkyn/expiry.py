"""Values with an end: `ttl=`. What is due is deleted by a thread of its own, as a write like any other.

Two rows stand for each, above all keys of the tree: by deadline (what is due next) and by key (when does it end). A
write that replaces the value, or deletes it or a node above it, takes both away in the same transaction.
"""

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from elkyn.errors import ElkynError
from elkyn.paths import path_of
from elkyn.progress import Progress
from elkyn.service import Service
from elkyn.storage import BY_DEADLINE, LmdbTransaction
from elkyn.tree import Tree
from elkyn.writes import Call

EXPIRED_TOGETHER = 256
"""Values that are deleted in one commit: some milliseconds, so that other writers are not held up."""
LONGEST_SLEEP_S = 60.0
"""Seconds until the wall clock is looked at again: it may be set while we sleep."""
RETRY_S = 1.0
"""Seconds until a delete is tried again that a full disk, or a subscription with overflow="block", has refused."""


def deadline_in(seconds: float) -> int:
    """Return the time of the wall clock in `seconds`, in milliseconds since 1970; ValueError where that is none."""
    if not 0 < seconds < 10**9:  # some thirty years
        raise ValueError(f"ttl must be above 0 seconds and below a billion, not {seconds}")
    return int((time.time() + seconds) * 1000)


@dataclass(slots=True)
class Expiry(Call):
    """Deletes the values that are due, those of them that still are when it is committed."""

    due: tuple[tuple[int, bytes], ...] = ()

    def apply(self, tree: Tree, txn: LmdbTransaction) -> bool:
        """Delete; False where none is due any more. Of one that went with its last child only the end is left."""
        due = [key for deadline, key in self.due if tree.expires_at(txn, key) == deadline]
        for key in due:
            tree.delete(txn, key)
        return bool(due)


class Expirer:
    """Sleeps until the next value is due and has it deleted.

    `read` reads the database, `commit` commits a call: bound methods of the store's, held only while they run.
    """

    def __init__(self, read: Callable[[Callable[[LmdbTransaction], Any]], Any], commit: Callable[[Call], int]) -> None:
        self._read = weakref.WeakMethod(read)
        self._commit = weakref.WeakMethod(commit)
        self._progress = Progress()
        self._thread = Service("elkyn-expiry")
        self._news = False
        self._closed = False

    def tell(self) -> None:
        """A deadline has come up: perhaps before the one that is slept for."""
        self._news = True
        self._thread.start(self._serve)
        self._progress.tell()

    def close(self, timeout: float) -> bool:
        """End; False where that takes longer. What is due stays for the next session."""
        self._closed = True
        self._progress.tell()
        return self._thread.is_current() or self._thread.wait_until_ended(timeout)

    def _serve(self) -> None:
        while not self._closed:
            self._news = False
            pause = self._expire()
            self._progress.wait_for(lambda: self._news or self._closed, pause)

    def _expire(self) -> float:
        """Delete what is due and return in how many seconds to look again."""
        read, commit = self._read(), self._commit()
        if read is None or commit is None:
            return 0.0
        try:
            now = int(time.time() * 1000)
            first: list[tuple[int, bytes]] = read(lambda txn: next_due(txn, EXPIRED_TOGETHER))
            due = tuple((deadline, key) for deadline, key in first if deadline <= now)
            if due:
                commit(Expiry([(path_of(key), key, None) for _, key in due], due=due))
                return 0.0
            return min(LONGEST_SLEEP_S, (first[0][0] - now) / 1000) if first else LONGEST_SLEEP_S
        except ElkynError:
            return RETRY_S


def next_due(txn: LmdbTransaction, count: int) -> list[tuple[int, bytes]]:
    """Return deadline and key of the values that end first."""
    found: list[tuple[int, bytes]] = []
    cursor = txn.cursor()
    there = cursor.set_range(BY_DEADLINE)
    while there and len(found) < count and (row := cursor.key()).startswith(BY_DEADLINE):
        at = len(BY_DEADLINE)
        found.append((int.from_bytes(row[at : at + 8], "big"), row[at + 8 :]))
        there = cursor.next()
    return found

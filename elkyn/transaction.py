"""Several reads and writes that become one commit."""

import threading
from itertools import islice
from typing import Any

import lmdb

from elkyn.errors import ElkynError, StoreClosedError
from elkyn.expiry import deadline_in
from elkyn.paths import child_path, key_of, plain
from elkyn.push_names import PushNames
from elkyn.storage import Database, storage_error
from elkyn.tree import Tree
from elkyn.values import MISSING
from elkyn.writes import Call, deleting, setting, updating


class Transaction:
    """Several reads and writes that become one commit. Made by `Store.transaction()`; for the block's thread only."""

    def __init__(self, database: Database, tree: Tree, names: PushNames) -> None:
        self._database = database
        self._nodes = tree
        self._names = names
        self._open = True
        self._thread = threading.get_ident()
        self.call = Call([])
        self.committed = False
        self.rev = 0
        # Last: what a signal's handler raises before or after finds nothing begun that we hold.
        self.txn = database.begin_write()

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value at `path` as this transaction has left it."""
        value = self._tree().value(self.txn, key_of(path))
        return default if value is MISSING else value

    def exists(self, path: str) -> bool:
        """Whether there is a value at `path`."""
        return self._tree().exists(self.txn, key_of(path))

    def keys(
        self, path: str = "/", *, start: str | None = None, end: str | None = None, limit: int | None = None
    ) -> list[str]:
        """Return the names of the children, as `Store.keys()` does."""
        return list(islice(self._tree().names(self.txn, key_of(path), start, end), limit))

    def items(
        self, path: str = "/", *, start: str | None = None, end: str | None = None, limit: int | None = None
    ) -> list[tuple[str, Any]]:
        """Return the children with their values, as `Store.items()` does."""
        return self._tree().items(self.txn, key_of(path), (start, end, limit))

    def set(self, path: str, value: Any, *, ttl: float | None = None) -> None:
        """Replace the whole subtree at `path` by `value`, for `ttl` seconds where that is given."""
        self._do(setting(path, value, None if ttl is None else deadline_in(ttl)))

    def update(self, path: str, values: dict[str, Any]) -> None:
        """Set the children of `path` that `values` names and leave the others."""
        self._do(updating(path, values))

    def delete(self, path: str) -> None:
        """Remove `path` and everything below it."""
        call = deleting(path)
        if self.exists(path):
            self._do(call)

    def push(self, path: str, value: Any) -> str:
        """Store `value` under `path` with a new name that sorts by time, and return the name."""
        path = plain(path)
        if not self._names.knows(path):
            self._names.follow(path, self._tree().last_name(self.txn, key_of(path)))
        name = self._names.make()
        self.set(child_path(path, name), value)
        return name

    def _tree(self) -> Tree:
        if not self._open:
            raise StoreClosedError("the transaction is over; begin another with store.transaction()")
        if self._thread != threading.get_ident():  # two threads at once in one of LMDB's would damage memory
            raise ElkynError("a transaction is for the thread that began it; others write through the store")
        return self._nodes

    def _do(self, call: Call) -> None:
        tree = self._tree()
        try:
            call.apply(tree, self.txn)
        except lmdb.MapFullError:
            self.call.extend(call)
            self.grow_and_replay()
        except lmdb.Error as error:
            raise storage_error(error, self._database.directory) from error
        except BaseException:
            self._replay()  # without this call, of which a part may be done
            raise
        else:
            self.call.extend(call)

    def grow_and_replay(self) -> None:
        """Give the map more room, which ends the transaction underneath, and do all writes again in a new one."""
        while True:
            self._database.abort(self.txn)
            self._database.grow()
            try:
                self._replay()
            except lmdb.MapFullError:
                continue
            return

    def _replay(self) -> None:
        self._nodes.forget()
        self._database.abort(self.txn)
        self.txn = self._database.begin_anew()
        self.call.apply(self._nodes, self.txn)

    def close(self) -> None:
        """Take no more calls."""
        self._open = False

    def abort(self) -> None:
        """Let go of the transaction underneath, undoing what is not committed."""
        self._open = False
        self._database.abort(self.txn)

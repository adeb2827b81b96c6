"""The file under a store: its lock and format, its transactions, its growth, its way to the disk."""

import errno
import fcntl
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar

import lmdb

from elkyn.errors import (
    ElkynError,
    ForkedStoreError,
    FormatError,
    MapFullError,
    StorageError,
    StoreClosedError,
    StoreInUseError,
    WouldDeadlock,
)
from elkyn.locks import is_mine
from elkyn.pages import check_file, drop_sum, leave_sum
from elkyn.progress import Progress
from elkyn.service import Service
from elkyn.values import BAD_BYTES, decode, encode

FORMAT = 1
"""The layout of the file that this version reads and writes."""
META = b"\xffelkyn"
"""The key of the format mark. 0xff is in no UTF-8 text, so it is above every key of the tree: searches stop at it."""
BY_DEADLINE, BY_KEY = b"\xffttl>", b"\xffttl="
"""What the rows start with that tell which values end when: by their deadline, and by their key."""
RESERVE_FILE, RESERVE_BYTES = "elkyn.reserve", 256 << 10
"""Bytes of the disk that are kept for a delete on a full one, which has to write before it can free anything: the pages
on the way to some thousands of leaves."""
REVS_NOT_TO_REPEAT = 1 << 32
"""Revisions that are left out where a file was compacted that nobody had closed: more than a session ever makes."""
MIN_MAP_BYTES = 1 << 16
"""What an empty store needs, and a little."""
MAX_READERS = 512
"""Threads and processes that read at the same time: slots of 64 bytes in the lock file."""
SYNC_EVERY_S = 0.25
"""Seconds of commits that durability="async" may lose with the power: few enough syncs to cost next to nothing."""

SYNC_TIMEOUT_S = 60.0
"""Seconds that `close()` waits for a sync under way: more than a disk that works ever takes."""

Durability = Literal["sync", "async", "none"]
LmdbTransaction: TypeAlias = "lmdb.Transaction[bytes]"

T = TypeVar("T")

_log = logging.getLogger("elkyn")


State = Literal["open", "in transaction", "closing", "closed", "forked"]
"""What may be asked of a store now.

"in transaction": a block of the user's is writing, and other writes of its thread would wait for themselves. "closing":
handlers that still run may read, and nothing else is taken. "forked": in a child process, all of it is the parent's.
"""

_CLOSED_ERROR = StoreClosedError, "the store is closed; open it again to go on"
_ERRORS: dict[State, tuple[type[ElkynError], str]] = {
    "in transaction": (
        WouldDeadlock,
        "the store is in your own transaction: write through it (tx.set and so on), or leave the block",
    ),
    "closing": _CLOSED_ERROR,
    "closed": _CLOSED_ERROR,
    "forked": (
        ForkedStoreError,
        "the store was opened by the parent process; a forked child opens another directory itself",
    ),
}


def refuse(state: State) -> NoReturn:
    """Raise what a store in `state` answers."""
    kind, message = _ERRORS[state]
    raise kind(message)


class Database:
    """One open LMDB environment, owned exclusively, and the one mutex of those who write to it."""

    def __init__(self, directory: Path, durability: Durability, *, map_size: int, max_map_size: int) -> None:
        self.directory = directory
        self._max_map_size = max_map_size
        self._pid = os.getpid()
        self._owner = own(directory)
        self.pushed = 0  # milliseconds since 1970 of the latest name that push() has made
        self._noted: dict[str, Any] = {"format": FORMAT}  # what the file says of its revision, without the base
        try:
            check_file(directory)
            drop_sum(directory)
            self.env = _open_environment(directory, sync=durability == "sync", map_size=map_size)
            try:
                self.rev_base = self._read_or_make_format()
            except BaseException:
                self.env.close()
                raise
        except BaseException:
            self._disown()
            raise
        self.keep_reserve()
        # Re-entrant so that a write inside one's own transaction can be refused instead of hanging.
        self.mutex = threading.RLock()
        self.state: State = "open"
        self._is_env_closed = False
        # What begins a read, replaced wherever that is not the environment itself: so the hot path need not ask.
        self.begin: Callable[[], LmdbTransaction] = self.env.begin
        self.syncer = Syncer(self.env) if durability == "async" else None

    # --- transactions

    def begin_write(self) -> LmdbTransaction:
        """Begin a write transaction. The mutex is held."""
        if self.state != "open":
            refuse(self.state)
        if self._is_marked:  # from now on the file's own count of revisions is not up to date
            self._mark(is_open=True)
        try:
            return self.env.begin(None, None, True)  # write=True: without the keyword it is a fifth faster
        except lmdb.Error as error:
            raise self._not_begun(error) from error

    def begin_anew(self) -> LmdbTransaction:
        """Begin another write transaction for the block whose first one has ended."""
        try:
            return self.env.begin(None, None, True)
        except lmdb.Error as error:
            raise self._not_begun(error) from error

    def _not_begun(self, error: lmdb.Error) -> ElkynError:
        if type(error) is lmdb.Error and "another write" in str(error):
            return WouldDeadlock(
                "a write of this thread is under way: a signal handler or a finalizer cannot write meanwhile"
            )
        return storage_error(error, self.directory)

    def abort(self, txn: LmdbTransaction) -> None:
        """End a write transaction without a commit. The mutex is held, and readers that begin now wait for it.

        For lmdb waits until none of them is inside a call of its own, which with readers that never pause may take
        seconds.
        """
        self.begin = self._begin_behind_mutex
        try:
            txn.abort()
        finally:
            self.begin = self._reads()

    def _begin_behind_mutex(self) -> LmdbTransaction:
        with self.mutex:
            return self.env.begin()

    def _reads(self) -> Callable[[], LmdbTransaction]:
        if self.state == "closed" or self.state == "forked":  # by a finalizer, or in a child
            return partial(refuse, self.state)
        return self.env.begin

    def read(self, read: Callable[[LmdbTransaction], T]) -> T:
        """Return what `read` finds in one state of the store. It may be called twice."""
        try:
            return read(self.begin())
        except lmdb.Error:
            # A growing map invalidates the reads under way. Behind the mutex nothing grows.
            with self.mutex:
                try:
                    return read(self.begin())
                except lmdb.Error as error:
                    raise storage_error(error, self.directory) from error
                except BAD_BYTES as error:
                    raise damaged(error, self.directory) from error
        except BAD_BYTES as error:
            raise damaged(error, self.directory) from error

    @property
    def is_open(self) -> bool:
        """Whether nobody has begun to close the store, and this is the process that opened it."""
        return self.state == "open" or self.state == "in transaction"

    def require_open(self) -> None:
        """Raise unless the store is open."""
        if not self.is_open:
            refuse(self.state)

    def in_own_transaction(self) -> bool:
        """Whether the caller is inside a transaction that its own thread has begun."""
        return self.state == "in transaction" and is_mine(self.mutex)

    # --- the file

    def current_rev(self) -> int:
        """Return the revision as the file has it."""
        return self.rev_base + int(self.env.info()["last_txnid"])

    def _read_or_make_format(self) -> int:
        with self.env.begin() as txn:
            mark = txn.get(META)
            entries = txn.stat()["entries"]
        if mark is None:
            if entries:
                raise FormatError(
                    f"{self.directory} holds an LMDB database that elkyn did not make; choose another directory"
                )
            # LMDB counts write transactions, and keeps the count on disk for nothing: that is the revision, as long as
            # nobody compacts the file, which sets it back. This one is number 1, so a new store starts at revision 0.
            self._mark(is_open=True, rev=0)
            return -1
        try:
            meta = decode(mark)
            form, rev_base = meta["format"], int(meta["rev_base"])
            rev, transaction, is_open = meta.get("rev", 0), meta.get("transaction", 0), meta.get("open", True)
        except Exception as error:
            raise FormatError(f"the format mark in {self.directory} is damaged: {mark[:40]!r}") from error
        if form != FORMAT:
            raise FormatError(
                f"{self.directory} is in format {form}, and this elkyn reads format {FORMAT}; use a newer elkyn"
            )
        last = int(self.env.info()["last_txnid"])
        self.pushed = int(meta.get("pushed", 0))
        self._is_marked = not is_open
        if last < transaction:  # compacted by another program than ours
            return int(rev) + (REVS_NOT_TO_REPEAT if is_open else 0) - last
        return rev_base

    def _mark(self, *, is_open: bool, rev: int | None = None) -> None:
        """Note the revision in the file itself, in a commit that counts as none. The mutex is held."""
        if rev is None:
            rev = self.current_rev()
        transaction = int(self.env.info()["last_txnid"]) + 1
        self.rev_base = rev - transaction
        self._noted = {"format": FORMAT, "rev": rev, "transaction": transaction, "open": is_open}
        if not is_open:
            self._noted["pushed"] = self.pushed
        try:
            with self.env.begin(write=True) as txn:
                txn.put(META, encode(self._noted | {"rev_base": self.rev_base}))
        except lmdb.Error as error:
            raise storage_error(error, self.directory) from error
        self._is_marked = not is_open

    def settle_rev(self) -> None:
        """Note the revision where there have been writes, so that it outlives a compaction. The mutex is held."""
        if not self._is_marked:
            self._mark(is_open=False)

    def raise_rev_base(self, txn: LmdbTransaction, by: int) -> None:
        """Count `by` revisions more than the transactions do: those of calls that share one transaction."""
        txn.put(META, encode(self._noted | {"rev_base": self.rev_base + by}))

    def keep_reserve(self) -> None:
        """Keep some of the disk for deletes, as far as there is room."""
        try:
            file = os.open(self.directory / RESERVE_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if os.fstat(file).st_size < RESERVE_BYTES:
                    os.posix_fallocate(file, 0, RESERVE_BYTES)
            finally:
                os.close(file)
        except OSError:  # the disk is full, or cannot set anything aside
            self.release_reserve()

    def release_reserve(self) -> bool:
        """Give the reserve back to the disk; False where there is none."""
        try:
            (self.directory / RESERVE_FILE).unlink()
        except OSError:
            return False
        return True

    def grow(self) -> None:
        """Double the map up to the limit. The caller holds the store's mutex and has no transaction open."""
        size = self.env.info()["map_size"]
        if size >= self._max_map_size:
            raise MapFullError(
                f"the store in {self.directory} is full at {size} bytes (max_map_size); "
                "open it with a larger max_map_size or delete something"
            )
        self.env.set_mapsize(min(size * 2, self._max_map_size))

    def close(self) -> None:
        """Bring all to the disk, close the environment and give the directory free. The mutex is held.

        Where a signal's handler raises in here, the next call does the rest.
        """
        self.begin = partial(refuse, "closed")
        stuck = False
        try:
            if self.syncer is not None and not self.syncer.close():
                stuck = True
                raise StorageError(f"the disk has not taken what {self.directory} holds in {SYNC_TIMEOUT_S:g} s")
            if not self._is_env_closed:
                with suppress(StorageError):  # a full disk: what is compacted then leaves some revisions out
                    self.settle_rev()
        except lmdb.Error as error:
            raise storage_error(error, self.directory) from error
        finally:
            if not stuck:  # else its thread is inside the environment, which stays open until the process ends
                self._is_env_closed = True
                self.env.close()
                if self._owner >= 0:  # else the directory may be another process's by now
                    leave_sum(self.directory)
            self._disown()
            self.state = "closed"

    def refuse_if_forked(self) -> None:
        """Raise in any process but the one that opened the store."""
        if os.getpid() != self._pid:
            raise ForkedStoreError(f"the store in {self.directory} belongs to the parent process; open another here")

    def forked(self) -> None:
        """In a forked child: refuse everything, and touch nothing that the parent goes on using."""
        if self.state == "forked":  # in a child's child: what was ours there is somebody else's here
            return
        self.mutex = threading.RLock()  # the old one may be held by a thread that does not exist here
        self.state = "forked"
        self.begin = partial(refuse, "forked")
        os.close(self._owner)  # without unlocking what the parent owns

    def _disown(self) -> None:
        owner, self._owner = self._owner, -1
        if owner >= 0:
            fcntl.flock(owner, fcntl.LOCK_UN)
            os.close(owner)


class Syncer:
    """Brings commits to the disk every quarter of a second: durability="async"."""

    def __init__(self, env: lmdb.Environment) -> None:
        self._env = env
        self._stopped = False
        self._stopping = Progress()
        self._thread = Service("elkyn-sync")
        self._thread.start(self._serve)

    def _serve(self) -> None:
        synced = -1
        while not self._stopping.wait_for(lambda: self._stopped, SYNC_EVERY_S):
            now = self._env.info()["last_txnid"]
            if now != synced:
                try:
                    self._env.sync(True)
                except lmdb.Error as error:  # perhaps the disk takes it the next time; close() raises if it never does
                    _log.error("a sync of the store in %s failed: %s", self._env.path(), error)
                else:
                    synced = now

    def close(self) -> bool:
        """Stop, and bring the rest to the disk; False where a sync under way does not end."""
        self._stopped = True
        self._stopping.tell()
        if not self._thread.wait_until_ended(SYNC_TIMEOUT_S):
            return False
        self._env.sync(True)
        return True


def damaged(error: Exception, directory: Path) -> StorageError:
    """Say that what is stored is none of our encodings."""
    return StorageError(
        f"{directory / 'data.mdb'} is damaged: a stored value cannot be read ({error}); "
        f"`elkyn verify {directory}` tells more"
    )


def settle_copy(directory: Path) -> int:
    """Note its revision in a copy of a database that lies in `directory`, and return it. Nobody has it open."""
    env = _open_environment(directory, sync=True, map_size=MIN_MAP_BYTES)
    try:
        with env.begin() as txn:
            mark = txn.get(META)
        if mark is None:
            raise FormatError(f"{directory} holds an LMDB database that elkyn did not make")
        meta = decode(mark)
        last = int(env.info()["last_txnid"])
        # A compaction sets LMDB's count back to one: what the copy is of was noted just before.
        rev = int(meta["rev"]) if last < meta.get("transaction", 0) else int(meta["rev_base"]) + last
        env.set_mapsize(2 * env.info()["map_size"])
        with env.begin(write=True) as txn:
            noted = {"rev": rev, "transaction": last + 1, "open": False, "rev_base": rev - last - 1}
            txn.put(META, encode(meta | noted))
        return rev
    finally:
        env.close()


def is_full(error: lmdb.Error) -> bool:
    """Whether the disk has no room."""
    return "No space left" in str(error)


def storage_error(error: lmdb.Error, directory: Path) -> StorageError:
    """Turn LMDB's error into ours, in one sentence."""
    if isinstance(error, lmdb.DiskError) or is_full(error):
        return StorageError(f"the disk refused a write to {directory}: {error}; nothing was changed")
    return StorageError(f"the database in {directory} refused: {error}; nothing was changed")


def own(directory: Path) -> int:
    """Take the directory for this store alone. A lock of the system: it goes when the process goes, however it ends."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        owner = os.open(directory / "elkyn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise StorageError(f"{directory} is not a directory; a store needs one of its own") from error
        raise StorageError(
            f"cannot write in {directory}: {error.strerror}; a store needs a writable directory"
        ) from error
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(owner)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise StoreInUseError(
                f"{directory} is open already, here or in another process; share that store or close it first"
            ) from None
        raise StorageError(f"cannot lock {directory}: {error.strerror}") from error
    return owner


def _open_environment(directory: Path, *, sync: bool, map_size: int) -> lmdb.Environment:
    used = (directory / "data.mdb").stat().st_size if (directory / "data.mdb").exists() else 0
    try:
        return lmdb.open(
            str(directory),
            map_size=max(map_size, used, MIN_MAP_BYTES),
            subdir=True,
            metasync=sync,
            sync=sync,
            max_dbs=0,
            max_readers=MAX_READERS,
            # Pages of a committed transaction go to the file by write(), never through a writable map: a stray
            # pointer anywhere in the process cannot damage the store.
            writemap=False,
        )
    except lmdb.InvalidError as error:
        raise FormatError(f"{directory}/data.mdb is not an LMDB database; choose another directory") from error
    except lmdb.VersionMismatchError as error:
        raise FormatError(f"{directory}/data.mdb was made by another version of LMDB: {error}") from error
    except lmdb.Error as error:
        raise storage_error(error, directory) from error

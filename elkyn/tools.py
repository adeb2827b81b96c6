"""What is done to a store as a whole: backup, compaction, dump, load, and a look whether all of it is sound."""

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lmdb

from elkyn.errors import ElkynError, StorageError, StoreInUseError
from elkyn.pages import check_pages, check_sum, drop_sum, leave_sum
from elkyn.paths import key_of
from elkyn.readonly import ReadOnlyStore
from elkyn.storage import META, own, settle_copy, storage_error
from elkyn.values import BAD_BYTES, decode, encode

DUMP_FORMAT = 1
"""The layout of a dump's lines."""


def backup(source: str | os.PathLike[str], to: str | os.PathLike[str], *, compact: bool = False) -> int:
    """Copy a store as it is now to the new directory `to`, also while another process writes; return the revision.

    Of a store that is open in this process, use `Store.backup()`. With `compact=True` without its free pages.
    """
    with ReadOnlyStore(source) as store:
        return copy(store._environment(), Path(to), compact=compact)


def copy(env: lmdb.Environment, to: Path, *, compact: bool) -> int:
    """Copy an open environment to the new directory `to` and return the copy's revision."""
    try:
        to.mkdir(parents=True)
    except FileExistsError:
        raise StorageError(f"{to} exists already; choose a directory that is to be made") from None
    try:
        if not compact:
            env.copy(str(to))
            rev = settle_copy(to)
        else:
            # By way of a plain copy: only there the revision can be told, since a compaction sets LMDB's count back.
            with tempfile.TemporaryDirectory(prefix="copy-", dir=to) as whole:
                env.copy(whole)
                settle_copy(Path(whole))
                with lmdb.open(whole, readonly=True, lock=False) as copied:
                    copied.copy(str(to), compact=True)
            rev = settle_copy(to)
    except lmdb.Error as error:
        shutil.rmtree(to, ignore_errors=True)
        raise storage_error(error, to) from error
    (to / "lock.mdb").unlink(missing_ok=True)
    leave_sum(to, limit=None)
    return rev


def compact(directory: str | os.PathLike[str]) -> tuple[int, int]:
    """Write the file of a closed store anew without its free pages; return its bytes before and after.

    Raises `StoreInUseError` where the store is open.
    """
    directory = Path(directory).absolute()
    if not (directory / "data.mdb").exists():
        raise StorageError(f"there is no store in {directory}")
    owner = own(directory)
    try:
        file = directory / "data.mdb"
        before = file.stat().st_size
        with tempfile.TemporaryDirectory(prefix="compact-", dir=directory) as new:
            backup(directory, Path(new) / "data", compact=True)
            smaller = Path(new) / "data" / "data.mdb"
            with smaller.open("rb") as opened:
                os.fsync(opened.fileno())
            drop_sum(directory)
            smaller.replace(file)
        leave_sum(directory, limit=None)
        return before, file.stat().st_size
    finally:
        os.close(owner)


def dump(store: ReadOnlyStore) -> Iterator[str]:
    """Yield a store as JSON lines: first what it is, then a leaf a line, in the order of their keys.

    What JSON cannot say (bytes, NaN, infinities) stands as msgpack in base64.
    """
    yield json.dumps({"elkyn": DUMP_FORMAT, "rev": store.rev})
    for path, value in store.walk():
        try:
            yield json.dumps({"path": path, "value": value}, allow_nan=False)
        except (TypeError, ValueError):
            yield json.dumps({"path": path, "msgpack": base64.b64encode(encode(value)).decode()})


def load(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield path and value of the leaves of a dump. `ElkynError` names the line that is none."""
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            if "path" in said:
                raw = said.get("msgpack")
                yield said["path"], said["value"] if raw is None else decode(base64.b64decode(raw, validate=True))
            elif said.get("elkyn") != DUMP_FORMAT:
                raise ValueError(f"neither a leaf nor the head of a dump of format {DUMP_FORMAT}")  # noqa: TRY301
        except (ValueError, KeyError, TypeError, AttributeError, *BAD_BYTES) as error:
            raise ElkynError(f"line {number} of the dump cannot be read: {error}") from error


def verify(directory: str | os.PathLike[str]) -> list[str]:
    """Look at all of a store and return what is wrong with it, a sentence each; nothing where it is sound.

    Of a store that another process has open, the values and keys; of a closed one the pages and the file's sum too.
    """
    directory = Path(directory).absolute()
    found: list[str] = []
    look: Callable[[Path], object]
    try:
        owner = own(directory)
    except StoreInUseError:
        return _verify_values(directory)
    try:
        file = directory / "data.mdb"
        if not file.exists():
            raise StorageError(f"there is no store in {directory}")
        for look, where in ((partial(check_sum, limit=None), directory), (check_pages, file)):
            try:
                look(where)
            except StorageError as error:
                found.append(str(error))
        return found or _verify_values(directory)
    finally:
        os.close(owner)


def _verify_values(directory: Path) -> list[str]:
    found: list[str] = []
    with ReadOnlyStore(directory) as store:

        def look(txn: Any) -> None:
            above: bytes | None = None
            for key, raw in txn.cursor():
                if key.startswith(META[:1]):  # the mark, and the ends of values
                    continue
                name = repr(key.decode(errors="replace").replace("\0", "/"))
                if not key.startswith(b"\0") or (key != b"\0" and not _is_key(key)):
                    found.append(f"{name} is the key of no path")
                if above is not None and (above == b"\0" or key.startswith(above + b"\0")):
                    found.append(f"{name} lies below a leaf")
                else:
                    above = key
                try:
                    value = decode(raw)
                except BAD_BYTES as error:
                    found.append(f"the value at {name} cannot be read: {error}")
                    continue
                if encode(value) != raw:
                    found.append(f"the value at {name} is not as elkyn writes it")

        store._read(look)
    return found


def _is_key(key: bytes) -> bool:
    try:
        return key_of(key.decode().replace("\0", "/")) == key
    except (ElkynError, UnicodeDecodeError):
        return False

"""`open()`: what the options of a store may be, and what they are where nothing is said."""

import logging
import os
import sys
from pathlib import Path
from typing import Literal, get_args, overload

from elkyn._native import MAX_SLOTS, MAX_VALUE_BYTES, SLOTS, VALUE_BYTES, Queue
from elkyn.events.subscriptions import log_handler_error
from elkyn.events.thread import HandlerErrorHook
from elkyn.readonly import ReadOnlyStore
from elkyn.storage import Database, Durability
from elkyn.store import Store
from elkyn.values import decode

_log = logging.getLogger("elkyn")


@overload
def open(path: str | os.PathLike[str], *, readonly: Literal[True]) -> ReadOnlyStore: ...  # noqa: A001 - as below
@overload
def open(  # noqa: A001 - as below
    path: str | os.PathLike[str],
    *,
    readonly: Literal[False] = False,
    durability: Durability = "sync",
    map_size: int = 64 << 20,
    max_map_size: int = 64 << 30,
    drain_timeout: float = 5.0,
    on_handler_error: HandlerErrorHook = log_handler_error,
    slots: int = SLOTS,
    value_bytes: int = VALUE_BYTES,
) -> Store: ...
def open(  # noqa: A001 - elkyn.open() reads as it should, like gzip.open()
    path: str | os.PathLike[str],
    *,
    readonly: bool = False,
    durability: Durability = "sync",
    map_size: int = 64 << 20,
    max_map_size: int = 64 << 30,
    drain_timeout: float = 5.0,
    on_handler_error: HandlerErrorHook = log_handler_error,
    slots: int = SLOTS,
    value_bytes: int = VALUE_BYTES,
) -> Store | ReadOnlyStore:
    """Open the store in the directory `path`, making it where it is missing. Use as a context manager.

    `durability`: "sync" has every commit on the disk before its call returns; "async" syncs every quarter of a second;
    "none" leaves it to the system. A killed process loses nothing in any of them; with the latter two a power failure
    may lose the latest commits and, depending on the file system, damage the file.
    `map_size` is the first size of the database in bytes: it grows by itself up to `max_map_size`.
    `drain_timeout` is how many seconds close() lets handlers work off what is pending.
    `on_handler_error` is called with the exception and the `file:line` that subscribed.
    `slots` and `value_bytes` are how many events, and how many bytes of their values, may wait for handlers: allocated
    now, rounded up to powers of two, at most 1,048,576 and 2 GiB. A slot takes 320 bytes.

    `readonly=True` opens the store for reading alone, also while another process has it open; the other options have no
    meaning then.

    Raises `StoreInUseError` where the directory is open already, `FormatError` where it holds something else,
    `StorageError` where it cannot be written.
    """
    if readonly:
        return ReadOnlyStore(path)
    if durability not in get_args(Durability):
        raise ValueError(f"durability must be 'sync', 'async' or 'none', not {durability!r}")
    if not 0 < map_size <= max_map_size:
        raise ValueError(f"map_size must be above 0 and at most max_map_size, not {map_size}")
    if not 0 < slots <= MAX_SLOTS:
        raise ValueError(f"slots must be above 0 and at most {MAX_SLOTS}, not {slots}")
    if not 0 < value_bytes <= MAX_VALUE_BYTES:
        raise ValueError(f"value_bytes must be above 0 and at most {MAX_VALUE_BYTES}, not {value_bytes}")
    _say_if_the_gil_is_back()
    database = Database(Path(path).absolute(), durability, map_size=map_size, max_map_size=max_map_size)
    return Store(database, drain_timeout, on_handler_error, Queue(decode, slots, value_bytes))


def _say_if_the_gil_is_back() -> None:
    """A free-threaded interpreter turns it on for good where a module is loaded that does not declare to need none."""
    if "t" in sys.abiflags and getattr(sys, "_is_gil_enabled", bool)():
        _log.warning("this free-threaded Python runs with the GIL, which py-lmdb needs: threads take turns")

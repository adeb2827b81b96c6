"""Elkyn: an embedded real-time tree store on LMDB, with an event system that loses nothing silently.

with elkyn.open("data/") as store:
    store.watch("/users/*").subscribe(print)
    store.set("/users/42", {"name": "Ada"})
"""

from elkyn._native import matches
from elkyn.aio import open_async
from elkyn.errors import (
    CommitTooLarge,
    ElkynError,
    EventTimeout,
    ForkedStoreError,
    FormatError,
    HistoryLost,
    InvalidTypeError,
    InvalidValueError,
    MapFullError,
    PathError,
    StorageError,
    StoreClosedError,
    StoreInUseError,
    SubscriptionOverflow,
    WouldDeadlock,
)
from elkyn.events.children import ChildEvent
from elkyn.events.event import Event, LiveSubscription, Overflow, QueueStats
from elkyn.events.observable import Observable
from elkyn.events.streams import EventStream
from elkyn.events.subscriptions import Subscription
from elkyn.opening import open  # noqa: A004 - elkyn.open() reads as it should, like gzip.open()
from elkyn.readonly import Reader, ReadOnlyStore
from elkyn.store import Store
from elkyn.transaction import Transaction

__all__ = [
    "ChildEvent",
    "CommitTooLarge",
    "ElkynError",
    "Event",
    "EventStream",
    "EventTimeout",
    "ForkedStoreError",
    "FormatError",
    "HistoryLost",
    "InvalidTypeError",
    "InvalidValueError",
    "LiveSubscription",
    "MapFullError",
    "Observable",
    "Overflow",
    "PathError",
    "QueueStats",
    "ReadOnlyStore",
    "Reader",
    "StorageError",
    "Store",
    "StoreClosedError",
    "StoreInUseError",
    "Subscription",
    "SubscriptionOverflow",
    "Transaction",
    "WouldDeadlock",
    "matches",
    "open",
    "open_async",
]

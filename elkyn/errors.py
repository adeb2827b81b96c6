"""The errors of a store: one small tree, each message saying what was wrong, where, and what to do."""


class ElkynError(Exception):
    """Everything that the store raises on its own account."""


class PathError(ElkynError, ValueError):
    """A path or pattern that breaks the grammar. Raised before anything is written."""


class InvalidValueError(ElkynError, ValueError):
    """A value of a storable type that cannot be stored: too deep, an integer beyond 64 bits, lone surrogates."""


class InvalidTypeError(ElkynError, TypeError):
    """A value of a type that does not read back as itself, so it is not stored at all."""


class StoreClosedError(ElkynError):
    """The store was closed; open it again to go on."""


class ForkedStoreError(ElkynError):
    """The store was opened by the parent process; a forked child opens its own."""


class StoreInUseError(ElkynError):
    """Another open store, in this process or another, has the directory."""


class StorageError(ElkynError):
    """The disk or the database file refused; nothing of the call was written."""


class MapFullError(StorageError):
    """The database has reached its `max_map_size`."""


class FormatError(StorageError):
    """The directory holds something that this version of elkyn cannot read. Nothing was changed."""


class WouldDeadlock(ElkynError):  # noqa: N818 - the name is part of the contract and says what it is
    """The call would wait for the very thread that makes it."""


class HistoryLost(ElkynError):  # noqa: N818 - like EventTimeout, it names what happened
    """What has changed since that revision is no longer known: read the state anew."""


class EventTimeout(ElkynError):  # noqa: N818 - like TimeoutError without "Error", it names what happened
    """A subscription with overflow="block" had no room in time. Nothing was written."""


class CommitTooLarge(EventTimeout):
    """A commit's events never fit at once with a subscription that has overflow="block". Nothing was written."""


class SubscriptionOverflow(ElkynError):  # noqa: N818 - the terminal error of overflow="error"
    """A subscription with overflow="error" lost events and has ended."""

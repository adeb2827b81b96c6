"""What an engine has to do for a run on many machines: `submit`, and `as_completed`.

An engine hands a few bytes to a node that was named, where `leakcheck.remote.node.answer` makes other bytes of them,
and says which nodes come and go. Which scenario runs where, what becomes of one whose node is lost, and which node can
be trusted is decided by `dispatch`, the same for each engine; so another one (Ray, say) is a class with these two
functions, a name in `place_of` and a row in `running.connect`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeAlias

from leakcheck.errors import UsageError


class Cluster(NamedTuple):
    """Where a run shall take place, and how."""

    address: str
    """`dask://host:port`."""
    confirm: int = 1
    """Nodes that look for each leak."""
    python: str = ""
    """The interpreter to measure in, on each node; empty for its own."""
    lock: Path | None = None
    """What each node makes an environment from; None where it must have one like this machine's."""
    control: bool = True
    """Whether nodes prove their readings."""


class Joined(NamedTuple):
    """A node is there."""

    node: str
    """Its address: what `submit` takes. No two processes have the same, not even one after the other."""
    name: str
    """What people call it."""
    machine: str
    """Nodes with the same one are processes of one machine."""
    cores: int
    """Requests that it answers at a time."""


class Left(NamedTuple):
    """A node is gone, and with it whatever it had not answered."""

    node: str


class Answered(NamedTuple):
    """A request has its answer."""

    request: str
    answer: bytes


class Failed(NamedTuple):
    """A request has none, though its node is there: what was raised, in one line."""

    request: str
    reason: str


class Said(NamedTuple):
    """A node says what it does, while it does it."""

    message: bytes


class Parted(NamedTuple):
    """The engine itself was lost: nothing that was submitted will be answered, and no node is there until it joins."""

    reason: str


Event: TypeAlias = Joined | Left | Answered | Failed | Said | Parted


class Engine(Protocol):
    """A connection to a cluster; a context manager. Used by one thread."""

    def submit(self, node: str, request: str, content: bytes) -> None:
        """Have a node answer `content`, under a name that is used once. Returns at once, and raises nothing."""

    def as_completed(self) -> Iterator[Event | None]:
        """What happens, as it happens, for ever; None now and then where nothing does.

        A request is answered once or failed once, or its node leaves, or the engine parts. An engine that was lost is
        looked for again meanwhile.
        """

    def cancel(self) -> None:
        """Have every node call off what it examines: its answers come soon, and tell what was seen until then."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget all that was submitted, and go."""


def place_of(address: str) -> str:
    """What an engine connects to, of `dask://host:port`. Raises `UsageError` where there is no such engine."""
    engine, separator, place = address.partition("://")
    if not separator or not place or engine != "dask":
        raise UsageError(f"--on {address}: give the address of a scheduler, as dask://127.0.0.1:8786")
    return place

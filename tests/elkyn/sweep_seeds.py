"""What a sweep of the native core begins with: objects of its types, and calls that are valid."""

from __future__ import annotations

from elkyn import _native
from elkyn.values import unflatten
from leakcheck import recipe


def decoded(raw: bytes) -> list[bytes]:
    return [raw]


@recipe(_native.Event)
def event() -> _native.Event:
    return _native.Event(
        decoded, deleted=False, path="/rooms/one", value=b"\x91\x01", old=None, rev=1, seq=1, last=True, timestamp_ns=1,
        size=2, omitted=False,
    )  # fmt: skip


@recipe(_native.Receiver)
def receiver() -> _native.Receiver:
    made = _native.Receiver()
    made.program = (str,)
    return made


@recipe(_native.Queue)
def queue() -> _native.Queue:
    return _native.Queue(decoded, 8, 4096)


@recipe(_native.TransactionScope)
def scope() -> _native.TransactionScope[int]:
    return _native.TransactionScope(number for number in range(1))


def calls(queue: _native.Queue, log: _native.ChangeLog) -> None:
    """These are read, and never run."""
    queue.push("/rooms/one", 1, 1, True, b"\x91\x01", None, ())
    queue.tell(log, "/rooms/one", 2, b"\x91\x02", b"\x91\x01", (), True)
    log.note(1, "/rooms/one", False)
    _native.flatten(b"/rooms/", 2, {"one": {"count": 1, "names": ["first", "second"]}})
    unflatten(b"/rooms/", [(b"/rooms/one/count", b"\x01"), (b"/rooms/one/names", b"\x91\x01")])
